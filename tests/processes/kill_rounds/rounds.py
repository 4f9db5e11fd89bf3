"""Rounds of reconfiguration with real daemons, one of which is killed or hangs.

One cluster lives through all rounds.  In each, clients stream all the while; an operator looks at what runs, plans for
another wish and puts the plan at one node; a daemon is killed or hangs, at a drawn deed of the change or a while after
it.  Then the dead ones are started again, empty, and the operator plans from what runs until the cluster serves.  The
draws of a round depend on its seed and number alone; when exactly things happen does not.  At the end a table says what
was hit.
"""

import contextlib
import functools
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import attrs
import httpx

from planner.asking import ask
from planner.decided import Request
from planner.errors import BadState
from planner.outcome import Infeasible, Planned
from planner.reconfiguring.beginning import Begun, begin
from planner.solve import solve
from specs import codec, journal
from specs.checker import VerifiedPlan
from specs.problem import Problem
from specs.replay import Life, Replayed, replay
from specs.state import RunningCluster
from tests.processes.cluster import Daemon, Oracle, completion, document, text_of, wait_for
from tests.processes.kill_rounds.clients import PATIENCE_S, Clients, Judge
from tests.processes.kill_rounds.draws import IN_HAND_OVERS, PROMPTS, Deed, Draws, Fault, with_rate
from tests.processes.kill_rounds.phases import AT_REST, brief, has, holds, is_under, nodes_of, solved
from tests.processes.snares import Snare, caught, take_away

_DEED_S = 20  # what is not done in this time is not done
_POLL_S = 0.005
_LOOK_S = 0.5  # between two looks at how far nodes are


class Rounds:
    """A cluster of running daemons and the rounds that it lives through."""

    def __init__(self, seed: int, first: VerifiedPlan, running: Sequence[Daemon], oracle: Oracle, folder: Path) -> None:
        self._seed, self._problem, self._running, self._folder = seed, first.problem, running, folder
        self._plans = {codec.digest(first.plan): first}  # all that were put anywhere
        self._judge = Judge(oracle)
        self._harmed: set[str] = set()  # in this round
        self._may_lack = False  # whether there was an instant in it at which no pipeline was open
        self._began = time.monotonic()
        self.story: list[str] = []
        self.counts = self._judge.counts
        self.hits: Counter[tuple[str, str]] = Counter()  # the deed, and the fault

    def carry_out(self, number: int) -> None:
        """Carry out one round; fails with the seed, the round and what happened in it."""
        self.story, self._harmed, self._may_lack, self._began = [], set(), False, time.monotonic()
        draws = Draws.of(self._seed, number, self._problem)
        try:
            with Clients(draws.clients, self._running) as clients:
                self._change(draws)
                self._mend(draws, clients)
            judge = functools.partial(self._judge.judge, harmed=self._harmed, may_lack=self._may_lack)
            wrong = [said for answer in clients.answers for said in judge(answer)]
            assert not wrong, "\n".join(wrong)
            self._serves()
        except (AssertionError, httpx.HTTPError) as error:
            again = f"again: python -m tests.processes.kill_rounds {self._seed} --first {number}"
            raise AssertionError("\n".join([f"round {number}: {error!r}", *self.story, str(draws), again])) from error
        self._tell(f"{len(clients.answers)} answers")
        self.counts["rounds"] += 1

    # --- the operator --------------------------------------------------------------------------------------------

    def _change(self, draws: Draws) -> None:
        """Begin a reconfiguration, in the midst of which the fault happens."""
        verified = self._plan_for(draws)
        anybody = self._running[draws.anybody]
        if verified is None:
            self._harm(draws, anybody, "no plan")
            return
        steps = Counter(type(step).__name__ for step in verified.plan.steps)
        self._tell(f"generation {verified.plan.generation}: {dict(steps)}, {len(verified.problem.running)} running")
        entries = [daemon for daemon in self._running if draws.deed is not Deed.NONE or daemon is not anybody]
        with ThreadPoolExecutor(1) as pool:  # who is asked may hang, or die before it answers
            put = functools.partial(pool.submit, self._put, entries[draws.entries[0] % len(entries)], verified)
            if draws.deed is Deed.NONE:
                self._harm(draws, anybody, draws.deed.value, meanwhile=put)
                return
            snare = Snare(deed=draws.deed.value, time=draws.time, late_s=draws.late_s, signal=draws.fault.signal)
            if draws.fault is not Fault.KILL_HOLDERS:
                snare.lay(self._folder)
            name = self._caught(verified, put())
            victim = next((daemon for daemon in self._running if daemon.name == name), anybody)
            self._harm(draws, victim, draws.deed.value if name else "after all", is_caught=name is not None)

    def _wait_for_requests(self) -> None:
        """Wait until a pipeline decodes; that everybody has just had their answer is no fault."""
        end = time.monotonic() + _DEED_S
        while not any(daemon.status()["requests"]["running"] for daemon in self._running) and time.monotonic() < end:
            time.sleep(_POLL_S)

    def _caught(self, verified: VerifiedPlan, put: Future[bool]) -> str | None:
        """Wait until somebody is caught, and name it; or until nothing more comes of the plan."""
        digest = codec.digest(verified.plan)
        end, look = time.monotonic() + _DEED_S, time.monotonic()
        while caught(self._folder) is None:
            if time.monotonic() > look:
                if (put.done() and not put.result()) or self._is_over(digest) or time.monotonic() > end:
                    break
                look = time.monotonic() + _LOOK_S
            time.sleep(_POLL_S)
        return take_away(self._folder)

    def _is_over(self, digest: str) -> bool:
        """Tell whether nothing more comes of a plan, if all answer at once."""
        try:
            statuses = [daemon.status(within_s=_LOOK_S) for daemon in self._running]
        except httpx.TransportError:
            return False
        return bool(_declined(statuses, digest)) or all(
            is_under(status, digest) and status["phase"] in AT_REST for status in statuses
        )

    def _plan_for(self, draws: Draws) -> VerifiedPlan | None:
        """Plan for the first wish whose plan has what the deed needs; else for the last for which there is a plan."""
        found = None
        if draws.deed in IN_HAND_OVERS:
            self._wait_for_requests()
        for wish in draws.wishes:
            before = self._look()
            assert before is not None
            begun = begin(before, with_rate(attrs.evolve(self._problem, services=(wish,)), draws.device_rate))
            assert isinstance(begun, Begun), begun
            if draws.gives_up_the_source:
                begun = attrs.evolve(begun, request=attrs.evolve(begun.request, stays=()))
            outcome = solved(begun, draws.continuity)
            if isinstance(outcome, Planned):
                found = outcome.verified
                if has(found, draws.deed):
                    return found
        return found

    def _harm(
        self,
        draws: Draws,
        victim: Daemon,
        when: str,
        *,
        is_caught: bool = False,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        """Let the fault happen, unless it does by itself, and note what was hit by it."""
        victims = [victim]
        if draws.fault is Fault.KILL_HOLDERS:
            victims += [each for each in self._running if each is not victim and holds(each)]
        for each in () if is_caught else victims:
            each.signal(draws.fault.signal)
        self._harmed |= {each.name for each in victims}
        self.hits[when, draws.fault.value] += 1
        self._tell(f"{[each.name for each in victims]} {draws.fault.value}: {when}")
        meanwhile()
        if draws.fault.signal is signal.SIGSTOP:
            wait_for(victim.is_stopped, f"{victim.name} hangs", seconds=PATIENCE_S)
            time.sleep(draws.hang_s)
            victim.signal(signal.SIGCONT if draws.fault is Fault.HANG else signal.SIGKILL)
            self._tell(f"{victim.name} after {draws.hang_s:.1f} s: {draws.fault.value}")
        for each in victims:
            if draws.fault is not Fault.HANG:
                each.process.join()

    def _mend(self, draws: Draws, clients: Clients) -> None:
        """Start what is dead again, and plan from what runs until the cluster serves."""
        for daemon in self._running:
            if not daemon.process.is_alive():
                daemon.start()
                daemon.wait_until_it_answers()
                self._tell(f"{daemon.name} is started again")
        # A machine with too much to do may be silent for too long, too, and then knows of no pipeline but its own.
        self._harmed.update(lost for daemon in self._running for lost in daemon.status().get("lost", ()))
        end = time.monotonic() + PATIENCE_S
        wishes = [attrs.evolve(self._problem, services=(draws.mended,)), self._problem]
        while True:
            assert time.monotonic() < end, "gave up mending"
            before = self._look()
            empty = (
                frozenset(daemon.name for daemon in self._running)
                if before is None
                else frozenset((*before.silent, *before.empty))
            )
            self._may_lack |= before is None or all(self._harmed & nodes_of(before, each) for each in before.open)
            verified = self._mending(before, empty, wishes)
            if verified is None:
                self._reload()
                continue
            plan = verified.plan
            self._tell(f"generation {plan.generation} with {sorted(empty)} back: {len(plan.steps)} steps")
            new = [daemon for daemon in self._running if daemon.name in empty]
            taken = [self._put(each, verified) for each in dict.fromkeys((self._running[draws.entries[1]], *new))]
            clients.stop()
            if all(taken) and self._is_carried_out(codec.digest(plan)):
                return
            self.counts["another plan was needed to mend"] += 1

    def _mending(
        self, before: RunningCluster | None, empty: frozenset[str], wishes: Sequence[Problem]
    ) -> VerifiedPlan | None:
        """Plan for the first wish that can be had, at last without going on serving; None where no copy is left."""
        if before is None:
            self.counts["the whole cluster was started again"] += 1
            known = [daemon.status()["next"]["generation_max"] for daemon in self._running]
            outcome = solve(self._problem, Request(generation=1 + max(known)))
            assert isinstance(outcome, Planned), outcome
            return outcome.verified
        running = frozenset(each.pipeline.id for each in before.open)
        for stopped in (frozenset(), running):
            for wish in wishes:
                begun = begin(before, wish, back=empty, stopped=stopped)
                if isinstance(begun, Infeasible):
                    assert {each.rule for each in begun.conflicts} == {"LAST"}, begun
                    return None
                outcome = solved(begun)
                if isinstance(outcome, Planned):
                    return outcome.verified
                self._tell(f"no plan: {type(outcome).__name__}")
        raise AssertionError("no plan mends the cluster")

    def _reload(self) -> None:
        """No copy of the LLM is left: start the node with the checkpoint again."""
        source = self._running[0]
        self._tell(f"no copy of the LLM is left: {source.name} reads it again")
        self.counts["the LLM was loaded again"] += 1
        self._harmed.add(source.name)
        source.signal(signal.SIGKILL)
        source.process.join()
        source.start()
        source.wait_until_it_answers()

    def _look(self) -> RunningCluster | None:
        """Collect what every daemon says, once all that have a plan have the same; None when no node has one."""
        said: list[RunningCluster | None] = []

        def all_have_the_same() -> bool:
            with contextlib.suppress(BadState):
                said.append(ask([daemon.url for daemon in self._running], within_s=30).state)
            if all(daemon.status()["plan"] is None for daemon in self._running):
                said.append(None)
            return bool(said)

        wait_for(all_have_the_same, "all nodes with a plan have the same", seconds=PATIENCE_S)
        return said[0]

    def _put(self, daemon: Daemon, verified: VerifiedPlan) -> bool:
        self._plans[codec.digest(verified.plan)] = verified
        try:
            answer = daemon.put(document(verified))
        except httpx.TransportError as error:
            self._tell(f"{daemon.name} is asked for generation {verified.plan.generation}: {error!r}")
            return False
        said = answer.json()["phase"] if answer.status_code == 200 else answer.json()["error"]["message"]
        self._tell(f"{daemon.name} takes generation {verified.plan.generation}: {answer.status_code} {said}")
        return answer.status_code == 200

    def _is_carried_out(self, digest: str) -> bool:
        """Wait until the plan is carried out and every node serves; False when another plan is needed for that."""

        def is_over() -> bool:
            statuses = [daemon.status() for daemon in self._running]
            if not all(is_under(status, digest) for status in statuses):
                return bool(_declined([daemon.status() for daemon in self._running], digest))
            return all(status["phase"] in AT_REST for status in statuses)

        wait_for(is_over, f"plan {digest[:12]} is carried out or declined", seconds=PATIENCE_S)
        if declined := _declined([daemon.status() for daemon in self._running], digest):
            self._tell(f"declined: {declined}")
            return False
        statuses = [daemon.status() for daemon in self._running]
        if any(status["phase"] != "complete" for status in statuses):
            self._tell(f"not complete: {[brief(daemon) for daemon in self._running]}")
            return False
        wait_for(lambda: all(each.get("/health").status_code == 200 for each in self._running), "all serve", seconds=60)
        return True

    def _serves(self) -> None:
        for daemon in self._running:
            assert text_of(completion(daemon, PROMPTS[0], 5)) == self._judge.says(PROMPTS[0], 5)[0]
            requests = daemon.status()["requests"]
            assert (requests["running"], requests["waiting"]) == (0, 0), requests

    def _tell(self, what: str) -> None:
        self.story.append(f"{time.monotonic() - self._began:7.2f} s  {what}")

    # --- the journals --------------------------------------------------------------------------------------------

    def replayed(self) -> Replayed:
        """Replay what all daemons wrote in all their lives; the last line of one that was killed may not be whole."""
        files = [(daemon, path) for daemon in self._running for path in (daemon.state / "journal").glob("*.jsonl")]
        texts = [(daemon.name, path.read_text().rpartition("\n")[0]) for daemon, path in files]
        lives = [Life(node=node, records=journal.read_lines(text)) for node, text in texts if text]
        return replay(lives, self._plans)

    # --- what was hit --------------------------------------------------------------------------------------------

    def table(self) -> Iterator[str]:
        """Say, line by line, how many faults hit which deed."""
        faults = [fault.value for fault in Fault]
        yield " | ".join(("deed", *faults))
        for deed in dict.fromkeys((*(deed.value for deed in Deed), *(deed for deed, _ in self.hits))):
            yield " | ".join((deed, *(str(self.hits[deed, fault]) for fault in faults)))
        yield str(dict(self.counts))


def _declined(statuses: Sequence[dict], digest: str) -> list[str]:
    return [each["reason"] for status in statuses for each in status["next"]["declined"] if each["digest"] == digest]
