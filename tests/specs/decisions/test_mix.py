"""Unit mixes: each fault by itself, edges, values."""

import attrs
import pytest

from specs.decisions.mix.checks import faults, final_counts, value
from specs.decisions.mix.question import Objective
from specs.errors import InvalidProblem, MalformedDocument
from tests.specs.decisions.mix_questions import a_mix, a_phase, a_question, a_unit

OLD = a_unit("old", (("p",), 5), running=2, cost=9, stop_cost=2)
NEW = a_unit("new", (("p", "d"), 4), (("d",), 6), cost=3, start_cost=1, devices=(("gpu", 1), ("nic", 2)))
QUESTION = a_question(
    [OLD, NEW],
    [("p", 12, 5), ("d", 6, 0)],
    [("gpu", 4), ("nic", 4)],
    objective=Objective.COST,
    hours=10,
    phases_max=2,
    changes_max=5,
    cost_max=244,
)
# One `old` makes room; then two `new` serve 4 p and 4 d, and 2 d more in the half that is left of the second.
FIRST = a_phase(stops=[("old", 1)], flows=[("old", 0, 5)])
LAST = a_phase(starts=[("new", 2), ("old", 1)], flows=[("old", 0, 10), ("new", 0, 3), ("new", 1, 3)])
GOOD = a_mix(FIRST, LAST)


def test_a_good_mix_has_no_faults_and_its_values():
    assert list(faults(QUESTION, GOOD)) == []
    assert final_counts(QUESTION, GOOD) == {"old": 2, "new": 2}
    assert value(QUESTION, GOOD, Objective.DEVICES) == 2 + 2 * 3
    assert value(QUESTION, GOOD, Objective.CHANGES) == 4
    assert value(QUESTION, GOOD) == 10 * (2 * 9 + 2 * 3) + 2 + 2 * 1 == 244


def replaced(**changes):
    return a_mix(FIRST, attrs.evolve(LAST, **changes))


BROKEN = {
    "the mix has no phase": a_mix(),
    "3 phases, 2 are allowed": a_mix(a_phase(flows=[("old", 0, 5)]), FIRST, LAST),
    "starts unit huge": replaced(starts=a_phase(starts=[("huge", 1)]).starts),
    "starts unit new twice": replaced(starts=a_phase(starts=[("new", 1), ("new", 1)]).starts),
    "gives load to unit huge": replaced(flows=a_phase(flows=[("huge", 0, 1)]).flows),
    "ability 2 of unit new, which it has not": replaced(flows=a_phase(flows=[("new", 2, 1)]).flows),
    "ability 0 of unit new twice": replaced(flows=a_phase(flows=[("new", 0, 1), ("new", 0, 1)]).flows),
    "needs 5 devices of kind gpu": replaced(starts=a_phase(starts=[("new", 2), ("old", 2)]).starts),
    "stops 3 of unit old, 2 are up": replaced(stops=a_phase(stops=[("old", 3)]).stops),
    "1 of unit old more load": a_mix(attrs.evolve(FIRST, flows=a_phase(flows=[("old", 0, 6)]).flows), LAST),
    "leaves the floor of demand p 1 requests": a_mix(
        attrs.evolve(FIRST, flows=a_phase(flows=[("old", 0, 4)]).flows), LAST
    ),
    "leaves demand p 1 requests": replaced(flows=a_phase(flows=[("old", 0, 8), ("new", 0, 3), ("new", 1, 3)]).flows),
}


@pytest.mark.parametrize("sentence", BROKEN)
def test_each_fault_is_found(sentence):
    question = attrs.evolve(QUESTION, cost_max=None)
    found = list(faults(question, BROKEN[sentence]))
    assert any(sentence in fault for fault in found), found


def test_limits_at_their_edges():
    question = attrs.evolve(QUESTION, cost_max=None)
    cost = value(question, GOOD)
    for field, reached in (("cost_max", cost), ("changes_max", 4)):
        assert list(faults(attrs.evolve(question, **{field: reached}), GOOD)) == []
        (fault,) = faults(attrs.evolve(question, **{field: reached - 1}), GOOD)
        assert f"are {reached}, {reached - 1} are allowed" in fault


def test_time_is_shared_between_abilities_to_the_last_nanosecond():
    unit = a_unit("u", (("p",), 4), (("d",), 6), running=1)
    question = a_question([unit], [("p", 2, 0), ("d", 3, 0)], [("gpu", 1)])
    flows = [("u", 0, 2), ("u", 1, 3)]
    assert not list(faults(question, a_mix(a_phase(flows=flows))))
    slower = attrs.evolve(unit.abilities[1], request_ns=unit.abilities[1].request_ns + 1)
    slow = attrs.evolve(question, units=(attrs.evolve(unit, abilities=(unit.abilities[0], slower)),))
    assert list(faults(slow, a_mix(a_phase(flows=flows)))) == [
        "phase 0 gives 1 of unit u more load than they have time for"
    ]


def test_fractions_of_a_request_are_whole_over_several_hours():
    unit = a_unit("u", (("p",), 3), running=1)
    question = a_question([unit], [("p", 3, 0)], [("gpu", 1)])
    assert not list(faults(question, a_mix(a_phase(flows=[("u", 0, 30)], period_hours=10))))
    assert list(faults(question, a_mix(a_phase(flows=[("u", 0, 29)], period_hours=10))))


CONTRADICTIONS = {
    "unit old is given twice": {"units": (OLD, OLD)},
    "demand p is given twice": {"demands": (QUESTION.demands[0], *QUESTION.demands)},
    "device kind gpu is given twice": {"supplies": (QUESTION.supplies[0], *QUESTION.supplies)},
    "a floor of 13 above its 12": {"demands": (attrs.evolve(QUESTION.demands[0], floor_per_hour=13),)},
    "unit old has no devices": {"units": (attrs.evolve(OLD, devices=()),)},
    "of kind nic, of which no supply": {"supplies": QUESTION.supplies[:1]},
    "running units have 5 devices of kind gpu": {"units": (attrs.evolve(OLD, running=5), NEW)},
    "has an ability that covers no demand": {"units": (a_unit("u", ((), 1)),)},
    "covers demand d, which is not stated": {"demands": QUESTION.demands[:1]},
    "cost_max is -1": {"cost_max": -1},
}


@pytest.mark.parametrize("sentence", CONTRADICTIONS)
def test_a_question_that_contradicts_itself_is_refused(sentence):
    with pytest.raises(InvalidProblem, match=sentence):
        attrs.evolve(QUESTION, **CONTRADICTIONS[sentence])


def test_no_time_is_no_rate():
    with pytest.raises(MalformedDocument):
        attrs.evolve(OLD.abilities[0], request_ns=0)
