"""A daemon of tokens that follow from the request alone, and a server of it in a thread of its own."""

import asyncio
import contextlib
import random
import threading
from collections.abc import AsyncGenerator, Iterator, Mapping
from pathlib import Path

import attrs
from prometheus_client import CollectorRegistry

from executor.api.app import make_app
from executor.api.server import serve
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
    Refused,
    ServedLlm,
    TokenEvent,
)
from specs.state import RunningNode

LLM = "org/tiny"
CONTEXT_TOKENS = 512
END_TOKEN = 1


def tokens_of(request: GenerationRequest) -> list[int]:
    """The tokens that FakeServing gives: greedy ones follow the prompt, sampled ones the seed too."""
    seed = "greedy" if request.temperature is None else request.seed
    source = random.Random(f"{request.prompt_tokens}/{seed}")
    return [source.randrange(6, 384) for _ in range(request.max_tokens)]


@attrs.define
class FakeServing:
    """Gives scripted tokens where there are any, else those of `tokens_of`."""

    tokenizer: Path | None
    script: list[int] | None = None
    fail_after: int | None = None
    failure: Failed = Failed("the pipeline lost a stage", retryable=True)
    token_delay_s: float = 0.0
    names: tuple[str, ...] = (LLM,)
    healthy: Health = Health(ok=True, sentence="a token was generated and was right")
    adopted: Adopted | Refused = Adopted(generation=3, digest="ab" * 32, phase=Phase.ADOPTED)
    documents: list[bytes] = attrs.field(factory=list)
    requests: list[GenerationRequest] = attrs.field(factory=list)
    given: int = 0
    cancelled: int = 0
    finished: int = 0
    followers: int = 0
    plan: bytes | None = None
    running: RunningNode = RunningNode(node="n0", plan=None, generation_max=0, held=(), leads=())
    lines: list[str] = attrs.field(factory=lambda: ['{"line":0}', '{"line":1}', '{"line":2}'])
    registry: CollectorRegistry = attrs.field(factory=CollectorRegistry)

    def llms(self) -> tuple[ServedLlm, ...]:
        return tuple(
            ServedLlm(
                id=name,
                created_s=1_700_000_000,
                context_tokens=CONTEXT_TOKENS,
            )
            for name in self.names
        )

    async def tokenizer_directory(self, llm: str) -> Path:
        if self.tokenizer is None:
            await asyncio.Event().wait()
        assert self.tokenizer is not None
        return self.tokenizer

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        self.requests.append(request)
        tokens = tokens_of(request) if self.script is None else self.script
        ended = False
        try:
            for place, token in enumerate(tokens[: request.max_tokens]):
                await asyncio.sleep(self.token_delay_s)
                if place == self.fail_after:
                    ended = True
                    yield self.failure
                    return
                self.given += 1
                top = tuple((candidate, -0.5 - candidate) for candidate in range(6, 6 + (request.logprobs or 0)))
                yield TokenEvent(token, None if request.logprobs is None else -0.25 * place, top)
                if token == END_TOKEN and not request.ignore_eos:
                    ended = True
                    yield Finished(Reason.STOP)
                    return
            ended = True
            yield Finished(Reason.LENGTH if len(tokens) >= request.max_tokens else Reason.STOP)
        finally:
            self.finished += ended
            self.cancelled += not ended

    def health(self) -> Health:
        return self.healthy

    def load(self) -> Load:
        return Load(running=5, waiting=7)

    def status(self) -> Mapping[str, object]:
        return {"node": "n0", "generation": 3}

    def document(self) -> bytes | None:
        return self.plan

    def state(self) -> RunningNode:
        return self.running

    async def adopt(self, document: bytes) -> Adopted | Refused:
        self.documents.append(document)
        return self.adopted

    async def journal(self, *, since: int, follow: bool) -> AsyncGenerator[str, None]:
        self.followers += 1
        try:
            for line in self.lines[since:]:
                yield line
            if follow:
                await asyncio.Event().wait()
        finally:
            self.followers -= 1


@contextlib.contextmanager
def served(serving: FakeServing) -> Iterator[str]:
    """Serve on a free loopback port while the block runs; gives the URL."""
    up, loop = threading.Event(), asyncio.new_event_loop()
    urls: list[str] = []
    leave = asyncio.Event()

    async def run() -> None:
        async with serve(make_app(serving), "127.0.0.1", 0) as address:
            urls.append(address.url)
            up.set()
            await leave.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        assert up.wait(20)
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(leave.set)
        thread.join(20)
        assert not thread.is_alive()
        loop.close()
