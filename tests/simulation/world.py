"""Real daemons in one process on virtual time, joined by the transport within one process; faults on demand.

Everything above the transport and below HTTP is the daemons' own code: admission, cores, files, store, host, batchers,
fronts.  The LLM is `integer_llm`, the checkpoint and its blobs are real.
"""

import asyncio
import contextlib
import itertools
import os
import random
import secrets
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from executor import admission, loading, run
from executor.api.serving import Failed, Finished, GenerationRequest, TokenEvent
from executor.daemon import Daemon
from executor.engine import stage
from executor.mail import REPORT
from executor.pipelines import host
from executor.transport import memory
from executor.transport.carrier import Carrier
from executor.transport.interface import OnEvent, Peer
from executor.transport.memory_clock import Action, Actor, Clock
from specs.journal import read_lines
from specs.problem import Problem
from specs.replay import Life
from tests.simulation import engine
from tests.simulation.virtual_time import Inline, VirtualLoop

_BEGIN_UNIX_NS = 1_700_000_000_000_000_000
_ROUNDING_NS = 100  # of the loop's seconds
_WORK_S = 0.02  # what a stage takes for an iteration, and any other work in a thread

# What every daemon finds out of the same document by itself, it finds here once: these are pure functions.
_read = lru_cache(maxsize=64)(admission.read)
_verify = lru_cache(maxsize=64)(admission.verify)


class _LoopClock(Clock):
    """The clock of the network is the loop's.  What is due at one instant is done in the order in which it came."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        super().__init__()

    @property
    def now_ns(self) -> int:  # type: ignore[override]  # a property in place of an attribute
        """Give the virtual time."""
        return self._loop.time_ns()

    @now_ns.setter
    def now_ns(self, _: int) -> None:
        """Leave the time to the loop."""

    def at(self, delay_ns: int, actor: Actor | None, action: Action) -> None:
        """Do it from the loop, later."""
        super().at(delay_ns, actor, action)
        self._loop.call_later(delay_ns / 1e9, self._do_due)

    def _do_due(self) -> None:
        while self._due and self._due[0][0] <= self.now_ns + _ROUNDING_NS:
            self.step()


class Network(memory.MemoryNetwork):
    """Loses and repeats reports, which the protocols must bear; whatever else is lost breaks the connection."""

    def __init__(self, loop: VirtualLoop, chance: random.Random) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(memory, "Clock", lambda: _LoopClock(loop))
            super().__init__()
        self.loop = loop
        self._chance = chance
        self.report_loss = 0.0
        self.report_repeat = 0.0

    def carry(self, sender: Actor, receiver_name: str, payload: bytes) -> None:
        """Bring a message to its receiver, or do not, or twice."""
        if payload[:1] == REPORT:
            drawn = self._chance.random()
            if drawn < self.report_loss:
                return
            if drawn < self.report_loss + self.report_repeat:
                super().carry(sender, receiver_name, payload)
        super().carry(sender, receiver_name, payload)

    def break_contact(self, one: str, other: str) -> None:
        """Lose what is under way between two nodes, as a broken connection does; they may make contact again."""
        contact = frozenset((one, other))
        if self._contacts.pop(contact, None) is not None:
            self.lose(self._nodes[one].actor, other, "the connection broke")
            self.lose(self._nodes[other].actor, one, "the connection broke")


class World:
    """Daemons for every node of a cluster, those that live and those that were killed."""

    def __init__(self, problem: Problem, checkpoint: Path, directory: Path, network: Network) -> None:
        self.loop = network.loop
        self.network = network
        self.daemons: dict[str, Daemon] = {}
        self._dead: list[Daemon] = []
        self._checkpoint = checkpoint
        self._directory = directory
        self._holders = {holding.place.split("/")[0] for holding in problem.holdings}
        self._llm = problem.llms[0].id
        self._numbers = itertools.count()
        for node in problem.cluster.nodes:
            self.start(node.id)

    def start(self, node: str) -> None:
        """Start a daemon, with nothing remembered."""
        checkpoints = {self._llm: self._checkpoint} if node in self._holders else {}
        self.daemons[node] = Daemon(node, checkpoints, self._directory / f"{node}-{next(self._numbers)}")

    def kill(self, node: str) -> None:
        """End a daemon at once, as SIGKILL does."""
        daemon = self.daemons.pop(node)
        # What it kept is lost; and work that was given to a thread ends in this process, which lives, and is noted.
        vars(daemon._journal).update(_append=lambda *_: None)
        if daemon._run.shell is not None:
            self.network.kill(node)
        for task in list(daemon._run._tasks._tasks):
            task.cancel()
        self._dead.append(daemon)

    async def close(self) -> None:
        """Stop every daemon that lives."""
        for daemon in self.daemons.values():
            await daemon.close()
        for daemon in self._dead:
            daemon._journal.close()

    def journals(self) -> tuple[Life, ...]:
        """Read what every daemon wrote, in each of its lives."""
        files = sorted(self._directory.glob("*/journal/*.jsonl"))
        read = (read_lines(file.read_text(encoding="utf-8")) for file in files)
        return tuple(Life(node=records[0].node, records=records) for records in read)

    async def ask(self, daemon: Daemon, answer: "Answer") -> None:
        """Ask a daemon for tokens, as a client does, and note what comes."""
        request = GenerationRequest(
            id=f"request-{next(self._numbers)}",
            llm=self._llm,
            prompt_tokens=answer.prompt,
            max_tokens=answer.wanted,
            temperature=None,
            top_p=1.0,
            seed=0,
            logprobs=None,
            ignore_eos=True,
        )
        async for event in daemon.generate(request):
            match event:
                case TokenEvent(token=token):
                    answer.tokens += (token,)
                    answer.instants_s += (self.loop.time(),)
                case Finished():
                    answer.ending = "finished"
                case Failed(sentence=sentence):
                    answer.ending = sentence


class Answer:
    """What a client got."""

    def __init__(self, node: str, prompt: tuple[int, ...], wanted: int) -> None:
        self.node, self.prompt, self.wanted = node, prompt, wanted
        self.tokens: tuple[int, ...] = ()
        self.instants_s: tuple[float, ...] = ()
        self.ending = "no end"

    def __repr__(self) -> str:
        return f"{self.node} {self.prompt} -> {self.tokens} of {self.wanted}: {self.ending}"


@contextlib.contextmanager
def virtual_time(seed: int) -> Iterator[tuple[Network, random.Random]]:
    """Give a network on virtual time and the dice; meanwhile clocks, threads and secrets of this process are theirs."""
    chance = random.Random(seed)
    loop = VirtualLoop(_WORK_S)
    network = Network(loop, chance)

    async def listen(address: Peer, *, realm: str, on_event: OnEvent, carrier: Carrier) -> memory.MemoryTransport:
        del realm, carrier
        return network.node(address.name, on_event)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic_ns", loop.time_ns)
        patch.setattr(time, "time_ns", lambda: _BEGIN_UNIX_NS + loop.time_ns())
        patch.setattr(time, "time", lambda: (_BEGIN_UNIX_NS + loop.time_ns()) / 1e9)
        patch.setattr(secrets, "token_hex", lambda count=8: f"{chance.getrandbits(8 * count):0{2 * count}x}")
        patch.setattr(host, "ThreadPoolExecutor", Inline)
        patch.setattr(host, "Skeleton", engine.IntegerSkeleton)
        patch.setattr(host, "Stage", engine.IntegerStage)
        patch.setattr(stage, "_cut", lambda *_, **__: (None, None))
        patch.setattr(loading, "reference", engine.integer_canary)
        patch.setattr(admission, "read", _read)
        patch.setattr(admission, "verify", _verify)
        patch.setattr(os, "fsync", lambda _: None)  # files outlive the simulated deaths
        patch.setattr(run, "listen_tcp", listen)
        patch.setattr(run, "check_free", lambda _: None)
        try:
            asyncio.set_event_loop(loop)
            yield network, chance
        finally:
            asyncio.set_event_loop(None)
            loop.close()
