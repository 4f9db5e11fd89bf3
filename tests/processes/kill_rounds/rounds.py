"""Rounds of reconfiguration with real daemons, one of which is killed or hangs.

One cluster lives through all rounds.  In each, clients stream all the while; an operator looks at what runs, plans for
another wish and puts the plan at one node; a daemon is killed or hangs, at a drawn moment of the change.  Then the dead
ones are started again, empty, and the operator plans from what runs until the cluster serves.  The draws of a round
depend on its seed and number alone; when exactly things happen does not.  At the end a table says what was hit.
"""

import contextlib
import functools
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import attrs
import httpx

from planner.asking import ask
from planner.decided import Request
from planner.errors import BadState
from planner.outcome import Infeasible, Planned
from planner.reconfiguring.beginning import Begun, begin
from planner.solve import solve
from specs import codec
from specs.checker import VerifiedPlan
from specs.problem import Problem
from specs.state import RunningCluster
from tests.processes.cluster import Daemon, Oracle, completion, document, text_of, wait_for
from tests.processes.kill_rounds.clients import PATIENCE_S, Clients, Judge
from tests.processes.kill_rounds.draws import PROMPTS, Draws, Fault, Moment, Role, with_rate
from tests.processes.kill_rounds.phases import (
    AT_REST,
    brief,
    has,
    holds,
    is_under,
    moment_of,
    moment_of_all,
    nodes_of,
    roles,
    solved,
)

_MOMENT_S = 20  # that does not come in this time does not come
_POLL_S = 0.005


class Rounds:
    """A cluster of running daemons and the rounds that it lives through."""

    def __init__(self, seed: int, problem: Problem, running: Sequence[Daemon], oracle: Oracle) -> None:
        self._seed, self._problem, self._running = seed, problem, running
        self._judge = Judge(oracle)
        self._harmed: set[str] = set()  # in this round
        self._may_lack = False  # whether there was an instant in it at which no pipeline was open
        self._began = time.monotonic()
        self.story: list[str] = []
        self.counts = self._judge.counts
        self.hits: Counter[tuple[str, str]] = Counter()  # the moment that it was, and the fault
        self.roles: Counter[tuple[str, str]] = Counter()  # in hand-overs: the moment, and what the victim was

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
        if verified is None:
            self._harm(draws, None)
            return
        steps = Counter(type(step).__name__ for step in verified.plan.steps)
        self._tell(f"generation {verified.plan.generation}: {dict(steps)}, {len(verified.problem.running)} running")
        victim = self._victim(draws, verified)
        if draws.moment is Moment.BEFORE_ACCEPTANCE:
            if draws.fault is Fault.KILL:
                self._harm(draws, None)
            others = [daemon for daemon in self._running if daemon is not victim]
            self._put(others[draws.entries[0] % len(others)], verified)
            if draws.fault is not Fault.KILL:
                self._harm(draws, verified)
            return
        self._put(victim if draws.moment is Moment.ACCEPTING else self._running[draws.entries[0]], verified)
        self._wait_for_moment(draws.moment, verified)
        time.sleep(draws.late_s)
        self._harm(draws, verified)

    def _plan_for(self, draws: Draws) -> VerifiedPlan | None:
        """Plan for the first wish that changes what the moment needs; else for the last for which there is a plan."""
        before, found = self._look(), None
        assert before is not None
        for wish in draws.wishes:
            begun = begin(before, with_rate(attrs.evolve(self._problem, services=(wish,)), draws.device_rate))
            assert isinstance(begun, Begun), begun
            if draws.gives_up_the_source:
                begun = attrs.evolve(begun, request=attrs.evolve(begun.request, stays=()))
            outcome = solved(begun, draws.continuity)
            if isinstance(outcome, Planned):
                found = outcome.verified
                if has(found, draws.moment):
                    return found
        return found

    def _victim(self, draws: Draws, verified: VerifiedPlan | None) -> Daemon:
        named = [] if verified is None else roles(verified).get(draws.role, [])
        if draws.role is Role.FRONT:
            named = [self._running[draws.clients[0].front].name]
        if not named:
            return self._running[draws.anybody]
        name = named[draws.anybody % len(named)]
        return next(daemon for daemon in self._running if daemon.name == name)

    def _wait_for_moment(self, moment: Moment, verified: VerifiedPlan) -> None:
        """Wait for it; that what is done before may be over, or never begin, is no fault."""
        digest = codec.digest(verified.plan)
        names = roles(verified).get(Role.OLD_LEADER, []) if moment in {Moment.ROUNDS, Moment.STOPPED} else []
        watched = [daemon for daemon in self._running if daemon.name in names] or self._running
        end = time.monotonic() + _MOMENT_S
        while moment is not Moment.ACCEPTING and time.monotonic() < end:
            statuses = [daemon.status() for daemon in watched]
            if all(is_under(status, digest) for status in statuses):
                now = set(map(moment_of, statuses))
                if now == {Moment.AFTER} or moment in now - {Moment.AFTER}:
                    return
            elif self._declined(digest):
                return
            time.sleep(_POLL_S)

    def _declined(self, digest: str) -> list[str]:
        return [
            f"{daemon.name}: {each['reason']}"
            for daemon in self._running
            if daemon.process.is_alive()
            for each in daemon.status()["next"]["declined"]
            if each["digest"] == digest
        ]

    def _harm(self, draws: Draws, verified: VerifiedPlan | None) -> None:
        """Let the fault happen, and note what was hit by it."""
        victim = self._victim(draws, verified)
        victims = [victim]
        if draws.fault is Fault.KILL_HOLDERS:
            victims += [each for each in self._running if each is not victim and holds(each)]
        its_roles = {} if verified is None else roles(verified)
        watched = {
            Moment.BEFORE_ACCEPTANCE: [],
            Moment.ACCEPTING: [],
            Moment.LOADING: self._running,
            Moment.AFTER: self._running,
        }.get(draws.moment, [each for each in self._running if each.name in its_roles.get(Role.OLD_LEADER, ())])
        before = [daemon.status() for daemon in watched]
        for each in victims:
            each.signal(signal.SIGKILL if draws.fault in {Fault.KILL, Fault.KILL_HOLDERS} else signal.SIGSTOP)
        self._harmed |= {each.name for each in victims}
        others = [each.status() for each in self._running if each not in victims]
        hit = moment_of_all([*before, *others], None if verified is None else codec.digest(verified.plan))
        self.hits[hit.value, draws.fault.value] += 1
        if hit in {Moment.ROUNDS, Moment.STOPPED}:
            its = [role.value for role, names in its_roles.items() if victim.name in names] or ["bystander"]
            self.roles.update((hit.value, role) for role in its)
        self._tell(f"{[each.name for each in victims]} {draws.fault.value}: {hit.value}, drawn {draws.moment.value}")
        if draws.fault in {Fault.HANG, Fault.HANG_AND_KILL}:
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
            empty = frozenset(daemon.name for daemon in self._running) if before is None else frozenset(before.silent)
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
        answer = daemon.put(document(verified))
        said = answer.json()["phase"] if answer.status_code == 200 else answer.json()["error"]["message"]
        self._tell(f"{daemon.name} takes generation {verified.plan.generation}: {answer.status_code} {said}")
        return answer.status_code == 200

    def _is_carried_out(self, digest: str) -> bool:
        """Wait until the plan is carried out and every node serves; False when another plan is needed for that."""

        def is_over() -> bool:
            statuses = [daemon.status() for daemon in self._running]
            if not all(is_under(status, digest) for status in statuses):
                return bool(self._declined(digest))
            return all(status["phase"] in AT_REST for status in statuses)

        wait_for(is_over, f"plan {digest[:12]} is carried out or declined", seconds=PATIENCE_S)
        if declined := self._declined(digest):
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

    # --- what was hit --------------------------------------------------------------------------------------------

    def table(self) -> Iterator[str]:
        """Say, line by line, how many faults hit which moment."""
        faults = [fault.value for fault in Fault]
        yield " | ".join(("moment", *faults))
        for moment in Moment:
            yield " | ".join((moment.value, *(str(self.hits[moment.value, fault]) for fault in faults)))
        yield from (f"{moment}, {role}: {count}" for (moment, role), count in sorted(self.roles.items()))
        yield str(dict(self.counts))
