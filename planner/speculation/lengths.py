"""The best speculation table, by enumeration of all lengths in exact integers.

E(k) and T(k) of one bucket do not depend on the class, so lengths are ordered once per load and acceptance, and every
class takes the first of that order that keeps its limits.
"""

from functools import cmp_to_key

import attrs

from specs.decisions.speculation.lengths import (
    Acceptance,
    LengthQuestion,
    Load,
    Row,
    ServiceClass,
    SpeculationTable,
    expected_tokens,
    faults,
    pass_ns,
    tpot_ns,
)
from specs.units import Nanos, Tokens


def best_table(question: LengthQuestion) -> SpeculationTable:
    """Fill the table; where no length keeps a class's limits, with the least time per token, and say so."""
    ordered = {
        (load.batch_max, acceptance.ppm_min): _fastest_first(question, load, acceptance)
        for load in question.loads
        for acceptance in question.acceptances
    }
    rows = []
    for service_class in question.classes:
        for load in question.loads:
            for acceptance in question.acceptances:
                lengths = ordered[load.batch_max, acceptance.ppm_min]
                able = [
                    length
                    for length, time, tokens, parts in lengths
                    if time <= service_class.pause_ns_max and time * parts <= service_class.tpot_ns_max * tokens
                ]
                rows.append(
                    Row(
                        service_class=service_class.name,
                        batch_max=load.batch_max,
                        acceptance_ppm_min=acceptance.ppm_min,
                        length=Tokens(able[0] if able else lengths[0][0]),
                        met=bool(able),
                    )
                )
    table = SpeculationTable(rows=tuple(rows))
    wrong = tuple(faults(question, table))
    assert not wrong, wrong
    return table


def _fastest_first(question: LengthQuestion, load: Load, acceptance: Acceptance) -> list[tuple[int, int, int, int]]:
    """Order lengths by time per token, shorter ones first among equals: (length, time, tokens, parts)."""
    lengths = [
        (length, pass_ns(load, length), *expected_tokens(acceptance, length))
        for length in range(question.length_max + 1)
    ]

    def less(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> int:
        _, time, tokens, parts = one
        _, other_time, other_tokens, other_parts = other
        difference = time * parts * other_tokens - other_time * other_parts * tokens
        return difference or one[0] - other[0]

    return sorted(lengths, key=cmp_to_key(less))


@attrs.frozen(kw_only=True)
class Unmet:
    """A row whose class's limits no length keeps, and how far each limit alone would have to give."""

    row: Row
    tpot_ns_needed: Nanos | None  # with the pause allowed as it is; None: every length pauses for longer
    pause_ns_needed: Nanos | None  # with the time per token as it is; None: every length has more
    sentence: str


def unmet(question: LengthQuestion, table: SpeculationTable) -> tuple[Unmet, ...]:
    """Explain each row of a table without faults that says that its limits are not met."""
    classes = {service_class.name: service_class for service_class in question.classes}
    loads = {load.batch_max: load for load in question.loads}
    acceptances = {acceptance.ppm_min: acceptance for acceptance in question.acceptances}
    return tuple(
        _unmet(question, row, classes[row.service_class], loads[row.batch_max], acceptances[row.acceptance_ppm_min])
        for row in table.rows
        if not row.met
    )


def _unmet(
    question: LengthQuestion, row: Row, service_class: ServiceClass, load: Load, acceptance: Acceptance
) -> Unmet:
    lengths = [(tpot_ns(load, acceptance, k), pass_ns(load, k)) for k in range(question.length_max + 1)]
    tpot = min((each for each, pause in lengths if pause <= service_class.pause_ns_max), default=None)
    pause = min((pause for each, pause in lengths if each <= service_class.tpot_ns_max), default=None)
    ways = []
    if tpot is not None:
        ways.append(f"{tpot} ns per token allowed instead of {service_class.tpot_ns_max}")
    if pause is not None:
        ways.append(f"{pause} ns between deliveries allowed instead of {service_class.pause_ns_max}")
    where = f"class {row.service_class}, batch {row.batch_max}, acceptance {row.acceptance_ppm_min} ppm"
    what = " or ".join(ways) if ways else "neither limit alone suffices"
    return Unmet(row=row, tpot_ns_needed=tpot, pause_ns_needed=pause, sentence=f"{where}: no length meets it; {what}")
