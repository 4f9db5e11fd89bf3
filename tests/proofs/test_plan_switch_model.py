"""The model of the proof against the code: what the explorer reaches with the code, the model reaches too."""

import attrs
import pytest

from specs.proofs import plan_switch_model as model
from specs.proofs.logic import Finite
from tests.protocols.switch_cluster import run
from tests.protocols.test_plan_switch import SLOW, SPACES

WAYS = (
    ["accept"],
    ["decline"],
    ["adopt"],
    ["begin"],
    ["record"],
    ["restart"],
    ["accept", "adopt"],
    ["record", "restart"],
)
LARGE = (
    "rivals of one generation",
    "a plan that follows the next",
    "rivals, a restart",
    "a rival that leaves a node out",
    "rivals, three nodes, one unable",
)


class Mirror:
    """Reads the worlds of one cluster as states of the model.  Nodes are numbers, plans are offers."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.logic = Finite({"Node": range(len(cluster.names)), "Plan": cluster.plans})
        by_digest = {plan.name.digest: plan for plan in cluster.plans}

        def depth(plan):
            return 0 if plan.parent not in by_digest else 1 + depth(by_digest[plan.parent])

        self.plans = model.Plans(
            generation=lambda p: p.name.generation,
            depth=depth,
            follows=lambda p, q: p.parent == q.name.digest,
            has=lambda p, n: n is not None and cluster.names[n] in p.nodes,
        )

    def state(self, world):
        def members(p):
            return [self.cluster.names.index(each) for each in p.nodes]

        def has_declined(n, p):
            return (n, p.name) in world.declined and n in members(p)

        return model.State(
            settled=lambda n: world.nodes[n].settled,
            recorded=lambda n: world.disks[n],
            serves=lambda n: world.nodes[n].adopted is not None,
            current=lambda n: world.nodes[n].adopted,
            adopted=lambda n, p: (n, p) in world.adopted,
            stands=lambda n, p: p in world.nodes[n].accepted,
            refuses=lambda n, p: n in members(p) and any(each.plan == p.name for each in world.nodes[n].declined),
            accepted=lambda n, p: (n, p) in world.accepted,
            declined=has_declined,
            used=lambda p: p in world.used,
            dead=lambda p: any(has_declined(n, p) for n in members(p)),
            killer=lambda p: next((n for n in members(p) if has_declined(n, p)), None),
        )

    def table(self, state):
        """All that a state says, but for who declined a plan first and what a node without a plan carries out."""
        nodes, plans = range(len(self.cluster.names)), self.cluster.plans
        of_node = [(state.settled(n), state.recorded(n), state.serves(n) and state.current(n)) for n in nodes]
        of_plan = [(state.used(p), state.dead(p)) for p in plans]
        both = (state.adopted, state.stands, state.refuses, state.accepted, state.declined)
        return of_node, of_plan, [[bool(each(n, p)) for each in both] for n in nodes for p in plans]

    def step(self, name, state, n, p, after):
        """Take a step of the model if its guards hold; None otherwise."""
        settled, recorded = after.settled(n), after.recorded(n)
        guards, found = {
            "accept": lambda: model.accept(self.logic, self.plans, state, n, p, recorded),
            "decline": lambda: model.decline(self.logic, self.plans, state, n, p, recorded),
            "adopt": lambda: model.adopt(self.logic, self.plans, state, n, p, settled, recorded),
            "begin": lambda: model.begin(self.logic, self.plans, state, n, p, settled, recorded),
            "record": lambda: model.record(self.logic, state, n, recorded),
            "restart": lambda: model.restart(self.logic, state, n),
        }[name]()
        return found if all(guards.values()) else None

    def can(self, before, after):
        """Tell whether the model comes from one world to the next: by no step, one, or an acceptance and another."""
        start, end = self.state(before), self.state(after)
        wanted = self.table(end)
        if self.table(start) == wanted:
            return True
        for n in range(len(self.cluster.names)):
            for p in self.cluster.plans:
                for way in WAYS:
                    state = start
                    for name in way:
                        state = state and self.step(name, state, n, p, end)
                    if state and self.table(state) == wanted:
                        return True
        return False


@pytest.mark.parametrize(
    "space",
    [
        "one offer, three nodes",
        "rivals, a death",
        "rivals, one unable",
        "a node that has no plan",
        *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE),
    ],
)
def test_every_step_of_the_code_is_a_step_of_the_model_and_the_invariant_holds(space):
    cluster, *_ = (SPACES | SLOW)[space]
    mirror = Mirror(cluster)
    assert all(model.axioms(mirror.logic, mirror.plans))
    seen = set()

    def moves(world):
        for move in real(world):
            assert mirror.can(world, move.state), move.label
            yield move

    def holds(world):
        state = mirror.state(world)
        sentences = {
            **model.invariant(mirror.logic, mirror.plans, state),
            **model.shown(mirror.logic, mirror.plans, state),
        }
        seen.update(sentences)
        assert all(sentences.values()), [name for name, truth in sentences.items() if not truth]
        return False

    real, cluster.moves = cluster.moves, moves
    try:
        run(cluster, [holds])
    finally:
        cluster.moves = real
    assert len(seen) == 16


def test_a_state_that_breaks_the_invariant_is_seen():
    cluster, *_ = SPACES["rivals"]
    mirror = Mirror(cluster)
    world = cluster.start()
    plan = cluster.plans[-1]
    torn = attrs.evolve(world, accepted=frozenset({(0, plan)}), declined=frozenset({(0, plan.name)}))
    broken = model.invariant(mirror.logic, mirror.plans, mirror.state(torn))
    assert not broken["WORD"]
    assert not mirror.can(world, torn)
