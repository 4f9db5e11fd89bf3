"""What follows from a problem and a plan and is needed by several rules: derived once, when first asked for.

Everything but `problem` and `plan` may be asked for only when the plan keeps the rule REF.
"""

from functools import cached_property

import attrs

from specs.blobs import Blob, BlobId, blobs_of_units
from specs.cluster import Link, LinkId, Place, PlaceId, PlaceKind
from specs.llm import Llm, LlmId
from specs.plan import Activate, Pipeline, PipelineId, Plan, Release, Resize, Stage, StepId, Switch, Transfer
from specs.ports import Hop, Order, order_of, ticks
from specs.problem import Problem
from specs.timing import links_by_id
from specs.units import Bytes, Nanos

BlobAt = tuple[BlobId, PlaceId]


@attrs.define
class Facts:
    """A problem, a plan, and what follows from them."""

    problem: Problem = attrs.field(on_setattr=attrs.setters.frozen)
    plan: Plan = attrs.field(on_setattr=attrs.setters.frozen)
    _needs: dict[tuple[LlmId, int, int], tuple[BlobId, ...]] = attrs.field(factory=dict, init=False, repr=False)

    @cached_property
    def llms(self) -> dict[LlmId, Llm]:
        """Each LLM by its id."""
        return {llm.id: llm for llm in self.problem.llms}

    @cached_property
    def places(self) -> dict[PlaceId, Place]:
        """Each place by its id."""
        return {place.id: place for place in self.problem.cluster.places}

    @cached_property
    def memories(self) -> frozenset[PlaceId]:
        """The places that are no switches."""
        return frozenset(place.id for place in self.problem.cluster.places if place.kind is not PlaceKind.SWITCH)

    @cached_property
    def links(self) -> dict[LinkId, Link]:
        """Each link by its id."""
        return links_by_id(self.problem.cluster)

    @cached_property
    def running(self) -> dict[PipelineId, Pipeline]:
        """Each pipeline that is open at the start."""
        return {each.pipeline.id: each.pipeline for each in self.problem.running}

    @cached_property
    def pipelines(self) -> dict[PipelineId, Pipeline]:
        """Each pipeline by its id: those that run at the start, then the plan's, in its order."""
        return self.running | {pipeline.id: pipeline for pipeline in self.plan.pipelines}

    @cached_property
    def stages_at(self) -> dict[PlaceId, list[tuple[Pipeline, Stage]]]:
        """The stages of all pipelines at each place: of those that run at the start, then in the plan's order."""
        found: dict[PlaceId, list[tuple[Pipeline, Stage]]] = {}
        for pipeline in self.pipelines.values():
            for stage in pipeline.stages:
                found.setdefault(stage.place, []).append((pipeline, stage))
        return found

    @cached_property
    def blobs(self) -> dict[BlobId, Blob]:
        """Each blob by its id."""
        return {blob.id: blob for blob in self.plan.blobs}

    @cached_property
    def blob_bytes(self) -> dict[BlobId, Bytes]:
        """The size of each blob."""
        return {blob.id: blob.bytes for blob in self.plan.blobs}

    @cached_property
    def blobs_of_llm(self) -> dict[LlmId, tuple[Blob, ...]]:
        """The blobs of every LLM of the problem; none for one that the plan does not touch."""
        found: dict[LlmId, list[Blob]] = {llm.id: [] for llm in self.problem.llms}
        for blob in self.plan.blobs:
            found[blob.llm].append(blob)
        return {llm: tuple(blobs) for llm, blobs in found.items()}

    @cached_property
    def order(self) -> Order:
        """The transfers and what each waits for."""
        return order_of(self.problem.cluster, self.plan)

    @cached_property
    def hops(self) -> tuple[Hop, ...]:
        """Every transfer with its ends, ports and predecessors, in the plan's order."""
        return self.order.hops()

    @cached_property
    def ticks(self) -> dict[StepId, int]:
        """Depth of each transfer in the order of transfers."""
        return ticks(self.order)

    @cached_property
    def held(self) -> dict[PlaceId, set[BlobId]]:
        """What the problem's holdings put at each place of theirs."""
        found: dict[PlaceId, set[BlobId]] = {}
        for holding in self.problem.holdings:
            blobs = self.blobs_of_llm[holding.llm]
            found.setdefault(holding.place, set()).update(blob.id for blob in blobs if holding.has(blob))
        return found

    @cached_property
    def held_at_start(self) -> frozenset[BlobAt]:
        """The same as pairs."""
        return frozenset((blob, place) for place, blobs in self.held.items() for blob in blobs)

    @cached_property
    def promised(self) -> dict[BlobId, set[PlaceId]]:
        """Where each blob must be at the end.

        Targets and residents hold their LLM, and stages that stay open what they compute with.
        """
        wanted: dict[tuple[BlobId, ...], set[PlaceId]] = {}
        whole = [(target.llm, target.place) for target in self.problem.targets]
        whole += [(resident.llm, resident.place) for resident in self.plan.residents]
        names = {llm: tuple(blob.id for blob in blobs) for llm, blobs in self.blobs_of_llm.items()}
        for llm, place in whole:
            wanted.setdefault(names[llm], set()).add(place)
        for pipeline in self.open_at_end:
            for stage in pipeline.stages:
                wanted.setdefault(self.needs(pipeline.llm, stage), set()).add(stage.place)
        found: dict[BlobId, set[PlaceId]] = {}
        for blobs, places in wanted.items():
            for blob in blobs:
                found.setdefault(blob, set()).update(places)
        return found

    @cached_property
    def open_at_end(self) -> tuple[Pipeline, ...]:
        """Pipelines that run or open and are never closed: those that run at the start, then in the plan's order."""
        return tuple(
            pipeline
            for pipeline in self.pipelines.values()
            if pipeline.id in self.opened_ns and pipeline.id not in self.closed_by
        )

    @cached_property
    def serving_at_end(self) -> tuple[Pipeline, ...]:
        """The same, each with the slots that it has at last."""
        return tuple(self.with_slots(each, self.slots_at_end(each.id)) for each in self.open_at_end)

    @cached_property
    def transfers_of_llm(self) -> dict[LlmId, tuple[Transfer, ...]]:
        """The transfers of every LLM of the problem."""
        found: dict[LlmId, list[Transfer]] = {llm.id: [] for llm in self.problem.llms}
        for transfer in self.order.transfers:
            found[self.blobs[transfer.blob].llm].append(transfer)
        return {llm: tuple(transfers) for llm, transfers in found.items()}

    @property
    def moves_several(self) -> bool:
        """Whether transfers bring blobs of more than one LLM."""
        return sum(1 for transfers in self.transfers_of_llm.values() if transfers) > 1

    @cached_property
    def arrivals(self) -> dict[PlaceId, dict[BlobId, Transfer]]:
        """The transfer that brings a blob to a place; rule FULL sees to it that there is only one."""
        found: dict[PlaceId, dict[BlobId, Transfer]] = {}
        for transfer in self.order.transfers:
            found.setdefault(self.order.ends[transfer.route].destination, {}).setdefault(transfer.blob, transfer)
        return found

    @cached_property
    def releases(self) -> dict[PlaceId, dict[BlobId, Release]]:
        """The release of a blob at a place; rule LAST sees to it that there is only one."""
        found: dict[PlaceId, dict[BlobId, Release]] = {}
        for step in self.plan.steps:
            if isinstance(step, Release):
                found.setdefault(step.place, {}).setdefault(step.blob, step)
        return found

    @cached_property
    def activations(self) -> dict[PipelineId, Activate]:
        """The step that opens each pipeline that is ever activated."""
        return {step.pipeline: step for step in self.plan.steps if isinstance(step, Activate)}

    @cached_property
    def opened_ns(self) -> dict[PipelineId, Nanos]:
        """When each pipeline that is ever open opens: at 0 where it runs at the start."""
        running = dict.fromkeys(self.running, Nanos(0))
        return running | {pipeline: step.at_ns for pipeline, step in self.activations.items()}

    @cached_property
    def slots_at_first(self) -> dict[PipelineId, int]:
        """How many slots each pipeline that is ever open has when it opens, or at the start."""
        running = {each.pipeline.id: each.slots_now for each in self.problem.running}
        return running | {
            name: self.pipelines[name].slots if step.slots is None else step.slots
            for name, step in self.activations.items()
        }

    @cached_property
    def resizes(self) -> dict[PipelineId, tuple[Resize, ...]]:
        """The steps that change how many slots each pipeline has, in the plan's order; rule SIZE: that of time too."""
        found: dict[PipelineId, tuple[Resize, ...]] = dict.fromkeys(self.pipelines, ())
        for step in self.plan.steps:
            if isinstance(step, Resize):
                found[step.pipeline] = (*found[step.pipeline], step)
        return found

    def slots_over_time(self, pipeline: PipelineId) -> tuple[tuple[Nanos, int], ...]:
        """From when on a pipeline that is ever open has how many slots, in the plan's order: first when it opens."""
        changes = ((step.at_ns, step.slots) for step in self.resizes[pipeline])
        return ((self.opened_ns[pipeline], self.slots_at_first[pipeline]), *changes)

    def slots_at_end(self, pipeline: PipelineId) -> int:
        """How many slots a pipeline has at last."""
        resizes = self.resizes[pipeline]
        if resizes:
            return resizes[-1].slots
        return self.slots_at_first.get(pipeline, self.pipelines[pipeline].slots)

    def slots_at(self, pipeline: PipelineId, step: StepId) -> int:
        """How many slots a pipeline has after the steps before this one, or would have if it opened."""
        before = [each.slots for each in self.resizes[pipeline] if each.id < step]
        return before[-1] if before else self.slots_at_first.get(pipeline, self.pipelines[pipeline].slots)

    def with_slots(self, pipeline: Pipeline, slots: int) -> Pipeline:
        """Describe a pipeline as it serves with so many slots; its stages set aside as much as ever."""
        return pipeline if slots == pipeline.slots else attrs.evolve(pipeline, slots=slots)

    @cached_property
    def switches(self) -> tuple[Switch, ...]:
        """Every switch in the order of time; among equal instants, in the plan's order."""
        found = (step for step in self.plan.steps if isinstance(step, Switch))
        return tuple(sorted(found, key=lambda step: (step.at_ns, step.id)))

    @cached_property
    def closed_by(self) -> dict[PipelineId, Switch]:
        """The switch that closes each pipeline that does not stay open."""
        found: dict[PipelineId, Switch] = {}
        for switch in self.switches:
            found.setdefault(switch.old, switch)
        return found

    def needs(self, llm: LlmId, stage: Stage) -> tuple[BlobId, ...]:
        """Name the blobs that a stage computes with."""
        key = (llm, stage.first_unit, stage.end_unit)
        if key not in self._needs:
            blobs = self.blobs_of_llm[llm]
            self._needs[key] = blobs_of_units(self.llms[llm], blobs, stage.first_unit, stage.end_unit)
        return self._needs[key]

    def llm_bytes(self, llm: LlmId) -> Bytes:
        """Bytes of all blobs of an LLM, with their padding."""
        return Bytes(sum(blob.bytes for blob in self.blobs_of_llm[llm]))
