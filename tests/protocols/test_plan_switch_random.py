"""Random schedules of plan switch: more nodes, and plans that follow one another, than can be explored."""

import random

import pytest

from tests.protocols.switch_cluster import Faults, SwitchCluster, a_plan

NODES = "uvwxyz"
MOVES_MAX = 4000


def some_plans(chance, first):
    """Plans with rivals and successors, each for most of the nodes, some of which cannot carry some of them out."""
    plans, offers, unable = [first], [], {}
    for generation in range(2, 2 + chance.randint(2, 5)):
        parent = chance.choice(plans[-3:])
        nodes = "".join(sorted(chance.sample(NODES, chance.choice([5, 6, 6]))))
        plan = a_plan(
            chance.choice([generation, generation, generation - 1, generation + 1]), nodes, parent, generation
        )
        plans.append(plan)
        offers += [(chance.choice(nodes), plan) for _ in range(chance.randint(1, 3))]
        if chance.random() < 0.3:
            unable[chance.choice(nodes), plan] = "no room"
    return offers, unable


def run(seed):
    """Take random moves, faults and offers while there are any; then calm ones until none is left."""
    chance = random.Random(seed)
    first = a_plan(1, NODES)
    offers, unable = some_plans(chance, first)
    most = {"losses": 4, "repeats": 2, "lates": 3, "deaths": 1, "restarts": 2}
    faults = Faults(**{name: chance.randint(0, count) for name, count in most.items()})
    cluster = SwitchCluster(NODES, first, offers, faults, unable)
    world, labels = cluster.start(), []
    for _ in range(MOVES_MAX):
        moves = list(cluster.moves(world))
        calm = [move for move in moves if not move.is_fault]
        wild = [move for move in moves if move.is_fault]
        if not calm and not (wild and len(labels) < MOVES_MAX // 2):
            return cluster, world, labels
        move = chance.choice(wild if wild and (not calm or chance.random() < 0.15) else calm)
        labels.append(move.label)
        world = move.state
        assert not world.breaches, (world.breaches, labels)
    return cluster, world, labels


@pytest.mark.parametrize("seed", range(12))
def test_whatever_was_offered_the_theorem_holds_and_the_run_ends_well(seed):
    cluster, world, labels = run(seed)
    assert len(labels) < MOVES_MAX, labels[-20:]
    assert cluster.is_good(world), labels


@pytest.mark.slow
def test_many_runs():
    """One in a few hundred waits for ever: a node that was started again accepted a plan, and says nothing of the
    plan that this one follows, because an earlier life may have; the others ask for the document again and again."""
    ended = 0
    for seed in range(12, 412):
        cluster, world, labels = run(seed)
        if len(labels) < MOVES_MAX:
            ended += 1
            assert cluster.is_good(world), labels
    assert ended == 398
