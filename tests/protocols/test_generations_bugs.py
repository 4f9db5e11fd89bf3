"""Bugs that are put between plan switch and block multicast on purpose: each must be found, by what it breaks."""

import attrs
import pytest

from specs.plan import Continuity
from specs.protocols import block_multicast, plan_switch
from specs.protocols import events as ev
from specs.protocols import node as protocol
from specs.protocols.learn import LEARN
from tests.protocols.generations_cluster import Generations, run
from tests.protocols.generations_nodes import Nodes
from tests.protocols.generations_properties import BUILT, CLOSED, KEPT, SPARED
from tests.protocols.test_generations import (
    AT_BOTH,
    AT_X,
    AT_Y,
    BY_X,
    COPY,
    FRONT,
    KEEP,
    RIVALS,
    WITHOUT_Z,
    Z_BACK,
    counting_on_p,
    nodes,
    out_and_back,
)


def what_has_closed_is_no_reason_to_decline(monkeypatch):
    monkeypatch.setattr(Nodes, "takes_no_more", lambda *_: False)


def whatever_is_said_counts_as_heard(monkeypatch):
    """A node that lives and never carries out the plan is awaited for ever; plans were not declined for what closed."""

    def speaks(cluster, world, teller, hearer):
        there, name = world.nodes[teller], cluster.names[hearer]
        if teller in world.dead or not there.listens:
            return False
        reports = there.now is not None and name in there.now.plan.peers
        return reports or name in plan_switch.peers(there.switch)

    monkeypatch.setattr(Generations, "speaks", speaks)
    what_has_closed_is_no_reason_to_decline(monkeypatch)


def lives_are_forgotten_with_their_plan(monkeypatch):
    def adopt(before, name, plan):
        return real(None if before is None else attrs.evolve(before, met=frozenset()), name, plan)

    real = protocol.adopt
    monkeypatch.setattr(protocol, "adopt", adopt)


def the_life_of_one_who_was_left_out_is_kept(monkeypatch):
    """Whoever is taken in again, in a later life, counts as lost at once and for good."""

    def adopt(before, name, plan):
        now, actions = real(before, name, plan)
        return attrs.evolve(now, met=frozenset() if before is None else before.met), actions

    real = protocol.adopt
    monkeypatch.setattr(protocol, "adopt", adopt)


def lives_are_told_in_reports_alone(monkeypatch):
    """Those of the plan in force, that is; whatever was said counted as heard then."""

    def tells(_cluster, world, letter):
        now = world.nodes[letter[1]].now
        return now is not None and len(letter) == 5 and letter[3] == now.name

    monkeypatch.setattr(Nodes, "tells_a_life", tells)
    whatever_is_said_counts_as_heard(monkeypatch)


def what_was_dropped_is_not_made_up_for(monkeypatch):
    monkeypatch.setattr(Nodes, "make_up", lambda _cluster, world, _node, _before: world)


def what_a_lost_leader_had_open_is_open_at_once(monkeypatch):
    """What was dropped was not made up for then."""

    def first(plan, carried):
        running = frozenset(part.pipeline for part in plan.parts if part.is_running)
        return attrs.evolve(real(plan, carried), opened=running & carried.opened)

    real = block_multicast._first
    monkeypatch.setattr(block_multicast, "_first", first)
    what_was_dropped_is_not_made_up_for(monkeypatch)


def change_carried(monkeypatch, change):
    real = block_multicast.carry
    monkeypatch.setattr(block_multicast, "carry", lambda state: change(state, real(state)))


def what_was_closed_is_carried_as_open(monkeypatch):
    change_carried(monkeypatch, lambda state, carried: attrs.evolve(carried, built=state.built, closed=frozenset()))


def what_was_open_is_forgotten(monkeypatch):
    change_carried(monkeypatch, lambda _, carried: attrs.evolve(carried, opened=frozenset()))


def a_freed_stage_is_carried_as_built(monkeypatch):
    change_carried(monkeypatch, lambda state, carried: attrs.evolve(carried, built=state.built))


def what_the_next_plan_counts_on_may_close(monkeypatch):
    monkeypatch.setattr(Nodes, "keep_open", lambda _cluster, world, _node: world)


def what_a_forgotten_plan_counted_on_stays_open(monkeypatch):
    monkeypatch.setattr(plan_switch, "pending", lambda state: state.accepted)


def a_hand_over_goes_on_though_the_next_plan_counts_on_what_it_ends(monkeypatch):
    """Whatever is accepted while it is under way."""

    def counted_on(plan, state, event):
        handing = frozenset(each.pipeline for each in state.handing)
        learnt = real(plan, state, event)
        return attrs.evolve(learnt, counted_on=learnt.counted_on - handing)

    real = LEARN[ev.CountedOn]
    monkeypatch.setitem(LEARN, ev.CountedOn, counted_on)


def suspected():
    return nodes(FRONT, AT_X, "y", suspicions=1)


STUCK = "no good state"
BUGS = {
    whatever_is_said_counts_as_heard: (lambda: nodes(RIVALS, AT_Y, restarts=1), STUCK),
    lives_are_forgotten_with_their_plan: (lambda: nodes(RIVALS, AT_BOTH, restarts=1), BUILT),
    lives_are_told_in_reports_alone: (lambda: nodes(RIVALS, AT_BOTH, restarts=1), STUCK),
    what_was_dropped_is_not_made_up_for: (suspected, STUCK),
    what_a_lost_leader_had_open_is_open_at_once: (suspected, STUCK),
    what_was_closed_is_carried_as_open: (lambda: nodes(KEEP, AT_X, suspicions=1), CLOSED),
    what_was_open_is_forgotten: (lambda: nodes(KEEP, AT_X), STUCK),
    what_the_next_plan_counts_on_may_close: (lambda: nodes(counting_on_p(Continuity.DRAIN), BY_X), KEPT),
    a_hand_over_goes_on_though_the_next_plan_counts_on_what_it_ends: (
        lambda: nodes(counting_on_p(Continuity.COPY), BY_X),
        KEPT,
    ),
    what_a_forgotten_plan_counted_on_stays_open: (lambda: nodes(COPY, BY_X), STUCK),
    a_freed_stage_is_carried_as_built: (lambda: nodes(KEEP, AT_X, suspicions=1), STUCK),
}


SLOW = {
    the_life_of_one_who_was_left_out_is_kept: (
        lambda: nodes(out_and_back(), [("x", WITHOUT_Z), ("z", Z_BACK)], "x", "xyz"),
        SPARED,
    ),
}


@pytest.mark.parametrize(
    "bug", [*BUGS, *(pytest.param(bug, marks=pytest.mark.slow) for bug in SLOW)], ids=lambda bug: bug.__name__
)
def test_a_seeded_bug_is_found_with_a_short_trace(bug, monkeypatch):
    make, about = (BUGS | SLOW)[bug]
    bug(monkeypatch)
    found = run(make(), states_max=300_000)
    trace = found.broken or found.stuck
    assert trace is not None
    assert trace.about.startswith(about), str(trace)
    assert len(trace.labels) <= 25, str(trace)
