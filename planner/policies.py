"""Tables that fronts look up while they run."""

from planner.speculation.lengths import best_table
from specs.drafting import Speculation, length_question
from specs.problem import Problem


def speculations(problem: Problem) -> tuple[Speculation, ...]:
    """Fill the table of every wished LLM whose drafting was measured."""
    slos = {slo.llm: slo for slo in problem.slos}
    return tuple(
        Speculation(llm=each.llm, table=best_table(length_question(each, slos.get(each.llm))))
        for each in problem.profile.draftings
        if each.llm in problem.wished
    )
