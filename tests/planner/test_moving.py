"""The better of two schedules: equal ones are left alone, unequal ones are packed, memories with room relay."""

import attrs
import pytest

from planner.blocks import cut
from planner.moving import held_at_start, packed, through_relays
from planner.routes import Routes
from planner.search import Search
from planner.transfers import multicast_moves, schedule
from specs.problem import Holding
from tests.builders import GIGABYTE, a_cluster, a_problem, an_llm
from tests.place_graphs import Wiring, star, two_racks

UNEQUAL = {
    "mixed NICs": star(6, (4 * GIGABYTE, GIGABYTE, GIGABYTE, 2 * GIGABYTE)),
    "narrow uplink": two_racks(3, uplink=GIGABYTE // 2),
}


def gpu(number):
    return f"n{number}/gpu0"


def plain_of(problem, blocks):
    (llm,) = problem.llms
    blobs = cut(llm, blocks)
    holders = [holding.place for holding in problem.holdings]
    wanted = [target.place for target in problem.targets]
    routes = Routes(problem.cluster)
    return blobs, schedule(routes, multicast_moves(blobs, holders, wanted))


def copies(problem, found):
    routes = Routes(problem.cluster)
    return sorted((each.blob, routes.links[found.routes[each.route].links[-1]].destination) for each in found.transfers)


def test_ticks_of_equal_blobs_over_equal_ports_stay_as_they_are():
    problem = a_problem(6, llm=an_llm(8, layer_bytes=2**20), cluster=a_cluster(6))
    blobs, plain = plain_of(problem, 8)
    assert packed(problem, blobs, plain, Search()) is None


@pytest.mark.parametrize("name", UNEQUAL)
def test_unequal_links_are_packed_and_the_copies_are_the_same(name):
    problem = a_problem(6, llm=an_llm(8, layer_bytes=2**20), cluster=UNEQUAL[name])
    blobs, plain = plain_of(problem, 8)
    found = packed(problem, blobs, plain, Search()).schedule
    assert found.pause_ns < plain.pause_ns
    assert copies(problem, found) == copies(problem, plain)
    assert found.pause_ns == max(each.end_ns for each in found.transfers)
    assert [each.id for each in found.transfers] == list(range(len(found.transfers)))
    starts = [each.start_ns for each in found.transfers]
    assert starts == sorted(starts)


def test_the_same_search_finds_the_same_schedule():
    problem = a_problem(6, llm=an_llm(8, layer_bytes=2**20), cluster=UNEQUAL["mixed NICs"])
    blobs, plain = plain_of(problem, 8)
    assert packed(problem, blobs, plain, Search()) == packed(problem, blobs, plain, Search())


def test_without_time_the_first_schedule_stays():
    problem = a_problem(6, llm=an_llm(8, layer_bytes=2**20), cluster=UNEQUAL["mixed NICs"])
    blobs, plain = plain_of(problem, 8)
    stopped = Search()
    stopped.stop()
    assert packed(problem, blobs, plain, stopped) is None
    assert packed(problem, blobs, plain, Search(steps_max=0)) is None


def test_nothing_to_move():
    problem = a_problem(2, 2)
    blobs, plain = plain_of(problem, 2)
    assert packed(problem, blobs, plain, Search()) is None


# --- memories on the way ---------------------------------------------------------------------------------------------


def a_row(middle_bytes=80 * GIGABYTE):
    """Three devices in a row; only the ends hold or want something."""
    wiring = Wiring()
    for number in range(3):
        wiring.device(gpu(number))
    wiring.cable(gpu(0), gpu(1))
    wiring.cable(gpu(1), gpu(2))
    problem = a_problem(3, llm=an_llm(4, layer_bytes=2**20), cluster=wiring.cluster())
    places = [
        attrs.evolve(place, memory_bytes=middle_bytes) if place.id == gpu(1) else place
        for place in problem.cluster.places
    ]
    cluster = attrs.evolve(problem.cluster, places=tuple(places))
    return attrs.evolve(problem, cluster=cluster, targets=problem.targets[1:])


def relayed(problem, taken=()):
    (llm,) = problem.llms
    blobs = cut(llm, 4)
    wanted = {(blob.id, gpu(2)) for blob in blobs}
    found = through_relays(problem, blobs, wanted, {gpu(0), gpu(2), *taken}, Search())
    return blobs, None if found is None else found.schedule


def test_a_memory_with_room_passes_blobs_on():
    problem = a_row()
    blobs, found = relayed(problem)
    assert found is not None
    assert copies(problem, found) == sorted((blob.id, place) for blob in blobs for place in (gpu(1), gpu(2)))


def test_room_for_all_of_them_to_the_byte():
    needed = sum(blob.bytes for blob in cut(an_llm(4, layer_bytes=2**20), 4))
    assert relayed(a_row(needed))[1] is not None
    assert relayed(a_row(needed - 1))[1] is None


def test_a_memory_with_something_else_to_do_relays_nothing():
    assert relayed(a_row(), taken={gpu(1)})[1] is None


def test_where_nobody_has_room_there_is_no_way():
    problem = a_row()
    (llm,) = problem.llms
    assert through_relays(problem, cut(llm, 4), set(), {gpu(0), gpu(1), gpu(2)}, Search()) is None


def test_holdings_in_parts_hold_the_blobs_inside_them():
    problem = a_problem(3, llm=an_llm(4))
    blobs = cut(problem.llms[0], 4)
    part = Holding(llm="llm", place=gpu(1), first_tensor=0, end_tensor=blobs[1].end_tensor)
    held = held_at_start(attrs.evolve(problem, holdings=(*problem.holdings, part)), blobs)
    assert held == {(blob.id, gpu(0)) for blob in blobs} | {(blob.id, gpu(1)) for blob in blobs[:2]}
