"""Rule DEMAND: the pipelines of every service together keep up with its requests."""

from collections.abc import Iterator

from specs.decisions.layout import faults
from specs.errors import InvalidProblem
from specs.invariants.facts import Facts
from specs.invariants.rule import Violation
from specs.invariants.serving import service_keeps_to_its_devices
from specs.services import answer_of, offer


def services_keep_up(facts: Facts) -> Iterator[Violation]:
    """DEMAND: in a steady state every pipeline of a service has room, keeps the TPOT and computes its share."""
    weighed = {row.pipeline for row in facts.plan.routing}
    for service in facts.problem.services:
        lasting = tuple(pipeline for pipeline in facts.serving_at_end if pipeline.llm == service.llm)
        unweighed = not weighed.issuperset(pipeline.id for pipeline in lasting)
        if unweighed or any(service_keeps_to_its_devices(facts, service)):
            continue  # rule SERVE
        where = f"service {service.llm}"
        try:
            found = offer(facts.problem, service)
        except InvalidProblem as error:
            yield Violation("DEMAND", where, str(error))
            continue
        for sentence in faults.faults(found.question, answer_of(facts.plan, lasting, found)):
            yield Violation("DEMAND", where, sentence)
