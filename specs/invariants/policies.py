"""Rule SPEC: what fronts look up while they run has been read whole, and is the best there is."""

from collections import Counter
from collections.abc import Iterator

from specs.decisions.speculation import lengths
from specs.drafting import length_question
from specs.invariants.facts import Facts
from specs.invariants.rule import Violation


def tables_are_the_best(facts: Facts) -> Iterator[Violation]:
    """SPEC: each wished LLM with measured drafting has one table; every length is enumerated for every bucket."""
    slos = {slo.llm: slo for slo in facts.problem.slos}
    given = Counter(each.llm for each in facts.plan.speculations)
    tables = {each.llm: each.table for each in facts.plan.speculations}
    wished = [each for each in facts.problem.profile.draftings if each.llm in facts.problem.wished]
    for llm in sorted(given.keys() - {each.llm for each in wished}):
        yield Violation("SPEC", f"LLM {llm}", "it has a speculation table, and nothing measured or nobody wants it")
    for drafting in wished:
        where = f"LLM {drafting.llm}"
        if given[drafting.llm] != 1:
            found = given[drafting.llm]
            yield Violation("SPEC", where, f"it has {found} speculation tables; its measured drafting asks for one")
            continue
        question = length_question(drafting, slos.get(drafting.llm))
        for sentence in lengths.faults(question, tables[drafting.llm]):
            yield Violation("SPEC", where, sentence)
