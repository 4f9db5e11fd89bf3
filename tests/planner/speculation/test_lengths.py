"""The best speculation table: against every table, with exact fractions of its own."""

from fractions import Fraction

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.speculation.lengths import best_table, unmet
from specs.decisions.speculation.lengths import PARTS, Acceptance, LengthQuestion, Load, ServiceClass, faults

times = st.integers(1, 30)


@st.composite
def questions(draw):
    length_max = draw(st.integers(0, 4))
    positions = st.lists(
        st.sampled_from([0, 1, 300_000, 500_000, 800_000, PARTS]), min_size=length_max, max_size=length_max
    )
    loads, edges = draw(st.integers(1, 3)), draw(st.integers(0, 2))
    return LengthQuestion(
        length_max=length_max,
        classes=tuple(
            ServiceClass(name=f"c{index}", tpot_ns_max=draw(times), pause_ns_max=draw(st.integers(1, 60)))
            for index in range(draw(st.integers(0, 2)))
        ),
        loads=tuple(
            Load(
                batch_max=2**index,
                draft_ns=draw(st.integers(0, 5)),
                draft_overhead_ns=draw(st.integers(0, 5)),
                verify_ns=tuple(draw(times) for _ in range(length_max + 1)),
            )
            for index in range(loads)
        ),
        acceptances=tuple(
            Acceptance(ppm_min=index * 1000, positions_ppm=tuple(draw(positions))) for index in range(edges + 1)
        ),
    )


def tokens(positions_ppm, length):
    """Sum over how many are accepted of that many, and one, times the chance of just that."""
    chances = [Fraction(ppm, PARTS) for ppm in positions_ppm[:length]]
    total, reached = Fraction(0), Fraction(1)
    for accepted, chance in enumerate([*chances, Fraction(0)]):
        total += (accepted + 1) * reached * (1 - chance)
        reached *= chance
    return total


@given(question=questions())
@settings(max_examples=200, deadline=None)
def test_no_length_is_better(question):
    table = best_table(question)
    assert not list(faults(question, table))
    rows = iter(table.rows)
    for service_class in question.classes:
        for load in question.loads:
            for acceptance in question.acceptances:
                row = next(rows)
                ranked = []
                for length in range(question.length_max + 1):
                    time = length * load.draft_ns + bool(length) * load.draft_overhead_ns + load.verify_ns[length]
                    each = time / tokens(acceptance.positions_ppm, length)
                    met = each <= service_class.tpot_ns_max and time <= service_class.pause_ns_max
                    ranked.append((not met, each, length))
                assert (not row.met, row.length) == (min(ranked)[0], min(ranked)[2])
    assert next(rows, None) is None


@given(question=questions())
@settings(max_examples=150, deadline=None)
def test_what_a_limit_would_have_to_give_is_just_enough(question):
    table = best_table(question)
    found = unmet(question, table)
    assert [each.row for each in found] == [row for row in table.rows if not row.met]
    for each in found:
        index = next(i for i, c in enumerate(question.classes) if c.name == each.row.service_class)
        for field, needed in (("tpot_ns_max", each.tpot_ns_needed), ("pause_ns_max", each.pause_ns_needed)):
            for amount, met in ((needed, True), (None if needed is None else needed - 1, False), (10**6, needed)):
                if amount is None:
                    continue
                classes = list(question.classes)
                classes[index] = attrs.evolve(classes[index], **{field: max(1, amount)})
                rows = best_table(attrs.evolve(question, classes=tuple(classes))).rows
                row = rows[table.rows.index(each.row)]
                assert row.met == (met is not None and met is not False)


def test_the_sentence_names_both_ways():
    load = Load(batch_max=4, draft_ns=10, draft_overhead_ns=0, verify_ns=(100, 100))
    strict = ServiceClass(name="chat", tpot_ns_max=60, pause_ns_max=105)
    question = LengthQuestion(
        length_max=1, classes=(strict,), loads=(load,), acceptances=(Acceptance(ppm_min=0, positions_ppm=(PARTS,)),)
    )
    (each,) = unmet(question, best_table(question))
    assert each.sentence == (
        "class chat, batch 4, acceptance 0 ppm: no length meets it; 100 ns per token allowed instead of 60 or "
        "110 ns between deliveries allowed instead of 105"
    )
