"""Rounds of reconfiguration with real daemons, one of which is killed: `python -m tests.processes.kill_rounds SEED`.

One cluster lives through all rounds.  In each, requests stream at random fronts while an operator looks at what runs,
plans for another wish and puts the plan at one node; a random daemon is killed at a random moment, sometimes one hangs
for longer than the patience.  Then the dead one is started again, empty, and the operator plans from what runs until
the cluster serves.  The draws of a round depend on its seed and number alone; when exactly things happen does not.
"""

import argparse
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import attrs
import httpx

from planner.asking import ask
from planner.errors import BadState
from planner.outcome import Infeasible, Planned
from planner.reconfiguring import waves
from planner.reconfiguring.beginning import Begun, begin
from planner.solve import solve
from specs import codec
from specs.checker import VerifiedPlan
from specs.plan import Continuity
from specs.problem import Problem
from specs.state import RunningCluster
from tests.checkpoints import make_checkpoint
from tests.processes.cluster import (
    LLM,
    Daemon,
    Oracle,
    adopt,
    completion,
    daemons,
    document,
    text_of,
    wait_for,
)
from tests.processes.kill_draws import PROMPTS, TOKENS_MAX, Client, Draws, Fault, Moment, first_plan

NO_HOLDER = "none will open again"  # how a front says that no holder is left
_GENEROUS_S = 120


@attrs.define(kw_only=True)
class Answer:
    """What a client got."""

    client: Client
    front: str
    text: str = ""
    endings: list[str] = attrs.field(factory=list)  # more than one would be an answer twice
    counted: int | None = None
    error: str | None = None


class Rounds:
    """A cluster of running daemons and the rounds that it lives through."""

    def __init__(self, seed: int, problem: Problem, running: Sequence[Daemon], oracle: Oracle) -> None:
        self._seed, self._problem, self._running, self._oracle = seed, problem, running, oracle
        self._right: dict[str, list[int]] = {}  # the longest answers; others are the beginnings of these
        self.harmed: set[str] = set()  # in this round
        self._began = time.monotonic()
        self.story: list[str] = []
        self.counts: Counter[str] = Counter()

    def carry_out(self, number: int) -> None:
        """Carry out one round; fails with the seed, the round and what happened in it."""
        self.story, self.harmed, self._began = [], set(), time.monotonic()
        draws = Draws.of(self._seed, number, self._problem)
        try:
            with ThreadPoolExecutor(len(draws.clients)) as pool:
                asked = [pool.submit(self._ask, client) for client in draws.clients]
                self._change(draws)
                self._mend(draws)
                answers = [self._result(each) for each in asked]
            wrong = [sentence for answer in answers for sentence in self.judge(answer)]
            assert not wrong, "\n".join(wrong)
            self._serves()
        except (AssertionError, httpx.HTTPError) as error:
            again = f"again: python -m tests.processes.kill_rounds {self._seed} --first {number}"
            raise AssertionError("\n".join([f"round {number}: {error!r}", *self.story, str(draws), again])) from error
        self.counts["rounds"] += 1

    # --- the operator --------------------------------------------------------------------------------------------

    def _change(self, draws: Draws) -> None:
        """Begin a reconfiguration, in the midst of which the fault happens."""
        victim = self._running[draws.victim]
        begun = begin(self._look(), attrs.evolve(self._problem, services=draws.wishes[:1]))
        assert isinstance(begun, Begun), begun
        if draws.gives_up_the_source:
            begun = attrs.evolve(begun, request=attrs.evolve(begun.request, stays=()))
        verified = _plan(begun, draws.continuity)
        if isinstance(verified, Infeasible):
            self._tell(f"no plan: {verified}")
            self._harm(draws)
            return
        steps = Counter(type(step).__name__ for step in verified.plan.steps)
        self._tell(f"generation {verified.plan.generation}: {dict(steps)}, {len(verified.problem.running)} running")
        if draws.moment is Moment.BEFORE_ACCEPTANCE:
            if draws.fault is Fault.KILL:
                self._harm(draws)
            others = [daemon for daemon in self._running if daemon is not victim]
            self._put(others[draws.entries[0] % len(others)], verified)
            if draws.fault is Fault.HANG:
                self._harm(draws)
            return
        self._put(victim if draws.moment is Moment.ACCEPTED else self._running[draws.entries[0]], verified)
        self._wait_for_moment(draws.moment, victim, codec.digest(verified.plan))
        time.sleep(draws.late_s)
        self._harm(draws)

    def _wait_for_moment(self, moment: Moment, victim: Daemon, digest: str) -> None:
        """Wait for it; that what is done before may be over, or never begin, is no fault."""

        def is_now() -> bool:
            statuses = [victim.status(), *(daemon.status() for daemon in self._running)]
            if any(status["plan"]["digest"] != digest for status in statuses):
                return bool(self._declined(digest))
            if all(status["phase"] != "transferring" for status in statuses):
                return True
            return moment in _doing(statuses[0]) or (moment is Moment.HAND_OVER and any(map(_opens, statuses)))

        if moment is not Moment.ACCEPTED:
            wait_for(is_now, f"{victim.name} is {moment.value}", seconds=_GENEROUS_S)

    def _declined(self, digest: str) -> list[str]:
        return [
            f"{daemon.name}: {each['reason']}"
            for daemon in self._running
            if daemon.process.is_alive()
            for each in daemon.status()["next"]["declined"]
            if each["digest"] == digest
        ]

    def _harm(self, draws: Draws) -> None:
        victim = self._running[draws.victim]
        self.harmed.add(victim.name)
        self._tell(f"{victim.name} {draws.fault.value} {draws.moment.value}: {_brief(victim)}")
        self.counts[f"{draws.fault.value} {draws.moment.value}"] += 1
        self.counts.update(f"{draws.fault.value}, indeed {moment.value}" for moment in _doing(victim.status()))
        if draws.fault is Fault.KILL:
            victim.signal(signal.SIGKILL)
            victim.process.join()
        else:
            victim.signal(signal.SIGSTOP)
            time.sleep(draws.hang_s)
            victim.signal(signal.SIGCONT)
            self._tell(f"{victim.name} goes on after {draws.hang_s:.1f} s")

    def _mend(self, draws: Draws) -> None:
        """Start what is dead again, and plan from what runs until the cluster serves."""
        for daemon in self._running:
            if not daemon.process.is_alive():
                daemon.start()
                daemon.wait_until_it_answers()
                self._tell(f"{daemon.name} is started again")
        end = time.monotonic() + _GENEROUS_S
        wish = attrs.evolve(self._problem, services=draws.wishes[1:])
        while True:
            assert time.monotonic() < end, "gave up mending"
            before = self._look()
            empty = frozenset(before.silent)
            begun = begin(before, wish, back=empty)
            if isinstance(begun, Infeasible):
                assert {each.rule for each in begun.conflicts} == {"LAST"}, begun
                self._reload()
                continue
            verified = _plan(begun)
            if isinstance(verified, Infeasible):
                assert wish != self._problem, verified  # which may use all devices
                self._tell(f"no plan: {verified}")
                wish = self._problem
                continue
            plan = verified.plan
            self._tell(f"generation {plan.generation} with {sorted(empty)} back: {len(plan.steps)} steps")
            new = [daemon for daemon in self._running if daemon.name in empty]
            taken = [self._put(each, verified) for each in dict.fromkeys((self._running[draws.entries[1]], *new))]
            if all(taken) and self._is_carried_out(codec.digest(plan)):
                return
            self.counts["another plan was needed to mend"] += 1

    def _reload(self) -> None:
        """No copy of the LLM is left: start the node with the checkpoint again."""
        source = self._running[0]
        self._tell(f"no copy of the LLM is left: {source.name} reads it again")
        self.counts["the LLM was loaded again"] += 1
        self.harmed.add(source.name)
        source.signal(signal.SIGKILL)
        source.process.join()
        source.start()
        source.wait_until_it_answers()

    def _look(self) -> RunningCluster:
        """Collect what every daemon says, once all that have a plan have the same."""
        said: list[RunningCluster] = []

        def all_have_the_same() -> bool:
            with contextlib.suppress(BadState):
                said.append(ask([daemon.url for daemon in self._running], within_s=30).state)
            return bool(said)

        wait_for(all_have_the_same, "all nodes with a plan have the same", seconds=_GENEROUS_S)
        return said[0]

    def _put(self, daemon: Daemon, verified: VerifiedPlan) -> bool:
        answer = daemon.put(document(verified))
        said = answer.json()["phase"] if answer.status_code == 200 else answer.json()["error"]["message"]
        self._tell(f"{daemon.name} takes generation {verified.plan.generation}: {answer.status_code} {said}")
        return answer.status_code == 200

    def _is_carried_out(self, digest: str) -> bool:
        """Wait until the plan is carried out and every node serves; False when another plan is needed for that."""

        def is_over() -> bool:
            statuses = [daemon.status() for daemon in self._running]
            if any((status["plan"] or {}).get("digest") != digest for status in statuses):
                return bool(self._declined(digest))
            return all(status["phase"] != "transferring" for status in statuses)

        wait_for(is_over, f"plan {digest[:12]} is carried out or declined", seconds=_GENEROUS_S)
        if declined := self._declined(digest):
            self._tell(f"declined: {declined}")
            return False
        statuses = [daemon.status() for daemon in self._running]
        if any(status["phase"] != "complete" for status in statuses):
            self._tell(f"not complete: {[_brief(daemon) for daemon in self._running]}")
            return False
        wait_for(lambda: all(each.get("/health").status_code == 200 for each in self._running), "all serve", seconds=60)
        return True

    # --- clients -------------------------------------------------------------------------------------------------

    def _ask(self, client: Client) -> Answer:
        time.sleep(client.after_s)
        daemon = self._running[client.front]
        answer = Answer(client=client, front=daemon.name)
        body = {
            "model": LLM,
            "prompt": client.prompt,
            "max_tokens": client.tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        try:
            with httpx.stream("POST", daemon.url + "/v1/completions", json=body, timeout=_GENEROUS_S) as reply:
                if reply.status_code != 200:
                    answer.error = json.loads(reply.read())["error"]["message"]
                    return answer
                for line in reply.iter_lines():
                    if line.startswith("data: {"):
                        _take(answer, json.loads(line.removeprefix("data: ")))
        except httpx.TimeoutException:
            raise
        except httpx.TransportError as error:
            answer.error = repr(error)
        return answer

    def _result(self, asked: "Future[Answer]") -> Answer:
        return asked.result(timeout=2 * _GENEROUS_S)

    def judge(self, answer: Answer) -> Iterator[str]:
        """Say what is wrong with an answer."""
        text, tokens = self._oracle_says(answer.client.prompt, answer.client.tokens)
        if answer.error is None:
            self.counts["answers"] += 1
            if (answer.text, answer.counted, len(answer.endings)) != (text, tokens, 1):
                yield f"{answer}: the oracle says {text!r}, {tokens} tokens"
            return
        if not text.startswith(answer.text) or answer.endings:
            yield f"{answer}: the oracle says {text!r}"
        if NO_HOLDER in answer.error:
            self.counts["errors: no holder"] += 1
        elif answer.front in self.harmed:
            self.counts["errors: its node"] += 1
        else:
            yield f"{answer}: its node {answer.front} was not harmed"

    def _oracle_says(self, prompt: str, tokens: int) -> tuple[str, int]:
        if prompt not in self._right:
            self._right[prompt] = self._oracle.greedy(prompt, TOKENS_MAX)
        right = self._right[prompt][:tokens]
        return self._oracle.text(right), len(right)

    def _serves(self) -> None:
        for daemon in self._running:
            assert text_of(completion(daemon, PROMPTS[0], 5)) == self._oracle_says(PROMPTS[0], 5)[0]
            requests = daemon.status()["requests"]
            assert (requests["running"], requests["waiting"]) == (0, 0), requests

    def _tell(self, what: str) -> None:
        self.story.append(f"{time.monotonic() - self._began:7.2f} s  {what}")


def _plan(begun: Begun, continuity: Continuity | None = None) -> VerifiedPlan | Infeasible:
    """Plan; where requests can move in this way they do."""
    with mock.patch.object(waves, "ways", _only(waves.ways, continuity)):
        outcome = solve(begun.problem, begun.request)
    assert isinstance(outcome, Planned | Infeasible), outcome
    return outcome.verified if isinstance(outcome, Planned) else outcome


def _only(ways: Callable, continuity: Continuity | None) -> Callable:
    def chosen(*asked: object) -> tuple:
        found = ways(*asked)
        return tuple(way for way in found if way.continuity is continuity) or found

    return chosen


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


def _doing(status: dict) -> list[Moment]:
    """Say which moments a node is in."""
    is_in = {
        Moment.ACCEPTED: status["next"]["accepted"],
        Moment.TRANSFER: status["transfers"]["receiving"] or status["transfers"]["sending"],
        Moment.HAND_OVER: status["pipelines"]["handing_over"],
    }
    return [moment for moment, busy in is_in.items() if busy]


def _opens(status: dict) -> bool:
    """Say whether a pipeline is about to open, or hands its requests over: that lasts milliseconds."""
    return bool(status["pipelines"]["proving"] or status["pipelines"]["handing_over"])


def _brief(daemon: Daemon) -> str:
    status = daemon.status()
    if status["plan"] is None:
        return "no plan"
    accepted = status["next"]["accepted"]
    pipelines = {name: pipelines for name, pipelines in status["pipelines"].items() if pipelines}
    lacking = [f"{each['blob']} at {each['place']}: {each['because']}" for each in status["blobs"]["lacking"]]
    return (
        f"{daemon.name} adopted {status['plan']['generation']}, accepted {accepted and accepted['generation']}, "
        f"{status['phase']}, lost {status['lost']}, {status['transfers']}, {pipelines}, lacks {lacking[:2]}"
    )


def main() -> int:
    """Carry out rounds; return 1 at the first that goes wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.processes.kill_rounds", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--first", type=int, default=0, help="round")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="an empty directory for logs and journals")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        folder = arguments.keep or Path(directory)
        folder.mkdir(exist_ok=True)
        checkpoint = make_checkpoint(
            Path(directory) / "checkpoint", "llama", num_hidden_layers=8, max_position_embeddings=256
        )
        first = first_plan(checkpoint)
        with daemons(first.problem, checkpoint, folder) as running:
            adopt(running, first)
            rounds = Rounds(arguments.seed, first.problem, running, Oracle(checkpoint))
            for number in range(arguments.first, arguments.first + arguments.rounds):
                try:
                    rounds.carry_out(number)
                except AssertionError as error:
                    print(error, dict(rounds.counts), sep="\n")
                    return 1
                print(f"round {number}", *rounds.story, sep="\n", flush=True)
            print(dict(rounds.counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
