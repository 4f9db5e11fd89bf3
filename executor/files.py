"""The small files and the canary of each LLM: what every node needs besides blobs.

The LLM's sources (`executor.sources`) have them; the others ask, again and again, until they have come.  Files are
checked against the digests in the problem before they are written, so anybody may give them: now and then another node
is asked instead of a source.  A canary comes from a source alone, since nothing but its sender speaks for it.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path

from executor.checkpoint import check_file
from executor.errors import BadCheckpoint, MalformedFrame
from executor.pipelines.leader import Canary
from executor.pipelines.post import Post
from executor.sources import proved_llms, sources_of
from executor.traffic import AskCanary, AskFile, CanaryIs, FileIs
from specs.cluster import NodeId
from specs.llm import File, Llm, LlmId
from specs.plan import Plan
from specs.problem import Problem
from specs.units import NANOS_PER_SECOND

# A holder that reads a checkpoint before it can answer takes a while; a canary is computed after that.
ASK_AGAIN_NS = 2 * NANOS_PER_SECOND


class Files:
    """Configuration, tokenizer and canary of the LLMs of one plan, on one node.

    `before` has those of the plan before.  LLMs that are the same to the last tensor go on where they are there: what
    is known is known here, and who waits for it there is answered from here.
    """

    def __init__(
        self, problem: Problem, plan: Plan, node: NodeId, directory: Path, post: Post, before: "Files | None" = None
    ) -> None:
        self._llms = {llm.id: llm for llm in problem.llms}
        self._tokens_max = {workload.llm: workload.request_tokens_max for workload in problem.workloads}
        self._directory = directory
        self._post = post
        self._missing: dict[LlmId, dict[str, list[File]]] = {}  # by digest: files may be copies of each other
        self._complete: dict[LlmId, asyncio.Event] = {}
        self._asked: dict[LlmId, tuple[NodeId, int]] = {}  # the node asked last, and when
        self._turns: dict[LlmId, int] = {llm.id: 0 for llm in problem.llms}  # how often somebody was asked
        self._canaries: dict[LlmId, asyncio.Future[Canary]] = {}
        self._proved = proved_llms(plan)
        nodes = [each.id for each in problem.cluster.nodes if each.id != node]
        self._sources = {
            llm: [each for each in sources if each != node] for llm, sources in sources_of(problem, plan).items()
        }
        self._others = {llm: [each for each in nodes if each not in sources] for llm, sources in self._sources.items()}
        for llm in problem.llms:
            known = None if before is None else before.known_of(llm)
            if known is None:
                self._look(llm)
            else:
                self._go_on(llm, *known)

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

    def knows(self, llm: LlmId) -> bool:
        """Tell whether the canary of an LLM is known."""
        return self._canaries[llm].done()

    def known_of(self, llm: Llm) -> tuple[dict[str, list[File]], asyncio.Event, asyncio.Future[Canary]] | None:
        """Give what is missing of an LLM, and what says that files and canary are here; None for another LLM."""
        if self._llms.get(llm.id) != llm:
            return None
        return self._missing[llm.id], self._complete[llm.id], self._canaries[llm.id]

    def _go_on(
        self, llm: Llm, missing: dict[str, list[File]], complete: asyncio.Event, canary: asyncio.Future[Canary]
    ) -> None:
        self._missing[llm.id], self._complete[llm.id] = missing, complete
        if canary.done() and _tokens(canary.result()) > self._tokens_max[llm.id]:  # requests have become shorter
            canary = asyncio.get_running_loop().create_future()
        self._canaries[llm.id] = canary

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
        if _tokens(canary) > self._tokens_max[llm]:
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
        """Ask a node that is not lost for what is missing, and another one when no answer has come in a while.

        A node answers an ask whole: asking again too soon would only add copies to a connection that is busy.
        """
        for llm, missing in self._missing.items():
            lacks_canary = llm in self._proved and not self.knows(llm)
            asked, asked_ns = self._asked.get(llm, (None, 0))
            waiting = asked is not None and asked not in lost and now_ns - asked_ns < ASK_AGAIN_NS
            if waiting or not (missing or lacks_canary):
                continue
            node = self._whom(llm, lost)
            if node is None:
                continue
            self._asked[llm] = node, now_ns
            self._turns[llm] += 1
            for digest in missing:
                self._post.send(node, AskFile(llm=llm, digest=digest))
            if lacks_canary and node in self._sources[llm]:
                self._post.send(node, AskCanary(llm=llm))

    def _whom(self, llm: LlmId, lost: frozenset[NodeId]) -> NodeId | None:
        """Choose a source in turn; for files every third time, or when no source is left, another node in turn."""
        sources = [node for node in self._sources[llm] if node not in lost]
        others = [node for node in self._others[llm] if node not in lost] if self._missing[llm] else []
        turn = self._turns[llm]
        thirds, rest = divmod(turn, 3)
        if others and (rest == 2 or not sources):
            return others[thirds % len(others)]
        return sources[(turn - thirds if others else turn) % len(sources)] if sources else None

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


def _tokens(canary: Canary) -> int:
    return len(canary.prompt) + len(canary.tokens)
