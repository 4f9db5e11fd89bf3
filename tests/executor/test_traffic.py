"""Messages between daemons: every one comes back as it was sent, and nothing else is read."""

import json
import math
import struct

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from executor import traffic
from executor.engine.batch import Row
from executor.engine.errors import RequestRefused
from executor.engine.iteration import Entry, Iteration
from executor.engine.request import Request, SamplingParams
from executor.engine.sampler import Sampled
from executor.errors import MalformedFrame
from executor.traffic import (
    AskCanary,
    AskFile,
    CanaryIs,
    Cancel,
    Choice,
    Chosen,
    FileIs,
    Forward,
    Interrupted,
    Missed,
    ResizeStage,
    Returned,
    SampledTokens,
    StageResized,
    Submit,
    Token,
    WireEntry,
)
from tests.builders import a_digest

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/:>@+-]{0,12}", fullmatch=True)
naturals = st.integers(0, 2**62)
ids = st.integers(0, 2**31)
params = st.builds(
    SamplingParams,
    temperature=st.floats(0, allow_infinity=False),
    top_p=st.floats(0, 1, exclude_min=True),
    seed=st.integers(0, 2**64 - 1),
    top_logprobs=st.none() | st.integers(0, 20),
)
choices = params.map(Choice.of)
sampled = st.builds(
    Sampled,
    token=ids,
    logprob=st.none() | st.floats(max_value=0),
    top=st.lists(st.tuples(ids, st.floats(max_value=0)), max_size=3).map(tuple),
)
tokens = st.lists(ids, min_size=1, max_size=5).map(tuple)
entries = choices.flatmap(
    lambda choice: st.builds(
        WireEntry,
        slot=naturals,
        start=naturals,
        tokens=st.integers(1, 99),
        wants_logits=st.just(True),
        index=naturals,
        choice=st.just(choice),
    )
) | st.builds(
    WireEntry, slot=naturals, start=naturals, tokens=st.integers(1, 9), wants_logits=st.just(False), index=naturals
)
positive = st.integers(1, 2**40)
digests = names.map(a_digest)
messages = st.one_of(
    st.builds(
        Submit,
        pipeline=names,
        request=names,
        tokens=tokens,
        prompt_tokens=positive,
        max_tokens=positive,
        end_tokens=st.lists(ids, max_size=2).map(tuple),
        choice=choices,
    ),
    st.builds(Cancel, pipeline=names, request=names),
    st.builds(
        Token,
        request=names,
        index=naturals,
        chosen=sampled.map(Chosen.of),
        finish=st.sampled_from([None, "stop", "length"]),
    ),
    st.builds(Returned, request=names, shut=st.booleans(), refusal=st.none() | st.text(max_size=20)),
    st.builds(
        Forward,
        pipeline=names,
        stage=positive,
        iteration=naturals,
        width=positive,
        entries=st.lists(entries, max_size=3).map(tuple),
        freed=st.lists(naturals, max_size=3).map(tuple),
    ),
    st.builds(
        SampledTokens,
        pipeline=names,
        iteration=naturals,
        tokens=st.lists(sampled.map(Chosen.of), max_size=3).map(tuple),
    ),
    st.builds(Interrupted, pipeline=names),
    st.just(Missed()),
    st.builds(ResizeStage, pipeline=names, stage=naturals, number=positive, slots=positive),
    st.builds(StageResized, pipeline=names, stage=naturals, number=positive),
    st.builds(AskFile, llm=names, digest=digests),
    st.builds(FileIs, llm=names, digest=digests),
    st.builds(AskCanary, llm=names),
    st.builds(CanaryIs, llm=names, prompt=tokens, tokens=tokens),
)


def frame_of(message, body=b""):
    return memoryview(b"".join(bytes(part) for part in traffic.write(message, body)))


@given(messages, st.binary(max_size=50))
def test_every_message_comes_back(message, body):
    found, rest = traffic.read(frame_of(message, body))
    assert found == message
    assert bytes(rest) == body


@given(params)
def test_sampling_is_exact_to_the_last_bit(chosen):
    assert Choice.of(chosen).params() == chosen


@given(sampled)
def test_sampled_tokens_are_exact_to_the_last_bit(token):
    assert Chosen.of(token).sampled() == token


def test_a_log_probability_that_is_no_number_travels():
    found = Chosen.of(Sampled(token=1, logprob=math.nan, top=((2, -math.inf),))).sampled()
    assert math.isnan(found.logprob)
    assert found.top == ((2, -math.inf),)


@given(st.binary(max_size=200))
def test_garbage_is_refused(garbage):
    with pytest.raises(MalformedFrame):
        traffic.read(memoryview(garbage))


@given(messages, st.data())
def test_a_frame_that_was_cut_is_refused(message, data):
    frame = frame_of(message)
    with pytest.raises(MalformedFrame):
        traffic.read(frame[: data.draw(st.integers(0, len(frame) - 1))])


@given(messages, st.data())
def test_one_wrong_byte_is_refused_or_is_another_message(message, data):
    frame = bytearray(frame_of(message))
    frame[data.draw(st.integers(0, len(frame) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        other, _ = traffic.read(memoryview(frame))
    except MalformedFrame:
        return
    assert traffic.read(frame_of(other))[0] == other, "a message as good as any"


GOOD = Submit(
    pipeline="p",
    request="n0:1",
    tokens=(5,),
    prompt_tokens=1,
    max_tokens=4,
    end_tokens=(),
    choice=Choice.of(SamplingParams()),
)


def changed(message, **changes):
    """A frame like the message's, with entries that the class would not take."""
    document = json.loads(bytes(frame_of(message)[4:]))
    for path, value in changes.items():
        *way, last = path.split("__")
        target = document["message"]
        for key in way:
            target = target[int(key)] if isinstance(target, list) else target[key]
        target[last] = value
    header = json.dumps(document).encode()
    return memoryview(struct.pack("<I", len(header)) + header)


@pytest.mark.parametrize(
    ("spelling", "words"),
    [
        ("nan", "nan"),
        ("inf", "finite"),
        ("-inf", "finite"),
        ("-0x1.0000000000000p+0", "at least 0"),
        ("0x1p+99999", "as float.hex writes it"),
        ("1e5", "as float.hex writes it"),
        (" 0x1.0000000000000p+0", "as float.hex writes it"),
        ("0x1.0p+0", "as float.hex writes it"),
        ("Infinity", "as float.hex writes it"),
        ("", "as float.hex writes it"),
        ("0x" + "0" * 90_000 + "p0", "as float.hex writes it"),
    ],
)
def test_hostile_temperatures_are_refused(spelling, words):
    with pytest.raises(MalformedFrame, match=words) as caught:
        traffic.read(changed(GOOD, choice__temperature=spelling))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("top_p", [0.0, 1.0000000000000002, -1.0, math.inf, math.nan])
def test_top_p_is_a_probability(top_p):
    with pytest.raises(MalformedFrame):
        traffic.read(changed(GOOD, choice__top_p=top_p.hex()))


@pytest.mark.parametrize("seed", ["", "-1", "0x1", "1_0", " 1", "01", "A", "10000000000000000", "f" * 90_000, "é"])
def test_a_seed_has_one_spelling_and_64_bits(seed):
    with pytest.raises(MalformedFrame, match="seed"):
        traffic.read(changed(GOOD, choice__seed=seed))


def test_the_greatest_seed_travels():
    greatest, _ = traffic.read(changed(GOOD, choice__seed="f" * 16))
    assert greatest.choice.params().seed == 2**64 - 1


ENTRY = WireEntry(slot=0, start=0, tokens=1, wants_logits=False, index=0)
FORWARD = Forward(pipeline="p", stage=1, iteration=0, width=4, entries=(ENTRY,))


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (changed(GOOD, kind="pickle"), "kind"),
        (changed(GOOD, extra=1), "unknown key"),
        (changed(GOOD, tokens=[]), "at least 1"),
        (changed(GOOD, tokens=[-1]), "the token -1"),
        (changed(GOOD, tokens=[1.5]), "not a whole number"),
        (changed(GOOD, tokens=[True]), "a whole number is wanted"),
        (changed(GOOD, end_tokens=[-7]), "the token -7"),
        (changed(GOOD, max_tokens=0), "from 1"),
        (changed(GOOD, max_tokens=2**70), "out of range"),
        (changed(GOOD, choice__top_logprobs=-1), "at least 0"),
        (changed(Token(request="r", index=0, chosen=Chosen(token=1)), finish="bored"), "stop, length or nothing"),
        (changed(Token(request="r", index=0, chosen=Chosen(token=1)), chosen__logprob="x"), "float.hex"),
        (changed(Token(request="r", index=-0, chosen=Chosen(token=1)), chosen__token=-1), "from 0"),
        (changed(FORWARD, stage=0), "from 1"),
        (changed(FORWARD, entries__0__wants_logits=True), "where logits are wanted, and only there"),
        (changed(CanaryIs(llm="l", prompt=(1,), tokens=(2,)), prompt=[]), "at least 1"),
        (changed(CanaryIs(llm="l", prompt=(1,), tokens=(2,)), tokens=[]), "at least 1"),
    ],
)
def test_what_would_hurt_later_is_refused_at_the_door(frame, words):
    with pytest.raises(MalformedFrame, match=words):
        traffic.read(frame)


def test_a_header_longer_than_its_message_is_refused():
    with pytest.raises(MalformedFrame, match="announces a header of 4294967295"):
        traffic.read(memoryview(b"\xff\xff\xff\xff{}"))


def test_a_request_is_read_as_it_was_written():
    request = Request(
        id="n0:1",
        tokens=(1, 2, 3),
        prompt_tokens=2,
        max_tokens=9,
        end_tokens=frozenset({4, 7}),
        sampling=SamplingParams(temperature=0.1, top_p=0.3, seed=2**64 - 1, top_logprobs=2),
    )
    assert Submit.of("p", request).read() == request
    with pytest.raises(RequestRefused, match="have been generated"):
        attrs.evolve(Submit.of("p", request), max_tokens=1).read()


def test_an_iteration_is_read_as_it_was_written():
    greedy, drawn = SamplingParams(), SamplingParams(temperature=1.0, seed=3)
    iteration = Iteration(
        id=8,
        entries=(
            Entry(
                request="a", row=Row(slot=1, start=4, tokens=1, wants_logits=True), tokens=(9,), index=2, sampling=drawn
            ),
            Entry(
                request="b",
                row=Row(slot=0, start=0, tokens=2, wants_logits=False),
                tokens=(5, 6),
                index=0,
                sampling=greedy,
            ),
        ),
        freed=(2, 5),
    )
    forward = Forward.of("p", 1, iteration, 16)
    assert forward.batch() == iteration.batch
    assert forward.choices() == ([drawn], [2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_hidden_states_are_exact_and_of_the_right_size(dtype):
    hidden = torch.randn(3, 8).to(dtype)
    body = memoryview(bytearray(traffic.tensor_bytes(hidden.t().contiguous().t())))
    assert torch.equal(traffic.hidden_states(body, 3, 8, dtype), hidden)
    for wrong in (body[:-1], memoryview(bytearray(body) + b"\0"), body[:0]):
        with pytest.raises(MalformedFrame, match="hidden states of 3 tokens have"):
            traffic.hidden_states(wrong, 3, 8, dtype)
