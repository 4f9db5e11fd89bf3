"""What is written can be read, and nothing else can."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import MalformedFrame
from executor.transport import framing
from executor.transport.framing import HELLO_HEAD, Hello, Offer, Verdict
from specs.units import Bytes

names = st.text(max_size=50)
offers = st.none() | st.builds(Offer, transfer_id=names, size_bytes=st.integers(0, 2**62))
hellos = st.builds(Hello, sender=names, receiver=names, realm=names, offer=offers)


def read_hello(data: bytes) -> Hello:
    size = framing.decode_hello_head(data[: HELLO_HEAD.size])
    body = data[HELLO_HEAD.size :]
    assert len(body) == size
    return framing.decode_hello_body(body)


@given(hellos)
def test_a_hello_is_read_as_it_was_written(hello: Hello) -> None:
    assert read_hello(framing.encode_hello(hello)) == hello


GOOD = {"from": "a", "realm": "r", "to": "b"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 4000,
        b"1" * 4096,
        b'{"from":"a","from":"a","realm":"r","to":"b"}',
        b'{"from": "a","realm":"r","to":"b"}',
        b'{"realm":"r","from":"a","to":"b"}',
        *(
            json.dumps(GOOD | changed, sort_keys=True, separators=(",", ":")).encode()
            for changed in (
                {"from": 1},
                {"to": None},
                {"realm": ["r"]},
                {"transfer": "t"},
                {"bytes": 1},
                {"extra": "x"},
                {"transfer": "t", "bytes": -1},
                {"transfer": "t", "bytes": True},
                {"transfer": "t", "bytes": 1.0},
                {"transfer": "t", "bytes": float("nan")},
                {"transfer": "t", "bytes": 2**62 + 1},
                {"transfer": 1, "bytes": 1},
            )
        ),
    ],
)
def test_no_other_body_is_read(body: bytes) -> None:
    with pytest.raises(MalformedFrame, match="hello: "):
        framing.decode_hello_body(body)


@given(st.binary(max_size=100).filter(lambda data: not data.startswith(framing.MAGIC)))
def test_garbage_is_refused_with_a_sentence(data: bytes) -> None:
    with pytest.raises(MalformedFrame):
        framing.decode_hello_body(data)
    with pytest.raises(MalformedFrame):
        framing.decode_hello_head(data[:8].ljust(8, b"\0"))
    with pytest.raises(MalformedFrame):
        framing.decode_verdict_head(data[:7].ljust(7, b"\0"))
    with pytest.raises(MalformedFrame):
        framing.decode_receipt(data[:12].ljust(12, b"\0"))


@given(st.sampled_from(Verdict), st.text())
def test_a_verdict_is_read_as_it_was_written(verdict: Verdict, sentence: str) -> None:
    data = framing.encode_verdict(verdict, sentence)
    head, text = data[: framing.VERDICT_HEAD.size], data[framing.VERDICT_HEAD.size :]
    assert framing.decode_verdict_head(head) == (verdict, len(text))
    if len(sentence.encode()) <= framing.SENTENCE_BYTES_MAX:
        assert text.decode() == sentence


@given(st.none() | st.integers(0, 2**32 - 1))
def test_a_receipt_is_read_as_it_was_written(segment: int | None) -> None:
    assert framing.decode_receipt(framing.encode_receipt(segment)) == segment


def test_a_frame_over_the_limit_is_refused_and_one_at_it_is_not() -> None:
    def head(size: int) -> memoryview:
        return memoryview(framing.FRAME_HEAD.pack(framing.FrameKind.MESSAGE, size))

    assert framing.decode_frame_head(head(100), Bytes(100)) == (framing.FrameKind.MESSAGE, 100)
    with pytest.raises(MalformedFrame, match="of 101 bytes, wanted at most 100"):
        framing.decode_frame_head(head(101), Bytes(100))


def test_a_body_that_is_nested_as_deep_as_can_be_is_refused():
    """At one depth it can be read, and not be written again."""
    for depth in range(900, 1010):
        body = b'{"from":' + b"[" * depth + b"]" * depth + b"}"
        with pytest.raises(MalformedFrame):
            framing.decode_hello_body(body)
