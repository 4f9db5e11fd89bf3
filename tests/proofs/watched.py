"""A cluster whose rules are watched: whatever one of them changes, wherever the explorer gets, is judged."""

from specs.protocols import block_multicast
from specs.protocols import events as ev
from specs.protocols.learn import LEARN
from tests.protocols.node_cluster import Cluster
from tests.protocols.world import World


class Watched(Cluster):
    """A cluster that has every application of a rule judged, in the world in which it happens."""

    def __init__(self, plans, faults, carried=None):
        super().__init__(plans, faults, carried)
        self.checked = set()  # names of steps of the model

    def start(self):
        first = [block_multicast._first(plan, self.carried[plan.node]) for plan in self.plans]
        world = World(nodes=tuple(first), faults=self.faults)
        for node, state in enumerate(first):
            self.act(world, node, state)
        return super().start()

    def happen(self, world, node, event, **changes):
        if not isinstance(event, ev.Tick):
            self.follow(world, node, event)
        return super().happen(world, node, event, **changes)

    def follow(self, world, node, event):
        """Take the event apart into what it teaches and what each rule does."""
        plan, before = self.plans[node], world.nodes[node]
        after = LEARN[type(event)](plan, before, event)
        if after == before:
            return
        self.judge(world, node, before, after, ())
        self.act(world, node, after)

    def act(self, world, node, after):
        plan, last = self.plans[node], None
        while last is not after:
            last = after
            for rule in block_multicast._RULES:
                before, (after, actions) = after, rule(plan, after)
                self.judge(world, node, before, after, actions)

    def judge(self, world, node, before, after, actions):
        raise NotImplementedError
