"""The model of room and resizes against the code: whatever begins, the model may begin."""

import pytest

from specs.proofs import room_model as model
from specs.proofs.logic import Finite
from specs.protocols import block_multicast
from specs.protocols.explore import explore
from specs.protocols.nouns import Carried, Slots
from specs.protocols.room import is_gone
from tests.proofs.watched import Watched
from tests.protocols.spaces import C, D, R, grown, grown_beside, joined, moving, squeezed, taken_over, took_others, two
from tests.protocols.world import Faults


class Rooms(Watched):
    """Every beginning against the model of room; a place is a node."""

    def __init__(self, plans, faults, carried=None):
        super().__init__(plans, faults, carried)
        first = plans[0]
        self.sizings, self.switches = first.sizing, {each.id: each for each in first.switches}
        releases = {each.id: node for node, plan in enumerate(plans) for each in plan.releases}
        stages = {part.step: part.pipeline for part in first.parts if not part.is_running}
        members = {part.pipeline: {self.index[each] for each in part.members} for part in first.parts}
        grows = {step for step, each in self.sizings.items() if not each.is_shrink}

        def needs(t, p):
            if t in self.passages:
                return self.index[self.passages[t].receiver] == p
            pipeline = stages.get(t) or (t in grows and self.sizings[t].pipeline)
            return bool(pipeline) and p in members[pipeline]

        def makes(g, p):
            if g in self.sizings and self.sizings[g].is_shrink:
                return p in members[self.sizings[g].pipeline]
            return releases.get(g) == p or (g in self.switches and p in members[self.switches[g].old])

        self.plan = model.Plan(
            stands=lambda step: step,
            needs=needs,
            makes=makes,
            counts=lambda t, g: t in grows or g not in self.switches,
            of_old=lambda w, r: self.ends(w, r, "old"),
            of_new=lambda w, r: self.ends(w, r, "new"),
        )
        steps = {*self.passages, *stages, *self.sizings, *self.switches, *releases}
        self.logic = Finite({"Step": sorted(steps), "Place": range(len(plans))})
        assert all(model.axioms(self.logic, self.plan))

    def ends(self, switch, resize, end):
        known = switch in self.switches and resize in self.sizings
        return known and getattr(self.switches[switch], end) == self.sizings[resize].pipeline

    def state(self, world, nodes):
        def closed(pipeline):
            leader = self.leaders[pipeline]
            return leader in world.dead or pipeline in nodes[leader].closed

        def gone(step, p):
            pipeline = self.switches[step].old if step in self.switches else self.sizings[step].pipeline
            return is_gone(nodes[p], pipeline)

        def over(g, p, knower):
            if g in self.sizings:
                return g in nodes[knower].resized or gone(g, p)
            return g in nodes[p].released or (g in self.switches and gone(g, p))

        def leader(step):
            return self.leaders[self.sizings[step].pipeline]

        return model.State(
            over=lambda g, p: over(g, p, leader(g) if g in self.sizings else p),
            known=lambda g, p: over(g, p, p),
            roomy=None,
            said=None,
            begun=None,
            resizing=None,
            resized=lambda r: r in self.sizings and (r in nodes[leader(r)].resized or closed(self.sizings[r].pipeline)),
            handing=None,
            ended=lambda w: w in self.switches and closed(self.switches[w].old),
        )

    def judge(self, world, node, before, after, actions):
        nodes = (*world.nodes[:node], before, *world.nodes[node + 1 :])
        s, logic, plan = self.state(world, nodes), self.logic, self.plan
        part = self.plans[node].part
        takers = {
            *(after.receiving - before.receiving),
            *(part[each].step for each in after.building - before.building),
        }
        found_there = [(each.step, self.index[each.member]) for each in after.roomy - before.roomy]
        steps = [("find", model.find(logic, plan, s, t, node)) for t in takers]
        steps += [("find elsewhere", model.find(logic, plan, s, t, p)) for t, p in found_there]
        heard = after.resized - before.resized - before.resizing
        steps += [("know", model.know(logic, s, g, node)) for g in heard]
        for r in after.resizing - before.resizing:
            steps.append(("resize", model.resize(logic, plan, s, r)))
            if not self.sizings[r].is_shrink:
                places = [p for p in range(len(nodes)) if plan.needs(r, p) and p not in world.dead]
                steps += [("grow", model.find(logic, plan, s, r, p)) for p in places]
        for each in after.handing - before.handing:
            ends = (each.pipeline, each.successor)
            for w in (w for w, switch in self.switches.items() if (switch.old, switch.new) == ends):
                steps.append(("hand over", model.hand_over(logic, plan, s, w)))
        for name, (broken, _) in steps:
            found = [guard for guard, truth in broken.items() if not truth]
            assert not found, (name, found)
            self.checked.add(name)


MORE = {
    "n0": Carried(
        built=frozenset({"old"}), opened=frozenset({"old"}), slots=frozenset({Slots(pipeline="old", slots=3)})
    )
}
WAITS = {"find", "know", "resize", "hand over"}
HEARS = {"find elsewhere", "know", "resize"}
SPACES = {
    "squeezed": (squeezed(C), Faults(losses=1, lates=1), {}, WAITS | {"find elsewhere", "grow"}),
    "squeezed, a death": (squeezed(C), Faults(deaths=1), {}, WAITS | {"find elsewhere", "grow"}),
    "joined": (joined(C), Faults(losses=1, lates=1), {}, WAITS | {"grow"}),
    "joined by recomputing": (joined(R), Faults(deaths=1), {}, WAITS - {"hand over"} | {"grow"}),
    "grown": (grown(), Faults(losses=1, deaths=1), {}, HEARS | {"grow", "hand over"}),
    "grown beside what closes": (grown_beside(), Faults(losses=1), {}, {"grow", "know", "resize"}),
    "taken over": (taken_over(1, 2, 0), Faults(losses=1, deaths=1), {}, WAITS),
    "shrunk and then taken over": (taken_over(2, 1, 0), Faults(losses=1, deaths=1), {}, WAITS),
    "more than the plan says": (
        took_others(1),
        Faults(losses=1, lates=1),
        MORE,
        {"find", "find elsewhere", "know", "resize"},
    ),
    "no resizes": (two(D), Faults(losses=1), {}, {"find"}),
    "moved": (moving(C), Faults(losses=1), {}, {"find", "hand over"}),
}


@pytest.mark.parametrize("space", SPACES)
def test_what_begins_the_model_may_begin(space):
    plans, faults, carried, expected = SPACES[space]
    cluster = Rooms(plans, faults, carried)
    explore([cluster.start()], cluster.moves, always={}, sometimes={}, good=lambda _: True)
    assert cluster.checked == expected


def test_a_stage_that_does_not_wait_is_no_step_of_the_model(monkeypatch):
    monkeypatch.setattr(block_multicast, "stage_awaits_room", lambda *_: False)
    with pytest.raises(AssertionError, match="what makes room before it is known"):
        Rooms(squeezed(C), Faults()).start()
