"""Block multicast, explored: every order of events of small clusters, with faults; and bugs that must be found."""

import attrs
import pytest

from specs.plan import Continuity
from specs.protocols import block_multicast, learn
from specs.protocols import events as ev
from specs.protocols.explore import explore
from specs.protocols.facts import is_settled, lacks
from specs.protocols.nouns import Cannot, Copy, Ending, LossReason, Report
from tests.protocols.node_cluster import Cluster
from tests.protocols.properties import always, is_complete, is_good
from tests.protocols.world import Faults, node_plans

# One source and two receivers, which pass on to each other what they got.
THREE = {"n0": "ab", "n1": "", "n2": ""}
RELAY = [("a", "n0", "n1"), ("b", "n0", "n2"), ("a", "n1", "n2"), ("b", "n2", "n1")]
HALVES = [("a", "n0", "n1"), ("b", "n0", "n2")]
CHAIN = ({"n0": "a", "n1": "", "n2": "", "n3": ""}, [("a", "n0", "n1"), ("a", "n1", "n2"), ("a", "n2", "n3")])
EARLY = {"early": [("n1", "a"), ("n2", "b")]}
EARLY_AND_LOCAL = {**EARLY, "local": [("n1", "ab")]}
# A source that serves together with its one receiver, and then gives up what it held.
TWO = ({"n0": "ab", "n1": ""}, [("a", "n0", "n1"), ("b", "n0", "n1")])
SHARED = {"shared": [("n0", "a"), ("n1", "b")], "local": [("n1", "ab")]}


def two(continuity):
    return node_plans(*TWO, SHARED, [("shared", "local", continuity)], [("a", "n0")])


def relay(pipelines=None, switches=None):
    return node_plans(THREE, RELAY, pipelines, switches)


def early_before_all(world):
    """A pipeline serves while no receiver holds everything."""
    return "early" in world.nodes[1].opened and all(len(state.held) == 1 for state in world.nodes[1:])


def opened_then_superseded(world):
    return world.nodes[1].opened == {"early", "local"} and "early" in world.ended


def never_opened(world):
    return world.nodes[1].opened == {"local"} and "early" in world.ended


def blamed_from_afar(world):
    """n3 lacks a blob because of n0, with which it has no transfer, though it has not lost n2."""
    return Cannot(step=2, because="n0") in world.nodes[3].refused


def others_complete(world):
    """One receiver died and the other holds everything."""
    return 2 in world.dead and len(world.nodes[1].held) == 2


def mutual(world):
    return any(loss.reason is LossReason.MUTUAL for state in world.nodes for loss in state.lost)


def drained_and_released(world):
    return "shared" in world.nodes[0].drained and world.nodes[0].released


def closed_by(ending):
    return lambda world: any(each.ending is ending for state in world.nodes for each in state.spoilt)


def liar(world):
    return any(loss.reason is LossReason.CORRUPT for state in world.nodes for loss in state.lost)


R, D = Continuity.RECOMPUTE, Continuity.DRAIN
# name: plans, faults, what must be reachable besides completion, exact number of states
SPACES = {
    "calm": (relay(), Faults(), [], 308),
    "a report lost, one late, one repeated": (relay(), Faults(losses=1, lates=1, repeats=1), [], 31750),
    "a transfer breaks": (relay(), Faults(breaks=1, lates=1), [], 19471),
    "a block comes corrupt": (relay(), Faults(corruptions=1, losses=1), [], 3171),
    "a peer that lies": (
        node_plans({"n0": "a", "n1": "", "n2": ""}, [("a", "n0", "n1"), ("a", "n1", "n2")], tries_max=2),
        Faults(corruptions=2, losses=1),
        [liar],
        358,
    ),
    "a node dies": (relay(), Faults(deaths=1), [others_complete], 6452),
    "a node dies and a report is lost": (relay(), Faults(deaths=1, losses=1), [others_complete], 15180),
    "a node of a chain dies": (node_plans(*CHAIN), Faults(deaths=1), [blamed_from_afar], 6620),
    "a node that lives is suspected": (relay(), Faults(suspicions=1), [mutual], 8920),
    "early opening": (relay(EARLY), Faults(), [early_before_all], 1972),
    "early opening, a report lost": (relay(EARLY), Faults(losses=1), [early_before_all], 6271),
    "early opening, a bad network": (
        node_plans(THREE, HALVES, EARLY),
        Faults(losses=1, lates=1, repeats=1),
        [early_before_all],
        5075,
    ),
    "early opening, a death or a suspicion": (
        node_plans(THREE, HALVES, EARLY),
        Faults(deaths=1, suspicions=1),
        [early_before_all, mutual],
        35020,
    ),
    "early opening, a wrong token or no room": (
        node_plans(THREE, HALVES, EARLY),
        Faults(wrong_tokens=1, bad_builds=1),
        [closed_by(Ending.WRONG_TOKEN), closed_by(Ending.UNABLE)],
        224,
    ),
    "switch": (relay(EARLY_AND_LOCAL, [("early", "local", R)]), Faults(), [opened_then_superseded, never_opened], 5636),
    "switch by recomputing, a bad network": (two(R), Faults(losses=1, lates=1, repeats=1), [], 7962),
    "switch by draining, a bad network": (two(D), Faults(losses=1, lates=1, repeats=1), [drained_and_released], 8296),
    "switch by draining, a death or a suspicion": (
        two(D),
        Faults(deaths=1, suspicions=1),
        [drained_and_released, mutual],
        4139,
    ),
}


def run(plans, faults, sometimes=(), states_max=60_000):
    cluster = Cluster(plans, faults)
    return explore(
        [cluster.start()],
        cluster.moves,
        always=always(cluster),
        sometimes={
            "complete": lambda world: is_complete(cluster, world),
            **{each.__qualname__ + str(index): each for index, each in enumerate(sometimes)},
        },
        good=lambda world: is_good(cluster, world),
        states_max=states_max,
    )


@pytest.mark.parametrize("space", SPACES)
def test_every_order_of_events(space):
    plans, faults, sometimes, states = SPACES[space]
    found = run(plans, faults, sometimes)
    assert found.broken is None, str(found.broken)
    assert found.stuck is None, str(found.stuck)
    assert found.endless is None, str(found.endless)
    assert found.unwitnessed == ()
    assert found.states == states


@pytest.mark.slow
def test_every_order_of_events_of_a_relay_with_a_switch_and_a_death():
    plans = relay(EARLY_AND_LOCAL, [("early", "local", R)])
    found = run(plans, Faults(deaths=1), [opened_then_superseded], states_max=200_000)
    assert found.is_right, (found.broken, found.stuck, found.endless)
    assert found.states == 165_901


# --- seeded bugs: each must be found, by the property that it breaks -------------------------------------------------


def replace_rule(monkeypatch, name, rule):
    rules = tuple(rule if each.__name__ == name else each for each in block_multicast._RULES)
    assert rules != block_multicast._RULES
    monkeypatch.setattr(block_multicast, "_RULES", rules)


def the_sender_does_not_wait_for_the_buffer(monkeypatch):
    monkeypatch.setattr(block_multicast, "_is_granted", lambda *_: True)


def the_leader_does_not_wait_for_all_members(monkeypatch):
    monkeypatch.setattr(block_multicast, "_is_ready", lambda _plan, state, part: part.pipeline in state.built)


def a_stage_is_built_before_its_blobs_are_held(monkeypatch):
    def build(plan, state):
        for part in plan.parts:
            if part.needs and part.pipeline not in state.building:
                return attrs.evolve(state, building=state.building | {part.pipeline}), (ev.BuildStage(part.pipeline),)
        return state, ()

    replace_rule(monkeypatch, "_build", build)


def a_repeated_ready_restarts_a_send(monkeypatch):
    def send(plan, state):
        for port in plan.sends:
            head = next((each for each in port if each.step not in state.sent), None)
            if head is not None and head.source in state.held and head.step in state.granted:
                return attrs.evolve(state, sending=state.sending | {head.step}, granted=state.granted - {head.step}), (
                    ev.Send(head.step),
                )
        return state, ()

    def heard(plan, state, event):
        after = learn_heard(plan, state, event)
        return attrs.evolve(after, granted=after.granted | (frozenset(event.report.ready) - after.sent))

    learn_heard = learn.LEARN[ev.Heard]
    monkeypatch.setitem(learn.LEARN, ev.Heard, heard)
    replace_rule(monkeypatch, "_send", send)


def a_receiver_prepares_all_buffers_at_once(monkeypatch):
    def receive(plan, state):
        for port in plan.receives:
            for each in port:
                if each.step not in state.receiving | state.arrived:
                    return attrs.evolve(state, receiving=state.receiving | {each.step}), (ev.Receive(each.step),)
        return state, ()

    replace_rule(monkeypatch, "_receive", receive)


def corrupt_bytes_are_taken(monkeypatch):
    monkeypatch.setitem(learn.LEARN, ev.Corrupt, learn.LEARN[ev.Arrived])


def a_pipeline_opens_unproved(monkeypatch):
    def prove(plan, state):
        after, actions = rule(plan, state)
        return (attrs.evolve(after, proved=after.proving), actions) if actions else (state, ())

    rule = block_multicast._prove
    replace_rule(monkeypatch, "_prove", prove)


def a_closed_pipeline_opens(monkeypatch):
    def opens(_plan, state):
        for pipeline in state.proved - state.opened:
            return attrs.evolve(state, opened=state.opened | {pipeline}), (ev.Open(pipeline),)
        return state, ()

    replace_rule(monkeypatch, "_open", opens)


def a_blob_is_released_while_it_is_sent(monkeypatch):
    def is_needed(plan, state, copy, _until):
        return not any(plan.passage[step].source == copy for step in state.sending)

    monkeypatch.setattr(block_multicast, "_is_needed", is_needed)


def a_switch_does_not_wait_for_its_successor(monkeypatch):
    def successor(plan, _state, pipeline):
        return next(((each.new, each.continuity) for each in plan.switches if each.old == pipeline), None)

    monkeypatch.setattr(block_multicast, "_open_successor", successor)


def ticks_repeat_nothing(monkeypatch):
    def step(plan, state, event):
        return (state, ()) if isinstance(event, ev.Tick) else real(plan, state, event)

    real = block_multicast.step
    monkeypatch.setattr(block_multicast, "step", step)


def nobody_is_told_what_will_never_come(monkeypatch):
    monkeypatch.setattr(block_multicast, "hopeless_because", lambda *_: None)


def a_lost_node_is_not_told_so(monkeypatch):
    def heard(plan, state, event):
        lost = tuple(each for each in event.report.lost if each != plan.node)
        return learn_heard(plan, state, ev.Heard(event.peer, attrs.evolve(event.report, lost=lost)))

    learn_heard = learn.LEARN[ev.Heard]
    monkeypatch.setitem(learn.LEARN, ev.Heard, heard)


def members_keep_the_stages_of_closed_pipelines(monkeypatch):
    replace_rule(monkeypatch, "_free", lambda _plan, state: (state, ()))


BUGS = {
    the_sender_does_not_wait_for_the_buffer: (relay(), Faults(), "GRANT"),
    the_leader_does_not_wait_for_all_members: (relay(EARLY), Faults(), "EARLY"),
    a_stage_is_built_before_its_blobs_are_held: (relay(EARLY), Faults(), "EARLY"),
    a_repeated_ready_restarts_a_send: (relay(), Faults(repeats=1), "ONE-SEND"),
    a_receiver_prepares_all_buffers_at_once: (relay(), Faults(), "ONE-RECEIVE"),
    corrupt_bytes_are_taken: (relay(), Faults(corruptions=1), "a blob is held only"),
    a_pipeline_opens_unproved: (relay(EARLY), Faults(), "PROVED"),
    a_closed_pipeline_opens: (relay(EARLY_AND_LOCAL, [("early", "local", R)]), Faults(), "NEVER-AGAIN"),
    a_blob_is_released_while_it_is_sent: (two(R), Faults(), "RELEASE"),
    a_switch_does_not_wait_for_its_successor: (two(R), Faults(), "SERVE"),
    ticks_repeat_nothing: (relay(), Faults(losses=1), "no good state"),
    nobody_is_told_what_will_never_come: (relay(), Faults(deaths=1), "no good state"),
    a_lost_node_is_not_told_so: (relay(), Faults(suspicions=1), "no good state"),
    members_keep_the_stages_of_closed_pipelines: (two(R), Faults(), "no good state"),
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_seeded_bug_is_found_with_a_short_trace(bug, monkeypatch):
    plans, faults, about = BUGS[bug]
    bug(monkeypatch)
    found = run(plans, faults)
    trace = found.broken or found.stuck
    assert trace is not None
    assert trace.about.startswith(about), str(trace)
    assert len(trace.labels) <= 25, str(trace)


# --- one node ---------------------------------------------------------------------------------------------------------


def test_the_receiver_of_a_chain_names_what_it_lacks_and_the_node_to_blame():
    plans = node_plans(*CHAIN)
    state, actions = block_multicast.begin(plans[3])
    assert ev.Receive(2) in actions
    assert ev.Tell("n2", Report(ready=(2,))) in actions
    state, actions = block_multicast.step(
        plans[3], state, ev.Heard("n2", Report(cannot=(Cannot(step=2, because="n0"),)))
    )
    assert actions == (ev.Abandon(2), ev.Tell("n2", Report()))
    assert block_multicast.reports(plans[3], state)["n2"] == Report()
    state, actions = block_multicast.step(plans[3], state, ev.ReceiveFailed(2))
    (lack,) = lacks(plans[3], state)
    assert (lack.copy, lack.because) == (Copy(blob="a", place="n3"), "n0")
    assert is_settled(plans[3], state)


def test_what_arrives_after_all_from_a_lost_node_counts():
    plans = node_plans(*CHAIN)
    state, _ = block_multicast.begin(plans[1])
    state, actions = block_multicast.step(plans[1], state, ev.PeerLost("n0", LossReason.STALLED))
    assert ev.Abandon(0) in actions
    state, actions = block_multicast.step(plans[1], state, ev.Arrived(0))
    assert state.held == {Copy(blob="a", place="n1")}
    assert lacks(plans[1], state) == ()


@pytest.mark.parametrize(
    "event",
    [
        ev.Arrived(1),
        ev.Corrupt(1),
        ev.ReceiveFailed(77),
        ev.SendDone(0),
        ev.SendFailed(0),
        ev.PeerLost("n1", LossReason.SILENT),
        ev.PeerLost("stranger", LossReason.SILENT),
        ev.StageBuilt("early"),
        ev.StageFailed("early"),
        ev.Proved("early", True),
        ev.Drained("early"),
        ev.Heard("stranger", Report(closed=("early",))),
        # A peer may only speak of its own transfers, stages and pipelines.
        ev.Heard("n0", Report(ready=(2,), over=(2,), cannot=(Cannot(step=3, because="n0"),), built=("early",))),
        ev.Heard("n2", Report(opened=("early",), closed=("early",), unable=("local",), lost=("n0",))),
        ev.Heard("n2", Report(ready=(99,), over=(3,), cannot=(Cannot(step=99, because="n0"),), built=("nothing",))),
    ],
    ids=repr,
)
def test_an_event_that_does_not_fit_changes_nothing(event):
    plan = relay(EARLY_AND_LOCAL)[1]
    state, _ = block_multicast.begin(plan)
    assert block_multicast.step(plan, state, event) == (state, ())


def test_a_lost_node_is_ignored_for_ever_but_told_so_on_every_tick():
    plan = relay()[1]
    state, _ = block_multicast.begin(plan)
    state, actions = block_multicast.step(plan, state, ev.PeerLost("n2", LossReason.SILENT))
    assert ev.Tell("n2", Report(lost=("n2",))) in actions
    after, actions = block_multicast.step(plan, state, ev.Heard("n2", Report(ready=(2,))))
    assert (after, actions) == (state, ())
    _, actions = block_multicast.step(plan, state, ev.Tick())
    assert [each.peer for each in actions] == ["n0", "n2"]


def test_a_transfer_that_fails_too_often_counts_its_sender_as_lost():
    plan = node_plans(*CHAIN, tries_max=3)[1]
    state, _ = block_multicast.begin(plan)
    for _ in range(2):
        state, actions = block_multicast.step(plan, state, ev.Corrupt(0))
        assert ev.Receive(0) in actions
        assert not state.lost
    state, actions = block_multicast.step(plan, state, ev.Corrupt(0))
    assert [(each.node, each.reason) for each in state.lost] == [("n0", LossReason.CORRUPT)]
    assert ev.Receive(0) not in actions
    assert ev.Tell("n2", Report(cannot=(Cannot(step=1, because="n0"),), lost=("n0",))) in actions


def test_a_copy_within_a_node_follows_the_same_rules():
    (plan,) = node_plans({"n0": "a"}, [("a", "n0", "n0")])
    upper = Copy(blob="a", place="n0/gpu1")
    plan = attrs.evolve(plan, passages=(attrs.evolve(plan.passages[0], destination=upper),))
    state, actions = block_multicast.begin(plan)
    assert actions == (ev.Receive(0), ev.Send(0))
    state, _ = block_multicast.step(plan, state, ev.Arrived(0))
    state, _ = block_multicast.step(plan, state, ev.SendDone(0))
    assert upper in state.held
    assert is_settled(plan, state)
    state, _ = block_multicast.begin(plan)
    for _ in range(plan.tries_max):
        state, actions = block_multicast.step(plan, state, ev.SendFailed(0))
        state, actions = block_multicast.step(plan, state, ev.Corrupt(0))
    assert [lack.because for lack in lacks(plan, state)] == ["n0"]
    assert not state.lost
