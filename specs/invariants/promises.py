"""Rule SLO: what users were promised is what the prediction says that they get."""

from collections.abc import Iterator

from specs import queueing
from specs.decisions.latency.limits import Promise, keeps_shared
from specs.decisions.latency.prediction import Overload, predict_shared
from specs.decisions.latency.question import Latency
from specs.invariants.facts import Facts
from specs.invariants.rule import Violation
from specs.llm import LlmId
from specs.problem import Problem
from specs.ways import NoWay
from specs.workload import Slo


def promises_are_kept(facts: Facts) -> Iterator[Violation]:
    """SLO: what is served at the end is predicted within its SLO.  Rule SERVE sees to it that anything is."""
    weighed = {row.pipeline for row in facts.plan.routing}
    for slo in facts.problem.slos:
        if slo.llm not in served(facts.problem):
            continue
        mine = [pipeline.id for pipeline in facts.pipelines.values() if pipeline.llm == slo.llm]
        unclosed = [pipeline for pipeline in mine if pipeline not in facts.closed_by]
        opens = any(pipeline in facts.opened_ns for pipeline in unclosed)
        if opens and weighed.issuperset(unclosed):  # one without a weight is a matter of rule SERVE
            yield from _judged(facts, slo)


def served(problem: Problem) -> frozenset[LlmId]:
    """The LLMs that are to be served at the end; one that only stands by serves nobody yet."""
    return frozenset({target.llm for target in problem.targets} | {service.llm for service in problem.services})


def _judged(facts: Facts, slo: Slo) -> Iterator[Violation]:
    where = f"LLM {slo.llm}"
    try:
        questions = queueing.questions_of(facts.problem, facts.plan, slo.llm)
    except NoWay as error:
        yield Violation("SLO", where, f"its hidden states have no way: {error}")
        return
    except ValueError as error:  # limits of a pipeline that contradict each other
        yield Violation("SLO", where, f"nothing can be predicted: {error}")
        return
    for sentence in shortcomings(facts.problem, slo, tuple(questions.values())):
        yield Violation("SLO", where, sentence)


def shortcomings(problem: Problem, slo: Slo, questions: tuple[Latency, ...]) -> Iterator[str]:
    """Say in which ways the predictions of an LLM's pipelines together break its promise, and by how much."""
    promise = Promise(percentile=slo.percentile, ttft_ns_max=slo.ttft_ns_max, tpot_ns_max=slo.tpot_ns_max)
    if keeps_shared(questions, promise):
        return
    found = predict_shared(questions, slo.percentile)
    if isinstance(found, Overload):
        come = problem.workload(slo.llm).requests_per_hour
        most = queueing.surely_served(come, questions)
        yield f"{come} requests per hour come, its pipelines surely serve {most}: waits would grow without end"
        return
    for name, predicted, allowed in (
        ("TTFT", found.ttft_ns, slo.ttft_ns_max),
        ("TPOT", found.tpot_ns, slo.tpot_ns_max),
    ):
        if predicted > allowed:
            yield f"{name} at percentile {slo.percentile} is predicted as {predicted} ns, {allowed} are promised"
