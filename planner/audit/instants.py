"""The instants that people ask about, as predicted by a plan and as measured by journals: two time lines of one form.

Predicted instants count from the plan's start.  Measured ones count from the run's beginning: the earliest first
`TransferStarted`, or else the earliest `Adopted`; they come from the wall clocks of the nodes, and an instant of one
node against an instant of another is as good as those clocks agree.  None: it did not happen.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import attrs

from specs.blobs import Blob, BlobId
from specs.cluster import NodeId, PlaceId
from specs.journal import (
    Adopted,
    BlobHeld,
    Closed,
    FirstToken,
    Opened,
    PeerLost,
    Record,
    TransferEnded,
    TransferFailed,
    TransferStarted,
)
from specs.llm import LlmId
from specs.plan import Activate, PipelineId, Plan, StepId, Switch, Transfer
from specs.problem import Problem
from specs.protocols.nouns import LossReason
from specs.timing import links_by_id, route_ends
from specs.units import Nanos

Arrivals = Mapping[tuple[BlobId, PlaceId], Nanos]  # when each place first held each blob


@attrs.frozen(kw_only=True)
class TransferInstants:
    """From the sender's offer to the receiver's having the blob."""

    step: StepId
    start_ns: Nanos | None
    end_ns: Nanos | None
    took_ns: Nanos | None  # measured: by the receiver's clock alone, from the offer
    failed_ns: Nanos | None = None  # the last failure at either end of one that never ended


@attrs.frozen(kw_only=True)
class PipelineInstants:
    """From the first request that is taken to the last."""

    pipeline: PipelineId
    opened_ns: Nanos | None
    closed_ns: Nanos | None


@attrs.frozen(kw_only=True)
class LlmInstants:
    """How far an LLM has come."""

    llm: LlmId
    first_cover_ns: Nanos | None  # the targets together hold every blob for the first time
    full_load_ns: Nanos | None  # every target holds every blob: the completion
    first_token_ns: Nanos | None  # of any pipeline; predicted: its first opening
    receiver_token_ns: Nanos | None  # of a pipeline of which some stage is where the LLM was not held at the start


@attrs.frozen(kw_only=True)
class LossInstant:
    """When another node first counted this one as lost, and why."""

    node: NodeId
    at_ns: Nanos
    reason: LossReason


@attrs.frozen(kw_only=True)
class Timeline:
    """All instants of a plan or of a run."""

    begin_unix_ns: Nanos  # wall clock at the beginning; 0 when predicted
    transfers: tuple[TransferInstants, ...]  # in the plan's order
    pipelines: tuple[PipelineInstants, ...]  # those that run at the start, then in the plan's order
    llms: tuple[LlmInstants, ...]  # in the problem's order
    losses: tuple[LossInstant, ...] = ()  # in the order of time; none is predicted

    def llm(self, llm_id: LlmId) -> LlmInstants:
        """Find the instants of an LLM."""
        return next(each for each in self.llms if each.llm == llm_id)

    @property
    def end_ns(self) -> Nanos:
        """The last instant of all."""
        ends = [each.end_ns for each in self.transfers]
        ends += [instant for each in self.pipelines for instant in (each.opened_ns, each.closed_ns)]
        ends += [each.first_token_ns for each in self.llms]
        ends += [each.at_ns for each in self.losses]
        return max((end for end in ends if end is not None), default=Nanos(0))


def predicted(plan: Plan, problem: Problem) -> Timeline:
    """Say when a plan expects what.  The plan must keep the rule REF for this problem."""
    links = links_by_id(problem.cluster)
    transfers = [step for step in plan.steps if isinstance(step, Transfer)]
    opened = _running_ns(problem) | {step.pipeline: step.at_ns for step in plan.steps if isinstance(step, Activate)}
    closed = {step.old: step.at_ns for step in plan.steps if isinstance(step, Switch)}
    arrivals = {(step.blob, route_ends(links, plan.routes[step.route])[1]): step.end_ns for step in reversed(transfers)}
    return Timeline(
        begin_unix_ns=Nanos(0),
        transfers=tuple(
            TransferInstants(
                step=step.id, start_ns=step.start_ns, end_ns=step.end_ns, took_ns=Nanos(step.end_ns - step.start_ns)
            )
            for step in transfers
        ),
        pipelines=_pipelines(plan, problem, opened, closed),
        llms=_llms(plan, problem, arrivals, opened),
    )


def timeline(plan: Plan, problem: Problem, records: Iterable[Record]) -> Timeline:
    """Say when what happened in a run of this plan, from the records of all its nodes in any order.

    Records of other generations are passed over.  Of repeated records the last start and the first end of a transfer
    count, and the first opening and closing of a pipeline.
    """
    mine = sorted((each for each in records if each.generation == plan.generation), key=lambda each: each.at_unix_ns)
    starts = [each.at_unix_ns for each in mine if isinstance(each.what, TransferStarted)]
    begin = min(starts, default=min((each.at_unix_ns for each in mine if isinstance(each.what, Adopted)), default=0))
    run = _Run()
    for each in mine:
        run.take(each, Nanos(each.at_unix_ns - begin))
    return Timeline(
        begin_unix_ns=Nanos(begin),
        transfers=tuple(
            TransferInstants(
                step=step.id,
                start_ns=run.started.get(step.id),
                end_ns=run.ended.get(step.id),
                took_ns=run.took.get(step.id),
                failed_ns=None if step.id in run.ended else run.failed.get(step.id),
            )
            for step in plan.steps
            if isinstance(step, Transfer)
        ),
        pipelines=_pipelines(plan, problem, _running_ns(problem) | run.opened, run.closed),
        llms=_llms(plan, problem, run.held, run.tokens),
        losses=tuple(run.losses.values()),
    )


@attrs.define
class _Run:
    """What is gathered from records, in the order of time."""

    started: dict[StepId, Nanos] = attrs.field(factory=dict)
    ended: dict[StepId, Nanos] = attrs.field(factory=dict)
    took: dict[StepId, Nanos] = attrs.field(factory=dict)
    failed: dict[StepId, Nanos] = attrs.field(factory=dict)
    losses: dict[NodeId, LossInstant] = attrs.field(factory=dict)
    opened: dict[PipelineId, Nanos] = attrs.field(factory=dict)
    closed: dict[PipelineId, Nanos] = attrs.field(factory=dict)
    tokens: dict[PipelineId, Nanos] = attrs.field(factory=dict)
    held: dict[tuple[BlobId, PlaceId], Nanos] = attrs.field(factory=dict)

    def take(self, record: Record, at_ns: Nanos) -> None:
        match record.what:
            case TransferStarted(step=step):
                if step not in self.ended:
                    self.started[step] = at_ns
            case TransferEnded(step=step, elapsed_ns=elapsed):
                self.ended.setdefault(step, at_ns)
                self.took.setdefault(step, elapsed)
            case TransferFailed(step=step):
                self.failed[step] = at_ns
            # Whoever hears that it counts as lost answers in kind: that says nothing about the other.
            case PeerLost(node=node, reason=reason) if reason is not LossReason.MUTUAL:
                self.losses.setdefault(node, LossInstant(node=node, at_ns=at_ns, reason=reason))
            case BlobHeld(blob=blob, place=place):
                self.held.setdefault((blob, place), at_ns)
            case Opened(pipeline=pipeline):
                self.opened.setdefault(pipeline, at_ns)
            case Closed(pipeline=pipeline):
                self.closed.setdefault(pipeline, at_ns)
            case FirstToken(pipeline=pipeline):
                self.tokens.setdefault(pipeline, at_ns)


def _running_ns(problem: Problem) -> dict[PipelineId, Nanos]:
    """Pipelines that run at the start are open from 0 on."""
    return {each.pipeline.id: Nanos(0) for each in problem.running}


def _pipelines(
    plan: Plan, problem: Problem, opened: Mapping[PipelineId, Nanos], closed: Mapping[PipelineId, Nanos]
) -> tuple[PipelineInstants, ...]:
    return tuple(
        PipelineInstants(pipeline=each.id, opened_ns=opened.get(each.id), closed_ns=closed.get(each.id))
        for each in (*(running.pipeline for running in problem.running), *plan.pipelines)
    )


def _llms(
    plan: Plan, problem: Problem, arrivals: Arrivals, tokens: Mapping[PipelineId, Nanos]
) -> tuple[LlmInstants, ...]:
    found = []
    for llm in problem.llms:
        blobs = [blob for blob in plan.blobs if blob.llm == llm.id]
        held = [(blob.id, each.place) for each in problem.holdings for blob in blobs if each.has(blob)]
        count = Counter(place for _, place in held)
        holders = {place for place, found_here in count.items() if found_here == len(blobs)}
        there = {**arrivals, **dict.fromkeys(held, Nanos(0))}
        wanted = [target.place for target in problem.targets if target.llm == llm.id]
        pipelines = (*(running.pipeline for running in problem.running), *plan.pipelines)
        anywhere = [tokens[each.id] for each in pipelines if each.llm == llm.id and each.id in tokens]
        received = [
            tokens[each.id]
            for each in plan.pipelines
            if each.llm == llm.id and each.id in tokens and any(stage.place not in holders for stage in each.stages)
        ]
        found.append(
            LlmInstants(
                llm=llm.id,
                first_cover_ns=_first_cover(blobs, wanted, there),
                full_load_ns=_full_load(blobs, wanted, there),
                first_token_ns=min(anywhere, default=None),
                receiver_token_ns=min(received, default=None),
            )
        )
    return tuple(found)


def _first_cover(blobs: list[Blob], wanted: list[PlaceId], arrivals: Arrivals) -> Nanos | None:
    """When the last blob reaches its first target; 0 when targets together hold the LLM from the start."""
    firsts = [
        min((arrivals[blob.id, place] for place in wanted if (blob.id, place) in arrivals), default=None)
        for blob in blobs
    ]
    known = [first for first in firsts if first is not None]
    return max(known, default=Nanos(0)) if len(known) == len(firsts) else None


def _full_load(blobs: list[Blob], wanted: list[PlaceId], arrivals: Arrivals) -> Nanos | None:
    """When the last target has its last blob."""
    pairs = [(blob.id, place) for place in wanted for blob in blobs]
    if any(pair not in arrivals for pair in pairs):
        return None
    return max((arrivals[pair] for pair in pairs), default=Nanos(0))
