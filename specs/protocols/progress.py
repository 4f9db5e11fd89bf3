"""How far one node is with its part of a plan: what is done, what is given up, and what is still to come.

A function of the node's state, for people and for whoever decides what comes next; the protocol itself does not ask.
Once nothing is pending at any node, nothing but a fault changes anything under this plan.  The converse does not hold:
a transfer that waits for the room of a pipeline that is never closed stays pending until another plan comes.
"""

from collections.abc import Iterable

import attrs

from specs.plan import PipelineId
from specs.protocols.facts import (
    is_lost,
    is_received,
    is_sent,
    is_unable,
    lacks,
    open_successor,
)
from specs.protocols.nouns import Copy, NodePlan, NodeState, Part, Passage, Sizing
from specs.protocols.room import switch_awaits_resize

PHASE_OF = {
    "transfers": "transferring",
    "stages": "building",
    "pipelines": "opening",
    "switches": "switching",
    "releases": "releasing",
    "resizes": "resizing",
}


@attrs.frozen(kw_only=True)
class Count:
    """Steps of one kind.  What is neither done nor given up is pending."""

    done: int
    given_up: int  # will never be done under this plan
    all: int

    @property
    def pending(self) -> int:
        """How many are still to come."""
        return self.all - self.done - self.given_up


@attrs.frozen(kw_only=True)
class Progress:
    """What a node has to do under a plan, in the order of the phases: kinds overlap, a phase is the first not over."""

    transfers: Count  # from and to this node
    stages: Count  # that this node builds
    pipelines: Count  # led here: proved and opened, or superseded before
    switches: Count  # away from pipelines that are led here
    releases: Count
    resizes: Count  # of pipelines that are led here
    lacking: int  # copies that it was promised and will never get

    @property
    def kinds(self) -> tuple[tuple[str, Count], ...]:
        """Each kind by its name, in the order of the phases."""
        return (
            ("transfers", self.transfers),
            ("stages", self.stages),
            ("pipelines", self.pipelines),
            ("switches", self.switches),
            ("releases", self.releases),
            ("resizes", self.resizes),
        )

    @property
    def phase(self) -> str:
        """Name what goes on with the first kind of which something is pending, or how it ended.

        Incomplete: something of this node's own was given up.  That a transfer to a lost node was is no loss here.
        """
        pending = next((name for name, count in self.kinds if count.pending), None)
        if pending is not None:
            return PHASE_OF[pending]
        own = (self.stages, self.pipelines, self.switches, self.releases, self.resizes)
        return "incomplete" if self.lacking or any(count.given_up for count in own) else "complete"


def progress(plan: NodePlan, state: NodeState) -> Progress:
    """Count what is done, given up and pending at a node."""
    led = [part for part in plan.parts if part.leader == plan.node]
    old = [switch.old for switch in plan.switches if switch.old in {part.pipeline for part in led}]
    return Progress(
        transfers=_count(_passage(plan, state, each) for each in plan.passages),
        stages=_count(_stage(plan, state, part) for part in plan.parts if part.needs and not part.is_running),
        pipelines=_count(_pipeline(plan, state, part) for part in led if not part.is_running),
        switches=_count((each in state.closed, not _will_close(plan, state, each)) for each in old),
        releases=_count(
            (
                each.id in state.released,
                _is_needed_for_ever(plan, state, Copy(blob=each.blob, place=each.place), each.id),
            )
            for each in plan.releases
        ),
        resizes=_count(_resize(plan, state, each) for each in plan.sizings if plan.part[each.pipeline] in led),
        lacking=len(lacks(plan, state)),
    )


def kept_open(plan: NodePlan, state: NodeState) -> tuple[PipelineId, ...]:
    """Name the pipelines led here that a switch would end, but that a plan which may be adopted next counts on them."""
    still = state.opened & state.counted_on - state.closed
    return tuple(
        each
        for each in sorted(still)
        if open_successor(plan, state, each) is not None and not switch_awaits_resize(plan, state, each)
    )


def _count(steps: Iterable[tuple[bool, bool]]) -> Count:
    """Count pairs: whether a step is done, and whether it never will be."""
    pairs = list(steps)
    return Count(
        done=sum(done for done, _ in pairs),
        given_up=sum(never and not done for done, never in pairs),
        all=len(pairs),
    )


def _passage(plan: NodePlan, state: NodeState, passage: Passage) -> tuple[bool, bool]:
    if passage.receiver == plan.node:
        return passage.step in state.arrived, is_received(plan, state, passage)
    return passage.step in state.sent, is_sent(plan, state, passage)


def _stage(plan: NodePlan, state: NodeState, part: Part) -> tuple[bool, bool]:
    begun, closed = part.pipeline in state.building, part.pipeline in state.closed
    # Closed before it was built: nobody needs it any more where a successor came first.
    unneeded = closed and not begun and _is_superseded(plan, state, part.pipeline)
    return part.pipeline in state.built or unneeded, (closed and not begun) or is_unable(plan, state, part)


def _pipeline(plan: NodePlan, state: NodeState, part: Part) -> tuple[bool, bool]:
    closed = part.pipeline in state.closed
    superseded = closed and _is_superseded(plan, state, part.pipeline)
    return part.pipeline in state.opened or superseded, closed


def _resize(plan: NodePlan, state: NodeState, sizing: Sizing) -> tuple[bool, bool]:
    closed = sizing.pipeline in state.closed
    # Of what was superseded before it opened nothing is to be resized.
    return sizing.step in state.resized or (closed and _is_superseded(plan, state, sizing.pipeline)), closed


def _is_superseded(plan: NodePlan, state: NodeState, pipeline: PipelineId) -> bool:
    """Tell whether a chain of switches leads from a pipeline to one that has opened."""
    seen = {pipeline}
    while True:
        new = next((switch.new for switch in plan.switches if switch.old == pipeline), None)
        if new is None or new in seen:
            return False
        if new in state.opened:
            return True
        seen.add(new)
        pipeline = new


def _will_close(plan: NodePlan, state: NodeState, old: PipelineId) -> bool:
    """Tell whether a pipeline that has not closed may yet be switched away from."""
    if old in state.draining or any(each.pipeline == old for each in state.handing):
        return True
    for _ in plan.switches:  # a pipeline is switched away from once at most: the chain ends
        switch = next((each for each in plan.switches if each.old == old), None)
        if switch is None or is_lost(state, plan.part[switch.new].leader):
            return False
        if switch.new not in state.closed:
            return True
        old = switch.new
    return False


def _is_needed_for_ever(plan: NodePlan, state: NodeState, copy: Copy, until: int) -> bool:
    """Tell whether a stage that stands before this step uses a copy, and nothing will close its pipeline."""
    return any(
        part.step < until
        and copy in part.needs
        and part.pipeline not in state.closed
        and not _will_close(plan, state, part.pipeline)
        for part in plan.parts
    )
