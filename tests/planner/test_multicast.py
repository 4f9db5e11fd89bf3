"""The multicast schedule against an independent simulation and the bounds of `specs.bounds`."""

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import planner.multicast
from planner.multicast import Send, multicast_ticks
from specs.bounds import first_cover_ticks_bound, multicast_ticks_bound


def simulate(nodes: int, sources: int, blocks: int, sends: tuple[Send, ...]) -> tuple[int, int]:
    """Ticks to completion and to the receivers' first cover; asserts that every rule of the ports is kept."""
    everything = set(range(blocks))
    held = {node: set(everything) if node < sources else set() for node in range(nodes)}
    cover = completion = 0
    for tick, group in itertools.groupby(sends, key=lambda send: send.tick):
        at_once = list(group)
        assert tick >= completion, "ticks must come in order"
        assert len({send.source for send in at_once}) == len(at_once), "a node sends twice"
        assert len({send.destination for send in at_once}) == len(at_once), "a node receives twice"
        for send in at_once:
            assert send.source != send.destination
            assert send.block in held[send.source], "a node sends what it does not hold"
            assert send.block not in held[send.destination], "a node receives a block again"
        for send in at_once:
            held[send.destination].add(send.block)
        completion = tick + 1
        if cover == 0 and set().union(*(held[node] for node in range(sources, nodes))) == everything:
            cover = completion
    assert all(blocks_held == everything for blocks_held in held.values())
    return completion, cover


def assert_optimal(nodes: int, sources: int, blocks: int) -> None:
    completion, cover = simulate(nodes, sources, blocks, multicast_ticks(nodes, sources, blocks))
    assert completion == multicast_ticks_bound(nodes, sources, blocks)
    assert cover == first_cover_ticks_bound(nodes, sources, blocks)


@pytest.mark.parametrize("sources", [1, 2, 3, 4])
def test_optimal_for_every_small_instance(sources):
    for nodes in range(sources, 25):
        for blocks in range(1, 25):
            assert_optimal(nodes, sources, blocks)


@pytest.mark.slow
@pytest.mark.parametrize("sources", range(1, 9))
def test_optimal_for_every_medium_instance(sources):
    for nodes in range(sources, 65):
        for blocks in range(1, 65):
            assert_optimal(nodes, sources, blocks)


def closed_form(nodes: int, blocks: int) -> int:
    """Ticks of RDMC's binomial pipeline (Behrens et al., DSN 2018)."""
    return blocks + (nodes - 1).bit_length() - 1


@pytest.mark.parametrize("nodes", range(2, 65))
def test_one_source_meets_the_closed_form(nodes):
    assert all(multicast_ticks_bound(nodes, 1, blocks) == closed_form(nodes, blocks) for blocks in range(1, 257))
    for blocks in (1, 2, 3, nodes, 128):
        assert multicast_ticks(nodes, 1, blocks)[-1].tick + 1 == closed_form(nodes, blocks)


@pytest.mark.slow
@pytest.mark.parametrize("nodes", range(2, 65))
def test_one_source_meets_the_closed_form_for_every_number_of_blocks(nodes):
    for blocks in range(1, 257):
        assert multicast_ticks(nodes, 1, blocks)[-1].tick + 1 == closed_form(nodes, blocks)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_optimal_for_large_instances(data):
    nodes = data.draw(st.integers(1, 600), "nodes")
    sources = data.draw(st.integers(1, nodes), "sources")
    assert_optimal(nodes, sources, data.draw(st.integers(1, 80), "blocks"))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 9), st.integers(-2, 2), st.integers(1, 40))
def test_optimal_near_powers_of_two(exponent, offset, blocks):
    assert_optimal(max(1, 2**exponent + offset), 1, blocks)


def test_the_simulation_notices_broken_schedules():
    good = multicast_ticks(6, 1, 3)
    with pytest.raises(AssertionError, match="does not hold"):
        simulate(6, 1, 3, good[1:])
    with pytest.raises(AssertionError, match="receives twice"):
        simulate(3, 2, 2, tuple(Send(tick=0, source=node, destination=2, block=node) for node in (0, 1)))
    with pytest.raises(AssertionError, match="sends twice"):
        simulate(3, 1, 1, tuple(Send(tick=0, source=0, destination=node, block=0) for node in (1, 2)))
    with pytest.raises(AssertionError, match="receives a block again"):
        simulate(2, 1, 1, tuple(Send(tick=tick, source=0, destination=1, block=0) for tick in (0, 1)))
    with pytest.raises(AssertionError):
        simulate(6, 1, 3, good[:-1])


def test_the_example_in_the_docstring_is_the_schedule():
    rows = re.findall(r"^    (\d)     [01-] (.*)$", planner.multicast.__doc__, re.MULTILINE)
    written = {
        (int(tick), int(source), int(destination), "abc".index(block))
        for tick, row in rows
        for source, destination, block in re.findall(r"(\d)>(\d):([abc])", row)
    }
    assert written == {(send.tick, send.source, send.destination, send.block) for send in multicast_ticks(6, 1, 3)}


def test_nobody_to_send_to():
    assert multicast_ticks(1, 1, 5) == ()
    assert multicast_ticks(4, 4, 5) == ()


def test_sources_begin_with_their_own_chunk():
    first = [send for send in multicast_ticks(8, 4, 8) if send.tick < 2]
    assert {(send.source, send.block) for send in first} == {
        (group, group + 4 * i) for group in range(4) for i in (0, 1)
    }


@pytest.mark.parametrize(("nodes", "sources", "blocks"), [(2, 0, 1), (2, 3, 1), (0, 0, 1), (2, 1, 0)])
def test_impossible_sizes_are_refused(nodes, sources, blocks):
    with pytest.raises(ValueError, match="needed"):
        multicast_ticks(nodes, sources, blocks)


def test_a_thousand_nodes():
    sends = multicast_ticks(1024, 1, 64)
    assert len(sends) == 1023 * 64
