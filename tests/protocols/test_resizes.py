"""Pipelines whose slots change while they serve, in every order of events, with faults."""

import attrs
import pytest

from specs.protocols import block_multicast, room, tell
from specs.protocols import events as ev
from specs.protocols.node_plan import node_plan
from specs.protocols.nouns import Carried, LossReason, Report, Roomy, Sizing, Slots
from tests.live_plans import a_squeeze
from tests.protocols.spaces import (
    C,
    D,
    R,
    begun_small,
    grown,
    grown_beside,
    joined,
    run,
    squeezed,
    taken_over,
    took_others,
)
from tests.protocols.test_seeded_bugs import replace_rule
from tests.protocols.verdicts import all_is_well
from tests.protocols.world import Faults, node_plans

BAD_NETWORK = Faults(losses=1, lates=1, repeats=1)
BAD_NODES = Faults(deaths=1, suspicions=1)
OLD = frozenset({"old"})
MORE = {"n0": Carried(built=OLD, opened=OLD, slots=frozenset({Slots(pipeline="old", slots=3)}))}
FEWER = {"n0": Carried(built=OLD, opened=OLD, slots=frozenset({Slots(pipeline="old", slots=1)}))}


def new_has_both(world):
    return ("new", 2) in world.sizes and any("new" in state.opened - state.closed for state in world.nodes)


def grown_for_good(world):
    return ("kept", 2) in world.sizes and "kept" in world.nodes[1].opened - world.nodes[1].closed


def shrunk_at_last(world):
    return ("kept", 1) in world.sizes and world.nodes[1].arrived


def closed_unresized(world):
    return any(state.resizing and "old" in state.closed for state in world.nodes)


def taken_back(world):
    return ("old", 1) in world.sizes and world.nodes[1].arrived


def made_up_for(world):
    return ("old", 1) not in world.sizes and world.nodes[1].arrived


# name: plans, faults, what nodes carry over where it is less or more, what must be reachable, exact number of states
SPACES = {
    "squeezed by copying": (squeezed(C), Faults(), {}, [new_has_both], 72),
    "squeezed by copying, a bad network": (squeezed(C), BAD_NETWORK, {}, [new_has_both], 3408),
    "squeezed by copying, a death or a suspicion": (squeezed(C), BAD_NODES, {}, [new_has_both, closed_unresized], 2811),
    "squeezed by draining": (squeezed(D), BAD_NETWORK, {}, [new_has_both], 3408),
    "joined by copying": (joined(C), BAD_NETWORK, {}, [new_has_both], 1404),
    "joined by recomputing, a death or a suspicion": (joined(R), BAD_NODES, {}, [new_has_both, closed_unresized], 876),
    "grown": (grown(), BAD_NETWORK, {}, [grown_for_good], 267),
    "grown, a death or a suspicion": (grown(), BAD_NODES, {}, [grown_for_good], 228),
    "grown beside what closes": (grown_beside(), BAD_NETWORK, {}, [grown_for_good], 82),
    "grown beside what closes, a death or a suspicion": (grown_beside(), BAD_NODES, {}, [grown_for_good], 104),
    "begun small": (begun_small(), BAD_NETWORK, {}, [new_has_both], 744),
    "taken over": (taken_over(1, 2, 0), BAD_NETWORK, {}, [shrunk_at_last], 236),
    "taken over, a death or a suspicion": (taken_over(1, 2, 0), BAD_NODES, {}, [shrunk_at_last], 326),
    "shrunk and then taken over": (taken_over(2, 1, 0), BAD_NETWORK, {}, [shrunk_at_last], 543),
    "shrunk and then taken over, a death or a suspicion": (taken_over(2, 1, 0), BAD_NODES, {}, [shrunk_at_last], 560),
    "more than the plan says": (took_others(1), BAD_NETWORK, MORE, [taken_back], 351),
    "more than the plan says, a death or a suspicion": (took_others(1), BAD_NODES, MORE, [taken_back], 377),
    "as many as the plan says": (took_others(1), BAD_NETWORK, {}, [], 315),
    "fewer than the plan says": (took_others(2), BAD_NETWORK, FEWER, [made_up_for], 306),
    "fewer than the plan says, a death or a suspicion": (took_others(2), BAD_NODES, FEWER, [made_up_for], 312),
    "fewer than the plan says, which are all": (took_others(3), BAD_NETWORK, FEWER, [made_up_for], 542),
}


@pytest.mark.parametrize("space", SPACES)
def test_every_order_of_events(space):
    plans, faults, carried, sometimes, states = SPACES[space]
    all_is_well(run(plans, faults, sometimes, carried=carried), states)


# --- bugs put in on purpose -------------------------------------------------------------------------------------------


def a_stage_does_not_wait_for_room(monkeypatch):
    monkeypatch.setattr(block_multicast, "stage_awaits_room", lambda *_: False)


def a_transfer_does_not_wait_for_room(monkeypatch):
    monkeypatch.setattr(block_multicast, "passage_awaits_room", lambda *_: False)


def a_resize_does_not_ask_the_members(monkeypatch):
    def may_begin(plan, state, sizing):
        said = {Roomy(step=sizing.step, member=each) for each in plan.part[sizing.pipeline].members}
        return rule(plan, attrs.evolve(state, roomy=said), sizing)

    rule = room.may_begin
    monkeypatch.setattr(block_multicast, "may_begin", may_begin)


def a_resize_does_not_wait_for_closings(monkeypatch):
    monkeypatch.setattr(room, "_awaits_closing", lambda *_: False)


def a_resize_counts_as_done_once_it_is_begun(monkeypatch):
    def resize(plan, state):
        after, actions = rule(plan, state)
        return (attrs.evolve(after, resized=after.resized | after.resizing) if actions else state), actions

    rule = block_multicast._resize
    replace_rule(monkeypatch, "_resize", resize)


def a_switch_does_not_wait_for_resizes(monkeypatch):
    monkeypatch.setattr(block_multicast, "switch_awaits_resize", lambda *_: False)


def a_resize_does_not_wait_for_switches(monkeypatch):
    def may_begin(plan, state, sizing):
        return rule(attrs.evolve(plan, switches=()), state, sizing)

    rule = room.may_begin
    monkeypatch.setattr(block_multicast, "may_begin", may_begin)


def what_has_not_opened_is_resized(monkeypatch):
    def may_begin(plan, state, sizing):
        return rule(plan, attrs.evolve(state, opened=state.opened | {sizing.pipeline}), sizing)

    rule = room.may_begin
    monkeypatch.setattr(block_multicast, "may_begin", may_begin)


def nobody_is_told_that_a_resize_is_done(monkeypatch):
    def reports(plan, state):
        return {peer: attrs.evolve(each, resized=()) for peer, each in rule(plan, state).items()}

    rule = tell.reports
    monkeypatch.setattr(block_multicast, "reports", reports)


def more_slots_than_the_plan_says_stay(monkeypatch):
    def first(plan, carried):
        return attrs.evolve(rule(plan, carried), resized=frozenset(each.step for each in plan.sizings))

    rule = block_multicast._first
    monkeypatch.setattr(block_multicast, "_first", first)


def the_stage_of_a_closed_pipeline_is_waited_for_as_ever(monkeypatch):
    monkeypatch.setattr(room, "is_gone", lambda *_: False)


BUGS = {
    a_stage_does_not_wait_for_room: (squeezed(C), Faults(), {}, "everything fits"),
    a_transfer_does_not_wait_for_room: (joined(C), Faults(), {}, "everything fits"),
    a_resize_does_not_ask_the_members: (squeezed(C), Faults(), {}, "everything fits"),
    a_resize_does_not_wait_for_closings: (grown_beside(), Faults(), {}, "everything fits"),
    a_resize_counts_as_done_once_it_is_begun: (squeezed(C), Faults(), {}, "everything fits"),
    a_switch_does_not_wait_for_resizes: (taken_over(2, 1, 0), Faults(), {}, "SIZE"),
    a_resize_does_not_wait_for_switches: (taken_over(1, 2, 0), Faults(), {}, "SIZE"),
    what_has_not_opened_is_resized: (begun_small(), Faults(), {}, "SIZE"),
    nobody_is_told_that_a_resize_is_done: (joined(C), Faults(), {}, "no good state"),
    more_slots_than_the_plan_says_stay: (took_others(1), Faults(), MORE, "everything fits"),
    the_stage_of_a_closed_pipeline_is_waited_for_as_ever: (squeezed(C), Faults(), {}, "no good state"),
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_seeded_bug_is_found_with_a_short_trace(bug, monkeypatch):
    plans, faults, carried, about = BUGS[bug]
    bug(monkeypatch)
    found = run(plans, faults, carried=carried)
    trace = found.broken or found.stuck
    assert trace is not None
    assert trace.about.startswith(about), str(trace)
    assert len(trace.labels) <= 25, str(trace)


# --- a whole plan -----------------------------------------------------------------------------------------------------


def test_a_plan_that_the_checker_verified_is_carried_out_in_every_order():
    problem, plan = a_squeeze()

    def all_is_done(world):
        return ("pair", 4) in world.sizes and {1, 5} <= world.nodes[0].resized and 4 in world.nodes[0].released

    plans = tuple(node_plan(problem, plan, node) for node in ("n0", "n1"))
    found = run(plans, Faults(losses=1), [all_is_done])
    assert (found.broken, found.stuck, found.endless, found.unwitnessed) == (None, None, None, ())
    assert found.states == 337


# --- one node ---------------------------------------------------------------------------------------------------------


def first_resize(plan, carried):
    state, actions = block_multicast.begin(plan, carried)
    (resize,) = (each for each in actions if isinstance(each, ev.Resize))
    return state, resize


def test_a_resize_is_done_once_and_only_while_its_pipeline_is_open():
    plan = joined(C)[1]
    began, resize = first_resize(plan, Carried(built=OLD, opened=OLD))
    assert resize == ev.Resize(0, "old", 1)
    done, actions = block_multicast.step(plan, began, ev.Resized(0))
    assert (done.resizing, done.resized) == (frozenset(), {0})
    assert [each.report.resized for each in actions if isinstance(each, ev.Tell)] == [(0,)]
    for stray in (ev.Resized(0), ev.Resized(5), ev.Resized(7)):
        assert block_multicast.step(plan, done, stray) == (done, ())
    closed, _ = block_multicast.step(plan, began, ev.PeerLost("n0", LossReason.SILENT))
    assert block_multicast.step(plan, closed, ev.Resized(0)) == (closed, ())


def test_what_is_carried_are_the_slots_that_a_pipeline_may_have():
    """A shrink that is not done leaves as many as before; from the word on, a grow has given more."""
    slots = frozenset({Slots(pipeline="old", slots=2)})
    plan = joined(C)[1]
    state, _ = first_resize(plan, Carried(built=OLD, opened=OLD))
    assert block_multicast.carry(state).slots == slots
    state, _ = block_multicast.step(plan, state, ev.Resized(0))
    assert block_multicast.carry(state).slots == {Slots(pipeline="old", slots=1)}
    plan = node_plans({"n0": "a"}, [], running={"old": [("n0", "a")]}, resizes=[("old", 2)])[0]
    state, _ = first_resize(plan, Carried(built=OLD, opened=OLD))
    assert block_multicast.carry(state).slots == slots
    after = node_plans({"n0": "a"}, [], running={"old": [("n0", "a")]})[0]
    before = Sizing(step=-2, pipeline="old", slots=1, is_shrink=True)
    _, resize = first_resize(attrs.evolve(after, sizings=(before,)), block_multicast.carry(state))
    assert resize == ev.Resize(-2, "old", 1)


def test_a_peer_says_only_what_it_may_of_resizes():
    """That a resize is done, its leader says; that there is room for it, a member says to the leader."""
    leader, member = squeezed(C)[1], squeezed(C)[0]
    state, _ = block_multicast.begin(leader)
    word = Report(resized=(5, 9), roomy=(1, 9))
    assert block_multicast.step(leader, state, ev.Heard("n0", word))[0] == state
    state, _ = block_multicast.step(leader, state, ev.Heard("n0", Report(resized=(1,), roomy=(5,))))
    assert (state.resized, state.roomy) == ({1}, {Roomy(step=5, member="n0")})
    state, _ = block_multicast.begin(member)
    state, _ = block_multicast.step(member, state, ev.Heard("n1", Report(roomy=(5,), resized=(5,))))
    assert (state.resized, state.roomy) == ({5}, frozenset())


def test_a_plan_begins_with_a_sizing_of_whatever_runs():
    problem, plan = a_squeeze()
    (row,) = problem.running
    other = attrs.evolve(row, slots=2, pipeline=attrs.evolve(row.pipeline, id="other"))
    cut = node_plan(attrs.evolve(problem, running=(row, other)), plan, "n0")
    rows = [(each.step, each.slots, each.is_shrink) for each in cut.sizings]
    assert rows == [(-2, 4, False), (-3, 2, True), (1, 3, True), (5, 4, False)]
    assert {part.pipeline: part.slots for part in cut.parts} == {row.pipeline.id: 4, "other": 2, "pair": 3}
