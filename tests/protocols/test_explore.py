"""The explorer itself, on protocols whose states can be counted by hand."""

import pytest

from specs.protocols.explore import Move, TooManyStates, explore


def counter(limit):
    def successors(state):
        if state < limit:
            yield Move("up", state + 1)
        if state > 1:
            yield Move("down two", state - 2, is_fault=True)

    return successors


def test_counts_states_and_moves_and_finds_witnesses():
    found = explore(
        [0],
        counter(5),
        always={"never above 5": lambda n: n <= 5},
        sometimes={"three": lambda n: n == 3},
        good=lambda n: n == 5,
    )
    assert (found.states, found.moves) == (6, 5 + 4)
    assert found.is_right
    assert found.witnesses["three"].labels == ("up", "up", "up")


def test_the_counter_example_is_shortest_and_readable():
    def successors(state):
        yield Move("add 1", (state + 1) % 100)
        yield Move("add 7", (state + 7) % 100)

    found = explore([0], successors, always={"not 15": lambda n: n != 15}, sometimes={}, good=lambda n: True)
    assert len(found.broken.labels) == 3
    assert str(found.broken).startswith("not 15, after 3 moves:\n    1. add")
    assert found.broken.end == 15
    assert not found.is_right


def test_a_state_that_only_a_fault_leaves_is_stuck():
    def successors(state):
        if state == "fine":
            yield Move("slip", "ditch", is_fault=True)
            yield Move("arrive", "home")
        if state == "ditch":
            yield Move("luck", "fine", is_fault=True)

    found = explore(["fine"], successors, always={}, sometimes={}, good=lambda s: s == "home")
    assert found.stuck.labels == ("slip",)
    assert found.stuck.end == "ditch"


def test_a_good_state_that_is_never_reached_leaves_everything_stuck():
    found = explore([0], counter(3), always={}, sometimes={"nine": lambda n: n == 9}, good=lambda n: n == 9)
    assert found.stuck.labels == ()
    assert found.unwitnessed == ("nine",)


def test_a_calm_cycle_is_endless_but_a_cycle_through_a_fault_is_not():
    def successors(state, is_fault):
        yield Move("on", min(state + 1, 4)) if state < 4 else Move("back", 2, is_fault)
        if state == 3:
            yield Move("leave", 9)

    def found(*, is_fault):
        return explore(
            [0],
            lambda state: () if state == 9 else successors(state, is_fault),
            always={},
            sometimes={},
            good=lambda n: n == 9,
        )

    endless = found(is_fault=False)
    assert endless.stuck is None
    assert endless.endless.labels == ("on", "on")
    assert not endless.is_right
    assert found(is_fault=True).endless is None


def test_refuses_to_explore_for_ever():
    with pytest.raises(TooManyStates, match="more than 50 states"):
        explore([0], counter(10**9), always={}, sometimes={}, good=lambda n: True, states_max=50)
