"""KV hand-over of worlds that are too large to explore: random orders of events, with several faults of every kind."""

import random

import attrs
import pytest

from specs.protocols.kv_hand_over_nouns import Path
from tests.protocols.hand_over_moves import Moves, is_good, terms
from tests.protocols.hand_over_world import Faults

# Three old stages into two new ones.
PATHS = tuple(Path(old_stage=a, new_stage=b) for a, b in ((0, 0), (1, 0), (1, 1), (2, 1)))
FAULTS = Faults(
    losses=3,
    repeats=3,
    lates=3,
    aborts=1,
    cancels=1,
    missed=1,
    impatience=1,
    source_drains=1,
    target_drains=1,
)
DEATHS = ({}, {"source_deaths": 1}, {"target_deaths": 1})


def run(seed):
    """One order of events, to its end; gives whether a request went on in the new pipeline."""
    chance = random.Random(seed)
    faults = {name: value * chance.randrange(2) for name, value in attrs.asdict(FAULTS).items()}
    conditions = terms(PATHS, rounds_max=3, rest_tokens_max=chance.randrange(2, 16), hand_overs_max=3)
    roles = Moves(conditions, stages=2, end=20)
    world = roles.start(
        Faults(**{**faults, **chance.choice(DEATHS)}), requests=4, old_slots=3, new_slots=3, strangers=1
    )
    labels, was_handed_over = [], False
    while True:
        moves = list(roles.moves(world))
        if not any(not move.is_fault for move in moves):
            break
        calm = [move for move in moves if not move.is_fault]
        move = chance.choice(moves if chance.random() < 0.03 else calm)
        labels.append(move.label)
        world = move.state
        was_handed_over |= bool(world.running)
        assert not world.breaches, (seed, world.breaches, labels)
        assert len(labels) < 5000, (seed, "it goes on for ever")
    assert is_good(world), (seed, labels, world)
    return was_handed_over


@pytest.mark.parametrize("first", [0, 1000])
def test_random_orders_of_events(first):
    assert sum(run(seed) for seed in range(first, first + 10)) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("first", range(10_000, 20_000, 500))
def test_more_random_orders_of_events(first):
    assert sum(run(seed) for seed in range(first, first + 500)) > 50
