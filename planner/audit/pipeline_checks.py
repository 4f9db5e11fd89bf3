"""Checks of pipelines and releases: built of what was there, proved, opened, closed and given up as planned.

Orders within a node are those of its records.  An order between two nodes can only be read off their wall clocks, so
what looks wrong there is a note and no difference.
"""

from collections.abc import Iterator

from planner.audit.findings import Case, Check, Differs, Note, Remark
from planner.audit.trace import Entry
from specs.journal import Closed, Opened, Proved, Released, StageBuilt, StageFailed, StageFreed
from specs.plan import Pipeline, PipelineId, Release
from specs.protocols.nouns import Ending


def _opened(case: Case, pipeline: PipelineId) -> Entry | None:
    leader = case.members(case.facts.pipelines[pipeline])[0]
    return next((each for each in case.trace.pipelines(Opened, pipeline) if each.node == leader), None)


def _closed(case: Case, pipeline: PipelineId) -> tuple[Entry, Closed] | None:
    leader = case.members(case.facts.pipelines[pipeline])[0]
    for each in case.trace.pipelines(Closed, pipeline):
        if each.node == leader and isinstance(each.what, Closed):
            return each, each.what
    return None


def _successors(case: Case, pipeline: PipelineId) -> set[PipelineId]:
    """Every pipeline that a chain of the plan's switches puts in this one's place."""
    found: set[PipelineId] = set()
    frontier = {pipeline}
    while frontier:
        frontier = {switch.new for switch in case.facts.switches if switch.old in frontier} - found
        found |= frontier
    return found


def _why(case: Case, pipeline: Pipeline) -> str:
    for node in case.members(pipeline):
        if node in case.lost:
            return f"; {node} was lost ({case.lost[node]})"
        for entry in case.trace.pipelines(StageFailed, pipeline.id):
            if entry.node == node and isinstance(entry.what, StageFailed):
                return f"; {node} could not build its stage: {entry.what.reason}"
    for stage in pipeline.stages:
        for blob in case.facts.needs(pipeline.llm, stage):
            if (blob, stage.place) in case.why:
                return f"; {stage.place} never gets {blob} because of {case.why[blob, stage.place]}"
    silent = [node for node in case.members(pipeline) if node not in case.trace.nodes]
    return f"; there is no journal of {silent[0]}" if silent else ""


def _built(case: Case) -> Iterator[Remark]:
    """EARLY: a member's stage is built after its blobs were held."""
    for pipeline in case.pipelines:
        for stage in pipeline.stages:
            node = case.facts.places[stage.place].node
            built = [each for each in case.trace.pipelines(StageBuilt, pipeline.id) if each.node == node]
            if len(built) > 1:
                yield Differs(pipeline.id, f"{node} built its stages {len(built)} times")
            for blob in case.facts.needs(pipeline.llm, stage):
                held = [each.order for each in case.trace.held.get((blob, stage.place), []) if each.node == node]
                if built and not any(order < built[0].order for order in held):
                    yield Differs(pipeline.id, f"{node} built its stage before {stage.place} held {blob}")


def _opened_as_planned(case: Case) -> Iterator[Remark]:
    for pipeline in case.pipelines:
        leader = case.members(pipeline)[0]
        opened, closed = _opened(case, pipeline.id), _closed(case, pipeline.id)
        proofs = [each for each in case.trace.pipelines(Proved, pipeline.id) if each.node == leader]
        times = len(case.trace.pipelines(Opened, pipeline.id))
        if times > 1:
            yield Differs(pipeline.id, f"it was opened {times} times")
        if opened is None:
            if closed is None:
                yield Differs(pipeline.id, f"it never opened{_why(case, pipeline)}")
            elif closed[1].ending is Ending.SUPERSEDED:
                yield Note(pipeline.id, f"it never opened: {closed[1].successor} was open before it")
            else:
                yield Differs(pipeline.id, f"it never opened: {closed[1].ending}{_why(case, pipeline)}")
            continue
        if not any(_is_right(each) and each.order < opened.order for each in proofs):
            yield Differs(pipeline.id, f"{leader} opened it without having led the canary through it")
        for node in case.members(pipeline):
            built = [each for each in case.trace.pipelines(StageBuilt, pipeline.id) if each.node == node]
            if not built:
                yield Differs(pipeline.id, f"it was opened, and {node} never built its stage{_silent(case, node)}")
            elif node == leader and built[0].order > opened.order:
                yield Differs(pipeline.id, f"{leader} opened it before it built its own stage")
            elif node != leader and built[0].at_unix_ns > opened.at_unix_ns:
                late = (built[0].at_unix_ns - opened.at_unix_ns) // 1000
                yield Note(pipeline.id, f"by the clocks, {node} built its stage {late:,} us after it opened")


def _is_right(entry: Entry) -> bool:
    return isinstance(entry.what, Proved) and entry.what.right


def _silent(case: Case, node: str) -> str:
    return "" if node in case.trace.nodes else f"; there is no journal of {node}"


def _closed_as_planned(case: Case) -> Iterator[Remark]:
    for pipeline in case.ever_open:
        closed = _closed(case, pipeline.id)
        switch = case.facts.closed_by.get(pipeline.id)
        if closed is None:
            if switch is not None:
                yield Differs(pipeline.id, f"it never closed; the plan switches to {switch.new}{_why(case, pipeline)}")
            continue
        times = len(case.trace.pipelines(Closed, pipeline.id))
        if times > 1:
            yield Differs(pipeline.id, f"it was closed {times} times")
        entry, what = closed
        if what.ending is not Ending.SUPERSEDED:
            yield Differs(pipeline.id, f"it closed: {what.ending}{_why(case, pipeline)}")
        elif switch is None:
            yield Differs(pipeline.id, f"it closed for {what.successor}; the plan never closes it")
        elif what.successor not in _successors(case, pipeline.id):
            yield Differs(pipeline.id, f"it closed for {what.successor}; the plan switches to {switch.new}")
        else:
            yield from _successor_open(case, pipeline.id, entry, what.successor)


def _successor_open(case: Case, pipeline: PipelineId, closed: Entry, successor: PipelineId | None) -> Iterator[Remark]:
    if successor in case.facts.running:
        return
    opened = None if successor is None else _opened(case, successor)
    if opened is None:
        yield Differs(pipeline, f"it closed for {successor}, which never opened")
    elif opened.node == closed.node and opened.order > closed.order:
        yield Differs(pipeline, f"it closed before {successor} was open")
    elif opened.at_unix_ns > closed.at_unix_ns:
        late = (opened.at_unix_ns - closed.at_unix_ns) // 1000
        yield Note(pipeline, f"by the clocks, {successor} opened {late:,} us after this one closed for it")


def _freed_after_closing(case: Case) -> Iterator[Remark]:
    for pipeline in case.ever_open:
        closed = _closed(case, pipeline.id)
        for node in case.members(pipeline):
            freed = [each for each in case.trace.pipelines(StageFreed, pipeline.id) if each.node == node]
            built = pipeline.id in case.facts.running or any(
                each.node == node for each in case.trace.pipelines(StageBuilt, pipeline.id)
            )
            if len(freed) > 1:
                yield Differs(pipeline.id, f"{node} freed its stages {len(freed)} times")
            elif freed and closed is None and not case.lost:
                yield Differs(pipeline.id, f"{node} freed its stage of a pipeline that never closed")
            elif built and closed is not None and not freed:
                yield Note(pipeline.id, f"{node} had not freed its stage when its journal ended")


def _released(case: Case) -> Iterator[Remark]:
    for step in case.facts.plan.steps:
        if not isinstance(step, Release):
            continue
        node = case.facts.places[step.place].node
        done = [each for each in case.trace.steps(Released, step.id) if each.node == node]
        if len(done) != 1:
            times = "never" if not done else f"{len(done)} times"
            yield Differs(f"release {step.id}", f"{step.place} gave up {step.blob} {times}")
        held = [each.order for each in case.trace.held.get((step.blob, step.place), []) if each.node == node]
        if done and not any(order < done[0].order for order in held):
            yield Differs(f"release {step.id}", f"{step.place} gave up {step.blob} before it held it")


def _count(case: Case) -> int:
    return len(case.pipelines)


def _count_stages(case: Case) -> int:
    return sum(len(case.members(pipeline)) for pipeline in case.pipelines)


def _count_all_stages(case: Case) -> int:
    return sum(len(case.members(pipeline)) for pipeline in case.ever_open)


def _count_closings(case: Case) -> int:
    return sum(pipeline.id in case.facts.closed_by for pipeline in case.ever_open)


def _count_releases(case: Case) -> int:
    return sum(isinstance(step, Release) for step in case.facts.plan.steps)


PIPELINE_CHECKS = (
    Check(id="EARLY", sentence="stages were built of blobs that were there", examined=_count_stages, run=_built),
    Check(
        id="OPENED",
        sentence="every pipeline was proved and opened, or superseded before",
        examined=_count,
        run=_opened_as_planned,
    ),
    Check(
        id="CLOSED",
        sentence="every switch closed its pipeline, and nothing else did",
        examined=_count_closings,
        run=_closed_as_planned,
    ),
    Check(
        id="FREED",
        sentence="only stages of closed pipelines were freed",
        examined=_count_all_stages,
        run=_freed_after_closing,
    ),
    Check(id="RELEASED", sentence="every release happened once", examined=_count_releases, run=_released),
)
