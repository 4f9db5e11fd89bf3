"""Plans of different generations in force at once: every order of events of small clusters, with faults."""

import pytest

from specs.plan import Continuity
from specs.protocols import progress
from tests.protocols.generations_cluster import Generations, run
from tests.protocols.generations_world import Faults, Plans
from tests.protocols.switch_cluster import a_plan
from tests.protocols.verdicts import all_is_well
from tests.protocols.world import node_plans

P, P3 = a_plan(1, "xy"), a_plan(1, "xyz")
A, B = a_plan(2, "xy", P), a_plan(3, "xy", P)
NEXT = a_plan(3, "xy", A)
A3, WITHOUT_Z = a_plan(2, "xyz", P3), a_plan(3, "xy", P3)
Z_BACK = a_plan(4, "xyz", WITHOUT_Z)
XY, YX, X, Y = [("x", "a"), ("y", "b")], [("y", "b"), ("x", "a")], [("x", "ab")], [("y", "ab")]
XYZ = [*XY, ("z", "a")]


def parts(new=None, running=None, switches=None, nodes="xy"):
    return node_plans(dict.fromkeys(nodes, "ab"), [], new, switches, running=running)


def moved(continuity):
    """The next plan puts q in the place of p, and the one after finds both, as far as they are open by then."""
    first, after = parts(running={"p": XY}), parts({"s": X}, {"p": XY, "q": Y})
    return Plans(P, {P: first, A: parts({"q": Y}, {"p": XY}, [("p", "q", continuity)]), NEXT: after})


def counting_on_p(continuity):
    """The next plan puts q in the place of p, and the one after it, made before that was done, counts on p alone."""
    moving = parts({"q": Y}, {"p": XY}, [("p", "q", continuity)])
    return Plans(P, {P: parts(running={"p": XY}), A: moving, NEXT: parts(running={"p": XY})})


def three(stages):
    """A pipeline that the next plan keeps, and does nothing else; a rival leaves z out, if it can."""
    kept, rival = parts(running={"p": stages}, nodes="xyz"), parts(running={"p": stages})
    return Plans(P3, {P3: kept, A3: kept} | ({WITHOUT_Z: rival} if stages == XY else {}))


def out_and_back():
    """A plan leaves z out, which has nothing to do, and the one after it takes z in again; y leads."""
    kept, without = parts(running={"p": YX}, nodes="xyz"), parts(running={"p": YX})
    return Plans(P3, {P3: kept, WITHOUT_Z: without, Z_BACK: kept})


# A pipeline of both nodes, which the next plan keeps while it opens another; a rival keeps it too, or lets it go.
FIRST = {P: parts(running={"p": XY})}
KEEP = Plans(P, {**FIRST, A: parts({"q": Y}, {"p": XY})})
RIVALS = Plans(P, {**FIRST, A: parts({"q": Y}, {"p": XY}), B: parts({"r": YX})})
RIVALS_KEEP = Plans(P, {**FIRST, A: parts({"q": Y}, {"p": XY}), B: parts({"r": YX}, {"p": XY})})
CHAIN = Plans(P, {**FIRST, A: parts({"q": Y}, {"p": XY}), NEXT: parts({"r": YX})})
# A pipeline of x alone, to which y submits.
FRONT = Plans(P, {P: parts(running={"p": X}), A: parts({"q": Y}, {"p": X})})


def nodes(plans, offers, fronts=None, names="xy", **faults):
    return Generations(names, plans, offers, Faults(**faults), fronts)


# --- what must be reachable -------------------------------------------------------------------------------------------


def in_force(world, node):
    now = world.nodes[node].now
    return 0 if now is None else now.name.generation


def kept_on(world):
    """A request is served by a pipeline that was kept, under the next plan at both."""
    return any(pipeline == "p" for _, pipeline in world.taken) and min(in_force(world, 0), in_force(world, 1)) > 1


def apart(world):
    """Different plans are in force, and a request that went from the one node is served by the other."""
    return (1, "p") in world.taken and 0 < in_force(world, 0) != in_force(world, 1) > 0


def lost_and_found(world):
    """Who counted as lost under the plan before serves, or is served, under the next."""
    return not world.faults.suspicions and kept_on(world)


def back(world):
    """A node in its second life carries out a plan."""
    return any(here.life and here.now is not None for here in world.nodes)


def alone(world):
    """A node was started again, and another carries out the plan that its earlier life had accepted."""
    return any(here.life and here.now is None for here in world.nodes) and 2 in (in_force(world, 0), in_force(world, 1))


def both_open(world):
    """The pipeline that was kept and the new one are open."""
    return any(
        here.now is not None and here.now.state.opened - here.now.state.closed >= {"p", "q"} for here in world.nodes
    )


def left_out(world):
    """z hears that the others have adopted a plan without it, and begins a new life."""
    return world.nodes[2].life == 1 and in_force(world, 0) == in_force(world, 1) == 3


def taken_back(world):
    """All three carry out the plan that takes z in again, in its second life."""
    return world.nodes[2].life == 1 and {in_force(world, node) for node in range(3)} == {4}


def kept_open(world):
    """Something is kept open beside its successor, for a plan that is accepted."""
    return any(here.now is not None and progress.kept_open(here.now.plan, here.now.state) for here in world.nodes)


def kept_in_the_end(world):
    """The plan that counts on p is in force at both, and p open."""
    return all(
        in_force(world, node) == 3 and "p" in here.now.state.opened - here.now.state.closed
        for node, here in enumerate(world.nodes)
    )


def kept_for_nothing(world):
    """A plan was declined for what it counts on beside p, and so p has closed for q."""
    here = world.nodes[0]
    declined = any(each.plan == NEXT.name for each in world.nodes[1].switch.declined)
    return declined and NEXT in here.switch.accepted and "p" in here.now.state.closed


AT_X, AT_BOTH, AT_Y = [("x", A)], [("x", A), ("y", B)], [("y", A), ("y", B)]
IN_TURN, BY_X = [("x", A), ("y", NEXT)], [("x", A), ("x", NEXT)]
DRAIN, COPY = moved(Continuity.DRAIN), moved(Continuity.COPY)
COUNTED_ON_RECOMPUTE, COUNTED_ON_DRAIN, COUNTED_ON_COPY = map(counting_on_p, Continuity)
# name: cluster, what must be reachable, exact number of states
SPACES = {
    "one plan": (nodes(KEEP, AT_X), [kept_on, apart, both_open], 143),
    "one plan, a loss": (nodes(KEEP, AT_X, losses=1), [kept_on, apart, both_open], 380),
    "one plan, a death": (nodes(KEEP, AT_X, deaths=1), [kept_on, apart, both_open], 295),
    "one plan, a restart": (nodes(KEEP, AT_X, restarts=1), [kept_on, alone], 246),
    "one plan, a suspicion": (nodes(KEEP, AT_X, suspicions=1), [apart], 667),
    "a front elsewhere, a suspicion": (nodes(FRONT, AT_X, "y", suspicions=1), [lost_and_found, apart], 298),
    "rivals": (nodes(RIVALS, AT_BOTH), [kept_on, apart], 1142),
    "rivals, a restart": (nodes(RIVALS, AT_BOTH, restarts=1), [alone], 2252),
    "rivals at one node, a restart": (nodes(RIVALS, AT_Y, restarts=1), [alone], 2333),
    "rivals that keep, a restart": (nodes(RIVALS_KEEP, AT_BOTH, restarts=1), [kept_on, alone], 1422),
    "one after the other, a restart": (nodes(CHAIN, IN_TURN, restarts=1), [back, alone], 1789),
    "drained": (nodes(DRAIN, BY_X), [both_open, apart], 808),
    "handed over": (nodes(COPY, BY_X), [both_open, apart, kept_for_nothing], 760),
    "counted on, recompute": (nodes(COUNTED_ON_RECOMPUTE, BY_X), [both_open, kept_open, kept_in_the_end], 482),
    "counted on, drain": (nodes(COUNTED_ON_DRAIN, BY_X), [both_open, kept_open, kept_in_the_end], 532),
    "counted on, copy": (nodes(COUNTED_ON_COPY, BY_X), [both_open, kept_open, kept_in_the_end], 500),
    "counted on, recompute, a loss": (nodes(COUNTED_ON_RECOMPUTE, BY_X, losses=1), [kept_open, kept_in_the_end], 1389),
    "counted on, drain, a loss": (nodes(COUNTED_ON_DRAIN, BY_X, losses=1), [kept_open, kept_in_the_end], 1489),
    "counted on, copy, a loss": (nodes(COUNTED_ON_COPY, BY_X, losses=1), [kept_open, kept_in_the_end], 1425),
}
SLOW = {
    "a front elsewhere, a suspicion, a restart, a loss": (
        nodes(FRONT, AT_X, "y", suspicions=1, restarts=1, losses=1),
        [lost_and_found, apart],
        1307,
    ),
    "rivals, a death": (nodes(RIVALS, AT_BOTH, deaths=1), [kept_on], 3014),
    "rivals, a suspicion": (nodes(RIVALS, AT_BOTH, suspicions=1), [apart], 4843),
    "rivals that keep, a suspicion": (nodes(RIVALS_KEEP, AT_BOTH, suspicions=1), [apart], 3240),
    "rivals, a suspicion, a restart": (nodes(RIVALS, AT_BOTH, suspicions=1, restarts=1), [alone], 8927),
    "one after the other, two restarts": (nodes(CHAIN, IN_TURN, restarts=2), [back, alone], 2828),
    "one after the other, a suspicion": (nodes(CHAIN, IN_TURN, suspicions=1), [apart], 5044),
    "drained, a death": (nodes(DRAIN, BY_X, deaths=1), [both_open], 1553),
    "drained, a suspicion": (nodes(DRAIN, BY_X, suspicions=1), [both_open], 3855),
    "handed over, a suspicion": (nodes(COPY, BY_X, suspicions=1), [both_open], 3799),
    "three nodes": (nodes(three(XY), [("x", A3)], "z", "xyz"), [kept_on], 9300),
    "three nodes, a death": (nodes(three(XY), [("x", A3)], "z", "xyz", deaths=1), [kept_on], 43480),
    "three nodes, a restart": (nodes(three(XY), [("x", A3)], "z", "xyz", restarts=1), [kept_on], 37796),
    "three nodes, a suspicion": (nodes(three(XY), [("x", A3)], "z", "xyz", suspicions=1), [kept_on], 167246),
    "three nodes, a rival that leaves one out": (
        nodes(three(XY), [("x", A3), ("y", WITHOUT_Z)], "z", "xyz"),
        [kept_on, left_out],
        97967,
    ),
    "three nodes, one is left out and taken back": (
        nodes(out_and_back(), [("x", WITHOUT_Z), ("x", Z_BACK), ("z", Z_BACK)], "x", "xyz"),
        [kept_on, left_out, taken_back],
        100612,
    ),
    "three stages": (nodes(three(XYZ), [("x", A3)], "x", "xyz"), [kept_on], 4618),
    "three stages, a restart": (nodes(three(XYZ), [("x", A3)], "x", "xyz", restarts=1), [kept_on], 41922),
}


@pytest.mark.parametrize("space", [*SPACES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_every_order_of_events(space):
    cluster, sometimes, states = (SPACES | SLOW)[space]
    all_is_well(run(cluster, sometimes, states_max=300_000), states)
