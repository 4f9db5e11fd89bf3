"""Clients of a round of `kill_rounds`: they ask all the while, and every answer is judged by the oracle."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import attrs
import httpx

from tests.processes.cluster import LLM, Daemon, Oracle
from tests.processes.kill_rounds.draws import TOKENS_MAX, Asked, Client

NO_HOLDER = "none will open again"  # how a front says that no holder is left
PATIENCE_S = 120  # nothing that is right takes so long
_AGAIN_S = 0.2


@attrs.define(kw_only=True)
class Answer:
    """What a client got."""

    asked: Asked
    front: str
    text: str = ""
    endings: list[str] = attrs.field(factory=list)  # more than one would be an answer twice
    counted: int | None = None
    error: str | None = None


class Clients:
    """They ask from the beginning of a `with` until they are told to stop; at its end all answers are there."""

    def __init__(self, clients: Sequence[Client], running: Sequence[Daemon]) -> None:
        self.answers: list[Answer] = []
        self._clients, self._running = clients, running
        self._enough = threading.Event()
        self._pool = ThreadPoolExecutor(len(clients))

    def __enter__(self) -> Self:
        self._asking = [self._pool.submit(self._ask, client) for client in self._clients]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if kind is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            return
        for each in self._asking:
            each.result(timeout=2 * PATIENCE_S)

    def stop(self) -> None:
        """Let them ask nothing more; what was asked goes on to its end."""
        self._enough.set()

    def _ask(self, client: Client) -> None:
        daemon = self._running[client.front]
        for asked in client.asks():
            if self._enough.is_set():
                return
            answer = Answer(asked=asked, front=daemon.name)
            try:
                _stream(daemon, answer)
            except httpx.ConnectError:
                time.sleep(_AGAIN_S)  # nothing was accepted
                continue
            except httpx.TimeoutException as error:
                raise AssertionError(f"{answer} hangs") from error
            except httpx.TransportError as error:
                answer.error = repr(error)
            self.answers.append(answer)
            if answer.error is not None:
                time.sleep(_AGAIN_S)


def _stream(daemon: Daemon, answer: Answer) -> None:
    body = {
        "model": LLM,
        "prompt": answer.asked.prompt,
        "max_tokens": answer.asked.tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with httpx.stream("POST", daemon.url + "/v1/completions", json=body, timeout=PATIENCE_S) as reply:
        if reply.status_code != 200:
            answer.error = json.loads(reply.read())["error"]["message"]
            return
        for line in reply.iter_lines():
            if line.startswith("data: {"):
                _take(answer, json.loads(line.removeprefix("data: ")))


def _take(answer: Answer, piece: dict) -> None:
    if "error" in piece:
        answer.error = piece["error"]["message"]
        return
    if piece.get("usage") is not None:
        answer.counted = piece["usage"]["completion_tokens"]
    for choice in piece["choices"]:
        answer.text += choice["text"]
        if choice["finish_reason"] is not None:
            answer.endings.append(choice["finish_reason"])


class Judge:
    """Compares answers with those of the oracle."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._right: dict[str, list[int]] = {}  # the longest answers; others are the beginnings of these
        self.counts: Counter[str] = Counter()

    def says(self, prompt: str, tokens: int) -> tuple[str, int]:
        """Give the right text, and of how many tokens it is."""
        if prompt not in self._right:
            self._right[prompt] = self._oracle.greedy(prompt, TOKENS_MAX)
        right = self._right[prompt][:tokens]
        return self._oracle.text(right), len(right)

    def judge(self, answer: Answer, *, harmed: set[str], may_lack: bool) -> Iterator[str]:
        """Say what is wrong with an answer in a round in which these nodes were harmed.

        `may_lack`: all that was open was lost with them.
        """
        text, tokens = self.says(answer.asked.prompt, answer.asked.tokens)
        if answer.error is None:
            self.counts["answers"] += 1
            if (answer.text, answer.counted, len(answer.endings)) != (text, tokens, 1):
                yield f"{answer}: the oracle says {text!r}, {tokens} tokens"
            return
        if not text.startswith(answer.text) or answer.endings:
            yield f"{answer}: the oracle says {text!r}"
        if answer.front in harmed:
            self.counts["errors: its node"] += 1
        elif may_lack and NO_HOLDER in answer.error:
            self.counts["errors: no holder"] += 1
        else:
            yield f"{answer}: its node {answer.front} was not harmed"
