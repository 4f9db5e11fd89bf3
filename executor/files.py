"""The small files and the canary of each LLM: what every node needs besides blobs.

A node that holds the checkpoint has them; the others ask it, again and again, until they have come.  Files are checked
against the digests in the problem before they are written.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path

from executor.checkpoint import check_file
from executor.errors import BadCheckpoint, MalformedFrame
from executor.pipelines.leader import Canary
from executor.pipelines.post import Post
from executor.traffic import AskCanary, AskFile, CanaryIs, FileIs
from specs.cluster import NodeId
from specs.llm import File, Llm, LlmId
from specs.problem import Problem
from specs.units import NANOS_PER_SECOND

# A holder that reads a checkpoint before it can answer takes a while; a canary is computed after that.
ASK_AGAIN_NS = 2 * NANOS_PER_SECOND


class Files:
    """Configuration, tokenizer and canary of the LLMs of one problem, on one node."""

    def __init__(self, problem: Problem, directory: Path, post: Post) -> None:
        self._llms = {llm.id: llm for llm in problem.llms}
        self._tokens_max = {workload.llm: workload.request_tokens_max for workload in problem.workloads}
        self._directory = directory
        self._post = post
        self._missing: dict[LlmId, dict[str, list[File]]] = {}  # by digest: files may be copies of each other
        self._complete: dict[LlmId, asyncio.Event] = {}
        self._asked: dict[LlmId, tuple[NodeId, int]] = {}  # the holder asked last, and when
        self._canaries: dict[LlmId, asyncio.Future[Canary]] = {}
        node_of = {place.id: place.node for place in problem.cluster.places}
        self._holders: dict[LlmId, list[NodeId]] = {llm.id: [] for llm in problem.llms}
        for holding in problem.holdings:
            node = node_of[holding.place]
            if node is not None and node not in self._holders[holding.llm]:
                self._holders[holding.llm].append(node)
        for llm in problem.llms:
            self._look(llm)

    def directory(self, llm: LlmId) -> Path:
        """Name the directory of an LLM's files on this node."""
        return self._directory / hashlib.sha256(llm.encode()).hexdigest()[:16]

    def has_files(self, llm: LlmId) -> bool:
        """Tell whether all files of an LLM are here."""
        return self._complete[llm].is_set()

    async def wait_for_files(self, llm: LlmId) -> Path:
        """Wait until all files of an LLM are here; give their directory."""
        await self._complete[llm].wait()
        return self.directory(llm)

    async def wait_for_canary(self, llm: LlmId) -> Canary:
        """Wait until the canary of an LLM is known."""
        return await asyncio.shield(self._canaries[llm])

    def set_canary(self, llm: LlmId, canary: Canary) -> None:
        """Learn the canary of an LLM; the first one stays, and one of an unknown LLM is nothing to us.

        Raises MalformedFrame for one that no pipeline of the LLM could be asked.
        """
        known = self._canaries.get(llm)
        if known is None or known.done():
            return
        vocabulary = self._llms[llm].vocabulary_size
        if max(*canary.prompt, *canary.tokens) >= vocabulary:
            raise MalformedFrame(f"a canary of {llm} with a token beyond the {vocabulary} that it knows")
        if len(canary.prompt) + len(canary.tokens) > self._tokens_max[llm]:
            raise MalformedFrame(f"a canary of {llm} that is longer than the {self._tokens_max[llm]} of a request")
        known.set_result(canary)

    def put(self, llm: LlmId, contents: Mapping[str, bytes]) -> None:
        """Take files, by digest, from this node's own checkpoint or from a peer.  Raises BadCheckpoint."""
        for digest, content in contents.items():
            wanted = self._missing[llm].get(digest)
            if wanted is None:
                continue
            check_file(content, wanted[0], f"{wanted[0].name} of {llm}")
            for file in wanted:
                (self.directory(llm) / file.name).write_bytes(content)
            del self._missing[llm][digest]
        if not self._missing[llm]:
            self._complete[llm].set()

    def put_answer(self, answer: FileIs, content: bytes) -> None:
        """Take a peer's answer.  Raises MalformedFrame for a file that is not the one that was asked for."""
        if answer.llm in self._missing:
            try:
                self.put(answer.llm, {answer.digest: content})
            except BadCheckpoint as error:
                raise MalformedFrame(str(error)) from error

    def ask(self, lost: frozenset[NodeId], now_ns: int) -> None:
        """Ask a holder that is not lost for what is missing, and another one when no answer has come in a while.

        A holder answers an ask whole: asking again too soon would only add copies to a connection that is busy.
        """
        for llm, holders in self._holders.items():
            live = [holder for holder in holders if holder not in lost]
            asked, asked_ns = self._asked.get(llm, (None, 0))
            if not live or (asked in live and now_ns - asked_ns < ASK_AGAIN_NS):
                continue
            holder = live[(live.index(asked) + 1) % len(live)] if asked in live else live[0]
            if self._missing[llm] or not self._canaries[llm].done():
                self._asked[llm] = holder, now_ns
            for digest in self._missing[llm]:
                self._post.send(holder, AskFile(llm=llm, digest=digest))
            if not self._canaries[llm].done():
                self._post.send(holder, AskCanary(llm=llm))

    def disconnected(self, peer: NodeId) -> None:
        """Learn that messages to or from a peer were lost: what it was asked for is asked for anew."""
        self._asked = {llm: asked for llm, asked in self._asked.items() if asked[0] != peer}

    def answer_file(self, peer: NodeId, ask: AskFile) -> None:
        """Send a file that this node has; no answer when it has not."""
        llm = self._llms.get(ask.llm)
        file = next((each for each in llm.files if each.digest == ask.digest), None) if llm else None
        if llm is not None and file is not None and file.digest not in self._missing[llm.id]:
            content = (self.directory(llm.id) / file.name).read_bytes()
            self._post.send(peer, FileIs(llm=llm.id, digest=file.digest), content)

    def answer_canary(self, peer: NodeId, ask: AskCanary) -> None:
        """Send a canary that this node knows."""
        known = self._canaries.get(ask.llm)
        if known is not None and known.done():
            canary = known.result()
            self._post.send(peer, CanaryIs(llm=ask.llm, prompt=canary.prompt, tokens=canary.tokens))

    def _look(self, llm: Llm) -> None:
        """Find out which files are here already, from an earlier plan.  Raises BadCheckpoint for a name with a path."""
        self._complete[llm.id] = asyncio.Event()
        self._canaries[llm.id] = asyncio.get_running_loop().create_future()
        self._missing[llm.id] = {}
        directory = self.directory(llm.id)
        directory.mkdir(parents=True, exist_ok=True)
        for file in llm.files:
            if "/" in file.name:
                raise BadCheckpoint(f"{file.name} of {llm.id} is no plain file name; files lie side by side")
            path = directory / file.name
            try:
                check_file(path.read_bytes(), file, str(path))
            except (OSError, BadCheckpoint):
                self._missing[llm.id].setdefault(file.digest, []).append(file)
        if not self._missing[llm.id]:
            self._complete[llm.id].set()
