"""The daemon: one node's HTTP face before it, the run of one plan behind it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

import torch
from prometheus_client import CollectorRegistry

from executor import admission
from executor.addresses import check_free
from executor.api.serving import (
    Adopted,
    Failed,
    Finished,
    GenerationEvent,
    GenerationRequest,
    Health,
    Load,
    Reason,
    Refusal,
    Refused,
    ServedLlm,
    TokenEvent,
)
from executor.engine.errors import EngineError
from executor.engine.request import SamplingParams
from executor.engine.skeleton import end_tokens_of
from executor.errors import ExecutorError
from executor.journal import Journal
from executor.loading import Before
from executor.metrics import NodeMetrics
from executor.pipelines.front import GaveUp
from executor.run import Run, Setting
from executor.status import status_of
from specs import codec, journal
from specs.checker import VerifiedPlan
from specs.cluster import NodeId, PlaceId, PlaceKind
from specs.errors import SpecError
from specs.llm import LlmId
from specs.problem import Problem
from specs.units import Nanos, Tokens

_NO_PLAN = "this node has no plan yet"


class Daemon:
    """One node.  Implements `executor.api.serving.Serving`; `close` ends everything."""

    def __init__(self, node: NodeId, checkpoints: Mapping[LlmId, Path], state_directory: Path) -> None:
        self.node = node
        self.registry = CollectorRegistry()
        self._checkpoints = checkpoints
        self._state_directory = state_directory
        self._journal = Journal(state_directory / "journal", node)
        self._run: Run | None = None
        self._adopted_s = 0
        self._adopting = asyncio.Lock()
        self._end_tokens: dict[tuple[str, LlmId], frozenset[int]] = {}
        self._metrics = NodeMetrics(self.registry, lambda: self._run)

    async def close(self) -> None:
        """Stop carrying out the plan and close the journal."""
        if self._run is not None:
            await self._run.stop()
        self._journal.close()

    # --- plans ---------------------------------------------------------------------------------------------------

    async def adopt(self, document: bytes) -> Adopted | Refused:
        """Decode, verify and adopt a document; a plan that is refused changes nothing but the journal."""
        async with self._adopting:
            current = None if self._run is None else self._run.verified
            verdict = await asyncio.to_thread(admission.admit, document, self.node, current)
            if isinstance(verdict, VerifiedPlan):
                return await self._begin(verdict)
            if isinstance(verdict, admission.AlreadyHere):
                assert self._run is not None
                return Adopted(generation=self._run.verified.plan.generation, digest=self._run.digest)
            return self._refuse(verdict)

    def _refuse(self, verdict: admission.Verdict) -> Refused:
        match verdict:
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
            case _:
                raise AssertionError(verdict)

    def _refused(self, kind: Refusal, reasons: tuple[str, ...]) -> Refused:
        generation = 0 if self._run is None else self._run.verified.plan.generation
        self._journal.write(generation, journal.Refused(reason=f"{kind}: {reasons[0]}"))
        return Refused(kind=kind, reasons=reasons)

    async def _begin(self, verified: VerifiedPlan) -> Adopted | Refused:
        """Load what the plan says is here, then let the new plan take the place of the old."""
        setting = Setting(
            node=self.node,
            checkpoints=self._checkpoints,
            state_directory=self._state_directory,
            device_of=_devices(verified.problem, self.node),
        )
        previous = self._run
        try:
            run = Run(verified, setting, self._journal)
            await run.load(None if previous is None else Before(store=previous.store, files=previous.files))
            if previous is None or previous.address != run.address:
                check_free(run.address)
        except (ExecutorError, EngineError, SpecError) as error:
            return self._refused(Refusal.REJECTED, (str(error),))
        if previous is not None:
            await previous.stop()
            self._run = None
        self._journal.write(
            verified.plan.generation, journal.Adopted(plan=run.digest, problem=codec.digest(verified.problem))
        )
        try:
            await run.start()
        except OSError as error:  # somebody took the address after it was found free
            await run.stop()
            return self._refused(Refusal.REJECTED, (f"{self.node} cannot listen at {run.address}: {error.strerror}",))
        self._run = run
        self._adopted_s = int(time.time())
        return Adopted(generation=verified.plan.generation, digest=run.digest)

    # --- requests ------------------------------------------------------------------------------------------------

    def llms(self) -> tuple[ServedLlm, ...]:
        """Give the LLMs of the plan."""
        run = self._run
        if run is None:
            return ()
        return tuple(
            ServedLlm(
                id=llm.id,
                created_s=self._adopted_s,
                context_tokens=Tokens(run.verified.problem.workload(llm.id).request_tokens_max),
            )
            for llm in run.verified.problem.llms
        )

    async def tokenizer_directory(self, llm: str) -> Path:
        """Wait until an LLM's small files are here; give their directory."""
        assert self._run is not None, "an LLM of the plan was asked for"
        return await self._run.files.wait_for_files(LlmId(llm))

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """Generate one sequence; waits for a pipeline to open when none is."""
        run, llm = self._run, LlmId(request.llm)
        if run is None:
            yield Failed(_NO_PLAN, retryable=True)
            return
        if all(each.id != llm for each in run.verified.problem.llms):
            yield Failed(f"the plan that has just been adopted does not serve {llm}", retryable=False)
            return
        began_ns = time.monotonic_ns()
        answer = run.front.generate(
            llm=llm,
            prompt=request.prompt_tokens,
            max_tokens=request.max_tokens,
            end_tokens=frozenset() if request.ignore_eos else await self._ends(run, llm),
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
                    run.note(journal.FirstToken(pipeline=item.pipeline, waited_ns=waited))
                yield TokenEvent(item.sampled.token, item.sampled.logprob, item.sampled.top)
                if item.finish is not None:
                    yield Finished(Reason(item.finish))
        finally:
            await answer.aclose()

    async def _ends(self, run: Run, llm: LlmId) -> frozenset[int]:
        key = (run.digest, llm)
        if key not in self._end_tokens:
            directory = await run.files.wait_for_files(llm)
            self._end_tokens[key] = await asyncio.to_thread(end_tokens_of, directory)
        return self._end_tokens[key]

    # --- what people ask -----------------------------------------------------------------------------------------

    def health(self) -> Health:
        """Healthy is a node through which every LLM of the plan answers: its pipeline gave the right token."""
        run = self._run
        if run is None:
            return Health(ok=False, sentence=_NO_PLAN)
        mute = sorted(llm.id for llm in run.verified.problem.llms if not run.front.can_serve(llm.id))
        if mute:
            return Health(ok=False, sentence=f"no pipeline of {', '.join(mute)} has given the right token yet")
        return Health(ok=True, sentence="every LLM has an open pipeline that gave the right token")

    def load(self) -> Load:
        """Count the requests that entered here."""
        if self._run is None:
            return Load(running=0, waiting=0)
        return Load(running=self._run.front.running, waiting=self._run.front.waiting)

    def status(self) -> Mapping[str, object]:
        """Describe the node, its plan and what has become of it."""
        return status_of(self.node, self._run)

    def journal(self, *, since: int, follow: bool) -> AsyncGenerator[str, None]:
        """Give the journal's lines."""
        return self._journal.follow(since=since, follow=follow)


def _devices(problem: Problem, node: NodeId) -> dict[PlaceId, torch.device]:
    """Map this node's GPUs to CUDA devices in the order of the description; everything else computes on the CPU."""
    here = [place for place in problem.cluster.places if place.node == node and place.kind is PlaceKind.DEVICE]
    gpus = [place.id for place in here if place.device != "cpu"]
    if not torch.cuda.is_available():
        return {}
    return {place: torch.device("cuda", index) for index, place in enumerate(gpus)}
