"""Cutting a pipeline's units over places: against every assignment."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from planner.partition import Member, Run, partition


def a_member(place, unit_ns, able=None, units_max=99):
    able = able if able is not None else [True] * len(unit_ns)
    return Member(place=place, able=tuple(able), unit_ns=tuple(unit_ns), units_max=units_max)


@st.composite
def members_of(draw):
    units = draw(st.integers(1, 6))
    count = draw(st.integers(1, 3))
    return units, [
        a_member(
            f"n{index}",
            draw(st.lists(st.integers(1, 9), min_size=units, max_size=units)),
            draw(st.lists(st.sampled_from([True, True, False]), min_size=units, max_size=units)),
            draw(st.integers(0, units)),
        )
        for index in range(count)
    ]


def every_cut(members, first, end):
    """(slowest, runs) of each way to give contiguous runs to different members that can take them."""
    for count in range(1, len(members) + 1):
        for inner in itertools.combinations(range(first + 1, end), count - 1):
            borders = (first, *inner, end)
            for chosen in itertools.permutations(members, count):
                runs = list(zip(chosen, itertools.pairwise(borders), strict=True))
                if all(b - a <= member.units_max and all(member.able[a:b]) for member, (a, b) in runs):
                    yield max(sum(member.unit_ns[a:b]) for member, (a, b) in runs), count


def cost(members, runs):
    by_place = {member.place: member for member in members}
    return max(sum(by_place[run.place].unit_ns[run.first : run.end]) for run in runs), len(runs)


@given(case=members_of(), data=st.data())
@settings(max_examples=400, deadline=None)
def test_no_assignment_is_better(case, data):
    units, members = case
    first = data.draw(st.integers(0, units - 1))
    end = data.draw(st.integers(first + 1, units))
    runs = partition(members, first, end)
    best = min(every_cut(members, first, end), default=None)
    if runs is None:
        assert best is None
        return
    assert cost(members, runs) == best
    assert [run.first for run in runs] == [first, *(run.end for run in runs[:-1])]
    assert runs[-1].end == end
    assert len({run.place for run in runs}) == len(runs)
    by_place = {member.place: member for member in members}
    for run in runs:
        assert run.end - run.first <= by_place[run.place].units_max
        assert all(by_place[run.place].able[run.first : run.end])


def test_the_quick_member_takes_more():
    runs = partition([a_member("slow", [2] * 6), a_member("quick", [1] * 6)], 0, 6)
    assert {run.place: run.end - run.first for run in runs} == {"slow": 2, "quick": 4}


def test_one_run_when_a_second_would_not_help():
    assert partition([a_member("a", [1]), a_member("b", [1])], 0, 1) == (Run(place="a", first=0, end=1),)


def test_of_equal_members_the_first_comes_first():
    members = [a_member(name, [1] * 6) for name in ("c", "a", "b")]
    runs = partition(members, 0, 6)
    assert [run.place for run in runs] == ["c", "a", "b"]
    assert partition(members[::-1], 0, 6)[0].place == "b"


def test_what_nobody_may_compute():
    assert partition([a_member("a", [1, 1], [True, False]), a_member("b", [1, 1], [False, False])], 0, 2) is None
    assert partition([a_member("a", [1, 1], units_max=0)], 0, 2) is None
