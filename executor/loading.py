"""What a node has at the start of a plan: blobs of its checkpoints or of the plan before, small files, the canary."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from executor.canary import reference
from executor.checkpoint import fill, read_file
from executor.errors import NotHere
from executor.files import Files
from executor.store import Store, segments
from specs.blobs import Blob
from specs.cluster import PlaceId, PlaceKind
from specs.llm import Llm, LlmId
from specs.plan import Plan
from specs.problem import Problem
from specs.protocols.nouns import Copy


@attrs.frozen(kw_only=True)
class Loading:
    """Brings a node to where a plan says that it begins."""

    problem: Problem
    plan: Plan
    checkpoints: Mapping[LlmId, Path]
    files: Files
    store: Store
    previous: Store | None  # of the plan before

    async def load(self, held: Sequence[Copy]) -> None:
        """Fill the store, the files and the canaries.

        Raises BadCheckpoint, NotHere, OutOfMemory or EngineError when something is not here, or not as planned.
        """
        llms = {llm.id: llm for llm in self.problem.llms}
        blobs = {blob.id: blob for blob in self.plan.blobs}
        for llm_id, directory in self.checkpoints.items():
            if llm_id in llms:
                files = llms[llm_id].files
                read = {file.digest: await asyncio.to_thread(read_file, directory, file) for file in files}
                self.files.put(llm_id, read)
        for copy in held:
            blob = blobs[copy.blob]
            await self._load_blob(llms[blob.llm], blob, copy.place)
        for llm in llms.values():
            await self._find_canary(llm, sorted({copy.place for copy in held if blobs[copy.blob].llm == llm.id}))

    async def _load_blob(self, llm: Llm, blob: Blob, place: PlaceId) -> None:
        memory = self.store.reserve(blob, place)
        directory = self.checkpoints.get(llm.id)
        if directory is not None:
            await asyncio.to_thread(fill, directory, llm, blob, memory)
        elif self.previous is None or not self.previous.copy_to(blob, place, segments(llm, blob), memory):
            raise NotHere(f"the plan says that {place} holds {blob.id}, but it does not, and no checkpoint was given")
        self.store.hold(blob, place)

    async def _find_canary(self, llm: Llm, places: Sequence[PlaceId]) -> None:
        """Compute the canary where the whole LLM is on a device here."""
        kinds = {place.id: place.kind for place in self.problem.cluster.places}
        computing = [place for place in places if kinds[place] is PlaceKind.DEVICE]
        if computing and self.files.has_files(llm.id):
            tensors = [self.store.tensors(llm, blob, computing[0]) for blob in self.plan.blobs if blob.llm == llm.id]
            tokens_max = self.problem.workload(llm.id).request_tokens_max
            canary = await asyncio.to_thread(reference, self.files.directory(llm.id), llm, tensors, tokens_max)
            self.files.set_canary(llm.id, canary)
