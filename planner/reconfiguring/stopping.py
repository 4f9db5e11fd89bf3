"""Where it cannot be done live: which memory lacks how much, and what stopping a pipeline first would cost."""

from collections.abc import Sequence

import attrs

from planner.decided import NoPlan, Request
from planner.description.wording import say_duration
from planner.outcome import Conflict, Give, Infeasible, Undecided
from planner.reconfiguring.continuity import pause_allowed_ns, prefill_ns
from planner.reconfiguring.impossible import never_live
from planner.reconfiguring.live import live
from planner.reconfiguring.order import Stuck
from planner.reconfiguring.settled import Layout
from planner.reconfiguring.succession import succession
from planner.search import Search
from specs.plan import Activate, Plan
from specs.problem import Problem, Running
from specs.units import Nanos, ceil_div


def stopping(problem: Problem, request: Request, search: Search, wanted: Layout, stuck: Stuck) -> Undecided:
    """Say what stands in the way, and which pipelines, stopped before, would let the rest go on live.

    Not that there is no plan: other layouts, or a way through memories that are in no use, are not tried.
    """
    gives = tuple(_gives(problem, request, search, wanted, stuck.closing))
    first = {each.where: each for each in reversed(stuck.violations)}
    conflicts = tuple(
        Conflict(rule=each.rule, where=each.where, sentence=each.sentence, gives=gives, proven=False)
        for each in stuck.violations
        if each is first[each.where]
    )
    return Undecided(sentence=in_words(stuck), conflicts=conflicts)


def never_without_a_stop(
    problem: Problem, request: Request, search: Search, wanted: Layout, never: Sequence[Conflict]
) -> Infeasible:
    """Say what no plan can do while all goes on, and which pipelines, stopped before, would let the rest go on live."""
    closing = succession(problem, wanted, generation=1, parent=request.parent).successors
    stopped = [each for each in problem.running if each.pipeline.id in closing]
    gives = tuple(_gives(problem, request, search, wanted, stopped))
    return Infeasible(conflicts=tuple(attrs.evolve(each, gives=gives) for each in never))


def in_words(stuck: Stuck) -> str:
    """Say what does not fit where."""
    waiting = ", ".join(each.id for each in stuck.waiting)
    first = stuck.violations[0]
    few = "" if stuck.fixed_slots else ", even with one slot each where memory lacks"
    what = (
        f"{waiting} cannot open while all that runs goes on{few}"
        if waiting
        else "what is to be held at the end does not fit beside it"
    )
    return f"{what}: at {first.where}, {first.sentence}"


def _gives(
    problem: Problem, request: Request, search: Search, wanted: Layout, closing: Sequence[Running]
) -> Sequence[Give]:
    """Each pipeline that would be enough by itself, the shortest pause first; else all that would close, together."""
    found = [give for each in closing if (give := _give(problem, request, search, wanted, [each])) is not None]
    if not found and len(closing) > 1:
        together = _give(problem, request, search, wanted, closing)
        found = [] if together is None else [together]
    return sorted(found, key=lambda give: give.needed)


def _give(
    problem: Problem, request: Request, search: Search, wanted: Layout, stopped: Sequence[Running]
) -> Give | None:
    """What requests would see if these pipelines were stopped at once; None where that is not enough."""
    left = attrs.evolve(problem, running=tuple(each for each in problem.running if each not in stopped))
    if any(never_live(left)):
        return None
    try:
        plan = live(left, request, search, wanted)
    except NoPlan:
        return None
    if isinstance(plan, Stuck):
        return None
    pause_ns = max(_pause_ns(left, plan, each) for each in stopped)
    names = ", ".join(each.pipeline.id for each in stopped)
    allowed = pause_allowed_ns(problem, stopped[0].pipeline)
    requests = sum(each.live_requests for each in stopped)
    sentence = (
        f"stop {names} first (--stop): {requests} requests wait {say_duration(pause_ns)}, until a pipeline of their "
        "LLM is open and has computed their contexts again"
    )
    return Give(limit=f"pause of {names}", allowed=allowed, needed=pause_ns, sentence=sentence)


def _pause_ns(problem: Problem, plan: Plan, stopped: Running) -> Nanos:
    """Until the first pipeline of its LLM is open, and has computed the contexts again."""
    llm = stopped.pipeline.llm
    open_now = [each.pipeline for each in problem.running if each.pipeline.llm == llm]
    opens = {step.pipeline: step.at_ns for step in plan.steps if isinstance(step, Activate)}
    first = min(
        ((opens[each.id], number, each) for number, each in enumerate(plan.pipelines) if each.llm == llm),
        default=None,
    )
    if open_now or first is None:
        opened_ns, pipeline = Nanos(0), (open_now or [stopped.pipeline])[0]
    else:
        opened_ns, _, pipeline = first
    context = ceil_div(stopped.live_tokens, max(1, stopped.live_requests))
    return Nanos(opened_ns + max(1, stopped.live_requests) * prefill_ns(problem, pipeline, max(1, context)))
