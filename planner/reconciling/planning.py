"""One try to change a cluster: its state is taken, a plan is made from it and put, in a thread of its own.

Nothing is put before the plan is whole, and nothing after somebody has refused it.  New nodes are offered it before
the others: once one of these has accepted, the daemons agree among themselves, whatever becomes of whoever asked.
Two controllers come to the same first node, so that of two plans one is refused there and changes nothing.
"""

import threading
from collections.abc import Callable, Sequence

import attrs

from planner.asking import ask, put
from planner.decided import Request
from planner.errors import PlannerError
from planner.outcome import Infeasible, Planned, Undecided
from planner.reconciling.judging import Due
from planner.reconciling.looking import Look
from planner.reconciling.wording import in_one_line
from planner.search import Search
from planner.solve import solve
from specs import codec
from specs.checker import VerifiedPlan
from specs.errors import SpecError
from specs.problem import Problem
from specs.protocols.plan_switch_nouns import PlanName


@attrs.frozen(kw_only=True)
class Put:
    """The plan was offered; the daemons agree on it now, or decline it."""

    plan: PlanName


@attrs.frozen(kw_only=True)
class WouldPut:
    """The plan was made, and that was all that was asked for."""

    plan: PlanName


@attrs.frozen(kw_only=True)
class NoPlan:
    """There is no plan, or none was found in time (`is_undecided`)."""

    sentence: str
    is_undecided: bool


@attrs.frozen(kw_only=True)
class Refused:
    """A daemon did not take the plan."""

    sentence: str


@attrs.frozen(kw_only=True)
class Overtaken:
    """What the plan was to be made for is not so any more."""

    sentence: str


Result = Put | WouldPut | NoPlan | Refused | Overtaken
Say = Callable[[str, str], None]  # a kind of event and a sentence


@attrs.frozen(kw_only=True)
class Limits:
    """How long is waited for what, and what is left alone."""

    answer_s: float  # for what a daemon says
    offer_s: float  # for a daemon to take a plan: it may have to read blobs from its disk first
    search: Callable[[], Search]
    dry_run: bool = False
    fixed_slots: bool = False  # of pipelines that run


class Try:
    """Plans and puts, until `result` is there.  A bug of the planner is raised by `result` in the caller's thread."""

    def __init__(self, due: Due, look: Look, wish: Problem, limits: Limits, say: Say) -> None:
        self.due = due
        self._look, self._wish, self._limits, self._say = look, wish, limits, say
        self._search = limits.search()
        self._is_overtaken = False
        self._found: list[Result | BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def result(self) -> Result | None:
        """What came of it; None while it goes on."""
        if self._thread.is_alive():
            return None
        (found,) = self._found
        if isinstance(found, BaseException):
            raise found
        return found

    def overtake(self) -> None:
        """End the search, and put nothing: another plan is due.  Later than that it goes on to its end."""
        self._is_overtaken = True
        self._search.stop()

    def wait(self, seconds: float) -> None:
        """Wait until it is over, but not longer than this."""
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self._found.append(self._try())
        except (PlannerError, SpecError) as error:
            self._found.append(NoPlan(sentence=str(error), is_undecided=True))
        except BaseException as error:  # noqa: BLE001 - `result` raises it
            self._found.append(error)

    def _try(self) -> Result:
        begun = self._begin()
        if not isinstance(begun, tuple):
            return begun
        outcome = solve(*begun, self._search)
        match outcome:
            case Infeasible(conflicts=conflicts):
                said = "; ".join(f"{each.rule} at {each.where}: {each.sentence}" for each in conflicts[:3])
                return NoPlan(sentence=said, is_undecided=False)
            case Undecided(sentence=sentence):
                return NoPlan(sentence=sentence, is_undecided=True)
            case Planned(verified=verified):
                if self._is_overtaken:
                    return Overtaken(sentence="the plan was not whole before something else happened")
                return self._put(verified)

    def _begin(self) -> tuple[Problem, Request] | Result:
        """Say what is asked of the planner."""
        due, look = self.due, self._look
        generation = 1 + max(each.generation_max for each in look.said)
        if due.current is None:
            return self._wish, Request(generation=generation)
        from planner.reconfiguring.beginning import begin

        answers = ask([each.url for each in look.said if each.node in due.stays], self._limits.answer_s)
        state = answers.state
        plan = PlanName(generation=state.plan.generation, digest=codec.digest(state.plan))
        if plan != due.current:
            return Overtaken(sentence=f"generation {plan.generation} has been adopted meanwhile")
        if missing := sorted(set(due.stays) - {each.node for each in state.nodes if each.plan is not None}):
            return Overtaken(sentence=f"{', '.join(missing)} did not say what is there")
        nodes = {node.id for node in (*state.problem.cluster.nodes, *self._wish.cluster.nodes)}
        back = frozenset(due.fresh)
        begun = begin(state, self._wish, lost=nodes - set(due.stays) - back, back=back)
        if isinstance(begun, Infeasible):
            said = "; ".join(f"{each.rule} at {each.where}: {each.sentence}" for each in begun.conflicts[:3])
            return NoPlan(sentence=said, is_undecided=False)
        for each in begun.ended:
            self._say("ends", f"{each.pipeline.id} with {each.live_requests:,} requests, which go on elsewhere")
        request = attrs.evolve(
            begun.request,
            generation=max(generation, begun.request.generation or 0),
            fixed_slots=self._limits.fixed_slots,
        )
        return begun.problem, request

    def _put(self, verified: VerifiedPlan) -> Result:
        plan, problem = codec.encode(verified.plan), codec.encode(verified.problem)
        name = PlanName(generation=verified.plan.generation, digest=codec.digest(verified.plan))
        self._say("plan", f"generation {name.generation}: {in_one_line(verified)}")
        if self._limits.dry_run:
            return WouldPut(plan=name)
        document = b'{"plan":' + plan + b',"problem":' + problem + b"}"
        for url in self._doors():
            refusal = put(url, document, self._limits.offer_s)
            if refusal is not None:
                return Refused(sentence=f"generation {name.generation}: {url}: {refusal}")
        return Put(plan=name)

    def _doors(self) -> Sequence[str]:
        """Name the daemons that are offered the plan: each new one, and the first of the others."""
        nodes = (*self.due.fresh, *self.due.stays[:1])
        return [said.url for node in nodes if (said := self._look.of(node)) is not None]
