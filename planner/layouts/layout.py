"""What a search for pipelines gives, and the choice of whole pipelines that ends it."""

import attrs

from planner.layouts.choice import best_whole, greedy
from planner.layouts.seats import seated
from planner.search import Search
from specs.decisions.layout import values
from specs.decisions.layout.answer import Answer
from specs.decisions.layout.exhausted import Option
from specs.decisions.layout.faults import faults
from specs.decisions.layout.question import Question
from specs.decisions.layout.values import Objective
from specs.witness import Witness


@attrs.frozen(kw_only=True)
class Layout:
    """What a search found.  The answer has passed the checker; the bound is what the specs make of the witness."""

    answer: Answer | None  # None: none was found
    value: int | None
    bound: int | None  # no answer is better; None: not known
    witness: Witness
    method: str  # "exhausted", "dual" or "none"
    infeasible: bool = False  # there is no answer at all, which the bound shows

    @property
    def gap(self) -> float | None:
        """Distance of value and bound as a part of the value; None when one of them is not known."""
        return None if self.value is None or self.bound is None else abs(self.bound - self.value) / max(1, self.value)


def told(
    question: Question, objective: Objective, answer: Answer | None, bound: int | None, witness: Witness, method: str
) -> Layout:
    """Put an answer with what it achieves."""
    reached = None if answer is None else values.value(question, answer, objective)
    return Layout(answer=answer, value=reached, bound=bound, witness=witness, method=method)


def choose(
    question: Question, options: list[Option], objective: Objective, search: Search, bound: int | None
) -> Answer | None:
    """Choose whole pipelines from these, seat them and check them; None when no answer was found.

    When the search is over, by one pass from the best rate per device down.  What runs stays where nothing else is an
    answer.
    """
    chosen = best_whole(question, options, objective, search, bound) or greedy(question, options)
    replicas = [option.replica for option, many in zip(options, chosen, strict=True) for _ in range(many)]
    for answer in (seated(question, replicas), Answer(replicas=question.running)):
        if answer is not None and not any(faults(question, answer)):
            return answer
    return None
