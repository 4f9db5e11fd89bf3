import attrs
import pytest

from specs.decisions.layout import values
from specs.decisions.layout.answer import Answer, Replica, Stage
from specs.decisions.layout.exhausted import TooLarge, exhausted, options, space
from specs.decisions.layout.faults import faults
from specs.decisions.layout.question import Limits, Pace, Prompt, Question, Shape
from specs.decisions.layout.values import Objective
from specs.errors import InvalidProblem
from tests.layouts import limited, question


def stage(shape, devices, first, end):
    return Stage(shape=shape, devices=devices, first_unit=first, end_unit=end)


def chain(batch=1, in_flight=2, weight=1):
    """A quick device with two units, then a slow one with the last."""
    return Replica(
        stages=(stage("quick", (0,), 0, 2), stage("slow", (1,), 2, 3)), batch=batch, in_flight=in_flight, weight=weight
    )


def one(*replicas):
    return Answer(replicas=replicas or (chain(),))


def test_a_right_answer_has_no_faults():
    assert list(faults(question(), one())) == []


def test_times_of_a_pipeline():
    # quick: 2 units at max(10, 20); hop 2 + 1; slow: 1 unit at max(30, 40)
    assert values.tpot_ns(question(), chain(in_flight=1)) == 40 + 3 + 40
    assert values.tpot_ns(question(), chain(in_flight=2)) == 83
    assert values.tpot_ns(question(), chain(in_flight=3)) == 120
    assert values.tpot_ns(question(round_ns=50), chain(in_flight=3)) == 133
    assert values.rate_millitokens_per_second(question(), chain(in_flight=3)) == 3 * 10**12 // 120


def test_time_to_the_first_token():
    paces = tuple(Pace(shape=name, batch=8, tracks=((5, 5, 5),)) for name in ("quick", "pair", "slow"))
    asked = question(prompt=Prompt(chunks=3, paces=paces))
    assert values.ttft_ns(asked, chain()) == 10 + 10 + 5 + 2 * 10
    with pytest.raises(ValueError, match="does not say how long prompts take"):
        values.ttft_ns(question(), chain())


def test_values_of_an_answer():
    both = one(chain(), Replica(stages=(stage("quick", (1,), 0, 3),), batch=1, in_flight=1, weight=1))
    assert values.value(question(), both, Objective.DEVICES) == 3
    assert values.value(question(), both, Objective.COST) == 7
    assert values.value(question(), both, Objective.TPOT) == 83
    assert values.value(question(), both, Objective.GOODPUT) == 2 * 10**12 // 83 + 10**12 // 60


BROKEN = {
    "no pipeline": ({}, Answer(replicas=())),
    "which is not described": ({}, one(attrs.evolve(chain(), stages=(stage("none", (0,), 0, 3),)))),
    "no pace": ({}, one(chain(batch=2))),
    "different ones in ascending order": ({}, one(attrs.evolve(chain(), stages=(stage("pair", (1, 0), 0, 3),)))),
    "which has 2": ({}, one(attrs.evolve(chain(), stages=(stage("quick", (2,), 0, 3),)))),
    "would be next": ({}, one(attrs.evolve(chain(), stages=(stage("quick", (0,), 1, 3),)))),
    "end at unit 2 of 3": ({}, one(attrs.evolve(chain(), stages=(stage("quick", (0,), 0, 2),)))),
    "no hop joins": ({"hops": ()}, one()),
    "which has another stage": ({}, one(chain(), chain())),
    "bytes on each device": ({"context_tokens": 40}, one()),
    "at most 1 are allowed": ({"limits": Limits(tpot_ns=1000, depth=1, in_flight=3)}, one()),
    "batches in flight": ({"limits": Limits(tpot_ns=1000, depth=4, in_flight=1)}, one()),
    "slots": ({"limits": Limits(tpot_ns=1000, depth=4, in_flight=3, slots=1)}, one()),
    "ns per output token": ({"limits": Limits(tpot_ns=82, depth=4, in_flight=3)}, one()),
    "less than a millitoken": (
        {"round_ns": 10**13, "limits": Limits(tpot_ns=10**14, depth=4, in_flight=3)},
        one(),
    ),
    "share of the demand": (
        {"limits": Limits(tpot_ns=1000, depth=4, in_flight=3, demand_millitokens_per_second=10**12)},
        one(),
    ),
    "must be loaded": ({"limits": Limits(tpot_ns=1000, depth=4, in_flight=3, moved_units=2)}, one()),
}


@pytest.mark.parametrize("sentence", BROKEN)
def test_every_fault_is_found(sentence):
    changes, answer = BROKEN[sentence]
    found = list(faults(question(**changes), answer))
    assert found
    assert all(sentence in fault for fault in found)


def test_devices_of_a_shape_are_on_one_node():
    groups = tuple(attrs.evolve(group, devices=4) for group in question().groups)
    apart = attrs.evolve(chain(), stages=(stage("pair", (1, 2), 0, 3),))
    assert "different nodes" in "".join(faults(question(groups=groups), one(apart)))


@pytest.mark.parametrize(
    ("limit", "fits", "misses"),
    [("tpot_ns", 83, 82), ("depth", 2, 1), ("in_flight", 2, 1), ("slots", 2, 1), ("moved_units", 3, 2)],
)
def test_limits_at_their_edge(limit, fits, misses):
    assert not list(faults(limited(question(), **{limit: fits}), one()))
    assert len(list(faults(limited(question(), **{limit: misses}), one()))) == 1


def test_memory_at_its_edge():
    # 2 units: 60 of weights and 2 x 2 slots x 2 tokens of KV
    asked = question()
    for memory, wrong in ((68, 0), (67, 1)):
        groups = (attrs.evolve(asked.groups[0], memory_bytes=memory), asked.groups[1])
        assert len(list(faults(question(groups=groups), one()))) == wrong


def test_demand_at_its_edge():
    rate = values.rate_millitokens_per_second(question(), chain())
    assert not list(faults(limited(question(), demand_millitokens_per_second=rate), one()))
    assert list(faults(limited(question(), demand_millitokens_per_second=rate + 1), one()))


def test_units_that_stay_are_not_moved():
    there = question(running=(chain(),))
    assert values.moved_units(there, one()) == 0
    longer = attrs.evolve(chain(), stages=(stage("quick", (0,), 0, 1), stage("slow", (1,), 1, 3)))
    assert values.moved_units(there, one(longer)) == 1
    assert values.moved_units(there, one(attrs.evolve(chain(), stages=(stage("pair", (0, 1), 0, 3),)))) == 6


def test_questions_that_contradict_themselves_are_refused():
    for changes in (
        {"weight_bytes": (1,)},
        {"weight_bytes": (1, -1, 1)},
        {"kv_bytes_per_token": (1, 1, -1)},
        {"groups": question().groups * 2},
        {"groups": question().groups[:1]},
        {"paces": (Pace(shape="quick", batch=1),)},
        {"paces": (Pace(shape="quick", batch=1, tracks=((1, 2),)),)},
        {"paces": (Pace(shape="quick", batch=1, run_ns=((1, 2, 3), (1, 2), (-1,))),)},
        {"limits": Limits(tpot_ns=1, ttft_ns=1, depth=1, in_flight=1)},
    ):
        with pytest.raises(InvalidProblem):
            question(**changes)


def test_options_are_pipelines_that_keep_the_limits():
    for option in options(question()):
        assert not list(faults(question(), Answer(replicas=(option.replica,)))) or len(option.replica.stages) > 1


def test_an_unreachable_demand_is_told():
    assert exhausted(limited(question(), demand_millitokens_per_second=10**15), Objective.GOODPUT) is None


def test_every_question_of_eight_units_and_four_devices_is_searched_through():
    batches = [2**power for power in range(10)] + [3, 5, 6, 7]
    groups = tuple(attrs.evolve(question().groups[0], name=f"g{i}", devices=1, per_node=1) for i in range(4))
    asked = Question(
        weight_bytes=(10,) * 8,
        kv_bytes_per_token=(0,) * 8,
        context_tokens=1,
        groups=groups,
        shapes=tuple(Shape(name=group.name, group=group.name, devices=1) for group in groups),
        paces=tuple(Pace(shape=g.name, batch=b, tracks=((b,) * 8,)) for g in groups for b in batches),
        hops=(),
        limits=Limits(tpot_ns=10**6, depth=4, in_flight=4),
    )
    assert space(asked) == 16


def test_large_spaces_are_not_searched_through():
    groups = tuple(attrs.evolve(group, devices=100) for group in question().groups)
    with pytest.raises(TooLarge):
        exhausted(question(groups=groups), Objective.GOODPUT)
