"""The model of switches against the code: what a rule does, wherever the explorer gets, the model may do."""

import attrs
import pytest

from specs.plan import Continuity
from specs.proofs import switching_model as model
from specs.proofs.logic import Finite
from specs.protocols import block_multicast
from specs.protocols import events as ev
from specs.protocols.explore import explore
from specs.protocols.facts import is_lost
from specs.protocols.nouns import Carried, Ending
from tests.proofs.watched import Watched
from tests.protocols.spaces import EARLY_AND_LOCAL, C, D, R, chained, kept, moving, relay, shrinking, two
from tests.protocols.world import Faults


class Switching(Watched):
    """Every application of a rule against the model of switches."""

    def __init__(self, plans, faults, carried=None):
        super().__init__(plans, faults, carried)
        parts = {part.pipeline: part for part in plans[0].parts}
        homes = {plan.node for plan in plans}
        copies = sorted({copy for plan in plans for part in plan.parts for copy in part.needs}, key=attrs.astuple)
        assert all(copy.place in homes for copy in copies)
        self.logic = Finite({"Node": range(len(plans)), "Pipeline": list(parts), "Copy": copies})
        new_of = {switch.old: switch.new for switch in plans[0].switches}
        copied = {switch.old for switch in plans[0].switches if switch.continuity is Continuity.COPY}

        def way(old):
            return [] if old not in new_of else [new_of[old], *way(new_of[old])]

        self.plan = model.Plan(
            rank=lambda p: -len(way(p)),
            leads=lambda p, q: q in way(p),
            copies=lambda p: p in copied,
            runs=lambda p: parts[p].is_running,
            has=lambda p, m: plans[m].node in parts[p].members,
            needs=lambda p, m, c: c in plans[m].part[p].needs,
            unable=lambda p, m: parts[p].is_running and p not in self.carried[plans[m].node].built,
        )

    def state(self, nodes):
        """What the guards ask of; the rest of a state of the model is not to be read off."""

        def leader(p):
            return nodes[self.leaders[p]]

        absent = {field.name: None for field in attrs.fields(model.State)}
        return model.State(
            **absent
            | {
                "held": lambda c: c in nodes[self.index[c.place]].held,
                "building": lambda p, m: p in nodes[m].building,
                "freed": lambda p, m: p in nodes[m].freed,
                "ended": lambda p, m: p in nodes[m].closed,
                "opened": lambda p: p in leader(p).opened,
                "stopped": lambda p: p in leader(p).draining,
                "closed": lambda p: p in leader(p).closed,
                "handed": lambda p: p in leader(p).handed,
            }
        )

    def judge(self, world, node, before, after, actions):
        nodes = (*world.nodes[:node], before, *world.nodes[node + 1 :])
        s, logic, plan = self.state(nodes), self.logic, self.plan
        steps = [("build", model.build(logic, plan, s, p, node)) for p in after.building - before.building]
        steps += [("give up", model.give_up(logic, s, p, node)) for p in before.building - after.building]
        steps += [("free", model.free(logic, s, p, node)) for p in after.freed - before.freed]
        steps += [("release", model.release(logic, plan, s, c)) for c in before.held - after.held]
        for p in after.opened - before.opened:
            if self.leaders[p] == node:
                steps.append(("open", model.open_pipeline(logic, plan, s, p)))
        for p in after.handed - before.handed:
            (handing,) = (each for each in before.handing if each.pipeline == p)
            steps.append(("hand over", model.hand_over(logic, plan, s, p, handing.successor)))
        closes = {each.pipeline: each for each in actions if isinstance(each, ev.Close)}
        for p in after.draining - before.draining:
            steps.append(("stop", model.stop(logic, plan, s, p, closes[p].successor)))
        for p in after.closed - before.closed:
            if self.leaders[p] != node:
                if not is_lost(after, self.plans[self.leaders[p]].node):
                    steps.append(("hear", model.hear(logic, s, p, node)))
            elif p not in closes:
                steps.append(("close", model.close(logic, s, p)))
            elif closes[p].ending is Ending.SUPERSEDED:
                steps.append(("stop and close", model.stop(logic, plan, s, p, closes[p].successor)))
        for name, (guards, _) in steps:
            broken = [guard for guard, truth in guards.items() if not truth]
            assert not broken, (name, broken)
            self.checked.add(name)


SWITCHED = {"build", "free", "hear", "open", "release", "stop and close"}
SPACES = {
    "early": (relay(EARLY_AND_LOCAL, [("early", "local", R)]), Faults(), {}, SWITCHED - {"release"}),
    "no room": (two(R), Faults(bad_builds=1, losses=1), {}, SWITCHED | {"give up"}),
    "draining": (two(D), Faults(deaths=1, suspicions=1), {}, SWITCHED | {"stop", "close"}),
    "copying": (moving(C), Faults(deaths=1, suspicions=1), {}, SWITCHED | {"hand over"}),
    "two stages become one": (shrinking(C), Faults(losses=1, lates=1), {}, SWITCHED | {"hand over"}),
    "two successors": (chained(C), Faults(losses=1), {}, SWITCHED - {"release"} | {"hand over"}),
    "kept": (kept(), Faults(deaths=1, suspicions=1), {}, {"free", "hear", "hand over", "stop and close"}),
    "a member was started again": (shrinking(C), Faults(losses=1), {"n1": Carried()}, SWITCHED - {"stop and close"}),
}


LARGE = {"early", "draining", "two successors"}


@pytest.mark.parametrize(
    "space", [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in SPACES]
)
def test_what_the_rules_do_the_model_may_do(space):
    plans, faults, carried, expected = SPACES[space]
    cluster = Switching(plans, faults, carried)
    assert all(model.axioms(cluster.logic, cluster.plan))
    explore([cluster.start()], cluster.moves, always={}, sometimes={}, good=lambda _: True)
    assert cluster.checked == expected


def test_a_release_that_does_not_wait_is_no_step_of_the_model(monkeypatch):
    monkeypatch.setattr(block_multicast, "_is_needed", lambda _plan, state, *_: not state.building)
    cluster = Switching(two(R), Faults())
    with pytest.raises(AssertionError, match="no stage uses it"):
        explore([cluster.start()], cluster.moves, always={}, sometimes={}, good=lambda _: True)
