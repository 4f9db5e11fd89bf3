"""The control loop against daemons that speak HTTP and agree on plans as real ones do."""

import threading
import time

import attrs
import pytest

from planner.outcome import Conflict, Infeasible
from planner.reconciling import planning
from planner.reconciling.controller import Pace, Reconciler
from planner.reconciling.judging import AtRest, Due, UnderWay, Waits
from planner.reconciling.planning import Limits, Put, Refused, WouldPut
from planner.search import Search
from planner.solve import solve
from specs import codec
from tests.builders import a_problem
from tests.planner.reconciling.fake_cluster import FakeCluster

WISH = a_problem(4)


@pytest.fixture
def cluster():
    found = FakeCluster(WISH)
    yield found
    found.close()


class Log(list):
    def __call__(self, kind, sentence):
        self.append((kind, sentence))

    def of(self, kind):
        return [sentence for each, sentence in self if each == kind]


def a_reconciler(cluster, log=None, wish=None, *, dry_run=False, patience_s=60.0, nodes=None):
    urls = [cluster.urls[node] for node in nodes or cluster.nodes]
    limits = Limits(answer_s=5, offer_s=5, search=Search, dry_run=dry_run)
    pace = Pace(every_s=0.01, pause_s_max=0.05, patience_s=patience_s)
    return Reconciler(urls, wish or (lambda: WISH), limits, pace, log if log is not None else Log())


def settle(reconciler, looks=400):
    """Look until all is at rest."""
    for _ in range(looks):
        verdict = reconciler.look()
        if isinstance(verdict, AtRest):
            return verdict
        if reconciler._try is not None:
            reconciler._try.wait(5)
    raise AssertionError(verdict)


def test_a_cluster_without_a_plan_gets_one(cluster):
    log = Log()
    reconciler = a_reconciler(cluster, log)
    assert isinstance(reconciler.once(), Put)
    assert cluster.generations() == dict.fromkeys(cluster.nodes, 1)
    assert isinstance(reconciler.once(), AtRest)
    assert [kind for kind, _ in log] == ["due", "plan", "offered", "at rest"]
    assert cluster.puts == [(node, 1) for node in cluster.nodes]


def test_a_first_plan_needs_everybody(cluster):
    cluster.alive.discard("n3")
    verdict = a_reconciler(cluster).once()
    assert isinstance(verdict, Waits)
    assert "n3 may have one" in verdict.sentence
    assert not cluster.puts


def test_a_cluster_that_was_started_again_goes_on_above_what_it_had(cluster):
    settle(a_reconciler(cluster))
    for node in cluster.nodes:
        cluster.start(node)
    settle(a_reconciler(cluster))
    assert cluster.generations() == dict.fromkeys(cluster.nodes, 2)


def test_a_lost_node_is_left_out_and_comes_back(cluster):
    log = Log()
    reconciler = a_reconciler(cluster, log)
    settle(reconciler)
    cluster.die("n2")
    assert "without n2" in settle(reconciler).sentence
    assert cluster.generations() == {"n0": 2, "n1": 2, "n3": 2}
    cluster.start("n2")
    settle(reconciler)
    assert cluster.generations() == dict.fromkeys(cluster.nodes, 3)
    assert cluster.puts[-2:] == [("n2", 3), ("n0", 3)], "a new node first, then one of the others"
    assert log.of("due")[1:] == ["n2 is lost: so say n0 (silent), n1 (silent), n3 (silent)", "n2 has come"]


def test_a_node_that_nobody_counts_as_lost_is_not(cluster):
    settle(a_reconciler(cluster))
    cluster.alive.discard("n2")
    reconciler = a_reconciler(cluster)
    assert all(isinstance(reconciler.look(), Waits) for _ in range(5))
    assert cluster.adopted == [1]


def test_whoever_asks_from_elsewhere_sees_no_loss(cluster):
    settle(a_reconciler(cluster))
    verdict = a_reconciler(cluster, nodes=["n0", "n1", "n3"]).once()
    assert isinstance(verdict, Waits), verdict


def test_a_node_that_was_started_again_at_once_is_known_by_its_own_word(cluster):
    reconciler = a_reconciler(cluster)
    settle(reconciler)
    cluster.start("n2")
    settle(reconciler)
    assert cluster.generations() == dict.fromkeys(cluster.nodes, 2)


def test_one_that_hung_and_was_left_out_is_used_again_once_it_has_given_its_plan_up(cluster):
    log = Log()
    reconciler = a_reconciler(cluster, log)
    settle(reconciler)
    cluster.die("n2")
    settle(reconciler)
    cluster.alive.add("n2")  # it was not dead
    cluster.requests["n2"] = 2
    assert all(isinstance(reconciler.look(), AtRest) for _ in range(3))
    assert "n2 carries out generation 1, 2 goes on without it, 2 requests run there" in log.of("besides")
    cluster.start("n2")
    settle(reconciler)
    assert cluster.generations() == dict.fromkeys(cluster.nodes, 3)


def test_a_second_loss_ends_the_search_for_the_first(cluster, monkeypatch):
    reconciler = a_reconciler(cluster, log := Log())
    settle(reconciler)
    begun, searches = threading.Event(), []

    def slow(problem, request, search):
        searches.append(search)
        if len(searches) == 1:
            begun.set()
            while not search.over():
                pass
        return solve(problem, request, search)

    monkeypatch.setattr(planning, "solve", slow)
    cluster.die("n2")
    while not begun.is_set():
        reconciler.look()
    cluster.die("n3")
    settle(reconciler)
    assert cluster.generations() == {"n0": 2, "n1": 2}
    assert len(log.of("overtaken")) == 1


def test_what_was_wished_for_may_change(cluster):
    wishes = [WISH]
    reconciler = a_reconciler(cluster, log := Log(), lambda: wishes[-1])
    settle(reconciler)
    wishes.append(attrs.evolve(WISH, targets=WISH.targets[:2]))
    settle(reconciler)
    assert cluster.adopted == [1, 2]
    assert log.of("due")[1:] == ["what is wanted has changed"]


def test_without_a_plan_it_says_why_and_watches_on(cluster, monkeypatch):
    reconciler = a_reconciler(cluster, log := Log())
    settle(reconciler)
    conflict = Conflict(rule="MEM", where="n1/gpu0", sentence="there is no room")
    tried = []

    def in_vain(*_):
        tried.append(0)
        return Infeasible(conflicts=(conflict,))

    monkeypatch.setattr(planning, "solve", in_vain)
    cluster.die("n2")
    for _ in range(40):
        reconciler.look()
        time.sleep(0.005)
    assert log.of("no plan") == ["MEM at n1/gpu0: there is no room"], "said once, for nothing else has happened"
    assert 2 <= len(tried) < 15
    monkeypatch.undo()
    cluster.start("n2")
    settle(reconciler)
    assert cluster.generations() == dict.fromkeys(cluster.nodes, 2)


def test_who_might_have_the_last_copy_is_waited_for(cluster):
    settle(a_reconciler(cluster))
    for node in cluster.nodes:
        cluster.die(node)
    for node in ("n1", "n2", "n3"):
        cluster.start(node)
    assert isinstance(a_reconciler(cluster).once(), Waits), "n0 may have the plan and all copies"


def test_a_refusal_is_said_and_tried_again_later(cluster):
    reconciler = a_reconciler(cluster, log := Log())
    settle(reconciler)
    cluster.unable["n1"] = "there is no room"
    cluster.die("n2")
    for _ in range(20):
        reconciler.look()
        if reconciler._try is not None:
            reconciler._try.wait(5)
    assert set(cluster.generations().values()) == {1}
    assert "n1: there is no room" in log.of("declined")[0]
    tried = len(log.of("plan"))
    assert tried >= 2
    del cluster.unable["n1"]
    settle(reconciler)
    (generation,) = set(cluster.generations().values())
    assert generation > 2, "a generation that was declined never comes again"


def test_dry_run_puts_nothing(cluster):
    reconciler = a_reconciler(cluster, log := Log(), dry_run=True)
    assert isinstance(reconciler.once(), WouldPut)
    assert not cluster.puts
    assert [kind for kind, _ in log] == ["due", "plan", "dry run"]


def test_a_change_under_way_is_waited_for_unless_a_node_is_lost(cluster):
    reconciler = a_reconciler(cluster, wish=lambda: attrs.evolve(WISH, targets=WISH.targets[:2]))
    settle(a_reconciler(cluster))
    cluster.phase["n1"] = "transferring"
    assert isinstance(reconciler.once(), UnderWay)
    cluster.die("n2")
    assert isinstance(reconciler.once(), Put)


def test_what_is_stuck_is_planned_anew(cluster):
    reconciler = a_reconciler(cluster, patience_s=0.0)
    settle(reconciler)
    cluster.phase["n1"] = "transferring"
    assert isinstance(reconciler.look(), UnderWay)
    assert isinstance(reconciler.look(), UnderWay), "the plan's own deadline is longer"
    reconciler._carried_out = (*reconciler._carried_out[:2], 0.0)
    verdict = reconciler.look()
    assert isinstance(verdict, Due)
    assert "gets no further" in verdict.sentence
    settle(reconciler)
    assert cluster.adopted == [1, 2]


def test_what_ends_incomplete_is_planned_anew_more_and_more_rarely(cluster):
    reconciler = a_reconciler(cluster)
    settle(reconciler)
    cluster.phase["next"] = "incomplete"
    cluster.phase["n1"] = "incomplete"
    for _ in range(60):
        reconciler.look()
        if reconciler._try is not None:
            reconciler._try.wait(5)
    assert 2 <= len(cluster.adopted) < 15
    assert reconciler._failures >= 2


def test_two_controllers_at_once(cluster):
    one, other = a_reconciler(cluster, first := Log()), a_reconciler(cluster, second := Log())
    settle(one)
    for node in ("n1", "n2", "n3"):
        cluster.die(node)
        threads = [threading.Thread(target=settle, args=(each,)) for each in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(set(cluster.generations().values())) == 1
    assert cluster.adopted == sorted(cluster.adopted)
    assert len(cluster.generations()) == 1
    assert first.of("at rest")
    assert second.of("at rest")


def test_of_two_different_plans_one_is_refused(cluster):
    """Both controllers plan from the same state, by different wishes; the plans have one generation."""
    settle(a_reconciler(cluster))
    narrow = attrs.evolve(WISH, targets=WISH.targets[:1])
    cluster.die("n3")
    tries = []
    for wish in (WISH, narrow):
        reconciler = a_reconciler(cluster, wish=lambda wish=wish: wish)
        seen, verdict = reconciler._judged()
        tries.append((verdict, seen, wish, reconciler._limits, Log()))
    results = []
    for each in tries:
        found = planning.Try(*each)
        found.wait(10)
        results.append(found.result)
    assert isinstance(results[0], Put)
    assert isinstance(results[1], Refused | planning.Overtaken)
    assert cluster.adopted == [1, 2]


def test_a_daemon_of_another_cluster_is_left_alone(cluster):
    other = FakeCluster(WISH)
    try:
        settle(a_reconciler(other))
        foreign = attrs.evolve(WISH, cluster=attrs.evolve(WISH.cluster, name="foreign"))
        found = a_reconciler(other, wish=lambda: foreign).once()
        assert isinstance(found, Waits)
        assert other.adopted == [1]
    finally:
        other.close()


def test_two_daemons_of_one_node_are_waited_for(cluster):
    settle(a_reconciler(cluster))
    twin = FakeCluster(WISH)
    try:
        log = Log()
        reconciler = a_reconciler(cluster, log)
        reconciler._urls = [*reconciler._urls, twin.urls["n1"]]
        assert isinstance(reconciler.once(), Waits)
        assert log.of("waits") == [f"{cluster.urls['n1']} and {twin.urls['n1']} both say that they are n1"]
        assert not log.of("besides")
    finally:
        twin.close()


def test_documents_are_what_the_planner_makes(cluster):
    settle(a_reconciler(cluster))
    (name,) = cluster.documents
    assert codec.digest(cluster._read(name)[0]) == name.digest
