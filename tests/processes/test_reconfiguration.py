"""A running cluster gets another layout while requests stream: not one of them fails or gets a wrong token."""

import contextlib
import itertools
import json
import signal
from concurrent.futures import ThreadPoolExecutor

import attrs
import httpx
import pytest

from executor.admission import read
from planner.outcome import Planned
from planner.reconfiguring.beginning import Begun, begin
from planner.solve import solve
from specs import codec, journal
from specs.checker import VerifiedPlan, verify
from specs.handing_over import ROUNDS_MAX, far_pairs, pre_copy
from specs.invariants.facts import Facts
from specs.plan import Continuity, HandOver, KvPath, Release, Route, Switch
from specs.problem import Holding, Target
from specs.replay import Life, replay
from specs.state import RunningCluster, RunningNode
from tests.processes.cluster import (
    LLM,
    adopt,
    completion,
    daemons,
    document,
    make_plan,
    make_problem,
    records_of,
    text_of,
    wait_for,
    wait_until_adopted,
    wait_until_complete,
)

pytestmark = pytest.mark.slow

FAST = 10**9
TOKENS = 200
PROMPTS = ("Order is law", "times are predictions", "a", "and every request keeps its tokens")


def on_nodes(problem, count, *targets):
    """The problem on its first nodes alone, which want the LLM at these."""
    names = {f"n{index}" for index in range(count)}
    cluster = problem.cluster
    places = tuple(place for place in cluster.places if place.node is None or place.node in names)
    known = {place.id for place in places}
    return attrs.evolve(
        problem,
        cluster=attrs.evolve(
            cluster,
            nodes=tuple(node for node in cluster.nodes if node.id in names),
            places=places,
            links=tuple(link for link in cluster.links if {link.source, link.destination} <= known),
        ),
        targets=tuple(Target(llm=LLM, place=f"n{index}/cpu0") for index in targets),
    )


def running_cluster(running):
    """What the nodes that have a plan say."""
    said = [daemon.get("/state") for daemon in running]
    problem, plan = read(running[0].get("/plan").content)
    nodes = tuple(codec.decode(RunningNode, answer.content) for answer in said)
    return RunningCluster(problem=problem, plan=plan, nodes=nodes)


def next_plan(running, wanted, continuity=None, back=()):
    """Plan from what runs to what is wanted; every pipeline that closes does so in this way."""
    begun = begin(running_cluster(running), wanted, back=frozenset(back))
    assert isinstance(begun, Begun), begun
    outcome = solve(begun.problem, begun.request)
    assert isinstance(outcome, Planned), outcome
    verified = outcome.verified
    if continuity is not None:
        verified = verify(verified.problem, switched_by(verified, continuity))
        assert isinstance(verified, VerifiedPlan), verified
    assert verified.problem.running
    return verified


def switched_by(verified, continuity):
    """The plan with every switch made in this way."""
    facts, plan = Facts(verified.problem, verified.plan), verified.plan
    routes, steps, done = list(plan.routes), [], 0
    for step in plan.steps:
        changed = step
        if isinstance(step, Switch):
            changed = attrs.evolve(step, continuity=continuity, hand_over=None)
            if continuity is Continuity.COPY:
                changed = copying(facts, changed, routes)
                done = max(done, changed.at_ns)
        elif isinstance(step, Release):
            changed = attrs.evolve(step, at_ns=max(step.at_ns, done))
        steps.append(changed)
    return attrs.evolve(plan, steps=tuple(steps), routes=tuple(routes))


def copying(facts, switch, routes):
    """The switch with a hand-over that copies whatever has any tokens."""
    old, new = facts.pipelines[switch.old], facts.pipelines[switch.new]
    paths = []
    for source, destination in far_pairs(facts.llms[old.llm], old, new):
        ends = [pipeline.stages[index].place.split("/")[0] for pipeline, index in ((old, source), (new, destination))]
        here, there = ends
        route = Route(
            links=(
                f"{here}/cpu0>{here}/nic0",
                f"{here}/nic0>leaf",
                f"leaf>{there}/nic0",
                f"{there}/nic0>{there}/cpu0",
            )
        )
        routes.append(route)
        paths.append(KvPath(old_stage=source, new_stage=destination, route=len(routes) - 1, bytes_per_second=FAST // 2))
    asked = pre_copy(facts.problem, facts.links, routes, old, new, paths)
    rest = asked.left_tokens(ROUNDS_MAX)[-1]
    rounds = asked.rounds(rest)
    assert rounds
    hand_over = HandOver(
        start_ns=switch.at_ns,
        rounds_max=rounds,
        rest_tokens_max=rest,
        copy_tokens_min=0,
        pause_ns=asked.pause_ns(rest),
        paths=tuple(paths),
    )
    done = switch.at_ns + asked.rounds_ns(rounds) + hand_over.pause_ns
    return attrs.evolve(switch, hand_over=hand_over, at_ns=done)


def ask(daemon, prompt):
    """Stream a greedy completion of so many tokens, whatever they are."""
    body = {"model": LLM, "prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "stream": True, "ignore_eos": True}
    pieces = []
    with httpx.stream("POST", daemon.url + "/v1/completions", json=body, timeout=120) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                piece = json.loads(line.removeprefix("data: "))
                assert "error" not in piece, piece
                pieces.append(piece["choices"][0])
    assert pieces[-1]["finish_reason"] == "length"
    return "".join(piece["text"] for piece in pieces)


class Clients:
    """They ask at these daemons, one request after the other, until they are told to stop."""

    def __init__(self, running):
        self.right = {prompt: ask(running[0], prompt) for prompt in PROMPTS}
        self.answered = []
        self._enough = False
        self._pool = ThreadPoolExecutor(len(running) * len(PROMPTS))
        self._asking = [self._pool.submit(self._ask_on, daemon, prompt) for daemon in running for prompt in PROMPTS]

    def _ask_on(self, daemon, prompt):
        while not self._enough:
            assert ask(daemon, prompt) == self.right[prompt]
            self.answered.append(daemon.name)

    def stop(self):
        """Let every request end; fails when one of them failed or got a wrong token."""
        self._enough = True
        for each in self._asking:
            each.result()


@contextlib.contextmanager
def asking(running, more=1):
    """Requests come all the time, and some are answered before, while and after what is done in between."""
    clients = Clients(running)
    try:
        wait_for(lambda: len(clients.answered) > more, "requests are answered before", seconds=60)
        yield clients
        before = len(clients.answered)
        wait_for(lambda: len(clients.answered) > before + more, "requests are answered after", seconds=60)
    finally:
        clients.stop()


def closed_under(running, generation):
    return {each.what.pipeline for each in records_of(running, journal.Closed) if each.generation == generation}


def journals_of(running):
    """Read what the daemons wrote; they are stopped meanwhile, so that nobody hears what is not written."""
    for daemon in running:
        daemon.get("/journal?follow=false")  # what is kept in memory is on disk then
    for daemon in running:
        daemon.signal(signal.SIGSTOP)
    try:
        return [Life(node=daemon.name, records=daemon.records()) for daemon in running]
    finally:
        for daemon in running:
            daemon.signal(signal.SIGCONT)


def replay_of(lives, *plans):
    return replay(lives, {codec.digest(each.plan): each for each in plans})


def without(lives, kind):
    kept = ((life.node, [each for each in life.records if not isinstance(each.what, kind)]) for life in lives)
    return [Life(node=node, records=tuple(records)) for node, records in kept]


def doubled(lives, kind):
    twice = ((life.node, [[each] * (1 + isinstance(each.what, kind)) for each in life.records]) for life in lives)
    return [Life(node=node, records=tuple(itertools.chain(*records))) for node, records in twice]


def test_a_node_is_added_and_no_request_notices(checkpoint, oracle, tmp_path):
    whole = make_problem(checkpoint, 3, rate=FAST, context=256)
    first = make_plan(on_nodes(whole, 2, 1))
    with daemons(whole, checkpoint, tmp_path) as running:
        old, new = running[:2], running[2]
        adopt(old, first)
        wait_until_complete(old)
        wait_for(lambda: len(old[0].status()["pipelines"]["open"]) == 2, "both serve", seconds=60)
        before = set(old[0].status()["pipelines"]["open"])
        with asking(old):
            second = next_plan(old, on_nodes(whole, 3, 1, 2), back=["n2"])
            assert {each.pipeline.id for each in second.problem.running} == before
            for daemon in (old[0], new):  # the new node knows nobody yet; the other hears of it
                assert daemon.put(document(second)).status_code == 200
            wait_until_adopted(running, second)
            wait_until_complete(running)
        assert closed_under(running, 2) <= {step.old for step in second.plan.steps if isinstance(step, Switch)}
        for daemon in running:
            assert text_of(completion(daemon, "at the new node", 12)) == oracle.answer("at the new node", 12)
        assert new.status()["requests"]["running"] == 0


@pytest.mark.parametrize("continuity", list(Continuity))
def test_a_pipeline_moves_to_another_node_under_load(continuity, checkpoint, tmp_path):
    whole = make_problem(checkpoint, 3, rate=FAST, context=256)
    first = make_plan(attrs.evolve(whole, targets=(Target(llm=LLM, place="n1/cpu0"),)))
    with daemons(whole, checkpoint, tmp_path) as running:
        adopt(running, first)
        wait_until_complete(running)
        with asking(running):
            wanted = attrs.evolve(whole, targets=(Target(llm=LLM, place="n2/cpu0"),))
            second = next_plan(running, wanted, continuity)
            switches = [step for step in second.plan.steps if isinstance(step, Switch)]
            assert {step.continuity for step in switches} == {continuity}
            assert running[1].put(document(second)).json()["phase"] in ("accepted", "adopted")
            wait_until_adopted(running, second)
            wait_until_complete(running)
            wait_for(lambda: closed_under(running, 2) >= {step.old for step in switches}, "they close", seconds=60)
            wait_for(lambda: not running[1].status()["requests"]["led_here"], "n1 has nothing to do", seconds=60)
        wait_for(lambda: running[1].status()["memory_bytes_used"]["n1/cpu0"] == 0, "n1 gives it up", seconds=60)
        replayed = replay_of(journals_of(running), first, second)
        assert replayed.breaches == replayed.notes == (), replayed
        assert replayed.records > 0
        if continuity is Continuity.COPY:
            receipts = [each.what for each in records_of(running, journal.HandedOver)]
            assert sum(receipt.copied for receipt in receipts) > 0, receipts
            lives, plans = journals_of(running), (first, second)
            assert "HandedOver" in str(replay_of(doubled(lives, journal.HandedOver), *plans).breaches)
            assert "has not written" in str(replay_of(without(lives, journal.HandedOver), *plans).breaches)


def test_what_one_node_cannot_carry_out_nobody_does(checkpoint, tmp_path):
    problem = make_problem(checkpoint, 3, rate=FAST, context=256)
    one, two = (Target(llm=LLM, place=f"n{index}/cpu0") for index in (1, 2))
    first = make_plan(attrs.evolve(problem, targets=(one,)))
    false = attrs.evolve(problem, holdings=(*problem.holdings, Holding(llm=LLM, place="n2/cpu0")), targets=(one, two))
    wrong = make_plan(false, parent=first.plan)
    with daemons(problem, checkpoint, tmp_path) as running:
        adopt(running, first)
        wait_until_complete(running)
        with asking(running):
            assert running[0].put(document(wrong)).json()["phase"] == "accepted"
            wait_for(lambda: records_of(running[:1], journal.Forgotten), "the plan is forgotten", seconds=60)
        (declined,) = {each.what for each in records_of(running, journal.Declined)}
        assert "n2/cpu0 holds" in declined.reason
        for daemon in running:
            status = daemon.status()
            assert status["plan"]["digest"] == codec.digest(first.plan)
            assert status["next"]["accepted"] is None
        assert running[0].put(document(wrong)).status_code == 409
        third = next_plan(running, attrs.evolve(problem, targets=(one, two)))
        assert third.plan.generation > wrong.plan.generation
        assert running[0].put(document(third)).status_code == 200
        wait_until_adopted(running, third)
        wait_until_complete(running)


def test_one_that_dies_after_it_accepted_is_lost_under_the_new_plan(checkpoint, tmp_path):
    problem = make_problem(checkpoint, 4, rate=FAST, context=256)
    targets = tuple(Target(llm=LLM, place=f"n{index}/cpu0") for index in (1, 2, 3))
    first = make_plan(attrs.evolve(problem, targets=targets[:2]))
    with daemons(problem, checkpoint, tmp_path) as running:
        source, dying, sleeping, _ = running
        adopt(running, first)
        wait_until_complete(running)
        second = next_plan(running, attrs.evolve(problem, targets=targets))
        with asking([source]):
            sleeping.signal(signal.SIGSTOP)
            assert dying.put(document(second)).json()["phase"] == "accepted"
            wait_for(
                lambda: (source.status()["next"]["accepted"] or {}).get("awaited") == [sleeping.name],
                "one is awaited",
                seconds=60,
            )
            assert source.status()["plan"]["generation"] == 1
            dying.signal(signal.SIGKILL)
            sleeping.signal(signal.SIGCONT)
            living = [daemon for daemon in running if daemon is not dying]
            wait_until_adopted(living, second)
            wait_for(lambda: dying.name in source.status()["lost"], "the dead one is lost", seconds=60)
            (loss,) = (each for each in records_of([source], journal.PeerLost) if each.what.node == dying.name)
            assert loss.generation == 2


def test_one_that_was_left_out_while_it_hung_comes_back_by_itself(checkpoint, oracle, tmp_path):
    whole = make_problem(checkpoint, 3, rate=FAST, context=256)
    first = make_plan(on_nodes(whole, 3, 1, 2))
    with daemons(whole, checkpoint, tmp_path) as running:
        adopt(running, first)
        wait_until_complete(running)
        living, sleeping = running[:2], running[2]
        sleeping.signal(signal.SIGSTOP)
        with asking(living):
            second = next_plan(living, on_nodes(whole, 2, 1))
            assert living[0].put(document(second)).status_code == 200
            wait_until_adopted(living, second)
            sleeping.signal(signal.SIGCONT)
            wait_for(lambda: has_no_plan(sleeping), "the one that was left out gives up its plan", seconds=60)
            third = next_plan(living, on_nodes(whole, 3, 1, 2), back=["n2"])
            for daemon in (living[0], sleeping):
                assert daemon.put(document(third)).status_code == 200
            wait_until_adopted(running, third)
            wait_until_complete(running)
        assert text_of(completion(sleeping, "again", 12)) == oracle.answer("again", 12)
        lives = records_of([sleeping], journal.Started)
        assert [each.what.settled for each in lives] == [0, second.plan.generation]


def has_no_plan(daemon):
    """A daemon that is as new; between two lives none answers."""
    with contextlib.suppress(httpx.TransportError):
        return daemon.status()["plan"] is None
    return False
