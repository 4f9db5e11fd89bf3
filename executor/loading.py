"""What a node has at the start of a plan: blobs of the plan before or of its checkpoints, small files, the canary.

What the plan before left in memory was checked when it came, so it is taken over by the digests of its tensors, and not
read again.  Blobs may be cut otherwise than before: one that is the same run of tensors stays where it is; one whose
tensors are all here, in whatever blobs, is put together from them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from pathlib import Path

import attrs
import torch

from executor.canary import reference
from executor.checkpoint import fill, first_lacking, mapped, read_file
from executor.errors import NoReference, NotHere
from executor.files import Files
from executor.senders import Senders
from executor.sources import proved_llms, sources_of
from executor.store import Store, segments
from executor.transport.interface import Peer, Segment
from specs.blobs import Blob, BlobId
from specs.checker import VerifiedPlan
from specs.cluster import NodeId, PlaceId, PlaceKind
from specs.llm import Llm, LlmId
from specs.plan import Plan
from specs.problem import Problem
from specs.protocols.nouns import Copy, NodePlan


@attrs.frozen(kw_only=True)
class Loaded:
    """A plan that this node can carry out from where it is: what the plan says that it holds is held, in `store`."""

    verified: VerifiedPlan
    digest: str
    node_plan: NodePlan
    peers: Mapping[NodeId, Peer]  # where each node of the cluster listens, this one too
    devices: Mapping[PlaceId, torch.device]  # of all memories of this node
    store: Store
    files: Files
    senders: Senders


@attrs.frozen(kw_only=True, slots=False)
class Before:
    """The plan before and what it left on this node."""

    problem: Problem
    plan: Plan
    store: Store

    @cached_property
    def blobs(self) -> Mapping[tuple[Segment, ...], BlobId]:
        """Find a blob by its bytes."""
        return {cut: blob.id for blob, cut in self._cuts}

    @cached_property
    def tensors(self) -> Mapping[str, tuple[tuple[BlobId, Segment], ...]]:
        """Find where the tensors with a digest lie in the plan's blobs."""
        found: dict[str, tuple[tuple[BlobId, Segment], ...]] = {}
        for blob, cut in self._cuts:
            for segment in cut:
                found[segment.blake3_hex] = (*found.get(segment.blake3_hex, ()), (blob.id, segment))
        return found

    @cached_property
    def _cuts(self) -> list[tuple[Blob, tuple[Segment, ...]]]:
        llms = {llm.id: llm for llm in self.problem.llms}
        return [(blob, segments(llms[blob.llm], blob)) for blob in self.plan.blobs]

    def same(self, wanted: tuple[Segment, ...], place: PlaceId) -> BlobId | None:
        """Name the blob that is these bytes, if it is resident at a place."""
        blob = self.blobs.get(wanted)
        return blob if blob is not None and self.store.holds(blob, place) else None

    def parts(self, wanted: tuple[Segment, ...], place: PlaceId) -> list[memoryview] | None:
        """View the bytes of each segment where they are resident at a place; None when one of them is not."""
        found = []
        for segment in wanted:
            for blob, lies in self.tensors.get(segment.blake3_hex, ()):
                if lies.size_bytes == segment.size_bytes and self.store.holds(blob, place):
                    begin = lies.offset_bytes
                    found.append(self.store.contents(blob, place)[begin : begin + lies.size_bytes])
                    break
            else:
                return None
        return found


@attrs.frozen(kw_only=True)
class Loading:
    """Brings a node to where a plan says that it begins."""

    node: NodeId
    problem: Problem
    plan: Plan
    checkpoints: Mapping[LlmId, Path]
    files: Files
    store: Store
    before: Before | None

    async def load(self, held: Sequence[Copy]) -> None:
        """Fill the store, the files and the canaries; where it fails, the store is left empty.

        What can be seen at once is refused before anything is read.  Raises BadCheckpoint, NotHere, NoReference,
        OutOfMemory or EngineError when something is not here, or not as planned.
        """
        try:
            await self._load(held)
        except BaseException:
            self.store.clear()
            raise

    async def _load(self, held: Sequence[Copy]) -> None:
        llms = {llm.id: llm for llm in self.problem.llms}
        blobs = {blob.id: blob for blob in self.plan.blobs}
        cuts = await asyncio.to_thread(self._cuts, {copy.blob for copy in held})
        for copy in held:
            self._check_here(blobs[copy.blob], copy.place, cuts[copy.blob])
        for llm_id, directory in self.checkpoints.items():
            if llm_id in llms:
                files = llms[llm_id].files
                read = {file.digest: await asyncio.to_thread(read_file, directory, file) for file in files}
                self.files.put(llm_id, read)
        proved, sources = proved_llms(self.plan), sources_of(self.problem, self.plan)
        wanted = [
            llm for llm in llms.values() if llm.id in proved and self.node in sources[llm.id] and not self._knows(llm)
        ]
        for llm in wanted:
            self._check_reference(llm, held)
        for copy in held:
            blob = blobs[copy.blob]
            await self._load_blob(llms[blob.llm], blob, copy.place, cuts[copy.blob])
        for llm in wanted:
            await self._find_canary(llm, held)

    def _knows(self, llm: Llm) -> bool:
        return self.files.knows(llm.id)

    # --- blobs ---------------------------------------------------------------------------------------------------

    def _cuts(self, names: AbstractSet[BlobId]) -> dict[BlobId, tuple[Segment, ...]]:
        """List the tensors of blobs, and of those of the plan before; for large LLMs this takes a while."""
        if self.before is not None:
            _ = self.before.blobs, self.before.tensors
        return {blob.id: segments(self.problem.llm(blob.llm), blob) for blob in self.plan.blobs if blob.id in names}

    def _check_here(self, blob: Blob, place: PlaceId, wanted: tuple[Segment, ...]) -> None:
        before = self.before
        if before is not None and (before.same(wanted, place) or before.parts(wanted, place) is not None):
            return
        if blob.llm not in self.checkpoints:
            raise NotHere(f"the plan says that {place} holds {blob.id}, but it does not, and no checkpoint was given")

    async def _load_blob(self, llm: Llm, blob: Blob, place: PlaceId, wanted: tuple[Segment, ...]) -> None:
        """Take a blob over from the plan before, which costs no memory where it can stay, or read the checkpoint."""
        before = self.before
        if before is not None:
            if (same := before.same(wanted, place)) is not None:
                self.store.share(before.store, same, blob, place)
                return
            if (parts := before.parts(wanted, place)) is not None:
                memory = self.store.reserve(blob, place)
                await asyncio.to_thread(_put_together, memory, wanted, parts)
                self.store.hold(blob, place)
                return
        directory = self.checkpoints.get(llm.id)
        if directory is None:
            raise NotHere(f"the plan says that {place} holds {blob.id}, but it does so no more")
        await asyncio.to_thread(fill, directory, llm, blob, self.store.reserve(blob, place))
        self.store.hold(blob, place)

    # --- the canary ----------------------------------------------------------------------------------------------

    def _check_reference(self, llm: Llm, held: Sequence[Copy]) -> None:
        """Raise NoReference where this node, which others would ask, can have no canary."""
        here = {copy.blob for copy in held}
        directory = self.checkpoints.get(llm.id)
        why = None
        if not self.files.has_files(llm.id):
            why = "lacks some of its small files"
        elif here.issuperset(blob.id for blob in self._blobs(llm)):
            return
        elif directory is None:
            why = "holds only a part of it, as does every node that holds any, and was given no checkpoint of it"
        elif (lacking := first_lacking(directory, llm)) is not None:
            why = f"holds only a part of it, as does every node that holds any, and {directory} has no tensor {lacking}"
        if why is not None:
            raise NoReference(
                f"no pipeline of {llm.id} could be proved: {self.node} is to say which tokens are right, but knows "
                f"none from a plan before, {why}"
            )

    async def _find_canary(self, llm: Llm, held: Sequence[Copy]) -> None:
        """Compute the canary: on a device that holds the whole LLM, or else on the CPU, wherever the weights are."""
        places = {blob.id: [copy.place for copy in held if copy.blob == blob.id] for blob in self._blobs(llm)}
        devices = {place.id for place in self.problem.cluster.places if place.kind is PlaceKind.DEVICE}
        whole = sorted(devices.intersection(*map(set, places.values())))
        tensors: list[Mapping[str, torch.Tensor]] = []
        for blob in self._blobs(llm):
            if whole:
                tensors.append(self.store.tensors(llm, blob, whole[0]))
            elif places[blob.id]:
                tensors.append(self.store.tensors(llm, blob, places[blob.id][0], on_host=True))
            else:
                tensors.append(await asyncio.to_thread(mapped, self.checkpoints[llm.id], llm, blob))
        tokens_max = self.problem.workload(llm.id).request_tokens_max
        canary = await asyncio.to_thread(reference, self.files.directory(llm.id), llm, tensors, tokens_max)
        self.files.set_canary(llm.id, canary)

    def _blobs(self, llm: Llm) -> list[Blob]:
        return [blob for blob in self.plan.blobs if blob.llm == llm.id]


def _put_together(memory: memoryview, wanted: Sequence[Segment], parts: Sequence[memoryview]) -> None:
    for segment, part in zip(wanted, parts, strict=True):
        memory[segment.offset_bytes : segment.offset_bytes + segment.size_bytes] = part
