"""Plans of a round of `kill_rounds`, and how far nodes are with them, told by what they say."""

from collections.abc import Callable
from unittest import mock

import attrs

from planner.outcome import Outcome, Planned
from planner.reconfiguring import waves
from planner.reconfiguring.beginning import Begun
from planner.solve import solve
from specs.checker import VerifiedPlan, verify
from specs.invariants.facts import Facts
from specs.plan import Continuity, HandOver, Switch
from specs.problem import Running
from specs.state import RunningCluster
from tests.processes.cluster import Daemon
from tests.processes.kill_rounds.draws import IN_HAND_OVERS, OF_STEPS, Deed

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


def has(verified: VerifiedPlan, deed: Deed) -> bool:
    """Tell whether a plan has what it takes for somebody to do this."""
    if deed in IN_HAND_OVERS:
        return any(isinstance(step, Switch) and _will_copy(verified, step) for step in verified.plan.steps)
    return deed not in OF_STEPS or any(isinstance(step, OF_STEPS[deed]) for step in verified.plan.steps)


def _will_copy(verified: VerifiedPlan, switch: Switch) -> bool:
    """Tell whether requests are there for a hand-over, and slots for them."""
    live = {each.pipeline.id: each.live_requests for each in verified.problem.running}
    moving = live.get(switch.old, 0)
    slots = Facts(verified.problem, verified.plan).pipelines[switch.new].slots
    return switch.hand_over is not None and 0 < moving <= slots - live.get(switch.new, 0)


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
