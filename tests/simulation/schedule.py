"""One schedule: a cluster, requests and faults drawn from a seed; what every client got; and whether that is right."""

import asyncio
import random
import shutil
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from executor.api.serving import Refused
from executor.errors import TransportClosed
from specs.journal import Adopted, HandedOver, PeerLost, Resized
from specs.plan import Transfer
from specs.replay import Life, Replayed, replay
from specs.timing import PATIENCE_FLOOR_NS
from tests.processes.cluster import document
from tests.simulation.integer_llm import answer
from tests.simulation.operator import Operator
from tests.simulation.resizes import misfits
from tests.simulation.world import Answer, Network, World, virtual_time

_Act = Callable[[], Awaitable[None]]

_BUSY_S = 6.0  # requests come and faults happen within so long
_LOADING_S = 2.0  # what is changed last is done by then
_THINKING_S = 0.2  # between two requests of a client, in the mean
_NEAR_S = 0.2
_COMES_BACK = 0.5  # of the killed
_PATIENCE_S = 600.0  # until then everybody has an answer, whatever happened


@attrs.frozen(kw_only=True)
class Result:
    """What became of one schedule.  `wrong` says what should not have been; empty: all is well."""

    seed: int
    story: tuple[str, ...]
    answers: tuple[Answer, ...]
    replayed: Replayed
    wrong: tuple[str, ...]
    met: Mapping[str, int]  # what happened how often: the reach of many schedules

    def __str__(self) -> str:
        lines = [f"seed {self.seed}", *self.story, *map(repr, self.answers), *(f"WRONG: {each}" for each in self.wrong)]
        return "\n".join(lines)


def carry_out(seed: int, checkpoint: Path, directory: Path) -> Result:
    """Carry out the schedule of a seed; the directory is empty afterwards."""
    with virtual_time(seed) as (network, chance):
        schedule = _Schedule(seed, chance, network, checkpoint, directory)
        try:
            return network.loop.run_until_complete(schedule.run())
        finally:
            shutil.rmtree(directory, ignore_errors=True)


class _Schedule:
    def __init__(self, seed: int, chance: random.Random, network: Network, checkpoint: Path, directory: Path) -> None:
        self._seed, self._chance, self._network = seed, chance, network
        self._operator = Operator(checkpoint, chance)
        self._world = World(self._operator.problem, checkpoint, directory, network)
        self._nodes = [node.id for node in self._operator.problem.cluster.nodes]
        self._story: list[str] = []
        self._killed: list[str] = []  # those that are dead now
        self._empty: set[str] = set()  # those that were started again and have no plan
        self._someone_was_lost = False
        self._answers: list[Answer] = []
        self._instants_s = [chance.uniform(0, _BUSY_S) for _ in range(chance.randint(1, 4))]
        network.report_loss = chance.choice((0.0, 0.0, 0.05, 0.3))
        network.report_repeat = chance.choice((0.0, 0.1))

    async def run(self) -> Result:
        await self._adopt()
        faults = [self._later(self._draw_fault()) for _ in range(self._chance.choice((0, 1, 1, 2, 3)))]
        faults += [self._later(self._reconfigure) for _ in range(self._chance.choice((0, 1, 2, 3)))]
        clients = [self._client() for _ in range(self._chance.randint(1, 4))]
        done, late = await asyncio.wait(
            [asyncio.ensure_future(each) for each in (*faults, *clients)], timeout=_PATIENCE_S
        )
        wrong = [f"{len(late)} clients have no answer after {_PATIENCE_S:.0f} s"] if late else []
        wrong += ["".join(traceback.format_exception(each)) for task in done if (each := task.exception()) is not None]
        wrong += [sentence for each in self._answers for sentence in self._judge(each)]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        wrong += misfits(self._world.daemons)
        await self._world.close()
        lives = self._world.journals()
        replayed = replay(lives, self._operator.plans)
        wrong += [f"{each.node}, {each.sentence}" for each in replayed.breaches]
        return Result(
            seed=self._seed,
            story=tuple(self._story),
            answers=tuple(self._answers),
            replayed=replayed,
            wrong=tuple(wrong),
            met=self._met(lives),
        )

    def _met(self, lives: Sequence[Life]) -> Mapping[str, int]:
        written = [record.what for life in lives for record in life.records]
        return {
            "answers": len(self._answers),
            "answers whole": sum(each.ending == "finished" for each in self._answers),
            "tokens": sum(len(each.tokens) for each in self._answers),
            "daemons killed": sum(each.endswith("is killed") for each in self._story),
            "peers counted as lost": sum(isinstance(each, PeerLost) for each in written),
            "plans adopted": sum(isinstance(each, Adopted) for each in written),
            "pipelines handed over": sum(isinstance(each, HandedOver) for each in written),
            "pipelines resized": sum(isinstance(each, Resized) for each in written),
            "requests whose KV was copied": sum(each.copied for each in written if isinstance(each, HandedOver)),
        }

    async def _adopt(self) -> None:
        body = document(self._operator.first())
        for node in self._nodes:
            outcome = await self._world.daemons[node].adopt(body)
            assert not isinstance(outcome, Refused), outcome

    async def _reconfigure(self) -> None:
        """Do what an operator does: look, plan for another wish, and give one node the plan, and each that is new."""
        verified = self._operator.next(self._world, frozenset(self._killed), frozenset(self._empty))
        if isinstance(verified, str):
            self._tell(f"no plan: {verified}")
            return
        plan = verified.plan
        self._tell(f"generation {plan.generation}: {len(plan.steps)} steps, {len(verified.problem.running)} running")
        body = document(verified)
        alive = [node for node in self._nodes if node not in self._killed]
        for node in dict.fromkeys((self._chance.choice(alive), *sorted(self._empty))):
            daemon = self._world.daemons.get(node)
            if daemon is None:  # killed while another took the plan
                continue
            try:
                outcome = await daemon.adopt(body)
            except TransportClosed:  # killed meanwhile
                continue
            if isinstance(outcome, Refused):
                self._tell(f"{node} refuses: {outcome.reasons[0]}")
            else:
                self._empty.discard(node)

    async def _later(self, act: _Act) -> None:
        # Things happen close together: what is rare is what happens while something else is under way.
        await asyncio.sleep(max(0.0, self._chance.choice(self._instants_s) + self._chance.gauss(0, _NEAR_S)))
        await act()

    # --- clients -------------------------------------------------------------------------------------------------

    async def _client(self) -> None:
        """Ask one thing after the other while things happen, at a node that lives."""
        while self._network.loop.time() < _BUSY_S + _LOADING_S:
            alive = [node for node in self._nodes if node not in self._killed]
            prompt = tuple(self._chance.randrange(3, 384) for _ in range(self._chance.randint(2, 12)))
            answer_ = Answer(self._chance.choice(alive), prompt, self._chance.choice((1, 5, 20, 60, 100)))
            self._answers.append(answer_)
            await self._ask(answer_)
            await asyncio.sleep(self._chance.expovariate(1 / _THINKING_S))

    async def _ask(self, answer_: Answer) -> None:
        life = self._world.daemons[answer_.node]
        waiting = asyncio.ensure_future(self._world.ask(life, answer_))
        while not waiting.done() and self._world.daemons.get(answer_.node) is life:
            await asyncio.wait([waiting], timeout=0.05)
        if self._world.daemons.get(answer_.node) is life:
            waiting.result()
        elif answer_.ending == "no end":
            waiting.cancel()
            answer_.ending = "its node was killed"

    def _judge(self, got: Answer) -> Iterator[str]:
        right = answer(got.prompt, got.wanted)
        if got.tokens != right[: len(got.tokens)]:
            yield f"{got!r}: the oracle says {right}"
        elif got.ending == "finished" and len(got.tokens) != got.wanted:
            yield f"{got!r}: too few"
        elif got.ending != "finished" and not self._someone_was_lost:
            yield f"{got!r}: nobody was lost"

    # --- faults --------------------------------------------------------------------------------------------------

    def _draw_fault(self) -> _Act:
        return self._chance.choice((self._kill, self._hang, self._break, self._break, self._corrupt))

    async def _kill(self) -> None:
        alive = [node for node in self._nodes if node not in self._killed]
        if len(alive) > 1:
            node = self._chance.choice(alive)
            self._tell(f"{node} is killed")
            self._someone_was_lost = True
            self._killed.append(node)
            self._empty.discard(node)
            self._world.kill(node)
            if self._chance.random() < _COMES_BACK:
                await asyncio.sleep(self._chance.uniform(0.5, 2.0))
                self._tell(f"{node} is started again")
                self._killed.remove(node)
                self._empty.add(node)
                self._world.start(node)

    async def _hang(self) -> None:
        node = self._chance.choice(self._nodes)
        seconds = self._chance.choice((0.1, 1.0, 5.0))
        if node not in self._killed:
            self._tell(f"{node} hangs for {seconds} s")
            self._someone_was_lost |= seconds * 1e9 > PATIENCE_FLOOR_NS // 2
            self._network.stop(node)
            await asyncio.sleep(seconds)
            if node not in self._killed:
                self._network.resume(node)

    async def _break(self) -> None:
        one, other = self._chance.sample(self._nodes, 2)
        self._tell(f"the connection of {one} and {other} breaks")
        self._network.break_contact(one, other)

    async def _corrupt(self) -> None:
        steps = [each.id for each in self._operator.first().plan.steps if isinstance(each, Transfer)]
        if steps:
            step = self._chance.choice(steps)
            self._tell(f"a byte of transfer {step} flips")
            self._network.corrupt_blob(f"1:{step}", 3)

    def _tell(self, what: str) -> None:
        self._story.append(f"{self._network.loop.time():8.3f} s  {what}")
