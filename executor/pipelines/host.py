"""The stages of this node: built when their blobs are resident, run one iteration at a time, freed.

Each device has a thread that computes, in the order in which iterations come: stages of several pipelines share it.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import torch

from executor.engine.batch import Batch
from executor.engine.batcher import Iteration
from executor.engine.request import SamplingParams
from executor.engine.sampler import sample
from executor.engine.skeleton import Skeleton
from executor.engine.stage import Stage
from executor.errors import MalformedFrame
from executor.pipelines.post import Post
from executor.store import DTYPES, Store
from executor.traffic import Chosen, Forward, SampledTokens, hidden_states, tensor_bytes
from specs.blobs import Blob, BlobId, blobs_of_units
from specs.cluster import NodeId, PlaceId, PlaceKind
from specs.llm import LlmId
from specs.plan import Pipeline, PipelineId, Plan
from specs.plan import Stage as PlannedStage
from specs.problem import Problem


@attrs.frozen(kw_only=True)
class _Seat:
    """One stage of a pipeline on this node."""

    pipeline: Pipeline
    index: int
    planned: PlannedStage
    stage: Stage
    bytes: int  # of KV and workspace, counted as used in the store


class Host:
    """Builds and runs the stages of one plan on one node.

    `files` gives the directory with an LLM's configuration; `device_of` the torch device of a place.
    """

    def __init__(
        self,
        *,
        problem: Problem,
        plan: Plan,
        node: NodeId,
        store: Store,
        files: Callable[[LlmId], Path],
        device_of: Callable[[PlaceId], torch.device],
        post: Post,
    ) -> None:
        self._problem = problem
        self._node = node
        self._store = store
        self._files = files
        self._device_of = device_of
        self._post = post
        self._node_of = {place.id: place.node for place in problem.cluster.places}
        self._pipelines = {pipeline.id: pipeline for pipeline in plan.pipelines}
        self._blobs = plan.blobs
        self._llm_of = {each.id: each.llm for each in plan.blobs}
        self._seats: dict[tuple[PipelineId, int], _Seat] = {}
        self._skeletons: dict[tuple[LlmId, PlaceId], Skeleton] = {}
        self._attached: set[tuple[BlobId, PlaceId]] = set()
        self._threads = {
            place.id: ThreadPoolExecutor(1, thread_name_prefix=f"compute {place.id}")
            for place in problem.cluster.places
            if place.node == node and place.kind is PlaceKind.DEVICE
        }
        self._building = asyncio.Lock()  # libraries keep tables of their own while they make an LLM

    def vocabulary_size(self, pipeline: PipelineId) -> int:
        """Count the tokens of a pipeline's LLM."""
        return self._problem.llm(self._pipelines[pipeline].llm).vocabulary_size

    def node_of_stage(self, pipeline: PipelineId, index: int) -> NodeId:
        """Name the node that computes a stage."""
        node = self._node_of[self._pipelines[pipeline].stages[index].place]
        assert node is not None, "devices are on nodes"
        return node

    def leader_of(self, pipeline: PipelineId) -> NodeId:
        """Name the node that leads a pipeline: that of its first stage."""
        return self.node_of_stage(pipeline, 0)

    async def build(self, pipeline: PipelineId) -> None:
        """Make this node's stages of a pipeline ready.  Raises OutOfMemory, UnsupportedLlm or WrongTensor."""
        planned = self._pipelines[pipeline]
        places = dict.fromkeys(stage.place for stage in planned.stages if self._node_of[stage.place] == self._node)
        loop = asyncio.get_running_loop()
        try:
            for place in places:
                async with self._building:
                    await loop.run_in_executor(self._threads[place], self._build, planned, place)
        except Exception:
            self.free(pipeline)
            raise

    def free(self, pipeline: PipelineId) -> None:
        """Give up this node's stages of a pipeline."""
        for key in [key for key in self._seats if key[0] == pipeline]:
            seat = self._seats.pop(key)
            self._store.give_back(seat.planned.place, seat.bytes)

    def release(self, blob: Blob, place: PlaceId) -> None:
        """Forget the weights of an LLM at a place, so that a blob's memory can be released; none of its stages runs."""
        self._skeletons.pop((blob.llm, place), None)
        self._attached = {(held, at) for held, at in self._attached if at != place or self._llm_of[held] != blob.llm}

    async def start(self, pipeline: PipelineId, iteration: Iteration) -> tuple[Chosen, ...] | None:
        """Run an iteration through the first stage; give its tokens when that is also the last, else send it on."""
        seat = self._seats.get((pipeline, 0))
        if seat is None:
            return None
        tokens = torch.tensor(iteration.tokens, dtype=torch.long)
        wanted = iteration.sampled
        choices = [entry.sampling for entry in wanted], [entry.index for entry in wanted]
        result = await self._run(seat, iteration.batch, tokens, choices)
        if isinstance(result, tuple):
            return result
        if result is not None:
            self._pass_on(Forward.of(pipeline, 1, iteration, result.shape[-1]), result)
        return None

    async def carry_on(self, forward: Forward, body: memoryview) -> None:
        """Run an iteration through a later stage; send its result to the next, or its tokens to the leader.

        Raises MalformedFrame when the iteration does not fit the stage.
        """
        seat = self._seats.get((forward.pipeline, forward.stage))
        if seat is None:
            return
        batch = forward.batch()
        self._check_fits(forward, batch, seat)
        inputs = hidden_states(body, batch.tokens, forward.width, seat.stage.skeleton.dtype)
        result = await self._run(seat, batch, inputs, forward.choices())
        if isinstance(result, tuple):
            answer = SampledTokens(pipeline=forward.pipeline, iteration=forward.iteration, tokens=result)
            self._post.send(self.leader_of(forward.pipeline), answer)
        elif result is not None:
            self._pass_on(attrs.evolve(forward, stage=forward.stage + 1, width=result.shape[-1]), result)

    async def close(self) -> None:
        """Free everything and end the threads."""
        for pipeline in {key[0] for key in self._seats}:
            self.free(pipeline)
        for thread in self._threads.values():
            await asyncio.to_thread(thread.shutdown)

    def _pass_on(self, forward: Forward, hidden: torch.Tensor) -> None:
        self._post.send(self.node_of_stage(forward.pipeline, forward.stage), forward, tensor_bytes(hidden))

    async def _run(
        self,
        seat: _Seat,
        batch: Batch,
        inputs: torch.Tensor,
        choices: tuple[list[SamplingParams], list[int]],
    ) -> torch.Tensor | tuple[Chosen, ...] | None:
        """Compute in the device's thread; None when the stage was freed in the meantime."""
        key = (seat.pipeline.id, seat.index)

        def compute() -> torch.Tensor | tuple[Chosen, ...] | None:
            if self._seats.get(key) is not seat:
                return None
            result = seat.stage.run(batch, inputs)
            if not seat.stage.has_head:
                return result
            return tuple(Chosen.of(each) for each in sample(result, *choices))

        return await asyncio.get_running_loop().run_in_executor(self._threads[seat.planned.place], compute)

    def _check_fits(self, forward: Forward, batch: Batch, seat: _Seat) -> None:
        """Raise MalformedFrame for rows or hidden states that are not of this pipeline's shape."""
        pipeline, dtype = seat.pipeline, seat.stage.skeleton.dtype
        width = self._problem.llm(pipeline.llm).hidden_bytes_per_token // dtype.itemsize
        if forward.width != width:
            raise MalformedFrame(f"hidden states of width {forward.width} for {pipeline.id}, whose width is {width}")
        if not 0 < batch.tokens <= pipeline.iteration_tokens_max:
            wanted = f"1 to {pipeline.iteration_tokens_max}"
            raise MalformedFrame(f"an iteration of {batch.tokens} tokens for {pipeline.id}, which takes {wanted}")
        if len({row.slot for row in batch.rows}) < len(batch.rows):
            raise MalformedFrame(f"an iteration for {pipeline.id} names a slot twice")
        for row in batch.rows:
            if row.slot >= pipeline.slots or row.end > pipeline.request_tokens_max:
                raise MalformedFrame(f"slot {row.slot}, position {row.end} of an iteration lie outside {pipeline.id}")

    def _build(self, pipeline: Pipeline, place: PlaceId) -> None:
        made: dict[tuple[PipelineId, int], _Seat] = {}
        try:
            for index, planned in enumerate(pipeline.stages):
                if planned.place == place and (pipeline.id, index) not in self._seats:
                    made[pipeline.id, index] = self._seat(pipeline, index, planned)
        except BaseException:
            for seat in made.values():
                self._store.give_back(seat.planned.place, seat.bytes)
            raise
        self._seats.update(made)

    def _seat(self, pipeline: Pipeline, index: int, planned: PlannedStage) -> _Seat:
        skeleton = self._skeleton(pipeline.llm, planned)
        size = planned.kv_bytes + planned.workspace_bytes
        self._store.take(planned.place, size, f"stage {index} of {pipeline.id}")
        try:
            stage = Stage(
                skeleton,
                first_unit=planned.first_unit,
                end_unit=planned.end_unit,
                slots=pipeline.slots,
                context_tokens=pipeline.request_tokens_max,
            )
        except BaseException:
            self._store.give_back(planned.place, size)
            raise
        assert not stage.missing(), (pipeline.id, index, stage.missing())
        return _Seat(pipeline=pipeline, index=index, planned=planned, stage=stage, bytes=size)

    def _skeleton(self, llm_id: LlmId, planned: PlannedStage) -> Skeleton:
        """Give the LLM's skeleton at a place, with the blobs attached that the stage needs."""
        llm = self._problem.llm(llm_id)
        place = planned.place
        skeleton = self._skeletons.get((llm_id, place))
        if skeleton is None:
            skeleton = Skeleton(self._files(llm_id), dtype=DTYPES[llm.dtype], device=self._device_of(place))
            self._skeletons[llm_id, place] = skeleton
        needed = set(blobs_of_units(llm, self._blobs, planned.first_unit, planned.end_unit))
        for blob in self._blobs:
            if blob.id in needed and (blob.id, place) not in self._attached:
                skeleton.attach(self._store.tensors(llm, blob, place))
                self._attached.add((blob.id, place))
        return skeleton
