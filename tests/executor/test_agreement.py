"""Nodes agree on plans: a document at one of them is enough, and what one cannot do nobody does."""

import asyncio
from types import SimpleNamespace
from unittest import mock

import attrs
import pytest

from executor import agreement
from executor.admission import Broken, Current, Malformed, NotForUs, Stale, Unable
from executor.agreement import Agreement, Taken
from executor.errors import NotHere
from executor.journal import Journal
from executor.tasks import Tasks
from specs import codec, journal
from specs.protocols.node_plan import node_plan
from specs.protocols.nouns import RUNNING, NodeState
from specs.protocols.plan_switch_nouns import PlanName
from tests.executor.test_admission import CHILD, PLAN, PROBLEM, document, following, with_step
from tests.plans import a_chain

NODES = ("n0", "n1", "n2")
FIRST = PlanName(generation=1, digest=codec.digest(PLAN))
SECOND = PlanName(generation=2, digest=codec.digest(CHILD))


@attrs.define
class FakeStore:
    cleared: bool = False

    def clear(self):
        self.cleared = True


class FakeRun:
    """A node whose plans are loaded and adopted at once; `unable` says why one cannot be."""

    def __init__(self, node, sent, life):
        self.node, self.sent, self.life = node, sent, life
        self.met_lives = set()
        self.shell = None
        self.loaded = []
        self.unable = None
        self.while_loading = None
        self.finds_running = False  # the plans that are loaded activate nothing
        self.state = NodeState(held=frozenset())
        self.receipts = None  # the state after those that the plan in force does not know yet
        self.kept_open = ()

    @property
    def current(self):
        if self.shell is None:
            return None
        return Current(verified=self.shell.verified, state=self.state, named=frozenset(), slots={})

    async def load(self, verified, digest):
        assert digest == codec.digest(verified.plan)
        if self.while_loading is not None:
            event, self.while_loading = self.while_loading, None
            await event.wait()
        if self.unable is not None:
            raise NotHere(self.unable)
        plan = node_plan(verified.problem, verified.plan, self.node)
        if self.finds_running:
            plan = attrs.evolve(plan, parts=tuple(attrs.evolve(part, step=RUNNING) for part in plan.parts))
        self.loaded.append(SimpleNamespace(verified=verified, node_plan=plan, store=FakeStore()))
        return self.loaded[-1]

    def adopt(self, loaded):
        assert not loaded.store.cleared
        self.shell = SimpleNamespace(verified=loaded.verified, generation=loaded.verified.plan.generation)

    def take_receipts(self):
        if self.receipts is not None:
            self.state, self.receipts = self.receipts, None

    def keep_open(self, counted_on):
        self.kept_open = counted_on.pipelines

    def met(self, peer, life, _adopted):
        self.met_lives.add((peer, life))

    def send_word(self, peer, buffers):
        self.sent.append((self.node, peer, memoryview(b"".join(buffers))))


class Cluster:
    def __init__(self, path):
        self.path, self.sent = path, []
        self.runs, self.nodes, self.journals, self.tasks = {}, {}, {}, Tasks()
        self.lives = []
        self.deaf = set()
        for node in NODES:
            self.start(node)

    def start(self, node):
        """Begin a life of a node; its directory stays."""
        directory = self.path / node
        self.runs[node] = FakeRun(node, self.sent, f"life-{len(self.lives)}-of-all")
        self.journals[node] = Journal(directory / "journal", node)
        self.lives.append(self.journals[node])
        self.nodes[node] = Agreement(self.runs[node], self.journals[node], self.tasks, directory)

    async def settle(self, ticks=3):
        """Deliver everything, and what follows from it."""
        for _ in range(ticks):
            for node in NODES:
                self.runs[node].on_tick()
            while self.sent or self.tasks._tasks:
                while self.sent:
                    sender, peer, frame = self.sent.pop(0)
                    if not {sender, peer} & self.deaf:
                        self.runs[peer].on_word(sender, frame)
                await asyncio.sleep(0.001)

    def adopted(self):
        return [run.shell and run.shell.generation for run in self.runs.values()]

    def records(self, node, kind):
        text = self.journals[node].path.read_text()
        return [each.what for each in journal.read_lines(text) if isinstance(each.what, kind)]


def on_a_loop(test):
    def wrapped(tmp_path, monkeypatch):
        monkeypatch.setattr(agreement, "ASK_AGAIN_SECONDS", 0)

        async def run():
            cluster = Cluster(tmp_path)
            for node in NODES:
                assert await cluster.nodes[node].offer(document()) == Taken(FIRST, is_adopted=True)
            try:
                await test(cluster)
            finally:
                await cluster.tasks.close()
                for each in cluster.lives:
                    each.close()

        asyncio.run(run())

    wrapped.__name__ = test.__name__
    return wrapped


@on_a_loop
async def test_a_document_at_one_node_is_adopted_by_all(cluster):
    assert await cluster.nodes["n1"].offer(document(plan=CHILD)) == Taken(SECOND, is_adopted=False)
    assert cluster.adopted() == [1, 1, 1]
    assert cluster.nodes["n1"].status()["accepted"]["awaited"] == ["n0", "n2"]
    assert await cluster.nodes["n1"].offer(document(plan=CHILD)) == Taken(SECOND, is_adopted=False), "no news"
    await cluster.settle()
    assert cluster.adopted() == [2, 2, 2]
    for node in NODES:
        assert cluster.nodes[node].document == document(plan=CHILD)
        assert cluster.nodes[node].generation_max == 2
        assert await cluster.nodes[node].offer(document(plan=CHILD)) == Taken(SECOND, is_adopted=True)
    assert [each.generation for each in cluster.records("n1", journal.Accepted)] == [2]


@on_a_loop
async def test_what_one_declines_is_forgotten_with_the_reason(cluster):
    cluster.runs["n2"].unable = "n2/gpu0 is full"
    cluster.deaf.add("n2")  # until both others have accepted the plan
    assert isinstance(await cluster.nodes["n0"].offer(document(plan=CHILD)), Taken)
    await cluster.settle()
    cluster.deaf.clear()
    await cluster.settle()
    assert cluster.adopted() == [1, 1, 1]
    assert [each.reason for each in cluster.records("n2", journal.Declined)] == ["n2/gpu0 is full"]
    for node in ("n0", "n1"):
        (forgotten,) = cluster.records(node, journal.Forgotten)
        assert forgotten.reason == "n2 declines it: n2/gpu0 is full"
        assert cluster.runs[node].loaded[-1].store.cleared
        assert cluster.nodes[node].status()["accepted"] is None
        assert isinstance(await cluster.nodes[node].offer(document(plan=CHILD)), Stale)
    third = attrs.evolve(following(PLAN, PLAN), generation=3)
    cluster.runs["n2"].unable = None
    assert isinstance(await cluster.nodes["n0"].offer(document(plan=third)), Taken)
    await cluster.settle()
    assert cluster.adopted() == [3, 3, 3]


@on_a_loop
async def test_everybody_hears_in_which_life_a_node_is(cluster):
    await cluster.settle()
    assert cluster.runs["n0"].met_lives == {("n1", "life-1-of-all"), ("n2", "life-2-of-all")}
    cluster.start("n2")
    await cluster.nodes["n2"].offer(document())
    await cluster.settle()
    assert ("n2", "life-3-of-all") in cluster.runs["n0"].met_lives & cluster.runs["n1"].met_lives


@on_a_loop
async def test_a_node_that_hears_nothing_keeps_its_plan_and_the_others_wait(cluster):
    cluster.deaf.add("n2")
    await cluster.nodes["n0"].offer(document(plan=CHILD))
    await cluster.settle()
    assert cluster.adopted() == [1, 1, 1]
    assert cluster.nodes["n1"].status()["accepted"]["awaited"] == ["n2"]
    cluster.deaf.clear()
    await cluster.settle()
    assert cluster.adopted() == [2, 2, 2]


@on_a_loop
async def test_a_new_life_knows_how_far_the_old_one_was(cluster):
    cluster.deaf.add("n2")
    await cluster.nodes["n0"].offer(document(plan=CHILD))
    await cluster.settle()
    cluster.start("n1")
    assert cluster.nodes["n1"].generation_max == 2
    assert isinstance(await cluster.nodes["n1"].offer(document(plan=CHILD)), Stale)
    assert isinstance(await cluster.nodes["n1"].offer(document()), Stale)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", Malformed),
        (document(plan=with_step(CHILD, 1, bytes_per_second=10**15)), Broken),
        (document(attrs.evolve(PROBLEM, name="other"), CHILD), Broken),
        (document(plan=attrs.evolve(CHILD, parent=None)), Stale),
        (document(plan=PLAN.__class__(**{**attrs.asdict(CHILD, recurse=False), "generation": 1})), Stale),
    ],
)
def test_what_is_refused_changes_nothing(body, kind, tmp_path, monkeypatch):
    @on_a_loop
    async def refused(cluster):
        assert isinstance(await cluster.nodes["n0"].offer(body), kind)
        await cluster.settle(1)
        assert cluster.adopted() == [1, 1, 1]
        assert cluster.nodes["n0"].document == document()
        assert all(not run.loaded[0].store.cleared for run in cluster.runs.values())

    refused(tmp_path, monkeypatch)


@on_a_loop
async def test_another_cluster_and_a_refusal_of_memory_are_told_apart(cluster):
    elsewhere = attrs.evolve(PROBLEM, cluster=attrs.evolve(PROBLEM.cluster, name="elsewhere"))
    other = attrs.evolve(CHILD, problem=codec.digest(elsewhere))
    assert isinstance(await cluster.nodes["n0"].offer(document(elsewhere, other)), NotForUs)
    cluster.runs["n0"].unable = "full"
    assert await cluster.nodes["n0"].offer(document(plan=CHILD)) == Unable(("full",))
    assert cluster.records("n0", journal.Declined) == [], "no peer stands on it: it may be offered again"
    cluster.runs["n0"].unable = None
    assert isinstance(await cluster.nodes["n0"].offer(document(plan=CHILD)), Taken)


@on_a_loop
async def test_a_document_too_large_to_pass_on_is_refused(cluster):
    agreement._DOCUMENT_BYTES_MAX, limit = len(document(plan=CHILD)) - 1, agreement._DOCUMENT_BYTES_MAX
    try:
        assert isinstance(await cluster.nodes["n0"].offer(document(plan=CHILD)), Unable)
    finally:
        agreement._DOCUMENT_BYTES_MAX = limit


@on_a_loop
async def test_what_was_loaded_before_another_plan_was_adopted_is_loaded_anew(cluster):
    run, event = cluster.runs["n0"], asyncio.Event()
    run.while_loading = event
    offering = asyncio.create_task(cluster.nodes["n0"].offer(document(plan=CHILD)))
    await asyncio.sleep(0.05)
    run.shell = SimpleNamespace(**vars(run.shell))  # as if another plan had been adopted
    event.set()
    assert isinstance(await offering, Taken)
    _, stale, fresh = run.loaded
    assert (stale.store.cleared, fresh.store.cleared) == (True, False)


@on_a_loop
async def test_what_has_changed_while_a_plan_was_loaded_is_seen_before_it_is_accepted(cluster):
    def closed_by_now(_verified, _current):
        return Stale("pipeline p takes no requests any more")

    with mock.patch.object(agreement.admission, "judge_again", closed_by_now):
        answer = await cluster.nodes["n0"].offer(document(plan=CHILD))
    assert answer == Stale("pipeline p takes no requests any more")
    assert cluster.runs["n0"].loaded[-1].store.cleared
    await cluster.settle()
    assert cluster.adopted() == [1, 1, 1]


@on_a_loop
async def test_receipts_are_taken_before_a_plan_is_accepted(cluster):
    """Of a hand-over that is done, and the core does not know it, the next event would close what was counted on."""
    run, judged = cluster.runs["n0"], []
    run.receipts = closed = NodeState(held=frozenset(), closed=frozenset({"p"}))

    def judge_again(verified, current):
        judged.append(current.state)
        return verified

    with mock.patch.object(agreement.admission, "judge_again", judge_again):
        await cluster.nodes["n0"].offer(document(plan=CHILD))
    assert judged == [closed]


@on_a_loop
async def test_what_a_plan_counts_on_is_kept_open_until_it_is_adopted(cluster):
    for run in cluster.runs.values():
        run.finds_running = True
    cluster.deaf.add("n2")
    await cluster.nodes["n0"].offer(document(plan=CHILD))
    led = {node: tuple(each.id for each in CHILD.pipelines if each.stages[0].place == f"{node}/gpu0") for node in NODES}
    assert led["n0"]
    kept = [(node, cluster.runs[node].kept_open) for node in NODES]
    assert kept == [("n0", led["n0"]), ("n1", ()), ("n2", ())]
    await cluster.settle()
    assert cluster.adopted() == [1, 1, 1]
    assert cluster.runs["n1"].kept_open == led["n1"]
    cluster.deaf.clear()
    await cluster.settle()
    assert cluster.adopted() == [2, 2, 2]
    assert [run.kept_open for run in cluster.runs.values()] == [(), (), ()]


@on_a_loop
async def test_what_a_forgotten_plan_counted_on_may_close(cluster):
    for run in cluster.runs.values():
        run.finds_running = True
    cluster.runs["n2"].unable = "full"
    cluster.deaf.add("n2")
    await cluster.nodes["n0"].offer(document(plan=CHILD))
    assert cluster.runs["n0"].kept_open
    cluster.deaf.clear()
    await cluster.settle()
    assert cluster.runs["n0"].kept_open == ()


@on_a_loop
async def test_who_was_left_out_hears_of_it_and_begins_a_new_life(cluster):
    left = []
    for node in NODES:
        cluster.nodes[node].on_left = lambda node=node: left.append(node)
    cluster.deaf.add("n2")
    problem, plan = a_chain(2)
    without = document(problem, following(plan, PLAN))
    assert isinstance(await cluster.nodes["n0"].offer(without), Taken)
    await cluster.settle()
    assert cluster.adopted() == [2, 2, 1]
    assert not left
    cluster.deaf.clear()
    await cluster.settle()
    assert left == ["n2"]
    assert isinstance(await cluster.nodes["n2"].offer(document(plan=CHILD)), Stale), "that life is over"
    cluster.start("n2")
    assert cluster.nodes["n2"].generation_max == 2
    third = document(plan=following(PLAN, following(plan, PLAN)))
    assert isinstance(await cluster.nodes["n2"].offer(third), Taken)
    await cluster.settle()
    assert cluster.adopted() == [3, 3, 3]
