"""A plan: the steps that lead from what is held and open at the start to what is wanted.

A plan is a complete description of what happens, not a wish.  It never says "load the LLM" or "find a peer": it says
which blob crosses which route at which rate, which units each stage of each pipeline computes, and where requests go.
Two daemons that read the same plan agree on every action.  Run-time freedom appears only as explicit tables and limits
(routing weights, slots, token budgets), and the checker has read all of them.

Order is law, times are predictions.  On every port (the first and the last link of a route) transfers run in the order
in which they stand in `steps`; a transfer also waits until its source holds the blob.  An activation waits until
every stage's blobs are resident.  A switch waits until its new pipeline is open; its old pipeline is one of this plan
or one that runs at the start (`Problem.running`), and serves until the switch is done.  What needs room at a place
(transfers, stages that are activated, resizes to more slots) waits for what makes room there and stands before it
(releases, resizes to fewer slots); `specs.protocols.room` says it exactly.  The predicted instants serve SLOs, progress
deadlines and the audit afterwards; no daemon waits for a clock.
"""

from enum import StrEnum
from typing import NewType

import attrs

from specs import fields
from specs.blobs import Blob, BlobId
from specs.cluster import LinkId, PlaceId
from specs.drafting import Speculation
from specs.llm import LlmId
from specs.units import Bytes, BytesPerSecond, Nanos, Tokens
from specs.witness import Witness

PipelineId = NewType("PipelineId", str)
StepId = NewType("StepId", int)

FORMAT = 1  # of plan documents; a reader refuses any other


@attrs.frozen(kw_only=True)
class Route:
    """A path of links from one memory to another."""

    links: tuple[LinkId, ...]


@attrs.frozen(kw_only=True)
class Stage:
    """A contiguous run of units of an LLM on one device."""

    place: PlaceId = fields.name()
    first_unit: int = fields.natural()
    end_unit: int = fields.positive()  # exclusive
    kv_bytes: Bytes = fields.natural()  # reserved on the device while the pipeline lives
    workspace_bytes: Bytes = fields.natural()  # activations and logits of one iteration


@attrs.frozen(kw_only=True)
class Pipeline:
    """One serving instance: stages that together compute every unit in order.

    Its first stage's node batches its requests.
    """

    id: PipelineId = fields.name()
    llm: LlmId = fields.name()
    stages: tuple[Stage, ...]
    slots: int = fields.positive()  # live requests at once, at most: what its stages set aside is for so many
    request_tokens_max: Tokens = fields.positive()  # prompt and output of one request
    iteration_tokens_max: Tokens = fields.positive()  # of all requests of one iteration


@attrs.frozen(kw_only=True)
class Transfer:
    """One blob crosses one route.  The source and destination are the route's ends."""

    id: StepId = fields.natural()
    blob: BlobId = fields.name()
    route: int = fields.natural()  # index into `Plan.routes`
    bytes_per_second: BytesPerSecond = fields.positive()  # the sender never exceeds it
    start_ns: Nanos = fields.natural()
    end_ns: Nanos = fields.natural()  # the destination holds the blob


@attrs.frozen(kw_only=True)
class Activate:
    """The pipeline opens: it takes requests once its blobs are resident and it has produced the right token."""

    id: StepId = fields.natural()
    pipeline: PipelineId = fields.name()
    slots: int | None = fields.optional_positive()  # with which it opens; absent: all of the pipeline's
    at_ns: Nanos = fields.natural()


@attrs.frozen(kw_only=True)
class Resize:
    """The open pipeline has so many slots from now on, and room for KV of as many requests.

    Nobody is thrown out by a shrink: the pipeline takes no new request until those that it has fit.
    """

    id: StepId = fields.natural()
    pipeline: PipelineId = fields.name()
    slots: int = fields.positive()  # at most the pipeline's
    at_ns: Nanos = fields.natural()  # it is done


class Continuity(StrEnum):
    """What becomes of a live request's KV when its pipeline closes."""

    RECOMPUTE = "recompute"  # the new pipeline computes it again from the request's tokens
    DRAIN = "drain"  # the old pipeline takes no new request, finishes those it has, and then closes
    COPY = "copy"  # it is copied to the new pipeline while the old one decodes; the last of it while it waits


@attrs.frozen(kw_only=True)
class KvPath:
    """How the KV of the layers that an old and a new stage share gets from the one device to the other."""

    old_stage: int = fields.natural()  # index into the old pipeline's stages
    new_stage: int = fields.natural()
    route: int = fields.natural()  # index into `Plan.routes`
    bytes_per_second: BytesPerSecond = fields.positive()  # the sender never exceeds it


@attrs.frozen(kw_only=True)
class HandOver:
    """How KV is copied (pre-copy): in rounds while the old pipeline decodes, and what is left while it waits.

    A round copies what was computed since the round before it.  The old pipeline stops at the end of an iteration once
    at most `rest_tokens_max` tokens are left to copy, or after `rounds_max` rounds; then requests are computed again,
    those with most left first, until no more than that are left.
    """

    start_ns: Nanos = fields.natural()  # the first round begins
    rounds_max: int = fields.positive()
    rest_tokens_max: Tokens = fields.positive()
    copy_tokens_min: Tokens = fields.natural()  # shorter contexts are computed again: that takes less time
    pause_ns: Nanos = fields.positive()  # from a request's last token in the old pipeline to its first in the new
    paths: tuple[KvPath, ...]  # one for each pair of stages on different devices that share layers


@attrs.frozen(kw_only=True)
class Switch:
    """The old pipeline closes; its requests go on in the new one, which must be open."""

    id: StepId = fields.natural()
    old: PipelineId = fields.name()
    new: PipelineId = fields.name()
    continuity: Continuity
    hand_over: HandOver | None = None  # where KV is copied, and only there
    at_ns: Nanos = fields.natural()


@attrs.frozen(kw_only=True)
class Release:
    """The place gives up the blob's memory."""

    id: StepId = fields.natural()
    blob: BlobId = fields.name()
    place: PlaceId = fields.name()
    at_ns: Nanos = fields.natural()


Step = Transfer | Activate | Resize | Switch | Release


@attrs.frozen(kw_only=True)
class RoutingWeight:
    """A share of new requests: open pipelines of an LLM get them in proportion to their weights."""

    pipeline: PipelineId = fields.name()
    weight: int = fields.positive()


@attrs.frozen(kw_only=True)
class Resident:
    """At the end this place keeps a copy of this LLM, and this is the route into a device by which it would start."""

    llm: LlmId = fields.name()
    place: PlaceId = fields.name()
    route: int | None = None  # index into `Plan.routes`; absent: the place is a device


class Claim(StrEnum):
    """What a certificate is about."""

    COMPLETION = "completion"  # every target holds its LLM
    FIRST_COVER = "first-cover"  # the targets together hold an LLM for the first time
    MAKESPAN = "makespan"  # of the problem: the last transfer of all LLMs ends
    BOTTLENECK = "bottleneck"  # the slowest stage of a pipeline, per decoded token
    GOODPUT = "goodput"  # of a service: output of its full pipelines; more is better
    TPOT = "tpot"  # of a service: time per output token of its slowest pipeline, all slots in use
    DEVICES = "devices"  # of a service: how many it uses
    COST = "cost"  # of a service: rent of these
    START = "start"  # of the LLMs on standby: mean time to start, over the requests of all of them


class Measure(StrEnum):
    """The unit of a claim."""

    TICKS = "ticks"  # transfers in a row: the depth of the order of transfers
    NANOS = "ns"
    MILLITOKENS_PER_SECOND = "millitokens/s"
    DEVICES = "devices"
    MICRODOLLARS_PER_HOUR = "microdollars/h"


# Claims whose bound is above their value: no plan has a larger one.
LARGER_IS_BETTER = frozenset({Claim.GOODPUT})


class Method(StrEnum):
    """How a bound is known, in falling order of strength."""

    CLOSED_FORM = "closed-form"  # named; the checker evaluates it
    CUT = "cut"  # what must enter some places against the links into them; the witness names the places
    DUAL = "dual"  # resources at the witness's prices
    EXHAUSTED = "exhausted"  # the checker searches the whole space itself
    SOLVER = "solver"  # a solver's word, which nobody can check; the formula names the solver
    NONE = "none"  # no bound is claimed: `bound` is 0


@attrs.frozen(kw_only=True)
class Certificate:
    """Value, bound and how the bound is known: no plan for this problem has a smaller value than `bound`."""

    claim: Claim
    subject: str = fields.name()  # the LLM or the pipeline; the problem, of what is about all LLMs or standbys
    measure: Measure
    value: int = fields.natural()
    bound: int = fields.natural()
    method: Method
    formula: str = fields.name()  # see `specs.certificates`
    witness: Witness = ()


class Aim(StrEnum):
    """What of the ramp, the time in which weights arrive, a plan was made to be good at first."""

    COMPLETION = "completion"  # the time until every target holds its LLM
    COVER = "cover"  # the time until the targets together hold each LLM
    RAMP = "ramp"  # the tokens that are served until then


@attrs.frozen(kw_only=True)
class Provenance:
    """Who made the plan, and with what."""

    planner: str = fields.name()  # "holdfast/0.1.0"
    solvers: tuple[str, ...]  # "ortools/9.15", as far as they were used
    seed: int = fields.natural()
    steps_max: int | None = None  # the limit on steps of searches; absent: none
    within_ns: Nanos | None = None  # the limit by the clock, which makes runs differ; absent: none
    aim: Aim = Aim.COMPLETION


@attrs.frozen(kw_only=True)
class Plan:
    """See the module's text."""

    format: int
    problem: str = fields.digest()
    parent: str | None = None  # digest of the plan before it; absent for the first
    generation: int = fields.positive()
    provenance: Provenance
    blobs: tuple[Blob, ...]
    routes: tuple[Route, ...]
    pipelines: tuple[Pipeline, ...]
    steps: tuple[Step, ...]  # ids ascend
    routing: tuple[RoutingWeight, ...]
    residents: tuple[Resident, ...] = ()  # for standbys
    speculations: tuple[Speculation, ...] = ()  # at most one per LLM
    certificates: tuple[Certificate, ...]
