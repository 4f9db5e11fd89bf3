"""Bugs that are put into plan switch on purpose: each must be found, by the property that it breaks."""

import attrs
import pytest

from specs.protocols import plan_switch as protocol
from specs.protocols import plan_switch_nouns as sw
from tests.protocols.switch_cluster import Faults, SwitchCluster, a_plan, run
from tests.protocols.test_plan_switch import A2, A3, B2, B_WITHOUT_Z, NEXT, P2, P3, RIVALS3, TWIN


def change_answer(monkeypatch, said, instead):
    """Where a node would answer with this reason, it answers otherwise."""

    def answer(state, offer, unable):
        found, reason = real(state, offer, unable)
        return (instead, "") if said in reason else (found, reason)

    real = protocol._answer
    monkeypatch.setattr(protocol, "_answer", answer)


def change_step(monkeypatch, change):
    monkeypatch.setattr(protocol, "step", change(protocol.step))


def two_plans_of_one_generation_are_accepted(monkeypatch):
    change_answer(monkeypatch, "has accepted a plan of generation", protocol._Answer.ACCEPT)


def a_plan_that_does_not_follow_is_accepted(monkeypatch):
    change_answer(monkeypatch, "it does not follow", protocol._Answer.ACCEPT)
    change_answer(monkeypatch, "accepted, but not adopted yet", protocol._Answer.ACCEPT)


def a_majority_is_enough(monkeypatch):
    def awaited(state):
        waiting = real(state)
        offer = protocol.foremost(state)
        return () if offer is not None and 2 * len(waiting) < len(offer.nodes) else waiting

    real = protocol.awaited
    monkeypatch.setattr(protocol, "awaited", awaited)


def a_plan_is_adopted_before_the_others_accept(monkeypatch):
    monkeypatch.setattr(protocol, "awaited", lambda _: ())


def a_plan_that_was_declined_is_adopted(monkeypatch):
    def act(state):
        after = real(state)
        dead = [each for each in state.accepted if protocol.why_dead(state, each) is not None]
        return protocol._adopted(state, dead[-1]) if after == state and dead else after

    real = protocol._act
    monkeypatch.setattr(protocol, "_act", act)


def what_a_peer_adopted_goes_before_a_newer_acceptance(monkeypatch):
    def act(state):
        found = [each for each in state.accepted if protocol._is_adopted_by_a_peer(state, each)]
        return protocol._adopted(state, found[0]) if found else real(state)

    real = protocol._act
    monkeypatch.setattr(protocol, "_act", act)


def an_old_generation_is_adopted_after_a_restart(monkeypatch):
    def answer(state, offer, unable):
        return real(attrs.evolve(state, settled=0) if state.adopted is None else state, offer, unable)

    real = protocol._answer
    monkeypatch.setattr(protocol, "_answer", answer)
    monkeypatch.setattr(protocol, "_is_news", lambda *_: True)


def silence_ends_an_acceptance(monkeypatch):
    def change(real):
        return lambda state, event: real(
            attrs.evolve(state, accepted=()) if isinstance(event, sw.Tick) else state, event
        )

    change_step(monkeypatch, change)


def a_superseded_plan_never_comes_back(monkeypatch):
    def foremost(state):
        newest = state.accepted[-1] if state.accepted else None
        return None if newest is None or protocol.why_dead(state, newest) is not None else newest

    monkeypatch.setattr(protocol, "foremost", foremost)


def an_acceptance_is_not_recorded(monkeypatch):
    monkeypatch.setattr(protocol, "recorded", lambda state: state.settled)


def a_decline_is_not_recorded(monkeypatch):
    monkeypatch.setattr(protocol, "recorded", protocol.promised)


def ticks_tell_nothing(monkeypatch):
    def change(real):
        return lambda state, event: (state, ()) if isinstance(event, sw.Tick) else real(state, event)

    change_step(monkeypatch, change)


def declines_are_not_told(monkeypatch):
    real = protocol.standing
    monkeypatch.setattr(protocol, "standing", lambda state: attrs.evolve(real(state), declined=()))


def nobody_tells_whom_the_plan_leaves_out(monkeypatch):
    monkeypatch.setattr(protocol, "_is_behind", lambda *_: False)


def who_leaves_forgets_what_it_accepted(monkeypatch):
    real = protocol.left_out
    monkeypatch.setattr(protocol, "left_out", lambda state: real(attrs.evolve(state, accepted=())))
    monkeypatch.setattr(protocol, "recorded", lambda state: state.settled)


def rivals(faults, offers=(("x", A2), ("y", B2)), unable=None):
    return lambda: SwitchCluster("xy", P2, list(offers), faults, unable)


def rivals_without_z():
    return SwitchCluster("xyz", P3, [("x", A3), ("y", B_WITHOUT_Z)], Faults())


def rivals_that_leave_out():
    """Two plans of one generation for z, one of which it has accepted when it hears of a third without it."""
    plans = [a_plan(2, "xy", P3), a_plan(3, "yz", P3), a_plan(3, "xz", P3, tag=1)]
    return SwitchCluster("xyz", P3, [("x", plans[0]), ("z", plans[1]), ("z", plans[2])], Faults())


TWINS = (("x", A2), ("y", TWIN))
BUGS = {
    two_plans_of_one_generation_are_accepted: (rivals(Faults(), TWINS), "ONCE"),
    a_plan_that_does_not_follow_is_accepted: (rivals(Faults(), (("x", A2), ("y", NEXT))), "FOLLOW"),
    a_majority_is_enough: (lambda: SwitchCluster("xyz", P3, RIVALS3, Faults()), "ALL"),
    a_plan_is_adopted_before_the_others_accept: (rivals(Faults()), "ALL"),
    a_plan_that_was_declined_is_adopted: (rivals(Faults(), unable={("y", A2): "no room"}), "DEAD"),
    what_a_peer_adopted_goes_before_a_newer_acceptance: (rivals_without_z, "THEOREM"),
    an_old_generation_is_adopted_after_a_restart: (rivals(Faults(restarts=1, losses=1), (("x", A2),)), "RISE"),
    silence_ends_an_acceptance: (rivals(Faults(losses=1), TWINS), "ONCE"),
    a_superseded_plan_never_comes_back: (rivals_without_z, "no good state"),
    an_acceptance_is_not_recorded: (rivals(Faults(restarts=1), TWINS), "ONCE"),
    a_decline_is_not_recorded: (rivals(Faults(restarts=1, lates=1), unable={("y", A2): "no room"}), "DEAD"),
    ticks_tell_nothing: (rivals(Faults(losses=1)), "no good state"),
    nobody_tells_whom_the_plan_leaves_out: (rivals_without_z, "no good state"),
    who_leaves_forgets_what_it_accepted: (rivals_that_leave_out, "ONCE"),
    declines_are_not_told: (rivals(Faults(), unable={("y", A2): "no room"}), "no good state"),
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_seeded_bug_is_found_with_a_short_trace(bug, monkeypatch):
    make, about = BUGS[bug]
    bug(monkeypatch)
    found = run(make())
    trace = found.broken or found.stuck
    assert trace is not None
    assert trace.about.startswith(about), str(trace)
    assert len(trace.labels) <= 25, str(trace)
