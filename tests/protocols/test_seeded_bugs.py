"""Bugs that are put into block multicast on purpose: each must be found, by the property that it breaks."""

import attrs
import pytest

from specs.protocols import block_multicast, learn, tell
from specs.protocols import events as ev
from tests.protocols.spaces import EARLY, EARLY_AND_LOCAL, R, relay, run, swap, two
from tests.protocols.world import Faults


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


def a_transfer_does_not_wait_for_room(monkeypatch):
    monkeypatch.setattr(block_multicast, "passage_awaits_room", lambda *_: False)


def a_switch_does_not_wait_for_its_successor(monkeypatch):
    def successor(plan, _state, pipeline):
        return next(((each.new, each.continuity) for each in plan.switches if each.old == pipeline), None)

    monkeypatch.setattr(block_multicast, "open_successor", successor)


def ticks_repeat_nothing(monkeypatch):
    def step(plan, state, event):
        return (state, ()) if isinstance(event, ev.Tick) else real(plan, state, event)

    real = block_multicast.step
    monkeypatch.setattr(block_multicast, "step", step)


def nobody_is_told_what_will_never_come(monkeypatch):
    monkeypatch.setattr(tell, "hopeless_because", lambda *_: None)


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
    a_transfer_does_not_wait_for_room: (swap(), Faults(), "ROOM"),
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
