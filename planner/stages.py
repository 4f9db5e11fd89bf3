"""Sizing: the memory and the time that stages of a pipeline take at a place."""

import attrs

from specs.blobs import Blob
from specs.cluster import Place, PlaceId, PlaceKind
from specs.llm import Llm
from specs.plan import Pipeline, PipelineId, Stage
from specs.problem import Problem
from specs.timing import device_rate, kv_bytes, stage_ns, workspace_bytes
from specs.units import Bytes, Nanos, Tokens, ceil_div
from specs.workload import Workload

# Tokens of one iteration, at most: long prompts are computed in pieces, so that they delay the decoding of others
# by a bounded time.
ITERATION_TOKENS_MAX = 512


@attrs.frozen(kw_only=True)
class Sizes:
    """What pipelines of one LLM need, by units and place."""

    problem: Problem
    llm: Llm
    workload: Workload

    @classmethod
    def of(cls, problem: Problem, llm: Llm) -> "Sizes":
        """Size the pipelines of this LLM for its workload."""
        return cls(problem=problem, llm=llm, workload=problem.workload(llm.id))

    @property
    def kv_tokens(self) -> int:
        """Tokens whose KV a full pipeline holds."""
        return self.workload.live_requests_max * self.workload.request_tokens_max

    @property
    def iteration_tokens_max(self) -> Tokens:
        """Tokens of one iteration of all requests together."""
        return Tokens(max(self.workload.live_requests_max, min(ITERATION_TOKENS_MAX, self.kv_tokens)))

    def stage(self, place: PlaceId, first_unit: int, end_unit: int) -> Stage:
        """Make a stage with the memory that the workload needs."""
        slots = self.workload.live_requests_max
        return Stage(
            place=place,
            first_unit=first_unit,
            end_unit=end_unit,
            kv_bytes=kv_bytes(self.llm, first_unit, end_unit, self.kv_tokens),
            workspace_bytes=workspace_bytes(self.llm, end_unit, slots, self.iteration_tokens_max),
        )

    def pipeline(self, name: str, stages: tuple[Stage, ...]) -> Pipeline:
        """Make a pipeline for the workload's limits."""
        return Pipeline(
            id=PipelineId(name),
            llm=self.llm.id,
            stages=stages,
            slots=self.workload.live_requests_max,
            request_tokens_max=self.workload.request_tokens_max,
            iteration_tokens_max=self.iteration_tokens_max,
        )

    def local(self, place: PlaceId) -> Pipeline:
        """Make the pipeline that serves the LLM on one place alone."""
        return self.pipeline(f"{self.llm.id}@{place}", (self.stage(place, 0, len(self.llm.units)),))

    def unit_ns(self, place: Place) -> tuple[Nanos, ...]:
        """Time of each unit on a device in a full decode iteration at the mean context."""
        rate = device_rate(self.problem, place, self.llm.dtype)
        slots = self.workload.live_requests_max
        context = slots * (self.workload.prompt_tokens_mean + ceil_div(self.workload.output_tokens_mean, 2))
        return tuple(
            stage_ns(rate, self.llm, self.stage(place.id, unit, unit + 1), Tokens(slots), Tokens(context))
            for unit in range(len(self.llm.units))
        )

    def bytes_of(self, pipeline: Pipeline, place: PlaceId) -> Bytes:
        """Memory that a pipeline takes at a place besides its blobs."""
        return Bytes(sum(stage.kv_bytes + stage.workspace_bytes for stage in pipeline.stages if stage.place == place))


def blob_bytes(blobs: tuple[Blob, ...]) -> Bytes:
    """Sum of the blobs."""
    return Bytes(sum(blob.bytes for blob in blobs))


def devices(problem: Problem) -> dict[PlaceId, Place]:
    """Index the places that compute."""
    return {place.id: place for place in problem.cluster.places if place.kind is PlaceKind.DEVICE}
