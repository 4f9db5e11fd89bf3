"""Stages on one node: built whole or not at all, computed in order, refused what does not fit, freed."""

import asyncio

import attrs
import pytest
import torch

from executor.checkpoint import fill
from executor.engine.batch import Row
from executor.engine.iteration import Entry, Iteration
from executor.engine.request import SamplingParams
from executor.errors import MalformedFrame, OutOfMemory
from executor.pipelines.host import Host
from executor.store import Store
from executor.traffic import Choice, Forward, Interrupted, ResizeStage, SampledTokens, WireEntry
from specs.blobs import Blob, packed_bytes
from specs.problem import Running
from specs.timing import stage_kv_bytes
from tests.builders import a_problem
from tests.plans import a_chain, a_pipeline, activations, local
from tests.processes.cluster import Oracle

HERE = "n1/gpu0"
PROMPT = (5, 60, 70, 9)


@attrs.define
class FakePost:
    sent: list = attrs.field(factory=list)

    def send(self, node, message, body=b""):
        self.sent.append((node, message, bytes(body)))


class World:
    """The node n1 with the whole LLM, and a pipeline over n0 and n1, one over n1 twice, and one on n1 alone."""

    def __init__(self, checkpoint, llm, blobs, free=2**28):
        self.problem = a_problem(2, llm=llm)
        middle = len(llm.units) // 2
        self.pair = a_pipeline("pair", llm, ("n0/gpu0", 0, middle), (HERE, middle, len(llm.units)))
        twice = a_pipeline("twice", llm, (HERE, 0, middle), (HERE, middle, len(llm.units)))
        self.alone = local(llm, HERE)
        # Hosts look at nothing else of a plan.
        pipelines = (self.pair, twice, self.alone)
        self.plan = attrs.evolve(a_chain(2)[1], blobs=blobs, pipelines=pipelines, steps=activations(*pipelines))
        self.held = sum(blob.bytes for blob in blobs)
        self.store = Store({HERE: self.held + free}, {HERE: torch.device("cpu")})
        for blob in blobs:
            fill(checkpoint, llm, blob, self.store.reserve(blob, HERE))
            self.store.hold(blob, HERE)
        self.checkpoint = checkpoint
        self.post = FakePost()
        self.host = Host(
            node="n1",
            files=lambda _: checkpoint,
            device_of=lambda _: torch.device("cpu"),
            post=self.post,
        )
        self.width = llm.hidden_bytes_per_token // 4

    @property
    def used(self):
        return self.store.used_bytes(HERE) - self.held


@pytest.fixture
def world(checkpoint, llm, blobs):
    torch.set_num_threads(1)
    return World(checkpoint, llm, blobs)


def stage_bytes(*stages):
    return sum(stage.kv_bytes + stage.workspace_bytes for stage in stages)


def run(world, test):
    async def whole():
        world.host.adopt(world.problem, world.plan, world.store)
        try:
            return await test()
        finally:
            await world.host.close()
            assert world.used == 0

    return asyncio.run(whole())


def an_iteration(tokens=PROMPT, slot=0, start=0, number=0):
    row = Row(slot=slot, start=start, tokens=len(tokens), wants_logits=True)
    entry = Entry(request="r", row=row, tokens=tuple(tokens), index=0, sampling=SamplingParams())
    return Iteration(id=number, entries=(entry,))


def an_entry(**changes):
    greedy = Choice.of(SamplingParams())
    plain = WireEntry(slot=0, start=0, tokens=len(PROMPT), wants_logits=True, index=0, choice=greedy)
    return attrs.evolve(plain, **changes)


def a_forward(world, *entries, **changes):
    plain = Forward(pipeline="pair", stage=1, iteration=3, width=world.width, entries=entries or (an_entry(),))
    return attrs.evolve(plain, **changes)


def body_of(world, tokens=4):
    return memoryview(bytearray(4 * tokens * world.width))


def test_a_whole_pipeline_gives_the_reference_tokens(world, checkpoint):
    async def test():
        await world.host.build(world.alone.id)
        assert world.used == stage_bytes(*world.alone.stages)
        await world.host.build(world.alone.id)
        assert world.used == stage_bytes(*world.alone.stages), "built once"
        found, start = [], 0
        tokens = PROMPT
        for number in range(5):
            (chosen,) = await world.host.start(world.alone.id, an_iteration(tokens, start=start, number=number))
            start += len(tokens)
            tokens = (chosen.token,)
            found.append(chosen.token)
        return found

    oracle = Oracle(checkpoint).llm
    whole = oracle.generate(
        torch.tensor([PROMPT]), max_new_tokens=5, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert run(world, test) == whole[0, len(PROMPT) :].tolist()


def test_stages_pass_on_what_they_computed(world):
    async def test():
        await world.host.build("twice")
        assert await world.host.start("twice", an_iteration(number=3)) is None
        ((node, forward, body),) = world.post.sent
        assert (node, forward.stage, forward.iteration, forward.width) == ("n1", 1, 3, world.width)
        await world.host.carry_on(forward, memoryview(bytearray(body)))
        node, answer, _ = world.post.sent[-1]
        assert (node, type(answer), answer.iteration) == ("n1", SampledTokens, 3)
        await world.host.build(world.alone.id)
        (chosen,) = await world.host.start(world.alone.id, an_iteration())
        assert answer.tokens == (chosen,), "cut or whole, the token is the same"

    run(world, test)


def an_order(number, slots, stage=0):
    return ResizeStage(pipeline="twice", stage=stage, number=number, slots=slots)


def test_a_stage_takes_and_gives_back_memory_as_slots_come_and_go(world):
    async def test():
        stage = world.problem.llms[0], world.plan.pipelines[1], world.plan.pipelines[1].stages[0]
        await world.host.build("twice")
        rest = world.used - stage[2].kv_bytes

        async def resize(number, slots):
            await world.host.resize(an_order(number, slots))
            return world.used - rest

        assert await resize(1, 1) == stage_kv_bytes(*stage, 1)
        assert world.host.stage("twice", 0).cache.kv_tokens == 64
        assert await resize(3, 3) == await resize(3, 3) == stage_kv_bytes(*stage, 3), "said again"
        assert await resize(2, 2) == stage_kv_bytes(*stage, 3), "late"
        assert world.host.stage("twice", 0).cache.kv_tokens == 3 * 64
        assert await resize(4, 4) == stage[2].kv_bytes
        told = [(node, message.stage, message.number) for node, message, _ in world.post.sent]
        assert told == [("n1", 0, 1), ("n1", 0, 3), ("n1", 0, 3), ("n1", 0, 4)]
        with pytest.raises(MalformedFrame, match="5 slots for twice, which has 4 at most"):
            await world.host.resize(an_order(5, 5))

    run(world, test)


def test_orders_that_overtake_each_other(world):
    """The last number holds, and memory is counted for it alone."""

    async def test():
        await world.host.build("twice")
        built = world.used
        orders = [an_order(number, slots) for number, slots in ((1, 1), (2, 4), (3, 2), (4, 3), (2, 4))]
        await asyncio.gather(*(world.host.resize(order) for order in orders))
        assert [message.number for _, message, _ in world.post.sent] == [4]
        await world.host.resize(an_order(5, 4))
        assert world.used == built
        late = asyncio.create_task(world.host.resize(an_order(6, 1)))
        await asyncio.sleep(0)
        world.host.free("twice")
        await late
        assert world.used == 0
        await world.host.resize(an_order(7, 1))

    run(world, test)


def test_a_stage_that_finds_no_room_says_nothing_until_it_does(world):
    async def test():
        await world.host.build("twice")
        await world.host.resize(an_order(1, 1))
        free = world.store._memory_bytes[HERE] - world.store.used_bytes(HERE)
        world.store.take(HERE, free, "another")
        before = world.used
        await world.host.resize(an_order(2, 2))
        assert world.used == before
        assert [message.number for _, message, _ in world.post.sent] == [1]
        world.store.give_back(HERE, free)
        await world.host.resize(an_order(2, 2))
        assert [message.number for _, message, _ in world.post.sent] == [1, 2]

    run(world, test)


def test_a_stage_with_pages_is_not_made_smaller_than_they_are(world):
    async def test():
        await world.host.build(world.alone.id)
        await world.host.start(world.alone.id, an_iteration())
        await world.host.start(world.alone.id, an_iteration(slot=1, number=1))
        before = world.used
        order = ResizeStage(pipeline=world.alone.id, stage=0, number=1, slots=1)
        with pytest.raises(MalformedFrame, match="cannot have 1 slots yet: slots have the pages of 128 KV tokens"):
            await world.host.resize(order)
        assert world.used == before
        flush = attrs.evolve(an_iteration(number=2), entries=(), freed=(1,))
        assert await world.host.start(world.alone.id, flush) == ()
        await world.host.resize(order)
        assert world.used < before

    run(world, test)


def test_an_iteration_that_frees_slots_only_goes_through_all_stages(world):
    async def test():
        await world.host.build("twice")
        assert await world.host.start("twice", an_iteration(number=1)) is None
        flush = Iteration(id=2, entries=(), freed=(0,))
        assert await world.host.start("twice", flush) is None
        for _ in range(2):
            _, forward, body = world.post.sent.pop(0)
            await world.host.carry_on(forward, memoryview(bytearray(body)))
        assert [(answer.iteration, len(answer.tokens)) for _, answer, _ in world.post.sent] == [(1, 1), (2, 0)]
        assert [world.host.stage("twice", index).cache.written_tokens for index in range(2)] == [0, 0]

    run(world, test)


def test_a_pipeline_opens_with_as_many_slots_as_the_plan_says(world):
    world.plan = attrs.evolve(world.plan, steps=tuple(attrs.evolve(each, slots=3) for each in world.plan.steps))

    async def test():
        await world.host.build("twice")
        llm, twice = world.problem.llms[0], world.plan.pipelines[1]
        workspace = sum(stage.workspace_bytes for stage in twice.stages)
        assert world.used == workspace + sum(stage_kv_bytes(llm, twice, stage, 3) for stage in twice.stages)
        assert world.host.stage("twice", 1).cache.kv_tokens == 3 * 64

    run(world, test)


def test_a_freed_stage_ignores_iterations(world):
    async def test():
        forward = a_forward(world)
        await world.host.carry_on(forward, body_of(world))  # not built yet
        await world.host.build("pair")
        late = asyncio.create_task(world.host.carry_on(forward, body_of(world)))
        await asyncio.sleep(0)
        world.host.free("pair")
        await late
        world.host.free("pair")
        await world.host.carry_on(forward, body_of(world))
        assert await world.host.start("pair", an_iteration()) is None
        assert world.used == 0

    run(world, test)
    assert len(world.post.sent) <= 1, "at most the iteration that had begun"


def test_out_of_memory_leaves_nothing_taken(checkpoint, llm, blobs):
    middle = len(llm.units) // 2
    twice = a_pipeline("twice", llm, (HERE, 0, middle), (HERE, middle, len(llm.units)))
    world = World(checkpoint, llm, blobs, free=stage_bytes(*twice.stages) - 1)

    async def test():
        with pytest.raises(OutOfMemory, match="stage 1 of twice needs"):
            await world.host.build("twice")
        assert world.used == 0
        assert await world.host.start("twice", an_iteration()) is None

    run(world, test)


@pytest.mark.parametrize(
    ("entries", "changes", "tokens", "words"),
    [
        ((an_entry(slot=4),), {}, 4, "slot 4, position 4 of an iteration lie outside pair"),
        ((an_entry(start=61),), {}, 4, "slot 0, position 65 of an iteration lie outside pair"),
        ((an_entry(tokens=33),), {}, 33, "an iteration of 33 tokens for pair, which takes 1 to 32"),
        ((an_entry(tokens=2), an_entry(tokens=2)), {}, 4, "names a slot twice"),
        ((an_entry(),), {"freed": (0, 4)}, 4, r"frees the slots \(0, 4\), not all of pair"),
        ((an_entry(),), {}, 3, "hidden states of 4 tokens have"),
        ((an_entry(),), {"width": 1}, 4, "hidden states of width 1 for pair, whose width is"),
        ((an_entry(),), {"width": 10**9}, 4, "hidden states of width 1000000000 for pair"),
    ],
)
def test_an_iteration_that_does_not_fit_is_refused(entries, changes, tokens, words, world):
    async def test():
        await world.host.build("pair")
        with pytest.raises(MalformedFrame, match=words):
            await world.host.carry_on(a_forward(world, *entries, **changes), body_of(world, tokens))
        with pytest.raises(MalformedFrame, match="an iteration of 0 tokens"):
            await world.host.carry_on(attrs.evolve(a_forward(world), entries=()), body_of(world, 0))
        await world.host.carry_on(a_forward(world), body_of(world))  # and it goes on

    run(world, test)
    assert [message.iteration for _, message, _ in world.post.sent] == [3]


def test_iterations_come_in_order_or_are_computed_again(world):
    """A later one may have written to slots that this one frees."""

    async def test():
        await world.host.build("pair")
        await world.host.carry_on(attrs.evolve(a_forward(world), iteration=4), body_of(world))
        for late in (3, 4):
            with pytest.raises(MalformedFrame, match=f"iteration {late} of pair after 4"):
                await world.host.carry_on(attrs.evolve(a_forward(world), iteration=late), body_of(world))
        await world.host.carry_on(attrs.evolve(a_forward(world), iteration=5), body_of(world))

    run(world, test)
    sent = [message for _, message, _ in world.post.sent]
    assert [message.iteration for message in sent if not isinstance(message, Interrupted)] == [4, 5]
    assert sum(isinstance(message, Interrupted) for message in sent) == 2


async def attached(world):
    """The tensors that stages of the LLM see, once the device's thread is idle."""
    await asyncio.get_running_loop().run_in_executor(world.host._threads[HERE], lambda: None)
    return set(world.host._weights["tiny", HERE].rooms)


def test_a_released_blob_is_attached_anew_and_other_llms_keep_theirs(world, llm, blobs):
    async def test():
        await world.host.build(world.alone.id)
        whole = set(range(len(llm.tensors)))
        assert await attached(world) == whole
        world.host.free(world.alone.id)
        world.host.release(attrs.evolve(blobs[0], llm="other"), HERE)
        assert await attached(world) == whole
        world.host.release(blobs[0], HERE)
        assert await attached(world) == whole - set(range(blobs[0].end_tensor))
        await world.host.build(world.alone.id)
        assert (await world.host.start(world.alone.id, an_iteration())) is not None

    run(world, test)


def test_nodes_are_found_by_stage(world):
    async def test():
        assert [world.host.node_of_stage("pair", index) for index in range(2)] == ["n0", "n1"]
        assert world.host.leader_of("pair") == "n0"
        assert world.host.vocabulary_size("pair") == 384

    run(world, test)


def following(world, blobs, *kept):
    """A plan that begins while these pipelines run, with its blobs in a store of its own."""
    running = tuple(Running(pipeline=each, live_requests=0, live_tokens=0) for each in kept)
    store = Store({HERE: 2**30}, {HERE: torch.device("cpu")}, world.store)
    plan = attrs.evolve(world.plan, blobs=tuple(blobs), pipelines=(), steps=())
    return attrs.evolve(world.problem, running=running), plan, store


def test_a_kept_stage_goes_on_with_its_kv_and_the_others_are_freed(world, llm, blobs):
    async def test():
        for pipeline in (world.alone.id, "twice"):
            await world.host.build(pipeline)
        (first,) = await world.host.start(world.alone.id, an_iteration())
        problem, plan, store = following(world, blobs, world.alone)
        for blob in blobs:
            store.share(world.store, blob.id, blob, HERE)
        world.host.adopt(problem, plan, store)
        world.store.clear()
        assert world.used == stage_bytes(*world.alone.stages)
        (second,) = await world.host.start(world.alone.id, an_iteration((first.token,), start=len(PROMPT)))
        assert await world.host.start("twice", an_iteration()) is None
        return [first.token, second.token]

    oracle = Oracle(world.checkpoint).llm
    whole = oracle.generate(
        torch.tensor([PROMPT]), max_new_tokens=2, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert run(world, test) == whole[0, len(PROMPT) :].tolist()


def test_weights_follow_the_plan_into_other_memory(world, llm, blobs):
    """The whole LLM in one blob, copied: what the plan before held of it is used by nobody any more."""
    whole = Blob(
        id="whole",
        llm=llm.id,
        first_tensor=0,
        end_tensor=len(llm.tensors),
        bytes=packed_bytes(llm, 0, len(llm.tensors)),
    )

    async def test():
        await world.host.build(world.alone.id)
        (before,) = await world.host.start(world.alone.id, an_iteration())
        problem, plan, store = following(world, (whole,), world.alone)
        fill(world.checkpoint, llm, whole, store.reserve(whole, HERE))
        store.hold(whole, HERE)
        world.host.adopt(problem, plan, store)
        for blob in blobs:
            world.store.contents(blob.id, HERE)[:] = bytes(blob.bytes)
        world.store.clear()
        assert await attached(world) == set(range(len(llm.tensors)))
        assert await world.host.start(world.alone.id, an_iteration()) == (before,)
        store.clear()
        world.held = 0

    run(world, test)


def test_what_the_plan_does_not_hold_is_let_go(world, blobs):
    async def test():
        await world.host.build(world.alone.id)
        world.host.adopt(*following(world, blobs))
        assert await attached(world) == set()

    run(world, test)


def test_a_stage_that_is_ready_too_late_is_freed(world, blobs):
    async def test():
        building = asyncio.create_task(world.host.build(world.alone.id))
        await asyncio.sleep(0)
        world.host.adopt(*following(world, blobs))
        await building
        assert world.used == 0
        assert await world.host.start(world.alone.id, an_iteration()) is None

    run(world, test)
