"""What one node gets of a plan, and that nodes which only do as their machines say carry the plan out."""

import attrs
import pytest

from executor import messages
from executor.machine import Machine
from specs import codec
from specs.errors import InvalidProblem
from specs.plan import Activate, Continuity, Switch
from specs.problem import Running
from specs.protocols import events as ev
from specs.protocols.facts import is_settled, lacks, open_pipelines
from specs.protocols.node import InForce
from specs.protocols.node_plan import node_plan
from specs.protocols.nouns import RUNNING, Carried, Copy, Ending, LossReason, NodeState
from specs.protocols.plan_switch_nouns import PlanName
from tests.plans import a_chain, a_relocation, a_rescue

NAME = PlanName(generation=1, digest="ab" * 32)


def copies(*pairs):
    return {Copy(blob=blob, place=place) for blob, place in pairs}


def carried_by(plan):
    running = frozenset(part.pipeline for part in plan.parts if part.is_running)
    return Carried(built=frozenset(each for each in running if plan.node in plan.part[each].members), opened=running)


def before(plan, carried):
    """What a node that brings this into a plan knew under the plan before."""
    known = {name: getattr(carried, name) for name in ("built", "opened", "draining", "closed")}
    return InForce(name=NAME, plan=plan, state=NodeState(held=frozenset(), **known))


def from_running(problem, plan):
    """The same plan for a cluster in which its first pipeline runs, with a switch that copies its KV."""
    first = plan.pipelines[0]
    problem = attrs.evolve(problem, running=(Running(pipeline=first, live_requests=1, live_tokens=9),))
    steps = tuple(
        attrs.evolve(each, continuity=Continuity.COPY) if isinstance(each, Switch) else each
        for each in plan.steps
        if not (isinstance(each, Activate) and each.pipeline == first.id)
    )
    return problem, attrs.evolve(plan, pipelines=plan.pipelines[1:], steps=steps)


def run(problem, plan):
    """All that the nodes do, in order, when everything succeeds, reports cross as bytes and blobs take the longest."""
    plans = {node.id: node_plan(problem, plan, node.id) for node in problem.cluster.nodes}
    machines = {name: Machine(NAME, each, before(each, carried_by(each))) for name, each in plans.items()}
    due = [(name, action) for name, machine in machines.items() for action in machine.begin()]
    done, digest = [], codec.digest(plan)
    while due:
        quick = (index for index, (_, action) in enumerate(due) if not isinstance(action, ev.Send))
        name, action = due.pop(next(quick, 0))

        def happen(at, event):
            due.extend((at, each) for each in machines[at].take(event))

        if not isinstance(action, ev.Tell):
            done.append((name, action))
        match action:
            case ev.Tell(peer, report):
                sent = messages.encode(
                    messages.Message(plan=digest, generation=plan.generation, life=name, report=report)
                )
                got = messages.decode(sent)
                assert got.name == PlanName(generation=plan.generation, digest=digest)
                happen(peer, ev.Heard(name, got.report))
            case ev.Send(step):
                receiver = machines[name].plan.passage[step].receiver
                assert step in machines[receiver].state.receiving
                happen(receiver, ev.Arrived(step))
                happen(name, ev.SendDone(step))
            case ev.BuildStage(pipeline):
                happen(name, ev.StageBuilt(pipeline))
            case ev.Prove(pipeline):
                happen(name, ev.Proved(pipeline, True))
            case ev.Close(pipeline, _, Continuity.DRAIN, _):
                happen(name, ev.Drained(pipeline))
            case ev.HandOver(pipeline):
                happen(name, ev.HandedOver(pipeline))
    return machines, done


def test_a_node_gets_what_concerns_it():
    problem, plan = a_rescue()
    first, second = (blob.id for blob in plan.blobs)
    mine = node_plan(problem, plan, "n1")
    assert mine.peers == ("n0", "n2")
    assert mine.held == ()
    assert [(each.source.blob, each.sender, each.receiver) for each in mine.passages] == [
        (first, "n0", "n1"),
        (first, "n1", "n2"),
        (second, "n2", "n1"),
    ]
    assert [(each.pipeline, each.leader, each.members, set(each.needs)) for each in mine.parts] == [
        ("llm@n0/gpu0", "n0", ("n0",), set()),
        ("pair", "n1", ("n1", "n2"), copies((first, "n1/gpu0"))),
        ("llm@n1/gpu0", "n1", ("n1",), copies((first, "n1/gpu0"), (second, "n1/gpu0"))),
        ("llm@n2/gpu0", "n2", ("n2",), set()),
    ]
    assert set(node_plan(problem, plan, "n0").held) == copies((first, "n0/gpu0"), (second, "n0/gpu0"))


@pytest.mark.parametrize("make", [a_chain, a_rescue, a_relocation], ids=lambda make: make.__name__)
def test_machines_carry_the_plan_out(make):
    problem, plan = make()
    machines, done = run(problem, plan)
    for machine in machines.values():
        assert is_settled(machine.plan, machine.state)
        assert lacks(machine.plan, machine.state) == ()
    for name, machine in machines.items():
        local = {target.llm for target in problem.targets if target.place == f"{name}/gpu0"}
        assert {f"{llm}@{name}/gpu0" for llm in local} <= open_pipelines(machine.state)
    sent = [action.step for _, action in done if isinstance(action, ev.Send)]
    assert len(sent) == len(set(sent)) == sum(hasattr(step, "route") for step in plan.steps)


def test_the_early_pipeline_opens_before_either_receiver_is_complete_and_closes_for_its_successor():
    _, done = run(*a_rescue())
    actions = [action for _, action in done]
    opened = actions.index(ev.Open("pair"))
    assert opened < actions.index(ev.BuildStage("llm@n1/gpu0"))
    close = ev.Close("pair", "llm@n1/gpu0", Continuity.RECOMPUTE, Ending.SUPERSEDED)
    assert opened < actions.index(ev.Open("llm@n1/gpu0")) < actions.index(close)
    assert [name for name, action in done if action == ev.FreeStage("pair")] == ["n1", "n2"]


def test_a_transfer_waits_for_the_room_that_a_release_before_it_makes():
    problem, plan = a_relocation()
    _, done = run(problem, plan)
    mine = [action for name, action in done if name == "n0"]
    releases = [index for index, action in enumerate(mine) if isinstance(action, ev.Release)]
    receives = [index for index, action in enumerate(mine) if isinstance(action, ev.Receive)]
    drain = mine.index(ev.Close("moved@n0/gpu0", "moved@n1/gpu0", Continuity.DRAIN, Ending.SUPERSEDED))
    assert len(releases) == len(receives) == 2
    assert drain < min(releases)
    assert max(releases) < min(receives)


def test_what_runs_is_a_part_and_is_switched_away_from_without_being_built_again():
    problem, plan = from_running(*a_relocation())
    mine = node_plan(problem, plan, "n0")
    old = mine.parts[0]
    assert (old.pipeline, old.step, old.leader) == ("moved@n0/gpu0", RUNNING, "n0")
    assert set(old.needs) <= set(mine.held)
    _, done = run(problem, plan)
    actions = [action for name, action in done if name == "n0"]
    assert ev.BuildStage("moved@n0/gpu0") not in actions
    assert ev.Prove("moved@n0/gpu0") not in actions
    over = actions.index(ev.HandOver("moved@n0/gpu0", "moved@n1/gpu0"))
    close = actions.index(ev.Close("moved@n0/gpu0", "moved@n1/gpu0", Continuity.COPY, Ending.SUPERSEDED))
    releases = [index for index, action in enumerate(actions) if isinstance(action, ev.Release)]
    assert len(releases) == 2
    assert over < close < actions.index(ev.FreeStage("moved@n0/gpu0")) < min(releases)


def test_a_memory_without_a_daemon_is_refused():
    problem, plan = a_chain()
    places = tuple(
        attrs.evolve(each, node=None, kind="host", device=None) if each.id == "n3/gpu0" else each
        for each in problem.cluster.places
    )
    nowhere = attrs.evolve(
        problem,
        cluster=attrs.evolve(problem.cluster, places=places),
        targets=tuple(each for each in problem.targets if each.place != "n3/gpu0"),
    )
    with pytest.raises(InvalidProblem, match="memory n3/gpu0, which is on no node"):
        node_plan(nowhere, plan, "n2")


def test_adopting_gives_its_actions_once():
    machine = Machine(NAME, node_plan(*a_chain(), "n1"))
    assert ev.Receive(1) in machine.begin()
    assert machine.begin() == ()


def test_a_peer_in_another_life_is_lost_to_the_plan_and_met_in_it_by_the_next():
    plan = node_plan(*a_chain(), "n1")
    machine = Machine(NAME, plan)
    assert machine.meet("n2", "first") is None
    assert machine.meet("n2", "first") is None
    assert machine.meet("n2", "second") == ev.PeerLost("n2", LossReason.RESTARTED)
    assert machine.meet("n2", "second") is None
    following = Machine(NAME, plan, machine.now)  # no pipeline runs: what it did in earlier lives does not count
    assert following.meet("n2", "third") is None
    assert following.meet("n2", "fourth") == ev.PeerLost("n2", LossReason.RESTARTED)
