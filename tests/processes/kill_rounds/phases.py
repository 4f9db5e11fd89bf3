"""Plans of a round of `kill_rounds`, and which moment of one it is, told by what the nodes say."""

from collections.abc import Callable, Sequence
from unittest import mock

import attrs

from planner.outcome import Outcome, Planned
from planner.reconfiguring import waves
from planner.reconfiguring.beginning import Begun
from planner.solve import solve
from specs.checker import VerifiedPlan, verify
from specs.invariants.facts import Facts
from specs.plan import Continuity, HandOver, Switch, Transfer
from specs.problem import Running
from specs.state import RunningCluster
from tests.processes.cluster import Daemon
from tests.processes.kill_rounds.draws import Moment, Role

AT_REST = {"complete", "incomplete"}  # phases in which nothing more is to come


def solved(begun: Begun, continuity: Continuity | None = None) -> Outcome:
    """Plan; where requests can move in this way they do."""
    with mock.patch.object(waves, "ways", _first(waves.ways, continuity)):
        outcome = solve(begun.problem, begun.request)
    if not isinstance(outcome, Planned):
        return outcome
    plan = outcome.verified.plan
    steps = tuple(
        attrs.evolve(step, hand_over=_of_all(step.hand_over)) if isinstance(step, Switch) else step
        for step in plan.steps
    )
    verified = verify(begun.problem, attrs.evolve(plan, steps=steps))
    assert isinstance(verified, VerifiedPlan), verified
    return attrs.evolve(outcome, verified=verified)


def _of_all(hand_over: HandOver | None) -> HandOver | None:
    """Copy the shortest contexts, too."""
    return None if hand_over is None else attrs.evolve(hand_over, copy_tokens_min=0)


def _first(ways: Callable, continuity: Continuity | None) -> Callable:
    def ordered(*asked: object) -> tuple:
        return tuple(sorted(ways(*asked), key=lambda way: way.continuity is not continuity))

    return ordered


def has(verified: VerifiedPlan, moment: Moment) -> bool:
    """Tell whether a plan has what a moment needs."""
    match moment:
        case Moment.ROUNDS | Moment.STOPPED:
            return any(isinstance(step, Switch) and _will_copy(verified, step) for step in verified.plan.steps)
        case Moment.LOADING:
            return any(isinstance(step, Transfer) for step in verified.plan.steps)
        case _:
            return bool(verified.plan.steps)


def _will_copy(verified: VerifiedPlan, switch: Switch) -> bool:
    """Tell whether requests are there for a hand-over, and slots for them."""
    live = {each.pipeline.id: each.live_requests for each in verified.problem.running}
    moving = live.get(switch.old, 0)
    slots = Facts(verified.problem, verified.plan).pipelines[switch.new].slots
    return switch.hand_over is not None and 0 < moving <= slots - live.get(switch.new, 0)


def roles(verified: VerifiedPlan) -> dict[Role, list[str]]:
    """Name the nodes that have a part in hand-overs."""
    facts = Facts(verified.problem, verified.plan)
    copied = [step for step in verified.plan.steps if isinstance(step, Switch) and step.hand_over is not None]
    if not copied:
        return {}
    homes = {
        name: [str(facts.places[stage.place].node) for stage in each.stages] for name, each in facts.pipelines.items()
    }
    return {
        Role.OLD_LEADER: [homes[switch.old][0] for switch in copied],
        Role.NEW_LEADER: [homes[switch.new][0] for switch in copied],
        Role.TARGET_STAGE: [home for switch in copied for home in homes[switch.new][1:]],
    }


def nodes_of(state: RunningCluster, running: Running) -> set[str]:
    """Name the nodes of a pipeline."""
    node_of = {place.id: str(place.node) for place in state.problem.cluster.places}
    return {node_of[stage.place] for stage in running.pipeline.stages}


def holds(daemon: Daemon) -> bool:
    """Tell whether a node has a copy of anything."""
    status = daemon.status()
    return status["plan"] is not None and status["blobs"]["held"] > 0


def is_under(status: dict, digest: str) -> bool:
    """Tell whether a node has adopted a plan."""
    return status["plan"] is not None and status["plan"]["digest"] == digest


def moment_of(status: dict) -> Moment:
    """Say how far one node is with the plan that it has."""
    phases = {each["phase"] for each in status["hand_overs"] if each["requests"]}
    if phases:
        return Moment.ROUNDS if "rounds" in phases else Moment.STOPPED
    return Moment.AFTER if status["phase"] in AT_REST else Moment.LOADING


def moment_of_all(statuses: Sequence[dict], digest: str | None) -> Moment:
    """Say how far the cluster is with a plan."""
    adopted = [status for status in statuses if digest is not None and is_under(status, digest)]
    named = [(status["next"]["accepted"] or {}).get("digest") for status in statuses]
    if not adopted and (digest is None or digest not in named):
        return Moment.BEFORE_ACCEPTANCE
    if len(adopted) < len(statuses):
        return Moment.ACCEPTING
    found = set(map(moment_of, adopted))
    return next(moment for moment in (Moment.STOPPED, Moment.ROUNDS, Moment.LOADING, Moment.AFTER) if moment in found)


def brief(daemon: Daemon) -> str:
    """Say in a line how a node is."""
    status = daemon.status()
    if status["plan"] is None:
        return "no plan"
    accepted = status["next"]["accepted"]
    pipelines = {name: pipelines for name, pipelines in status["pipelines"].items() if pipelines}
    lacking = [f"{each['blob']} at {each['place']}: {each['because']}" for each in status["blobs"]["lacking"]]
    return (
        f"{daemon.name} adopted {status['plan']['generation']}, accepted {accepted and accepted['generation']}, "
        f"{status['phase']}, lost {status['lost']}, {status['transfers']}, {pipelines}, lacks {lacking[:2]}"
    )
