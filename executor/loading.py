"""What a node has at the start of a plan: blobs of its checkpoints or of the plan before, small files, the canary."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import torch

from executor.canary import reference
from executor.checkpoint import fill, first_lacking, mapped, read_file
from executor.errors import NoReference, NotHere
from executor.files import Files
from executor.sources import proved_llms, sources_of
from executor.store import Store, segments
from specs.blobs import Blob
from specs.cluster import NodeId, PlaceId, PlaceKind
from specs.llm import Llm, LlmId
from specs.plan import Plan
from specs.problem import Problem
from specs.protocols.nouns import Copy


@attrs.frozen(kw_only=True)
class Before:
    """What the plan before left on this node."""

    store: Store
    files: Files


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
        """Fill the store, the files and the canaries.

        What can be seen at once is refused before anything is read.  Raises BadCheckpoint, NotHere, NoReference,
        OutOfMemory or EngineError when something is not here, or not as planned.
        """
        llms = {llm.id: llm for llm in self.problem.llms}
        blobs = {blob.id: blob for blob in self.plan.blobs}
        for copy in held:
            self._check_here(blobs[copy.blob], copy.place)
        for llm_id, directory in self.checkpoints.items():
            if llm_id in llms:
                files = llms[llm_id].files
                read = {file.digest: await asyncio.to_thread(read_file, directory, file) for file in files}
                self.files.put(llm_id, read)
        if self.before is not None:
            self.files.keep(self.before.files)
        proved, sources = proved_llms(self.plan), sources_of(self.problem, self.plan)
        wanted = [
            llm for llm in llms.values() if llm.id in proved and self.node in sources[llm.id] and not self._knows(llm)
        ]
        for llm in wanted:
            self._check_reference(llm, held)
        for copy in held:
            blob = blobs[copy.blob]
            await self._load_blob(llms[blob.llm], blob, copy.place)
        for llm in wanted:
            await self._find_canary(llm, held)

    def _knows(self, llm: Llm) -> bool:
        return self.files.knows(llm.id)

    # --- blobs ---------------------------------------------------------------------------------------------------

    def _check_here(self, blob: Blob, place: PlaceId) -> None:
        if blob.llm in self.checkpoints or (self.before is not None and self.before.store.holds(blob.id, place)):
            return
        raise NotHere(f"the plan says that {place} holds {blob.id}, but it does not, and no checkpoint was given")

    async def _load_blob(self, llm: Llm, blob: Blob, place: PlaceId) -> None:
        """Take a blob over from the plan before, which costs no memory, or read it from the checkpoint."""
        if self.before is not None:
            same = await asyncio.to_thread(self.before.store.has_bytes, blob, place, segments(llm, blob))
            if same and self.store.inherit(self.before.store, blob, place):
                return
        directory = self.checkpoints.get(llm.id)
        if directory is None:
            raise NotHere(f"the plan says that {place} holds {blob.id}, but what it holds are other bytes")
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
