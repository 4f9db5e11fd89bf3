"""What may not be done by a node of a cluster, whatever happened before: by the ids of the ALWAYS properties."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from specs.plan import Continuity, PipelineId
from specs.protocols import events as ev
from specs.protocols.nouns import Copy, Ending, NodePlan, NodeState
from tests.protocols.world import World


class _Deed(NamedTuple):
    """An action that a node has just begun."""

    cluster: Any  # with the plans of all its nodes
    world: World
    node: int
    before: NodeState | None

    @property
    def plan(self) -> NodePlan:
        return self.cluster.plans[self.node]

    @property
    def state(self) -> NodeState:
        return self.world.nodes[self.node]

    def leader_of(self, pipeline: PipelineId) -> NodeState:
        return self.world.nodes[self.cluster.leaders[pipeline]]

    @property
    def right(self) -> set[Copy]:
        """The copies that may be held: from the start, or because they arrived."""
        initial = {copy for each in self.cluster.plans for copy in each.held}
        return initial | {self.cluster.passages[step].destination for step in self.world.arrivals}


def breaches(cluster, world: World, node: int, action: ev.Action, before: NodeState | None) -> set[str]:
    """Ids of the ALWAYS properties that an action of a node breaks."""
    judge = _JUDGES.get(type(action))
    return set() if judge is None else set(judge(_Deed(cluster, world, node, before), action))


def _send(deed: _Deed, action: ev.Send) -> Iterator[str]:
    step, cluster, state = action.step, deed.cluster, deed.state
    passage = cluster.passages[step]
    receiver = deed.world.nodes[cluster.index[passage.receiver]]
    on_port = [
        each
        for each in deed.plan.passages
        if each.sender == deed.plan.node and each.send_port == passage.send_port and each.step != step
    ]
    is_twice = deed.before is not None and step in deed.before.sending
    if is_twice or any(each.step in state.sending for each in on_port):
        yield "ONE-SEND"
    if passage.source not in deed.right:
        yield "CAUSE"
    if not state.lost | state.refused and any(each.step < step and each.step not in state.sent for each in on_port):
        yield "ORDER"
    is_untroubled = deed.world.faults == cluster.faults
    if is_untroubled and step not in receiver.receiving | receiver.arrived:
        yield "GRANT"


def _receive(deed: _Deed, action: ev.Receive) -> Iterator[str]:
    step, state, plan = action.step, deed.state, deed.plan
    passage = deed.cluster.passages[step]
    on_port = [e for e in plan.passages if e.receiver == plan.node and e.receive_port == passage.receive_port]
    if any(each.step in state.receiving and each.step != step for each in on_port):
        yield "ONE-RECEIVE"
    if step in state.arrived:
        yield "TWICE"
    earlier = [each.id for each in plan.releases if each.id < step and each.place == passage.destination.place]
    if not state.released.issuperset(earlier):
        yield "ROOM"


def _build(deed: _Deed, action: ev.BuildStage) -> Iterator[str]:
    part = deed.plan.part[action.pipeline]
    if not deed.right.issuperset(part.needs):
        yield "EARLY"
    if part.is_running:
        yield "RUNS"


def _prove(deed: _Deed, action: ev.Prove) -> Iterator[str]:
    if deed.plan.part[action.pipeline].is_running:
        yield "RUNS"


def _open(deed: _Deed, action: ev.Open) -> Iterator[str]:
    members = [deed.cluster.index[name] for name in deed.plan.part[action.pipeline].members]
    if any(action.pipeline not in deed.world.nodes[each].built for each in members):
        yield "EARLY"
    if action.pipeline not in deed.world.right:
        yield "PROVED"
    if action.pipeline in deed.world.ended:
        yield "NEVER-AGAIN"


def _close(deed: _Deed, action: ev.Close) -> Iterator[str]:
    if action.ending is not Ending.SUPERSEDED:
        return
    old, successor = action.pipeline, action.successor
    if successor not in deed.leader_of(successor).opened or _has_no_switch(deed.plan, old):
        yield "SERVE"
    if action.continuity is Continuity.COPY and old in deed.state.opened - deed.world.handed:
        yield "HANDED"
    if action.continuity is Continuity.COPY and _sizes_change(deed, old, successor):
        yield "SIZE"


def _resize(deed: _Deed, action: ev.Resize) -> Iterator[str]:
    step, pipeline, state = action.step, action.pipeline, deed.state
    others = [deed.plan.sizing[other].pipeline for other in state.resizing if other != step]
    handing = [each for other in deed.world.nodes for each in other.handing if each.pipeline not in state.closed]
    is_twice = deed.before is not None and step in deed.before.resizing
    is_handed = any(pipeline in (each.pipeline, each.successor) for each in handing)
    if pipeline not in state.opened - state.closed or is_twice or pipeline in others or is_handed:
        yield "SIZE"


def _hand_over(deed: _Deed, action: ev.HandOver) -> Iterator[str]:
    old, successor, state = action.pipeline, action.successor, deed.state
    if _sizes_change(deed, old, successor):
        yield "SIZE"
    if successor not in deed.leader_of(successor).opened or _has_no_switch(deed.plan, old):
        yield "SERVE"
    if old in state.closed or old not in state.opened or successor in state.closed:
        yield "HANDED"


def _release(deed: _Deed, action: ev.Release) -> Iterator[str]:
    busy = {step for state in deed.world.nodes for step in state.sending}
    if any(deed.cluster.passages[step].source == action.copy for step in busy):
        yield "RELEASE"


_JUDGES: Mapping[type, Callable[..., Iterator[str]]] = {
    ev.Send: _send,
    ev.Receive: _receive,
    ev.BuildStage: _build,
    ev.Prove: _prove,
    ev.Open: _open,
    ev.Close: _close,
    ev.Resize: _resize,
    ev.HandOver: _hand_over,
    ev.Release: _release,
}


def _sizes_change(deed: _Deed, *pipelines: PipelineId) -> bool:
    """Whether one of these is being resized, by a leader to which none of them has closed, or counts as lost."""
    return any(
        plan.sizing[step].pipeline in pipelines and state.closed.isdisjoint(pipelines)
        for plan, state in zip(deed.cluster.plans, deed.world.nodes, strict=True)
        for step in state.resizing
    )


def _has_no_switch(plan: NodePlan, pipeline: PipelineId) -> bool:
    return all(each.old != pipeline for each in plan.switches)
