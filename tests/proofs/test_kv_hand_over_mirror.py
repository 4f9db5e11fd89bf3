"""The model of the proof does whatever the code does, step by step, on random schedules with faults."""

import random

import pytest

from specs.proofs.kv_hand_over import STEPS
from tests.proofs.hand_over_mirror import Mirror
from tests.protocols.hand_over_moves import JOIN, SPLIT, terms
from tests.protocols.hand_over_world import Faults
from tests.protocols.test_hand_over_bugs import (
    seats_are_given_back_before_all_stages_know,
    seats_are_open_before_all_stages_know,
    the_source_does_not_wait_for_the_copy_of_the_rest,
)

TWO = {"requests": 2, "old_slots": 2, "new_slots": 2}
SPACES = {
    "two requests": (terms(), Faults(lates=1, repeats=1, losses=1), TWO, 1),
    "two target stages": (terms(SPLIT), Faults(lates=1, aborts=1), {"strangers": 1}, 2),
    "two old stages": (terms(JOIN), Faults(impatience=1, cancels=1), {"strangers": 1}, 1),
    "two requests, one seat": (terms(), Faults(aborts=1, cancels=1), {**TWO, "new_slots": 1}, 1),
    "aborted too often": (terms(hand_overs_max=1), Faults(aborts=1), {}, 1),
    "gives back": (terms(), Faults(source_drains=1, target_drains=1, repeats=1), {**TWO, "strangers": 1}, 1),
}


SEEDS = {
    "two requests": 1,
    "two target stages": 0,
    "two old stages": 3,
    "two requests, one seat": 0,
    "gives back": 1,
}


def weight(move):
    """Prefer that what was said is heard, and that nothing goes wrong."""
    return 0.5 if move.is_fault else 8 if move.label.startswith(("heard", "read")) else 1


def walk(space, seed, moves_max):
    conditions, faults, start, stages = SPACES[space]
    mirror = Mirror(conditions, stages, 6)
    world = mirror.start(faults, **start)
    mirror.begin(world)
    chance = random.Random(f"{space} {seed}")
    done = []
    for _ in range(moves_max):
        options = mirror.options(world)
        if not options:
            break
        ((move, calls),) = chance.choices(options, [weight(option[0]) for option in options])
        done.append(move.label)
        try:
            mirror.go(world, move, calls)
        except AssertionError as error:
            raise AssertionError("\n".join((*done, str(error)))) from error
        world = move.state
    return mirror.taken


def walks(space, seeds):
    return {name for seed in range(seeds) for name in walk(space, seed, 80)}


@pytest.mark.parametrize(("space", "seed"), SEEDS.items())
def test_what_the_code_does_the_model_does(space, seed):
    assert "resume" in walk(space, seed, 80)


def test_an_abort_too_many():
    assert "begin_too_often" in walks("aborted too often", 6)


@pytest.mark.slow
def test_the_model_does_nothing_that_the_code_never_does():
    taken = {name for space in SPACES for name in walks(space, 20)}
    assert taken == set(STEPS)


BUGS = {
    seats_are_given_back_before_all_stages_know: ("two requests", "give_back: every stage knows"),
    seats_are_open_before_all_stages_know: ("two requests", "answer_seat: every stage knows"),
    the_source_does_not_wait_for_the_copy_of_the_rest: ("two requests", "hand_out: all is there"),
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_what_the_model_cannot_do_is_seen(bug, monkeypatch):
    space, guard = BUGS[bug]
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=guard):
        walks(space, 20)
