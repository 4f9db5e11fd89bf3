"""Hops and ticks against their definitions, one transfer at a time."""

import pytest

from specs.plan import Transfer
from specs.ports import hops, order_of, ticks
from specs.timing import links_by_id, route_ends
from tests.plans import GOOD


@pytest.mark.parametrize("name", GOOD)
def test_hops_say_what_the_definitions_say(name):
    problem, plan = GOOD[name]()
    links = links_by_id(problem.cluster)
    node_of = {place.id: place.node for place in problem.cluster.places}
    transfers = [step for step in plan.steps if isinstance(step, Transfer)]
    routes = [plan.routes[step.route] for step in transfers]
    ends = [route_ends(links, route) for route in routes]
    found = hops(problem.cluster, plan)
    assert [hop.transfer for hop in found] == transfers
    for number, hop in enumerate(found):
        source, destination = ends[number]
        assert (hop.source, hop.destination) == (source, destination)
        assert (hop.source_node, hop.destination_node) == (node_of[source], node_of[destination])
        assert (hop.send_port, hop.receive_port) == (routes[number].links[0], routes[number].links[-1])
        earlier = range(number)
        sent = [transfers[i].id for i in earlier if routes[i].links[0] == hop.send_port]
        received = [transfers[i].id for i in earlier if routes[i].links[-1] == hop.receive_port]
        came = [transfers[i].id for i in earlier if (transfers[i].blob, ends[i][1]) == (hop.transfer.blob, source)]
        assert hop.after_send == (sent[-1] if sent else None)
        assert hop.after_receive == (received[-1] if received else None)
        assert hop.after_arrival == (came[0] if came else None)


@pytest.mark.parametrize("name", GOOD)
def test_a_tick_is_one_more_than_the_deepest_wait(name):
    problem, plan = GOOD[name]()
    found = hops(problem.cluster, plan)
    depth = ticks(order_of(problem.cluster, plan))
    assert list(depth) == [hop.transfer.id for hop in found]
    for hop in found:
        assert depth[hop.transfer.id] == 1 + max((depth[step] for step in hop.predecessors), default=0)
