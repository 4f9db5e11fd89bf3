"""Why there is no plan: which rule cannot hold where, and how far each number alone would have to give.

A condition is something that must be true of a problem before there can be a plan, and that stays true when a limit
loosens.  When it fails, each of its limits is loosened alone: first to its loosest, and if that is enough to the least
amount that is, by bisection.  A number that ends the conflict alone belongs to every set of numbers in conflict; so
what is named is the heart of the matter, and a number that cannot help is never named.
"""

from collections.abc import Callable, Iterable, Iterator

import attrs

from planner.explain.limits import Limit
from planner.outcome import Conflict, Give
from specs.problem import Problem


@attrs.frozen(kw_only=True)
class Condition:
    """What must be true of a problem, and the numbers that it depends on."""

    rule: str
    where: str
    fault: Callable[[Problem], str | None]  # in a sentence; None: the condition holds
    limits: tuple[Limit, ...]
    besides: Callable[[Problem], bool] | None = None  # what a number must not break by giving way
    proven: bool = True  # where it fails there is no plan; else it is only that the planner knows none


def conflicts(problem: Problem, conditions: Iterable[Condition]) -> Iterator[Conflict]:
    """Explain every condition that fails."""
    for condition in conditions:
        sentence = condition.fault(problem)
        if sentence is not None:
            gives = tuple(give for limit in condition.limits if (give := _give(problem, condition, limit)) is not None)
            yield Conflict(
                rule=condition.rule,
                where=condition.where,
                sentence=sentence,
                gives=gives,
                proven=condition.proven,
            )


def _give(problem: Problem, condition: Condition, limit: Limit) -> Give | None:
    """Find the least loosening of one limit that is enough; None when its loosest is not."""

    def enough(amount: int) -> bool:
        return condition.fault(limit.set_to(problem, amount)) is None

    if not enough(limit.loosest):  # most limits cannot help: one question each
        return None
    needed = least_change(limit.allowed, limit.loosest, enough)
    if needed is None:
        return None
    unbroken = condition.besides
    if unbroken is not None and not unbroken(limit.set_to(problem, needed)):
        needed = least_change(needed, limit.loosest, lambda amount: unbroken(limit.set_to(problem, amount)))
    if needed is None:
        return None
    sentence = f"{limit.name}: {limit.say(limit.allowed)} given, {limit.say(needed)} would do"
    return Give(limit=limit.name, allowed=limit.allowed, needed=needed, sentence=sentence)


def least_change(start: int, end: int, enough: Callable[[int], bool]) -> int | None:
    """Find the amount nearest to `start`, towards `end`, from which on it is enough; None if it is not even at `end`.

    `enough` is monotone from `start`, where it is false, to `end`.  About 2 log2(distance) questions are asked: small
    changes are tried first, because large amounts (a thousand machines) make large problems.
    """
    if start == end:
        return None
    direction = 1 if end > start else -1
    distance = abs(end - start)
    low, reach = 0, 1
    while reach < distance and not enough(start + direction * reach):
        low, reach = reach, 2 * reach
    high = min(reach, distance)
    if high == distance and not enough(end):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if enough(start + direction * middle):
            high = middle
        else:
            low = middle
    return start + direction * high
