"""The stages of this node: built when their blobs are resident, run one iteration at a time, freed.

Each device has a thread that computes, in the order in which iterations come: stages of several pipelines share it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import attrs
import torch

from executor.choices import Chosen
from executor.engine.batch import Batch
from executor.engine.errors import NoRoom
from executor.engine.iteration import Iteration
from executor.engine.request import SamplingParams
from executor.engine.sampler import sample
from executor.engine.skeleton import Skeleton
from executor.engine.stage import Stage
from executor.errors import MalformedFrame, OutOfMemory
from executor.pipelines.post import Post
from executor.pipelines.weights import Weights
from executor.store import DTYPES, Room, Store
from executor.traffic import Forward, Interrupted, ResizeStage, SampledTokens, StageResized, hidden_states, tensor_bytes
from specs.blobs import Blob, blobs_of_units
from specs.cluster import NodeId, PlaceId, PlaceKind
from specs.invariants.facts import Facts
from specs.llm import Llm, LlmId
from specs.plan import Pipeline, PipelineId, Plan
from specs.plan import Stage as PlannedStage
from specs.problem import Problem
from specs.timing import stage_kv_bytes

_log = logging.getLogger(__name__)

T = TypeVar("T")


@attrs.define(kw_only=True, eq=False)
class _Seat:
    """One stage of a pipeline on this node."""

    pipeline: Pipeline
    index: int
    planned: PlannedStage
    stage: Stage
    bytes: int  # of KV and workspace, counted as used in the store
    resize: int = 0  # the number of the latest of the leader's orders
    iteration: int = -1  # the latest that came


@attrs.frozen(kw_only=True)
class _Scene:
    """What one plan says of pipelines and blobs."""

    problem: Problem
    pipelines: Mapping[PipelineId, Pipeline]
    slots: Mapping[PipelineId, int]  # with which pipelines open, or which they have at the start
    blobs: tuple[Blob, ...]
    node_of: Mapping[PlaceId, NodeId | None]
    store: Store

    def rooms(self, llm: Llm, place: PlaceId) -> dict[Blob, Room]:
        """Find the memory of every blob of an LLM that is resident at a place."""
        found = ((blob, self.store.room(blob.id, place)) for blob in self.blobs if blob.llm == llm.id)
        return {blob: room for blob, room in found if room is not None}


class Host:
    """Builds and runs this node's stages, of one plan after the other: the stages of a pipeline that is kept stay.

    `files` gives the directory with an LLM's configuration; `device_of` the torch device of a place.  Nothing can be
    asked before the first plan is adopted.
    """

    def __init__(
        self,
        *,
        node: NodeId,
        files: Callable[[LlmId], Path],
        device_of: Callable[[PlaceId], torch.device],
        post: Post,
    ) -> None:
        self._node = node
        self._files = files
        self._device_of = device_of
        self._post = post
        self._scene: _Scene
        self._seats: dict[tuple[PipelineId, int], _Seat] = {}
        self._weights: dict[tuple[LlmId, PlaceId], Weights] = {}
        self._threads: dict[PlaceId, ThreadPoolExecutor] = {}
        self._building = asyncio.Lock()  # libraries keep tables of their own while they make an LLM

    def adopt(self, problem: Problem, plan: Plan, store: Store) -> None:
        """Serve under this plan from now on.

        Stages of pipelines that it does not name are freed.  The others go on, with the weights where this store has
        them: the same memory, or another copy of the same bytes.
        """
        facts = Facts(problem, plan)
        scene = _Scene(
            problem=problem,
            pipelines=facts.pipelines,
            slots=facts.slots_at_first,
            blobs=plan.blobs,
            node_of={place.id: place.node for place in problem.cluster.places},
            store=store,
        )
        self._scene = scene
        for pipeline in {key[0] for key in self._seats} - scene.pipelines.keys():
            self.free(pipeline)
        for place in problem.cluster.places:
            if place.node == self._node and place.kind is PlaceKind.DEVICE:
                if place.id not in self._threads:
                    self._threads[place.id] = ThreadPoolExecutor(1, thread_name_prefix=f"compute {place.id}")
                held = {llm.id: (llm, scene.rooms(llm, place.id)) for llm in problem.llms}
                self._in_thread(place.id, self._refit, place.id, held)

    def vocabulary_size(self, pipeline: PipelineId) -> int:
        """Count the tokens of a pipeline's LLM."""
        return self._scene.problem.llm(self._scene.pipelines[pipeline].llm).vocabulary_size

    def node_of_stage(self, pipeline: PipelineId, index: int) -> NodeId:
        """Name the node that computes a stage."""
        node = self._scene.node_of[self._scene.pipelines[pipeline].stages[index].place]
        assert node is not None, "devices are on nodes"
        return node

    def leader_of(self, pipeline: PipelineId) -> NodeId:
        """Name the node that leads a pipeline: that of its first stage."""
        return self.node_of_stage(pipeline, 0)

    async def build(self, pipeline: PipelineId) -> None:
        """Make this node's stages of a pipeline ready.  Raises OutOfMemory, UnsupportedLlm or WrongTensor.

        What is ready only after another plan was adopted, which does not name the pipeline, is freed at once.
        """
        scene = self._scene
        planned = scene.pipelines[pipeline]
        llm = scene.problem.llm(planned.llm)
        places = dict.fromkeys(stage.place for stage in planned.stages if scene.node_of[stage.place] == self._node)
        loop = asyncio.get_running_loop()
        try:
            for place in places:
                rooms = scene.rooms(llm, place)
                async with self._building:
                    made = await loop.run_in_executor(
                        self._threads[place], self._build, scene, planned, place, llm, rooms
                    )
                self._seats.update(made)
        except Exception:
            self.free(pipeline)
            raise
        if pipeline not in self._scene.pipelines:
            self.free(pipeline)

    def free(self, pipeline: PipelineId) -> None:
        """Give up this node's stages of a pipeline."""
        for key in [key for key in self._seats if key[0] == pipeline]:
            seat = self._seats.pop(key)
            self._scene.store.give_back(seat.planned.place, seat.bytes)

    async def resize(self, order: ResizeStage) -> None:
        """Make room for the KV of so many slots and say so; where there is none, say nothing: it is asked for again.

        Raises MalformedFrame for slots that have no addresses, or fewer than have pages.
        """
        key = order.pipeline, order.stage
        seat = self._seats.get(key)
        if seat is None or order.number < seat.resize:
            return
        if order.slots > seat.pipeline.slots:
            raise MalformedFrame(f"{order.slots} slots for {order.pipeline}, which has {seat.pipeline.slots} at most")
        seat.resize = order.number
        place = seat.planned.place
        wanted = _seat_bytes(self._scene.problem.llm(seat.pipeline.llm), seat.pipeline, seat.planned, order.slots)
        if wanted > seat.bytes:
            try:
                self._scene.store.take(place, wanted - seat.bytes, f"stage {order.stage} of {order.pipeline}")
            except OutOfMemory as error:
                _log.info("%s", error)
                return
            seat.bytes = wanted
        tokens = order.slots * seat.pipeline.request_tokens_max
        try:
            await self.in_turn(*key, lambda stage: stage.cache.resize(tokens))
        except NoRoom as error:
            raise MalformedFrame(f"{order.pipeline} cannot have {order.slots} slots yet: {error}") from error
        if self._seats.get(key) is not seat or order.number < seat.resize:
            return
        if wanted < seat.bytes:
            self._scene.store.give_back(place, seat.bytes - wanted)
            seat.bytes = wanted
        answer = StageResized(pipeline=order.pipeline, stage=order.stage, number=order.number)
        self._post.send(self.leader_of(order.pipeline), answer)

    def release(self, blob: Blob, place: PlaceId) -> None:
        """Let go of a blob, so that its memory can be released; no stage that needs it runs."""
        if place in self._threads:
            self._in_thread(place, self._let_go, blob, place)

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
        if forward.iteration <= seat.iteration:  # slots that it frees may be in use again
            self._post.send(self.leader_of(forward.pipeline), Interrupted(pipeline=forward.pipeline))
            raise MalformedFrame(f"iteration {forward.iteration} of {forward.pipeline} after {seat.iteration}")
        inputs = hidden_states(body, batch.tokens, forward.width, seat.stage.skeleton.dtype)
        seat.iteration = forward.iteration
        result = await self._run(seat, batch, inputs, forward.choices())
        if isinstance(result, tuple):
            answer = SampledTokens(pipeline=forward.pipeline, iteration=forward.iteration, tokens=result)
            self._post.send(self.leader_of(forward.pipeline), answer)
        elif result is not None:
            self._pass_on(attrs.evolve(forward, stage=forward.stage + 1, width=result.shape[-1]), result)

    def planned(self, pipeline: PipelineId) -> Pipeline | None:
        """Give a pipeline as the plan has it; None when the plan does not name it."""
        return self._scene.pipelines.get(pipeline)

    def llm_of(self, pipeline: PipelineId) -> Llm:
        """Give the LLM of a pipeline."""
        return self._scene.problem.llm(self._scene.pipelines[pipeline].llm)

    def stage(self, pipeline: PipelineId, index: int) -> Stage | None:
        """Give a stage that computes here."""
        seat = self._seats.get((pipeline, index))
        return None if seat is None else seat.stage

    async def in_turn(self, pipeline: PipelineId, index: int, work: Callable[[Stage], T]) -> T | None:
        """Do something with a stage in its device's thread, between iterations; None when the stage was freed.

        It is done after all that was asked of the device before this was called.
        """
        seat = self._seats.get((pipeline, index))
        if seat is None:
            return None

        def do() -> T | None:
            return work(seat.stage) if self._seats.get((pipeline, index)) is seat else None

        found = await asyncio.get_running_loop().run_in_executor(self._threads[seat.planned.place], do)
        return found if self._seats.get((pipeline, index)) is seat else None

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

        result = await asyncio.get_running_loop().run_in_executor(self._threads[seat.planned.place], compute)
        return result if self._seats.get(key) is seat else None

    def _check_fits(self, forward: Forward, batch: Batch, seat: _Seat) -> None:
        """Raise MalformedFrame for rows or hidden states that are not of this pipeline's shape."""
        pipeline, dtype = seat.pipeline, seat.stage.skeleton.dtype
        width = self._scene.problem.llm(pipeline.llm).hidden_bytes_per_token // dtype.itemsize
        if forward.width != width:
            raise MalformedFrame(f"hidden states of width {forward.width} for {pipeline.id}, whose width is {width}")
        least = 0 if batch.freed else 1
        if not least <= batch.tokens <= pipeline.iteration_tokens_max:
            wanted = f"1 to {pipeline.iteration_tokens_max}"
            raise MalformedFrame(f"an iteration of {batch.tokens} tokens for {pipeline.id}, which takes {wanted}")
        if len({row.slot for row in batch.rows}) < len(batch.rows):
            raise MalformedFrame(f"an iteration for {pipeline.id} names a slot twice")
        for row in batch.rows:
            if row.slot >= pipeline.slots or row.end > pipeline.request_tokens_max:
                raise MalformedFrame(f"slot {row.slot}, position {row.end} of an iteration lie outside {pipeline.id}")
        if any(not 0 <= slot < pipeline.slots for slot in batch.freed):
            raise MalformedFrame(f"an iteration frees the slots {batch.freed}, not all of {pipeline.id}")

    # --- in a device's thread ----------------------------------------------------------------------------------------

    def _in_thread(self, place: PlaceId, work: Callable[..., None], *arguments: object) -> None:
        """Do something that touches weights between two iterations."""
        asyncio.get_running_loop().run_in_executor(self._threads[place], work, *arguments)

    def _refit(self, place: PlaceId, held: Mapping[LlmId, tuple[Llm, Mapping[Blob, Room]]]) -> None:
        """Use tensors where they lie under the plan that was adopted; let go of those that it does not hold."""
        for key in [key for key in self._weights if key[1] == place]:
            weights = self._weights[key]
            if key[0] not in held or held[key[0]][0] != weights.llm:  # no stage of it runs
                del self._weights[key]
                continue
            here: set[int] = set()
            for blob, room in held[key[0]][1].items():
                tensors = range(blob.first_tensor, blob.end_tensor)
                here.update(tensors)
                if not weights.rooms.keys().isdisjoint(tensors):
                    weights.attach(blob, room)
            weights.detach(sorted(weights.rooms.keys() - here))

    def _let_go(self, blob: Blob, place: PlaceId) -> None:
        if (weights := self._weights.get((blob.llm, place))) is not None:
            weights.detach(range(blob.first_tensor, blob.end_tensor))

    def _build(
        self, scene: _Scene, pipeline: Pipeline, place: PlaceId, llm: Llm, rooms: Mapping[Blob, Room]
    ) -> dict[tuple[PipelineId, int], _Seat]:
        made: dict[tuple[PipelineId, int], _Seat] = {}
        try:
            for index, planned in enumerate(pipeline.stages):
                if planned.place == place and (pipeline.id, index) not in self._seats:
                    skeleton = self._skeleton(llm, planned, rooms)
                    made[pipeline.id, index] = _seat(scene, skeleton, pipeline, index)
        except BaseException:
            for seat in made.values():
                scene.store.give_back(seat.planned.place, seat.bytes)
            raise
        return made

    def _skeleton(self, llm: Llm, planned: PlannedStage, rooms: Mapping[Blob, Room]) -> Skeleton:
        """Give the LLM's skeleton at a place, with the blobs attached that the stage needs."""
        key = llm.id, planned.place
        if key not in self._weights:
            device = self._device_of(planned.place)
            skeleton = Skeleton(self._files(llm.id), dtype=DTYPES[llm.dtype], device=device)
            self._weights[key] = Weights(llm, skeleton)
        needed = set(blobs_of_units(llm, tuple(rooms), planned.first_unit, planned.end_unit))
        for blob, room in rooms.items():
            if blob.id in needed:
                self._weights[key].attach(blob, room)
        return self._weights[key].skeleton


def _seat_bytes(llm: Llm, pipeline: Pipeline, planned: PlannedStage, slots: int) -> int:
    """Bytes of KV and workspace that a stage uses while its pipeline has this many slots."""
    return stage_kv_bytes(llm, pipeline, planned, slots) + planned.workspace_bytes


def _seat(scene: _Scene, skeleton: Skeleton, pipeline: Pipeline, index: int) -> _Seat:
    """Make a stage, whose weights are attached.  Raises OutOfMemory."""
    planned, slots = pipeline.stages[index], scene.slots[pipeline.id]
    size = _seat_bytes(scene.problem.llm(pipeline.llm), pipeline, planned, slots)
    scene.store.take(planned.place, size, f"stage {index} of {pipeline.id}")
    try:
        stage = Stage(
            skeleton,
            first_unit=planned.first_unit,
            end_unit=planned.end_unit,
            slots=pipeline.slots,
            context_tokens=pipeline.request_tokens_max,
        )
        stage.cache.resize(slots * pipeline.request_tokens_max)
    except BaseException:
        scene.store.give_back(planned.place, size)
        raise
    assert not stage.missing(), (pipeline.id, index, stage.missing())
    return _Seat(pipeline=pipeline, index=index, planned=planned, stage=stage, bytes=size)
