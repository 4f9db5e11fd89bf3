"""The daemon: one node's HTTP face before it, the run of one plan behind it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry

from executor import admission
from executor.agreement import Agreement, Taken
from executor.api.serving import (
    Adopted,
    Failed,
    Finished,
    GenerationEvent,
    GenerationRequest,
    Health,
    Load,
    Phase,
    Reason,
    Refusal,
    Refused,
    ServedLlm,
    TokenEvent,
)
from executor.engine.request import SamplingParams
from executor.engine.skeleton import end_tokens_of
from executor.journal import Journal
from executor.metrics import NodeMetrics
from executor.pipelines.front import GaveUp
from executor.run import Run, Setting
from executor.shell import Shell
from executor.status import state_of, status_of
from executor.tasks import Tasks
from executor.transport.choosing import TransportKind
from specs import journal
from specs.cluster import NodeId
from specs.llm import LlmId
from specs.state import RunningNode
from specs.units import Nanos, Tokens

_NO_PLAN = "this node has no plan yet"


class Daemon:
    """One life of a node.  Implements `executor.api.serving.Serving`; `close` ends everything.

    `on_given_up` is called when the node is to begin another.
    """

    def __init__(
        self,
        node: NodeId,
        checkpoints: Mapping[LlmId, Path],
        state_directory: Path,
        transport: TransportKind = TransportKind.AUTO,
        on_given_up: Callable[[], None] = lambda: None,
    ) -> None:
        self.node = node
        self.registry = CollectorRegistry()
        self._journal = Journal(state_directory / "journal", node)
        tasks = Tasks()
        setting = Setting(node=node, checkpoints=checkpoints, state_directory=state_directory, transport=transport)
        self._run = Run(setting, self._journal, tasks)
        self._agreement = Agreement(self._run, self._journal, tasks, state_directory)
        self._agreement.on_left = on_given_up
        self._end_tokens: dict[tuple[str, LlmId], frozenset[int]] = {}
        self._metrics = NodeMetrics(self.registry, self._run)

    async def close(self) -> None:
        """Stop carrying out the plan and close the journal."""
        await self._run.stop()
        self._journal.close()

    # --- plans ---------------------------------------------------------------------------------------------------

    async def adopt(self, document: bytes) -> Adopted | Refused:
        """Decode, verify and accept a document; a plan that is refused changes nothing but the journal."""
        match await self._agreement.offer(document):
            case Taken(plan=plan, is_adopted=is_adopted):
                phase = Phase.ADOPTED if is_adopted else Phase.ACCEPTED
                return Adopted(generation=plan.generation, digest=plan.digest, phase=phase)
            case admission.Broken(rejected=rejected):
                return self._refused(Refusal.REJECTED, tuple(str(violation) for violation in rejected.violations))
            case admission.Stale(sentence=sentence):
                return self._refused(Refusal.STALE, (sentence,))
            case admission.NotForUs(sentence=sentence):
                return self._refused(Refusal.WRONG_CLUSTER, (sentence,))
            case admission.Unable(sentences=sentences):
                return self._refused(Refusal.REJECTED, sentences)
            case admission.Malformed(sentence=sentence):
                return self._refused(Refusal.MALFORMED, (sentence,))

    def _refused(self, kind: Refusal, reasons: tuple[str, ...]) -> Refused:
        generation = 0 if self._run.shell is None else self._run.shell.generation
        self._journal.write(generation, journal.Refused(reason=f"{kind}: {reasons[0]}"))
        return Refused(kind=kind, reasons=reasons)

    def document(self) -> bytes | None:
        """Give the document of the plan that is carried out."""
        return self._agreement.document

    def state(self) -> RunningNode:
        """Say what this node holds and leads."""
        return state_of(self._run, self._agreement.generation_max)

    # --- requests ------------------------------------------------------------------------------------------------

    def llms(self) -> tuple[ServedLlm, ...]:
        """Give the LLMs of the plan."""
        if self._run.shell is None:
            return ()
        problem = self._run.shell.verified.problem
        return tuple(
            ServedLlm(
                id=llm.id,
                created_s=self._run.adopted_s,
                context_tokens=Tokens(problem.workload(llm.id).request_tokens_max),
            )
            for llm in problem.llms
        )

    async def tokenizer_directory(self, llm: str) -> Path:
        """Wait until an LLM's small files are here; give their directory."""
        assert self._run.shell is not None, "an LLM of the plan was asked for"
        return await self._run.shell.files.wait_for_files(LlmId(llm))

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """Generate one sequence; waits for a pipeline to open when none is."""
        shell, llm = self._run.shell, LlmId(request.llm)
        if shell is None:
            yield Failed(_NO_PLAN, retryable=True)
            return
        if all(each.id != llm for each in shell.verified.problem.llms):
            yield Failed(f"the plan that has just been adopted does not serve {llm}", retryable=False)
            return
        began_ns = time.monotonic_ns()
        answer = self._run.front.generate(
            llm=llm,
            prompt=request.prompt_tokens,
            max_tokens=request.max_tokens,
            end_tokens=frozenset() if request.ignore_eos else await self._ends(shell, llm),
            sampling=SamplingParams(
                temperature=request.temperature or 0.0,
                top_p=request.top_p,
                seed=request.seed,
                top_logprobs=request.logprobs,
            ),
        )
        first = True
        try:
            async for item in answer:
                if isinstance(item, GaveUp):
                    yield Failed(item.sentence, retryable=item.retryable)
                    return
                if first:
                    first = False
                    waited = Nanos(time.monotonic_ns() - began_ns)
                    assert self._run.shell is not None
                    self._run.shell.note(journal.FirstToken(pipeline=item.pipeline, waited_ns=waited))
                yield TokenEvent(item.sampled.token, item.sampled.logprob, item.sampled.top)
                if item.finish is not None:
                    yield Finished(Reason(item.finish))
        finally:
            await answer.aclose()

    async def _ends(self, shell: Shell, llm: LlmId) -> frozenset[int]:
        key = (shell.digest, llm)
        if key not in self._end_tokens:
            directory = await shell.files.wait_for_files(llm)
            self._end_tokens[key] = await asyncio.to_thread(end_tokens_of, directory)
        return self._end_tokens[key]

    # --- what people ask -----------------------------------------------------------------------------------------

    def health(self) -> Health:
        """Healthy is a node through which every LLM of the plan answers: its pipeline gave the right token."""
        shell = self._run.shell
        if shell is None:
            return Health(ok=False, sentence=_NO_PLAN)
        mute = sorted(llm.id for llm in shell.verified.problem.llms if not self._run.front.can_serve(llm.id))
        if mute:
            return Health(ok=False, sentence=f"no pipeline of {', '.join(mute)} has given the right token yet")
        return Health(ok=True, sentence="every LLM has an open pipeline that gave the right token")

    def load(self) -> Load:
        """Count the requests that entered here."""
        return Load(running=self._run.front.running, waiting=self._run.front.waiting)

    def status(self) -> Mapping[str, object]:
        """Describe the node, its plan and what has become of it."""
        return status_of(self._run, self._agreement)

    def journal(self, *, since: int, follow: bool) -> AsyncGenerator[str, None]:
        """Give the journal's lines."""
        return self._journal.follow(since=since, follow=follow)
