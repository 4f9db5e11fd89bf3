"""Plans that find pipelines running: these are kept, or switched away from, in every order of events, with faults."""

import attrs
import pytest

from specs.protocols import block_multicast, tell
from specs.protocols import events as ev
from specs.protocols.nouns import Carried, Copy, Ending, LossReason, Report, Slots
from tests.protocols.spaces import TWO, C, D, R, chained, kept, moving, run, shrinking
from tests.protocols.test_seeded_bugs import replace_rule
from tests.protocols.verdicts import all_is_well
from tests.protocols.world import Faults, node_plans

OLD = frozenset({"old"})
BAD_NETWORK = Faults(losses=1, lates=1, repeats=1)
BAD_NODES = Faults(deaths=1, suspicions=1)


def handed_and_released(world):
    state = world.nodes[0]
    return "old" in world.handed & state.closed and state.released and not state.held


def serves_on(world):
    """The successor died in the middle of the hand-over, and nothing else can come: the old pipeline is open."""
    return (
        "old" in world.aborted and "old" in world.nodes[0].opened - world.nodes[0].closed and not world.nodes[0].handing
    )


def handed_to_a_later_successor(world):
    return "old" in world.aborted & world.handed & world.nodes[0].closed and "last" in world.nodes[0].opened


def kept_takes_over(world):
    return "other" in world.handed and all("kept" in state.opened - state.closed for state in world.nodes)


def kept_is_torn(world):
    return "kept" in world.nodes[0].closed and bool(world.nodes[0].lost)


def drained_before_its_successor(world):
    return "old" in world.nodes[0].drained & world.nodes[0].closed and not world.nodes[1].opened - OLD


def unable(world):
    return "old" in world.nodes[0].closed and not any(state.lost for state in world.nodes)


# name: plans, faults, what nodes carry over where it is less than all, what must be reachable, exact number of states
SPACES = {
    "moved by recomputing": (moving(R), BAD_NETWORK, {}, [], 918),
    "moved by draining": (moving(D), BAD_NETWORK, {}, [], 1010),
    "moved by copying": (moving(C), Faults(), {}, [handed_and_released], 23),
    "moved by copying, a bad network": (moving(C), BAD_NETWORK, {}, [handed_and_released], 1010),
    "moved by copying, a death or a suspicion": (moving(C), BAD_NODES, {}, [handed_and_released, serves_on], 853),
    "moved by copying, a wrong token or no room": (moving(C), Faults(wrong_tokens=1, bad_builds=1), {}, [], 33),
    "two stages become one": (shrinking(C), BAD_NETWORK, {}, [handed_and_released], 621),
    "two stages become one, a death or a suspicion": (shrinking(C), BAD_NODES, {}, [handed_and_released], 598),
    "two stages become one by draining, a death": (shrinking(D), Faults(losses=1, deaths=1), {}, [], 244),
    "two successors": (chained(C), Faults(), {}, [handed_to_a_later_successor], 748),
    "two successors, a death": (chained(C), Faults(deaths=1), {}, [serves_on, handed_to_a_later_successor], 13534),
    "kept": (kept(), BAD_NETWORK, {}, [kept_takes_over], 500),
    "kept, a death or a suspicion": (kept(), BAD_NODES, {}, [kept_takes_over, kept_is_torn], 549),
    "a member was started again": (shrinking(C), Faults(losses=1), {"n1": Carried()}, [unable], 135),
    "the leader was started again": (shrinking(C), Faults(losses=1), {"n0": Carried()}, [unable], 86),
    "a member has not heard that it is open": (shrinking(C), Faults(losses=1), {"n1": Carried(built=OLD)}, [], 102),
    "a member has not heard that it has closed": (
        shrinking(C),
        Faults(losses=1),
        {"n0": Carried(built=OLD, opened=OLD, closed=OLD)},
        [],
        86,
    ),
    "it was draining": (
        shrinking(D),
        Faults(losses=1),
        {"n0": Carried(built=OLD, opened=OLD, draining=OLD)},
        [drained_before_its_successor],
        123,
    ),
}


@pytest.mark.parametrize("space", SPACES)
def test_every_order_of_events(space):
    plans, faults, carried, sometimes, states = SPACES[space]
    all_is_well(run(plans, faults, sometimes, carried=carried), states)


# --- bugs put in on purpose -------------------------------------------------------------------------------------------


def a_running_pipeline_is_proved_again(monkeypatch):
    def prove(plan, state):
        started = attrs.evolve(plan, parts=tuple(attrs.evolve(each, step=0) for each in plan.parts))
        return rule(started, state)

    rule = block_multicast._prove
    replace_rule(monkeypatch, "_prove", prove)


def change_superseding(monkeypatch, supersede):
    monkeypatch.setattr(block_multicast, "_supersede", supersede)


def a_pipeline_closes_before_it_has_handed_over(monkeypatch):
    def supersede(state, old, new, continuity):
        closed = attrs.evolve(state, closed=state.closed | {old})
        return closed, (ev.Close(old, new, continuity, Ending.SUPERSEDED),)

    change_superseding(monkeypatch, supersede)


def a_hand_over_goes_on_after_its_successor_closed(monkeypatch):
    def close(plan, state):
        after, actions = rule(plan, state)
        return (state, ()) if any(isinstance(each, ev.AbortHandOver) for each in actions) else (after, actions)

    rule = block_multicast._close
    replace_rule(monkeypatch, "_close", close)


def adoption_closes_what_is_not_switched(monkeypatch):
    def close(plan, state):
        for part in plan.parts:
            if part.is_running and part.leader == plan.node and part.pipeline not in state.closed:
                closed = attrs.evolve(state, closed=state.closed | {part.pipeline})
                return closed, (ev.Close(part.pipeline, "kept", R, Ending.SUPERSEDED),)
        return rule(plan, state)

    rule = block_multicast._close
    replace_rule(monkeypatch, "_close", close)


def a_release_does_not_wait_for_what_runs(monkeypatch):
    def is_needed(plan, state, copy, until):
        parts = tuple(part for part in plan.parts if not part.is_running)
        return rule(attrs.evolve(plan, parts=parts), state, copy, until)

    rule = block_multicast._is_needed
    monkeypatch.setattr(block_multicast, "_is_needed", is_needed)


def a_hand_over_begins_before_its_successor_is_open(monkeypatch):
    def successor(plan, _state, pipeline):
        return next(((each.new, each.continuity) for each in plan.switches if each.old == pipeline), None)

    monkeypatch.setattr(block_multicast, "open_successor", successor)


def a_member_that_was_started_again_says_nothing(monkeypatch):
    monkeypatch.setattr(tell, "is_unable", lambda *_: False)


BUGS = {
    a_running_pipeline_is_proved_again: (kept(), Faults(), {}, "RUNS"),
    a_pipeline_closes_before_it_has_handed_over: (moving(C), Faults(), {}, "HANDED"),
    a_hand_over_goes_on_after_its_successor_closed: (chained(C), Faults(), {}, "nothing is handed to a successor"),
    adoption_closes_what_is_not_switched: (kept(), Faults(), {}, "SERVE"),
    a_release_does_not_wait_for_what_runs: (moving(C), Faults(), {}, "what an open pipeline computes with"),
    a_hand_over_begins_before_its_successor_is_open: (moving(C), Faults(), {}, "SERVE"),
    a_member_that_was_started_again_says_nothing: (kept(), Faults(), {"n1": Carried()}, "no good state"),
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


# --- one node ---------------------------------------------------------------------------------------------------------


def test_an_old_pipeline_serves_until_it_has_handed_over():
    plan = moving(C)[0]
    state, actions = block_multicast.begin(plan, Carried(built=OLD, opened=OLD))
    assert [type(each) for each in actions] == [ev.Tell]
    state, actions = block_multicast.step(plan, state, ev.Heard("n1", Report(over=(0, 1), opened=("new",))))
    assert ev.HandOver("old", "new") in actions
    assert "old" not in state.closed
    state, actions = block_multicast.step(plan, state, ev.Heard("n1", Report(over=(0, 1), opened=("new",))))
    assert actions == ()
    state, actions = block_multicast.step(plan, state, ev.HandedOver("old"))
    assert actions[0] == ev.Close("old", "new", C, Ending.SUPERSEDED)
    assert actions[1] == ev.FreeStage("old")
    assert [each.copy for each in actions if isinstance(each, ev.Release)] == [
        Copy(blob="a", place="n0"),
        Copy(blob="b", place="n0"),
    ]


def test_an_old_pipeline_serves_on_when_its_successor_is_lost():
    plan = moving(C)[0]
    state, _ = block_multicast.begin(plan, Carried(built=OLD, opened=OLD))
    state, _ = block_multicast.step(plan, state, ev.Heard("n1", Report(opened=("new",))))
    state, actions = block_multicast.step(plan, state, ev.PeerLost("n1", LossReason.SILENT))
    assert ev.AbortHandOver("old") in actions
    assert not any(isinstance(each, ev.Close) for each in actions)
    assert block_multicast.step(plan, state, ev.HandedOver("old")) == (state, ())


def test_a_member_lost_in_a_hand_over_ends_the_pipeline():
    plan = shrinking(C)[0]
    state, _ = block_multicast.begin(plan, Carried(built=OLD, opened=OLD))
    state, _ = block_multicast.step(plan, state, ev.Heard("n1", Report(opened=("new",))))
    state, actions = block_multicast.step(plan, state, ev.PeerLost("n1", LossReason.SILENT))
    assert ev.Close("old", None, R, Ending.MEMBER_LOST) in actions
    assert block_multicast.step(plan, state, ev.HandedOver("old")) == (state, ())


def test_what_is_carried_is_what_still_serves():
    """The state under one plan gives what the next begins with; pipelines that it does not name are left behind."""
    plan = moving(R)[0]
    state, _ = block_multicast.begin(plan, Carried(built=OLD, opened=OLD))
    slots = frozenset({Slots(pipeline="old", slots=1)})
    assert block_multicast.carry(state) == Carried(built=OLD, opened=OLD, slots=slots)
    state, _ = block_multicast.step(plan, state, ev.Heard("n1", Report(opened=("new",))))
    carried = block_multicast.carry(state)
    assert carried == Carried(opened=frozenset({"old", "new"}), closed=OLD, slots=slots)
    after = node_plans({"n0": "", "n1": "ab"}, [], running={"new": [("n1", "ab")]})[0]
    state, actions = block_multicast.begin(after, carried)
    assert (state.opened, state.closed) == ({"new"}, frozenset())
    assert [type(each) for each in actions] == [ev.Tell]


def test_a_plan_that_runs_nothing_carries_nothing():
    plan = node_plans(*TWO)[1]
    assert block_multicast.begin(plan, Carried(built=OLD, opened=OLD)) == block_multicast.begin(plan)


def test_a_leader_that_counted_as_lost_serves_all_again_under_the_next_plan():
    """It knows best whether its pipeline is open: whoever lost it waits for its word under the new plan.

    Until then it may be under the old plan, where it takes nothing from the node that it counts as lost.
    """
    plans = kept()
    carried = Carried(built=frozenset({"kept", "other"}), opened=frozenset({"kept", "other"}))
    state, _ = block_multicast.begin(plans[0], carried)
    state, _ = block_multicast.step(plans[0], state, ev.PeerLost("n1", LossReason.SILENT))
    assert "other" in state.closed
    assert "kept" in state.closed  # led here, with a member that is lost: for good
    again, _ = block_multicast.begin(plans[0], block_multicast.carry(state))
    assert (again.opened - again.closed, again.closed & {"other"}) == (frozenset(), frozenset())
    again, _ = block_multicast.step(plans[0], again, ev.Heard("n1", Report(opened=("other",))))
    assert again.opened - again.closed == {"other"}
    ended, _ = block_multicast.step(plans[0], again, ev.Heard("n1", Report(opened=("other",), closed=("other",))))
    assert "other" in ended.closed
