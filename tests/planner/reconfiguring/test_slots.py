"""How many slots pipelines keep: against every choice there is."""

from itertools import product

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.reconfiguring.slots import Together, slot_bytes, slots
from planner.search import Search
from tests.planner.reconfiguring.cases import heavy
from tests.plans import a_pipeline, gpu

LLM = heavy()


@st.composite
def questions(draw):
    """Two or three pipelines on some of three devices, with one to four slots each, and any room."""
    names = ["a", "b", "c"][: draw(st.integers(2, 3))]
    pipelines = []
    for name in names:
        border = draw(st.integers(1, 9))
        first, second = draw(st.permutations((0, 1, 2)))[:2]
        stages = ((gpu(first), 0, border), (gpu(second), border, 10))
        pipelines.append(attrs.evolve(a_pipeline(name, LLM, *stages), slots=draw(st.integers(1, 4))))
    olds = draw(st.lists(st.sampled_from(names[:-1]), unique=True))
    others = frozenset(draw(st.lists(st.sampled_from(names), unique=True))).difference(olds)
    live = {each.id: draw(st.integers(0, each.slots)) for each in pipelines[: draw(st.integers(1, len(names)))]}
    room = {gpu(number): draw(st.integers(0, 3 * 2**20)) for number in range(draw(st.integers(1, 3)))}
    successors = dict.fromkeys(sorted(olds), names[-1])
    return Together(pipelines=tuple(pipelines), live=live, successors=successors, others=others, room=room)


def cost(together, chosen):
    """What is to be least, first things first."""
    waiting = sum(max(0, together.live.get(each.id, 0) - chosen[each.id]) for each in together.pipelines)
    copied = 0
    for new in dict.fromkeys(together.successors.values()):
        olds = [old for old, into in together.successors.items() if into == new]
        live = sum(together.live.get(name, 0) for name in (new, *olds))
        copied += max(live, sum(chosen[old] for old in olds)) <= chosen[new]
    least = min(100 * chosen[each.id] // each.slots for each in together.pipelines)
    lost = sum(each.slots - chosen[each.id] for each in together.pipelines if each.id in together.others)
    return waiting, lost, -copied, -least, -sum(chosen.values())


def fits(together, chosen):
    return all(
        sum(slot_bytes(LLM, each, place) * chosen[each.id] for each in together.pipelines) <= room
        for place, room in together.room.items()
    )


@given(together=questions())
@settings(max_examples=40, deadline=None)
def test_no_choice_is_better(together):
    ranges = [range(1, each.slots + 1) for each in together.pipelines]
    names = [each.id for each in together.pipelines]
    choices = [dict(zip(names, numbers, strict=True)) for numbers in product(*ranges)]
    fitting = [cost(together, each) for each in choices if fits(together, each)]
    found = slots(together, [LLM], Search())
    if not fitting:
        assert found is None
    else:
        assert fits(together, found)
        assert cost(together, found) == min(fitting)


@pytest.mark.parametrize(
    ("room", "expected"), [(8, (4, 4)), (6, (3, 3)), (5, (3, 2)), (4, (3, 1)), (3, (2, 1)), (1, None)]
)
def test_requests_that_run_come_first(room, expected):
    """On one device a pipeline with three requests makes room for its successor: a slot takes 2 MiB of each."""
    old, new = (attrs.evolve(a_pipeline(name, LLM, (gpu(0), 0, 10)), slots=4) for name in ("old", "new"))
    together = Together(
        pipelines=(old, new),
        live={"old": 3},
        successors={"old": "new"},
        others=frozenset(),
        room={gpu(0): room * 2 * 2**20},
    )
    assert slot_bytes(LLM, old, gpu(0)) == 2 * 2**20
    found = slots(together, [LLM], Search())
    assert found == (None if expected is None else dict(zip(("old", "new"), expected, strict=True)))
