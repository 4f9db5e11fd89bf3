"""Plan switch: every order of events of small clusters with rival plans, with faults; and single steps of one node."""

import pytest

from specs import codec
from specs.protocols import plan_switch as protocol
from specs.protocols import plan_switch_nouns as sw
from tests.protocols.switch_cluster import Faults, SwitchCluster, a_plan, run
from tests.protocols.verdicts import all_is_well

P1, P2, P3 = a_plan(1, "x"), a_plan(1, "xy"), a_plan(1, "xyz")
A2, B2 = a_plan(2, "xy", P2), a_plan(3, "xy", P2)
A3, B3 = a_plan(2, "xyz", P3), a_plan(3, "xyz", P3)
B_WITHOUT_Z = a_plan(3, "xy", P3)
BACK = a_plan(4, "xyz", B_WITHOUT_Z)
NEXT = a_plan(3, "xy", A2)
TWIN = a_plan(2, "xy", P2, tag=1)
RIVALS = [("x", A2), ("y", B2)]
BAD_NETWORK = Faults(losses=1, lates=1, repeats=1)


def adopted_by_all(world):
    """All nodes carry out one plan that followed the first."""
    return len({state.adopted for state in world.nodes}) == 1 and world.highest[0] > 1


def aborted(world):
    """A plan was accepted by all but the node that declined it, and all serve on under the plan before."""
    return bool(world.declined) and len(world.accepted) == len(world.nodes) - 1 and max(world.highest) == 1


def both_declined(world):
    """Each node declined the plan that the other had accepted; both serve on under the plan before."""
    return len(world.declined) == 2 and not any(protocol.foremost(state) for state in world.nodes)


def left_out(world):
    return world.highest == (3, 3, 1)


def superseded(world):
    """All adopted the newer plan although one had accepted the older first."""
    return adopted_by_all(world) and world.highest[0] == 3 and any(o.name.generation == 2 for _, o in world.accepted)


def fell_back(world):
    """A node accepted the newer plan, and adopted the older one when the newer had been declined."""
    return any(state.adopted is not None and state.settled > state.adopted.name.generation for state in world.nodes)


def apart(world):
    """The node that the newer plan leaves out has adopted the older one."""
    return world.highest == (3, 3, 2)


def gave_up(world):
    """The node that the newer plan leaves out, and that carried out an older one, is as new."""
    return world.highest[:2] == (3, 3) and world.nodes[2].adopted is None


def taken_in_again(world):
    """The node that was left out has adopted the plan that names it again."""
    return world.highest == (4, 4, 4)


def blocked(world):
    """A node died before it accepted: the other waits, and carries out the plan before."""
    return bool(world.dead) and any(
        node not in world.dead and len(protocol.awaited(state)) == 1 and world.highest[node] == 1
        for node, state in enumerate(world.nodes)
    )


def twice(world):
    """One plan after the other."""
    return world.highest == (3, 3) and len(world.adopted) == 6


def adopted_again(world):
    """A node that was started again has adopted what its peers had adopted meanwhile."""
    return len(world.adopted) == 3 and adopted_by_all(world) and not world.faults.restarts


# name: cluster, what must be reachable, exact number of states
SPACES = {
    "one offer": (SwitchCluster("xy", P2, [("x", A2)], Faults()), [adopted_by_all], 5),
    "one offer, three nodes": (SwitchCluster("xyz", P3, [("x", A3)], Faults()), [adopted_by_all], 96),
    "rivals": (SwitchCluster("xy", P2, RIVALS, Faults()), [superseded], 27),
    "rivals, a bad network": (SwitchCluster("xy", P2, RIVALS, BAD_NETWORK), [superseded], 1177),
    "rivals, a death": (SwitchCluster("xy", P2, RIVALS, Faults(deaths=1, losses=1)), [superseded, blocked], 225),
    "rivals, a restart": (SwitchCluster("xy", P2, RIVALS, Faults(restarts=1, lates=1)), [adopted_again], 1947),
    "rivals, one unable": (
        SwitchCluster("xy", P2, [("x", A2), ("x", B2)], Faults(losses=1, lates=1), {("y", B2): "no room"}),
        [aborted, fell_back],
        533,
    ),
    "rivals of one generation": (SwitchCluster("xy", P2, [("x", A2), ("y", TWIN)], BAD_NETWORK), [both_declined], 1370),
    "rivals, three nodes": (SwitchCluster("xyz", P3, [("x", A3), ("y", B3)], Faults()), [superseded, fell_back], 6227),
    "a rival that leaves a node out": (
        SwitchCluster("xyz", P3, [("x", A3), ("y", B_WITHOUT_Z)], Faults()),
        [left_out, apart, gave_up],
        3131,
    ),
    "a node that was left out comes back": (
        SwitchCluster("xyz", P3, [("x", B_WITHOUT_Z), ("x", BACK)], Faults()),
        [left_out, gave_up, taken_in_again],
        1383,
    ),
    "a plan that follows the next": (
        SwitchCluster("xy", P2, [("x", A2), ("y", NEXT)], BAD_NETWORK),
        [twice],
        525,
    ),
    "a node that has no plan": (
        SwitchCluster("xy", P1, [("x", a_plan(2, "xy", P1))], BAD_NETWORK, new="y"),
        [adopted_by_all],
        295,
    ),
}
RIVALS3 = [("x", A3), ("y", B3)]
SLOW = {
    "rivals, three nodes, one unable": (
        SwitchCluster("xyz", P3, [("x", A3), ("y", B3)], Faults(), {("z", B3): "no room"}),
        [aborted, fell_back],
        4973,
    ),
    "a rival that leaves a node out, a death": (
        SwitchCluster("xyz", P3, [("x", A3), ("y", B_WITHOUT_Z)], Faults(deaths=1)),
        [apart],
        12257,
    ),
    "rivals, three nodes, a death": (
        SwitchCluster("xyz", P3, RIVALS3, Faults(deaths=1)),
        [superseded, fell_back],
        24273,
    ),
    "rivals, three nodes, a late standing": (
        SwitchCluster("xyz", P3, RIVALS3, Faults(lates=1)),
        [superseded, fell_back],
        69507,
    ),
    "rivals, three nodes, one unable, a loss": (
        SwitchCluster("xyz", P3, RIVALS3, Faults(losses=1), {("z", B3): "no room"}),
        [aborted, fell_back],
        25726,
    ),
    "rivals, three nodes, one unable, a restart": (
        SwitchCluster("xyz", P3, RIVALS3, Faults(restarts=1), {("z", B3): "no room"}),
        [aborted, fell_back],
        88999,
    ),
    "a rival that leaves a node out, a restart": (
        SwitchCluster("xyz", P3, [("x", A3), ("y", B_WITHOUT_Z)], Faults(restarts=1)),
        [apart, left_out],
        52608,
    ),
}


@pytest.mark.parametrize("space", [*SPACES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_every_order_of_events(space):
    cluster, sometimes, states = (SPACES | SLOW)[space]
    all_is_well(run(cluster, sometimes, states_max=100_000), states)


# --- one node ---------------------------------------------------------------------------------------------------------


def after(name, *steps):
    """A node that has adopted the first plan of two, and then these events; its state and the actions of the last."""
    state, actions = protocol.step(protocol.begin(name), sw.Offered(P2))
    for event in steps:
        state, actions = protocol.step(state, event)
    return state, actions


def stands(adopted, accepted=None, declined=()):
    name = None if accepted is None else accepted.name
    return sw.Heard("y", sw.Standing(adopted=adopted.name, accepted=name, declined=declined))


def test_a_first_plan_is_adopted_at_once_and_recorded_before_anything_else():
    _, actions = after("x")
    told = sw.Standing(adopted=P2.name)
    assert actions == (sw.Record(1), sw.Adopt(P2.name), sw.Tell("y", told))


def test_a_plan_is_accepted_told_and_adopted_when_all_have_accepted_it():
    state, actions = after("x", sw.Offered(A2))
    assert actions == (sw.Record(2), sw.Tell("y", sw.Standing(adopted=P2.name, accepted=A2.name)))
    assert protocol.awaited(state) == ("y",)
    state, actions = protocol.step(state, stands(P2, A2))
    assert actions == (sw.Adopt(A2.name), sw.Tell("y", sw.Standing(adopted=A2.name)))
    assert (state.adopted, state.accepted, state.said) == (A2, (), frozenset())


def test_what_was_heard_before_the_document_counts():
    state, actions = after("x", stands(P2, A2))
    assert actions == (sw.AskPlan("y", A2.name),)
    _, actions = protocol.step(state, sw.Offered(A2))
    assert actions[:2] == (sw.Record(2), sw.Adopt(A2.name))


def test_the_document_is_asked_for_until_it_is_here():
    state, _ = after("x", stands(P2, A2))
    assert protocol.step(state, stands(P2, A2)) == (state, (sw.AskPlan("y", A2.name),))


def test_a_decline_aborts_and_says_why():
    state, _ = after("x", sw.Offered(A2))
    why = sw.Declined(plan=A2.name, reason="y has no room")
    state, actions = protocol.step(state, stands(P2, declined=(why,)))
    assert actions == (
        sw.Forget(A2.name, "y declines it: y has no room"),
        sw.Tell("y", sw.Standing(adopted=P2.name)),
    )
    assert protocol.foremost(state) is None
    assert protocol.step(state, sw.Offered(A2)) == (state, (actions[0],))


def test_who_is_not_in_a_plan_has_no_say_in_it():
    why = sw.Declined(plan=A2.name, reason="no")
    state, _ = after("x", sw.Offered(A2))
    state, _ = protocol.step(state, sw.Heard("stranger", sw.Standing(adopted=A2.name, declined=(why,))))
    assert (state.adopted, protocol.foremost(state)) == (P2, A2)


@pytest.mark.parametrize(
    ("offer", "unable", "reason"),
    [
        (A2, "no room", "no room"),
        (a_plan(2, "yz", P2), None, "x is not in the plan's cluster"),
        (a_plan(1, "xy", P2, tag=1), None, "its generation 1 is not above 1, as far as x got; the next can be 2"),
        (NEXT, None, f"it does not follow {P2.name.digest}, which x carries out"),
        (a_plan(2, "xy"), None, f"it does not follow {P2.name.digest}, which x carries out"),
    ],
    ids=["unable", "stranger", "old", "orphan", "first"],
)
def test_who_offers_a_plan_in_vain_hears_why(offer, unable, reason):
    """A plan on which nobody stands may be offered again; on which a peer stands, the refusal is told and binding."""
    state, _ = after("x")
    assert protocol.step(state, sw.Offered(offer, unable)) == (state, (sw.Forget(offer.name, reason),))
    state, _ = protocol.step(state, stands(P2, offer))
    refused, actions = protocol.step(state, sw.Offered(offer, unable))
    if offer.name.generation > 1:
        assert actions[:2] == (sw.Record(offer.name.generation), sw.Forget(offer.name, reason))
        assert protocol.step(refused, sw.Offered(offer)) == (refused, (sw.Forget(offer.name, reason),))
    else:
        assert (refused, actions) == (state, (sw.Forget(offer.name, reason),))


def test_a_plan_whose_parent_is_accepted_may_be_offered_again():
    state, _ = after("x", sw.Offered(A2), stands(P2))
    waiting, actions = protocol.step(state, sw.Offered(NEXT))
    assert actions == (sw.Forget(NEXT.name, "the plan that it follows is accepted, but not adopted yet"),)
    state, _ = protocol.step(waiting, stands(A2))
    _, actions = protocol.step(state, sw.Offered(NEXT))
    assert actions[0] == sw.Record(3)


def test_a_node_that_was_started_again_says_nothing_of_what_it_may_have_accepted():
    state, actions = protocol.step(protocol.begin("x", 2), sw.Offered(A2))
    assert (state.accepted, state.declined) == ((), ())
    assert isinstance(actions[0], sw.Forget)
    state, _ = protocol.step(state, stands(A2))
    state, actions = protocol.step(state, sw.Offered(A2))
    assert actions[0] == sw.Adopt(A2.name), "what a peer adopted, with no need for a record"


LEFT_OUT = a_plan(3, "yz", P2)
GONE = sw.Declined(plan=LEFT_OUT.name, reason="x is not in the plan's cluster")


def test_who_hears_of_a_plan_that_was_adopted_without_it_is_as_new():
    state, actions = after("x", stands(LEFT_OUT))
    assert actions == (sw.AskPlan("y", LEFT_OUT.name),)
    state, actions = protocol.step(state, sw.Offered(LEFT_OUT))
    assert actions == (sw.Record(3), sw.Leave(LEFT_OUT.name), sw.Forget(LEFT_OUT.name, GONE.reason))
    assert state == protocol.begin("x", 3)


def test_a_plan_without_this_node_that_is_only_accepted_is_no_reason_to_leave():
    state, actions = after("x", stands(P2, LEFT_OUT), sw.Offered(LEFT_OUT))
    assert actions[0] == sw.Record(3)
    assert (state.adopted, state.declined) == (P2, (GONE,))
    state, actions = protocol.step(state, stands(LEFT_OUT))
    assert (state, actions) == (protocol.begin("x", 3), (sw.Leave(LEFT_OUT.name),))


def test_who_stands_for_a_higher_plan_does_not_leave():
    higher = a_plan(4, "xy", P2)
    state, actions = after("x", stands(LEFT_OUT), sw.Offered(higher), sw.Offered(LEFT_OUT))
    assert state.adopted == P2
    assert sw.Leave(LEFT_OUT.name) not in actions
    why = sw.Declined(plan=higher.name, reason="no room")
    state, actions = protocol.step(state, stands(P2, declined=(why,)))
    assert state == protocol.begin("x", 4)
    assert sw.Leave(LEFT_OUT.name) in actions


def test_only_who_is_behind_and_left_out_is_answered():
    ours, _ = after("y", sw.Offered(LEFT_OUT), sw.Heard("z", sw.Standing(adopted=LEFT_OUT.name)))
    assert ours.adopted == LEFT_OUT
    told = sw.Tell("x", sw.Standing(adopted=LEFT_OUT.name))
    assert protocol.step(ours, sw.Heard("x", sw.Standing(adopted=P2.name)))[1] == (told,)
    assert protocol.step(ours, sw.Heard("x", sw.Standing()))[1] == ()
    assert protocol.step(ours, sw.Heard("z", sw.Standing(adopted=P2.name)))[1] == ()


def test_a_tick_tells_everybody_in_the_plans_and_whoever_spoke():
    state, _ = after("x", sw.Offered(a_plan(2, "xyz", P2)), sw.Heard("w", sw.Standing(accepted=B2.name)))
    _, actions = protocol.step(state, sw.Tick())
    assert [each.peer for each in actions] == ["w", "y", "z"]


def test_a_standing_is_a_strict_document():
    standing = sw.Standing(adopted=P2.name, declined=(sw.Declined(plan=A2.name, reason="it's too large: 3 > 2"),))
    assert codec.decode(sw.Standing, codec.encode(standing)) == standing
