"""A leader: the canary decides, and every request ends, goes back or goes on, whatever becomes of the pipeline."""

import asyncio

import attrs
import pytest

from executor.engine.request import SamplingParams
from executor.errors import MalformedFrame
from executor.pipelines import leader as leader_module
from executor.pipelines.leader import Canary, Leader
from executor.traffic import Cancel, Choice, Chosen, Returned, SampledTokens, Submit, Token
from tests.builders import an_llm
from tests.plans import a_pipeline

PIPELINE = a_pipeline("pair", an_llm(), ("n0/gpu0", 0, 5), ("n1/gpu0", 5, 10))
CANARY = Canary(prompt=(3, 4), tokens=(10, 11, 12))
VOCABULARY = 64


@attrs.define
class FakeHost:
    """The stages elsewhere: iterations are kept, and answered by hand."""

    iterations: list = attrs.field(factory=list)

    async def start(self, pipeline, iteration):
        self.iterations.append(iteration)

    def node_of_stage(self, pipeline, index):
        return f"n{index}"

    def vocabulary_size(self, pipeline):
        return VOCABULARY


@attrs.define
class FakePost:
    sent: list = attrs.field(factory=list)

    def send(self, node, message, body=b""):
        self.sent.append((node, message))


class World:
    """A leader on a loop."""

    def __init__(self, slots=PIPELINE.slots):
        self.host, self.post, self.tasks = FakeHost(), FakePost(), set()
        self.leader = Leader(PIPELINE, slots, self.host, self.post, self.spawn, [].append)

    def spawn(self, work):
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(lambda done: (self.tasks.discard(done), done.result()))

    async def iteration(self):
        """The next iteration that the leader has started."""
        while not self.host.iterations:  # noqa: ASYNC110 - the leader's own tasks run meanwhile
            await asyncio.sleep(0)
        return self.host.iterations.pop(0)

    async def answer(self, *tokens):
        iteration = await self.iteration()
        self.leader.sampled(sampled(iteration.id, *tokens))
        return iteration

    def sent(self, kind):
        return [(node, message) for node, message in self.post.sent if isinstance(message, kind)]


def sampled(iteration, *tokens):
    return SampledTokens(pipeline="pair", iteration=iteration, tokens=tuple(Chosen(token=token) for token in tokens))


def submit(request="n2:1", **changes):
    plain = Submit(
        pipeline="pair",
        request=request,
        tokens=(1, 2),
        prompt_tokens=2,
        max_tokens=2,
        end_tokens=(),
        choice=Choice.of(SamplingParams()),
    )
    return attrs.evolve(plain, **changes)


def on_a_loop(test):
    def wrapped():
        async def run():
            async with asyncio.timeout(60):
                await test(World())

        asyncio.run(run())

    wrapped.__name__ = test.__name__
    return wrapped


@pytest.mark.parametrize(("tokens", "right"), [((10, 11, 12), True), ((10, 11, 13), False), ((9, 11, 12), False)])
def test_the_canary_decides(tokens, right):
    async def run():
        world = World()
        proof = asyncio.create_task(world.leader.prove(CANARY))
        for token in tokens:
            iteration = await world.answer(token)
        assert iteration.entries[0].row.end == 4
        assert await proof == right
        assert world.post.sent == []

    asyncio.run(run())


@on_a_loop
async def test_a_broken_connection_does_not_condemn_the_pipeline(world):
    leader_module._CANARY_AGAIN_SECONDS, before = 0.01, leader_module._CANARY_AGAIN_SECONDS
    try:
        proof = asyncio.create_task(world.leader.prove(CANARY))
        await world.answer(10)
        lost = await world.iteration()
        world.leader.disconnected("n1", member=True)
        world.leader.disconnected("n1", member=True)
        assert not proof.done()
        for token in CANARY.tokens:
            await world.answer(token)
        world.leader.sampled(sampled(lost.id, 63))  # late
        assert await proof
    finally:
        leader_module._CANARY_AGAIN_SECONDS = before


@on_a_loop
async def test_closing_ends_the_proof(world):
    proof = asyncio.create_task(world.leader.prove(CANARY))
    await world.iteration()
    world.leader.give_back()  # and the canary waits to be led again
    world.leader.close()
    assert not await proof
    assert not await world.leader.prove(CANARY), "closed is closed"
    await asyncio.sleep(leader_module._CANARY_AGAIN_SECONDS + 0.1)
    assert world.host.iterations == []


@on_a_loop
async def test_requests_are_returned_until_it_is_open(world):
    world.leader.submit("n2", submit())
    assert world.post.sent == [("n2", Returned(request="n2:1", shut=False))]
    world.leader.open()
    world.leader.submit("n2", submit())
    await world.answer(20)
    await world.answer(21)
    assert world.sent(Token) == [
        ("n2", Token(request="n2:1", index=0, chosen=Chosen(token=20))),
        ("n2", Token(request="n2:1", index=1, chosen=Chosen(token=21), finish="length")),
    ]
    assert world.leader.live == 0


@on_a_loop
async def test_close_returns_everything_and_says_that_it_is_for_ever(world):
    world.leader.open()
    for number in range(6):  # more than there are slots
        world.leader.submit("n2", submit(f"n2:{number}"))
    late = await world.iteration()
    world.leader.close()
    assert world.sent(Returned) == [("n2", Returned(request=f"n2:{number}", shut=True)) for number in range(6)]
    world.leader.sampled(sampled(late.id, 5))
    world.leader.submit("n2", submit("n2:9"))
    assert world.post.sent[-1] == ("n2", Returned(request="n2:9", shut=True))
    assert world.sent(Token) == []
    assert world.leader.live == 0


@on_a_loop
async def test_drain_finishes_what_it_has_and_takes_nothing(world):
    world.leader.open()
    world.leader.submit("n2", submit(max_tokens=1))
    drained = []
    world.leader.drain(lambda: drained.append(True))
    world.leader.submit("n2", submit("n2:2"))
    assert world.sent(Returned) == [("n2", Returned(request="n2:2", shut=True))]
    assert drained == []
    await world.answer(20)
    assert drained == [True]


@pytest.mark.parametrize("how", ["cancel", "give back", "front lost", "close"])
def test_a_drain_ends_however_its_last_request_goes(how):
    async def run():
        world = World()
        world.leader.open()
        drained = []
        world.leader.submit("n2", submit())
        iteration = await world.iteration()
        world.leader.drain(lambda: drained.append(True))
        match how:
            case "cancel":
                world.leader.cancel("n2", Cancel(pipeline="pair", request="n2:1"))
                world.leader.sampled(sampled(iteration.id, 1))
            case "give back":
                world.leader.give_back()
            case "front lost":
                world.leader.disconnected("n2", member=False)
                world.leader.sampled(sampled(iteration.id, 1))
            case "close":
                world.leader.close()
        assert drained == ([] if how == "close" else [True])
        assert world.leader.live == 0

    asyncio.run(run())


def test_a_drain_without_requests_ends_at_once():
    world, drained = World(), []
    world.leader.open()
    world.leader.drain(lambda: drained.append(True))
    assert drained == [True]


@on_a_loop
async def test_a_lost_front_gets_its_requests_back_and_others_go_on(world):
    world.leader.open()
    world.leader.submit("n2", submit(max_tokens=1))
    world.leader.submit("n3", submit("n3:1", max_tokens=1))
    world.leader.disconnected("n2", member=False)
    assert world.post.sent == [("n2", Returned(request="n2:1", shut=False))]
    while world.leader.live:
        iteration = await world.iteration()
        world.leader.sampled(sampled(iteration.id, *[7] * len(iteration.sampled)))
    assert [node for node, _ in world.sent(Token)] == ["n3"]


@on_a_loop
async def test_malformed_answers_are_refused_and_repeated_ones_dropped(world):
    world.leader.open()
    world.leader.submit("n2", submit())
    iteration = await world.iteration()
    for tokens in ((), (1, 2)):
        with pytest.raises(MalformedFrame, match="came for iteration 0 of pair, which asked for 1"):
            world.leader.sampled(sampled(iteration.id, *tokens))
    with pytest.raises(MalformedFrame, match="beyond the 64"):
        world.leader.sampled(sampled(iteration.id, VOCABULARY))
    for _ in range(2):
        world.leader.sampled(sampled(iteration.id, 5))
    world.leader.sampled(sampled(99, 5))
    assert [message.chosen.token for _, message in world.sent(Token)] == [5]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokens": (1, VOCABULARY)}, "a token beyond the 64"),
        ({"end_tokens": (VOCABULARY,)}, "a token beyond the 64"),
        ({"tokens": (1,) * 64, "prompt_tokens": 64}, "the context holds 64"),
        ({"prompt_tokens": 3}, "3 prompt tokens, but only 2 given"),
        ({"max_tokens": 1, "prompt_tokens": 1}, "have been generated"),
    ],
)
def test_what_can_never_be_computed_is_refused(changes, words):
    world = World()
    world.leader.open()
    world.leader.submit("n2", submit(**changes))
    ((node, returned),) = world.post.sent
    assert (node, returned.shut) == ("n2", False)
    assert words in returned.refusal
    assert world.leader.live == 0


@on_a_loop
async def test_fronts_cannot_touch_what_is_not_theirs(world):
    for request in ("canary", "n3:1"):
        with pytest.raises(MalformedFrame, match="does not bear its front's name"):
            world.leader.submit("n2", submit(request))
    proof = asyncio.create_task(world.leader.prove(CANARY))
    await asyncio.sleep(0)
    world.leader.cancel("n2", Cancel(pipeline="pair", request="canary"))
    for token in CANARY.tokens:
        await world.answer(token)
    assert await proof
    world.leader.open()
    world.leader.submit("n3", submit("n3:1"))
    world.leader.cancel("n2", Cancel(pipeline="pair", request="n3:1"))
    assert world.leader.live == 1
