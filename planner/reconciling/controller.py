"""The control loop: look, judge, and where something is due plan and put; then look again.

It has no state that matters: what it remembers (what it has said, how long to pause, since when nothing moved) is
learnt again by whoever takes its place, and it may be killed at any moment, since plan switch makes every offer
harmless that not all accept.  Any number of controllers may run: at most one plan of a generation is ever adopted, and
whose plan was refused looks again.
"""

import random
import time
from collections.abc import Callable, Hashable, Sequence

import attrs

from planner.asking import ask_document
from planner.errors import BadState
from planner.reconciling.judging import AtRest, Due, UnderWay, Verdict, Waits, judge, left_out
from planner.reconciling.looking import Look, look
from planner.reconciling.planning import Limits, NoPlan, Overtaken, Put, Refused, Result, Say, Try, WouldPut
from specs.problem import Problem
from specs.protocols.plan_switch_nouns import PlanName
from specs.timing import node_deadline_ns
from specs.units import NANOS_PER_SECOND


@attrs.frozen(kw_only=True)
class Pace:
    """How often is looked, and how patient the loop is."""

    every_s: float  # between two looks
    pause_s_max: float  # after a plan that came to nothing; it begins with `every_s` and doubles each time
    patience_s: float  # a change of which nothing is done for so long is stuck; longer where the plan's deadline is


class Reconciler:
    """Brings one cluster to what is wanted of it.

    `wish` is asked for what is wanted at every look; `say` is told of every event.
    """

    def __init__(self, urls: Sequence[str], wish: Callable[[], Problem], limits: Limits, pace: Pace, say: Say) -> None:
        self._urls, self._wish, self._limits, self._pace = urls, wish, limits, pace
        self._tell = say
        self._situation = ("", "")  # that was told last
        self._events: dict[str, str] = {}  # what was told of each kind since then
        self._standing: dict[str, str] = {}  # what holds besides, of each URL or node
        self._carried_out: tuple[PlanName, Problem, float] | None = None  # with the seconds of its deadline
        self._mark: tuple[Hashable, float] = (None, 0.0)  # of the change under way, and since when
        self._before: Due | None = None  # what was due at the last look
        self._try: Try | None = None
        self._offered: PlanName | None = None
        self._failures = 0
        self._pause: tuple[Hashable, float] = (None, 0.0)  # what was tried, and until when it is not tried again

    def run(self) -> None:
        """Look for ever."""
        while True:
            began = time.monotonic()
            self.look()
            rest = max(0.0, self._pace.every_s - (time.monotonic() - began))
            if self._try is None:
                time.sleep(rest)
            else:
                self._try.wait(rest)

    def once(self) -> Verdict | Result:
        """Look once; where a plan is due make and put it, and say what came of it, else what the look says."""
        seen, verdict = self._judged()
        if not isinstance(verdict, Due):
            return verdict
        found = Try(verdict, seen, self._wish(), self._limits, self._say)
        while (result := found.result) is None:
            found.wait(self._pace.every_s)
        self._came_of(result, verdict)
        return result

    def look(self) -> Verdict:
        """Look, say what is new, and begin or end what is due."""
        if self._try is not None and (result := self._try.result) is not None:
            self._came_of(result, self._try.due)
            self._try = None
        seen, verdict = self._judged()
        due = verdict if isinstance(verdict, Due) else None
        if self._try is not None:
            if not isinstance(verdict, Waits) and not _is_same(due, self._try.due):
                self._try.overtake()
        elif due is not None and _is_same(due, self._before) and not self._is_pausing(due):
            # Two looks agree: losses that come together are one change, and a node that just wakes is none.
            self._try = Try(due, seen, self._wish(), self._limits, self._say)
        if isinstance(verdict, AtRest):
            self._failures, self._pause = 0, (None, 0.0)
        self._before = due
        return verdict

    def _judged(self) -> tuple[Look, Verdict]:
        wish = self._wish()
        try:
            seen = look(self._urls, self._limits.answer_s, wish.cluster.name)
            problem = self._problem(seen)
        except BadState as error:
            waits = Waits(sentence=str(error))
            self._say_situation(waits)
            return Look(said=(), failed=()), waits
        verdict = judge(seen, problem, wish)
        if isinstance(verdict, UnderWay) and self._is_stuck(verdict.mark):
            verdict = judge(seen, problem, wish, is_stuck=True)
        elif not isinstance(verdict, UnderWay):
            self._mark = (None, 0.0)
        self._say_what_is_new(seen, problem, verdict)
        return seen, verdict

    def _problem(self, seen: Look) -> Problem | None:
        """Give the problem of the plan that is carried out: asked for once, for it may be large."""
        current = seen.current
        if current is None:
            return None
        if self._carried_out is None or self._carried_out[0] != current:
            urls = [each.url for each in seen.said if each.plan == current]
            document = ask_document(urls, self._limits.offer_s)
            self._carried_out = current, document.problem, node_deadline_ns(document.plan) / NANOS_PER_SECOND
        return self._carried_out[1]

    def _is_stuck(self, mark: Hashable) -> bool:
        now = time.monotonic()
        if mark is None or mark != self._mark[0]:
            self._mark = mark, now
            return False
        deadline_s = 0.0 if self._carried_out is None else self._carried_out[2]
        return now - self._mark[1] > max(self._pace.patience_s, deadline_s)

    def _is_pausing(self, due: Due) -> bool:
        """Whether the same nodes were to do the same a moment ago; anything else is tried at once."""
        tried, until = self._pause
        return tried == due.nodes and time.monotonic() < until

    def _came_of(self, result: Result, due: Due) -> None:
        match result:
            case Put(plan=plan):
                self._offered = plan
                self._say("offered", f"generation {plan.generation} ({plan.digest[:12]})")
            case WouldPut():
                self._say("dry run", "nothing was put")
            case NoPlan(sentence=sentence, is_undecided=is_undecided):
                self._say("undecided" if is_undecided else "no plan", sentence)
            case Refused(sentence=sentence):
                self._say("refused", sentence)
            case Overtaken(sentence=sentence):
                self._say("overtaken", sentence)
        if not isinstance(result, Overtaken):
            self._pause_after(due)

    def _pause_after(self, due: Due) -> None:
        """Leave what was tried alone for a while: longer each time, until all is at rest.

        Chance keeps two controllers that got in each other's way from doing so again.
        """
        seconds = min(self._pace.pause_s_max, self._pace.every_s * 2**self._failures)
        self._failures += 1
        self._pause = due.nodes, time.monotonic() + seconds * random.uniform(1, 1.5)  # noqa: S311 - no secret

    # --- what is told --------------------------------------------------------------------------------------------

    def _say_what_is_new(self, seen: Look, problem: Problem | None, verdict: Verdict) -> None:
        standing = {url: f"{url}: {why}" for url, why in seen.failed}
        for each in left_out(seen, problem):
            assert each.plan is not None
            assert seen.current is not None
            ours, theirs = seen.current.generation, each.plan.generation
            runs = f", {each.requests:,} requests run there" if each.requests else ""
            standing[each.node] = f"{each.node} carries out generation {theirs}, {ours} goes on without it{runs}"
        for name, sentence in standing.items():
            if self._standing.get(name) != sentence:
                self._tell("besides", sentence)
        for name in self._urls:
            if name in self._standing and name not in standing:
                self._tell("besides", f"{name} answers again")
        self._standing = standing
        if (
            self._offered is not None
            and seen.current is not None
            and seen.current.generation >= self._offered.generation
        ):
            self._offered = None
        if self._offered is not None and (declined := seen.declined(self._offered)):
            said = "; ".join(f"{node}: {reason}" for node, reason in declined)
            self._tell("declined", f"generation {self._offered.generation}: {said}")
            self._offered = None
        self._say_situation(verdict)

    def _say_situation(self, verdict: Verdict) -> None:
        kind = {AtRest: "at rest", UnderWay: "under way", Waits: "waits", Due: "due"}[type(verdict)]
        if (kind, verdict.sentence) != self._situation:
            self._situation = kind, verdict.sentence
            self._events = {}
            self._tell(kind, verdict.sentence)

    def _say(self, kind: str, sentence: str) -> None:
        """Tell of an event; of the same again only once something else has happened."""
        if self._events.get(kind) != sentence:
            self._events[kind] = sentence
            self._tell(kind, sentence)


def _is_same(one: Due | None, other: Due | None) -> bool:
    """Whether the same is due, whoever says so."""
    return one is not None and other is not None and (one.current, one.nodes) == (other.current, other.nodes)
