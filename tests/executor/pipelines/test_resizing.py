"""A leader and its stages while slots come and go: the batcher never counts on room that a stage does not have."""

import asyncio

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.pipelines import resizing
from executor.traffic import Cancel, ResizeStage, StageResized, Token
from tests.executor.pipelines.test_leader import PIPELINE, World, on_a_loop, sampled, submit

SLOTS = PIPELINE.slots
STAGES = range(len(PIPELINE.stages))


class Stages:
    """The stages' side: what each has room for, and orders and answers under way, of which some are lost."""

    def __init__(self, world):
        self.world = world
        self.has = dict.fromkeys(STAGES, SLOTS)
        self.latest = dict.fromkeys(STAGES, 0)
        self.answers = []
        self.full = False

    def orders(self):
        found = [message for _, message in self.world.post.sent if isinstance(message, ResizeStage)]
        self.world.post.sent = [each for each in self.world.post.sent if not isinstance(each[1], ResizeStage)]
        return found

    def take(self, order):
        if order.number < self.latest[order.stage] or (self.full and order.slots > self.has[order.stage]):
            return
        self.latest[order.stage], self.has[order.stage] = order.number, order.slots
        self.answers.append(StageResized(pipeline="pair", stage=order.stage, number=order.number))

    def answer(self):
        for order in self.orders():
            self.take(order)
        for answer in self.answers:
            self.world.leader.resizing.heard(answer)
        self.answers.clear()

    def check(self):
        assert self.world.leader._batcher.slots <= min(self.has.values())


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(resizing, "_AGAIN_SECONDS", 0)


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0)


def compute(world):
    """One iteration that is under way, if there is any, comes back."""
    if world.host.iterations:
        iteration = world.host.iterations.pop(0)
        world.leader.sampled(sampled(iteration.id, *[20] * len(iteration.sampled)))


@on_a_loop
async def test_a_shrink_waits_for_those_that_run_and_a_grow_for_the_stages(world):
    stages, done = Stages(world), []
    leader = world.leader
    leader.open()
    for number in range(SLOTS + 2):
        leader.submit("n2", submit(f"n2:{number}", max_tokens=9 if number < 3 else 4))
    while leader._batcher.running < SLOTS:
        await turns()
        compute(world)
    leader.resizing.begin(2, lambda: done.append(2))
    orders = []
    while not orders:
        assert (done, leader.resizing.slots) == ([], SLOTS)
        assert leader._batcher.running <= 2 or leader._batcher.waiting == 2
        compute(world)
        await turns()
        orders = stages.orders()
    assert leader._batcher.running <= 2, "nobody was thrown out"
    assert len([message for _, message in world.sent(Token) if message.finish is not None]) >= 2
    for order in orders:
        stages.take(order)
    stages.answer()
    assert (done, leader._batcher.slots, leader.resizing.slots, stages.has) == ([2], 2, 2, {0: 2, 1: 2})
    for number in range(6, 9):
        leader.submit("n2", submit(f"n2:{number}", max_tokens=60))
    while leader._batcher.waiting > 1:
        compute(world)
        await turns()
        assert leader._batcher.running <= 2
    stages.full = True
    leader.resizing.begin(3, lambda: done.append(3))
    await turns()
    stages.answer()
    assert leader._batcher.slots == 2, "the stages have no room"
    stages.full = False
    await turns()
    stages.answer()
    assert (done, leader._batcher.slots, leader.resizing.slots) == ([2, 3], 3, 3)
    compute(world)
    assert leader._batcher.running == 3
    await turns()
    assert stages.orders() == []


@on_a_loop
async def test_an_idle_pipeline_shrinks(world):
    """Its last requests left; the stages hear of it by an iteration that computes nothing."""
    stages, done = Stages(world), []
    world.leader.open()
    for number in range(SLOTS):
        world.leader.submit("n2", submit(f"n2:{number}", max_tokens=60))
    while world.leader._batcher.running < SLOTS:
        await turns()
        compute(world)
    for number in range(SLOTS):
        world.leader.cancel("n2", Cancel(pipeline="pair", request=f"n2:{number}"))
    await turns()
    while world.leader._batcher.in_flight:
        compute(world)
    assert world.leader.live == 0
    world.leader.resizing.begin(1, lambda: done.append(1))
    flush = await world.iteration()
    assert flush.entries == ()
    assert len(flush.freed) > 1
    await turns()
    assert stages.orders() == []
    world.leader.sampled(sampled(flush.id))
    stages.answer()
    assert done == [1]
    assert world.host.iterations == []


@on_a_loop
async def test_a_change_that_is_given_up_leaves_what_was(world):
    stages, done = Stages(world), []
    world.leader.resizing.abort()
    world.leader.resizing.begin(2, lambda: done.append(2))
    await turns()
    stages.take(stages.orders()[0])
    late, stages.answers = stages.answers, []
    assert set(stages.has.values()) == {2, SLOTS}
    world.leader.resizing.abort()
    assert world.leader._batcher.slots == 2
    await turns()
    orders = stages.orders()
    for order in orders:
        if order.stage == 1:
            stages.take(order)
    for answer in (*late, *stages.answers):
        world.leader.resizing.heard(answer)
    assert (world.leader._batcher.slots, stages.has) == (2, {0: 2, 1: SLOTS}), "the first has not answered to this"
    await turns()
    stages.answer()
    assert (done, world.leader._batcher.slots, world.leader.resizing.slots) == ([], SLOTS, SLOTS)
    assert not world.leader.resizing.is_under_way


@on_a_loop
async def test_a_pipeline_that_closes_changes_nothing_more(world):
    stages, done = Stages(world), []
    world.leader.resizing.begin(2, lambda: done.append(2))
    await turns()
    orders = stages.orders()
    world.leader.close()
    for order in orders:
        stages.take(order)
    stages.answer()
    await turns()
    assert (done, stages.orders()) == ([], [])


@attrs.frozen
class Happening:
    kind: str
    slots: int
    pick: int


HAPPENINGS = st.lists(
    st.builds(
        Happening,
        kind=st.sampled_from(["begin", "abort", "submit", "compute", "order", "lose order", "answer", "full"]),
        slots=st.integers(1, SLOTS),
        pick=st.integers(0, 9),
    ),
    min_size=20,
    max_size=80,
)


@settings(max_examples=50, deadline=None)
@given(happenings=HAPPENINGS, slots=st.integers(1, SLOTS))
def test_whatever_is_lost_or_late_the_batcher_has_no_more_slots_than_a_stage_has_room(happenings, slots):
    async def run():
        world = World(slots)
        stages, done = Stages(world), []
        stages.has = dict.fromkeys(STAGES, slots)
        leader, orders = world.leader, []
        leader.open()
        wanted = slots

        for number, each in enumerate(happenings):
            match each.kind:
                case "begin":
                    wanted = each.slots
                    leader.resizing.begin(each.slots, lambda has=each.slots: done.append((has, dict(stages.has))))
                case "abort":
                    wanted = leader.resizing.slots
                    leader.resizing.abort()
                case "submit":
                    leader.submit("n2", submit(f"n2:{number}", max_tokens=1 + each.pick % 3))
                case "compute":
                    compute(world)
                case "order" | "lose order":
                    if orders:
                        order = orders.pop(each.pick % len(orders))
                        if each.kind == "order":
                            stages.take(order)
                case "answer":
                    if stages.answers:
                        leader.resizing.heard(stages.answers.pop(each.pick % len(stages.answers)))
                case "full":
                    stages.full = not stages.full
            await turns(2)
            orders += stages.orders()
            stages.check()
            assert leader._batcher.running <= SLOTS
        stages.full = False
        for order in orders:  # late
            stages.take(order)
        for _ in range(400):
            if not leader.resizing.is_under_way and not leader.live:
                break
            compute(world)
            stages.answer()
            stages.check()
            await turns(2)
        assert leader.live == 0
        assert leader.resizing.slots == leader._batcher.slots == wanted
        assert set(stages.has.values()) == {wanted}
        assert all(set(has.values()) == {slots} for slots, has in done)
        finished = [message for _, message in world.sent(Token) if message.finish is not None]
        assert len(finished) == sum(each.kind == "submit" for each in happenings)
        leader.close()

    asyncio.run(run())
