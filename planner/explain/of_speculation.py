"""Speculation tables: for each cell, the next best length, and which limit rules out a quicker one."""

from collections.abc import Iterator

from planner.explain.explained import Explained, Figure, LeftOut, Worth, say
from specs.decisions.speculation.lengths import Acceptance, Load, Row, ServiceClass, meets, pass_ns, tpot_ns
from specs.drafting import length_question
from specs.invariants.facts import Facts
from specs.plan import Measure, Method

CELLS_MAX = 24  # of each table are explained


def speculation(facts: Facts) -> Iterator[Explained | LeftOut]:
    """Explain each cell of each table: all lengths were enumerated, so its bound is what it achieves."""
    slos = {slo.llm: slo for slo in facts.problem.slos}
    draftings = {drafting.llm: drafting for drafting in facts.problem.profile.draftings}
    for each in facts.plan.speculations:
        question = length_question(draftings[each.llm], slos.get(each.llm))
        classes = {service_class.name: service_class for service_class in question.classes}
        loads = {load.batch_max: load for load in question.loads}
        acceptances = {acceptance.ppm_min: acceptance for acceptance in question.acceptances}
        for row in each.table.rows[:CELLS_MAX]:
            cell = (classes[row.service_class], loads[row.batch_max], acceptances[row.acceptance_ppm_min])
            yield _cell(row, *cell, lengths=range(question.length_max + 1))
        if len(each.table.rows) > CELLS_MAX:
            more = len(each.table.rows) - CELLS_MAX
            yield LeftOut(decision="speculation length", subject=each.llm, sentence=f"{more:,} more cells of its table")


def _cell(row: Row, service_class: ServiceClass, load: Load, acceptance: Acceptance, *, lengths: range) -> Explained:
    times = {length: tpot_ns(load, acceptance, length) for length in lengths}
    able = [length for length in lengths if meets(service_class, load, acceptance, length)] or list(lengths)
    others = sorted((times[length], length) for length in able if length != row.length)
    quickest = min(lengths, key=lambda length: (times[length], length))
    ruled_out = row.met and times[quickest] < times[row.length]
    pause = pass_ns(load, quickest)
    return Explained(
        decision="speculation length",
        subject=f"{row.service_class}, batch to {row.batch_max}, acceptance from {row.acceptance_ppm_min / 10_000:g} %",
        unit=Measure.NANOS,
        value=times[row.length],
        allowed=service_class.tpot_ns_max if row.met else None,
        bound=times[row.length],
        method=f"{Method.EXHAUSTED}: all {len(lengths)} lengths",
        binding=_binding(row, quickest, pause, service_class) if ruled_out or not row.met else _plain(row),
        runner_up=f"{others[0][1]} tokens: {say(others[0][0], Measure.NANOS)} per token" if others else None,
        worth=(
            Worth(
                resource=f"pause of {service_class.name}",
                more=f"{say(pause - service_class.pause_ns_max, Measure.NANOS)} more",
                figure=Figure.VALUE,
                before=times[row.length],
                after=times[quickest],
                unit=Measure.NANOS,
            ),
        )
        if ruled_out and pause > service_class.pause_ns_max
        else (),
    )


def _plain(row: Row) -> str:
    return f"{row.length} tokens have the least time per token; no limit rules out a quicker length."


def _binding(row: Row, quickest: int, pause: int, service_class: ServiceClass) -> str:
    if not row.met:
        return f"No length keeps the limits; {row.length} tokens have the least time per token."
    allowed = say(service_class.pause_ns_max, Measure.NANOS)
    return (
        f"{quickest} tokens would be quicker, but a pass of theirs takes {say(pause, Measure.NANOS)}; TTFT allows "
        f"a pause of {allowed}."
    )
