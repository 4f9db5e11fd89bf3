"""The load: requests through the unmodified `openai` client, and what came back when."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Self

import attrs
from openai import AsyncOpenAI, OpenAIError

from examples.demo.settings import DemoFailed
from specs.cluster import NodeId
from specs.llm import LlmId

_TIMEOUT_S = 300
_SILENCE_S = 30  # requests that wait longer for their next tokens will never get them


@attrs.define(kw_only=True)
class Answer:
    """One request and its tokens so far."""

    front: NodeId  # the node that it was sent to
    prompt: int  # index into the prompts
    max_tokens: int
    asked_unix_ns: int
    names: list[str] = attrs.field(factory=list)
    named_unix_ns: list[int] = attrs.field(factory=list)  # when each token came
    finish: str | None = None
    error: str | None = None  # a request that failed

    @property
    def is_running(self) -> bool:
        """Whether the answer is still being given."""
        return self.finish is None and self.error is None

    def equals(self, expected: Sequence[Sequence[str]]) -> bool:
        """Whether the tokens are the oracle's, all of them and no more."""
        return self.finish == "length" and tuple(self.names) == tuple(expected[self.prompt][: self.max_tokens])


class Load:
    """All requests of the demo: prompts and lengths of answers in turn.  Leave the block to end what still runs."""

    def __init__(self, llm: LlmId, urls: Mapping[NodeId, str], lengths: range, prompts: Sequence[str]) -> None:
        self.answers: list[Answer] = []
        self.llm = llm
        self.urls = urls
        self._lengths = lengths
        self._prompts = prompts
        # No retries: a request that fails is a failure of the demo.
        self._clients = {
            node: AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=_TIMEOUT_S)
            for node, url in urls.items()
        }
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self._clients.values():
            await client.close()

    @property
    def tokens(self) -> int:
        """Tokens that came so far."""
        return sum(len(answer.names) for answer in self.answers)

    def ask(self, front: NodeId) -> None:
        """Send one more request."""
        number = len(self.answers)
        answer = Answer(
            front=front,
            prompt=number % len(self._prompts),
            max_tokens=self._lengths[number % len(self._lengths)],
            asked_unix_ns=time.time_ns(),
        )
        self.answers.append(answer)
        self._tasks.append(asyncio.create_task(self._stream(answer)))

    async def trickle(self, per_second: int) -> None:
        """Send requests to the fronts in turn until cancelled."""
        fronts = tuple(self._clients)
        turn = 0
        while True:
            await asyncio.sleep(1 / per_second)
            self.ask(fronts[turn % len(fronts)])
            turn += 1

    async def keep(self, running: int, pause_s: float) -> None:
        """Keep so many clients asking until cancelled: each waits for its answer and a pause, then asks again.

        All ask at one front, which spreads them over the pipelines: with one request each, every front would send its
        own to the pipeline of most weight.
        """
        await asyncio.gather(*(self._ask_again(pause_s) for _ in range(running)))

    async def _ask_again(self, pause_s: float) -> None:
        front = next(iter(self._clients))
        while True:
            self.ask(front)
            await asyncio.wait((self._tasks[-1],))
            await asyncio.sleep(pause_s)

    async def wait(self) -> None:
        """Wait until every request is answered or has failed.  Raises DemoFailed when no token comes any more."""
        waiting = asyncio.ensure_future(asyncio.gather(*self._tasks))
        try:
            while not waiting.done():
                before = self.tokens
                await asyncio.wait((waiting,), timeout=_SILENCE_S)
                if not waiting.done() and self.tokens == before:
                    raise DemoFailed(f"For {_SILENCE_S} s no token has come.")
        finally:
            waiting.cancel()

    async def _stream(self, answer: Answer) -> None:
        try:
            stream = await self._clients[answer.front].completions.create(
                model=self.llm,
                prompt=self._prompts[answer.prompt],
                max_tokens=answer.max_tokens,
                temperature=0,
                logprobs=0,  # brings the name of every token
                stream=True,
                extra_body={"ignore_eos": True},
            )
            async for chunk in stream:
                choice = chunk.choices[0]
                names = (choice.logprobs.tokens or []) if choice.logprobs else []
                answer.names += names
                answer.named_unix_ns += [time.time_ns()] * len(names)
                # Typed as never absent by the client, but absent until the last chunk.
                answer.finish = choice.finish_reason or answer.finish
        except OpenAIError as error:
            answer.error = f"{answer.front}: {error}"
        else:
            if answer.finish is None:
                answer.error = f"{answer.front}: the answer broke off after {len(answer.names)} tokens"
