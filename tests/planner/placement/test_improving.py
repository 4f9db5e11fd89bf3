"""Holdings that get better: many copies placed anew at once, idle ones given up, room kept for adapters."""

import attrs
import pytest
from hypothesis import given, settings

from planner.placement.claims import placed
from planner.placement.filling import fill, keep
from planner.placement.neighbourhoods import rearrange
from planner.placement.packing import Piece, pack
from planner.placement.prices import relax
from planner.placement.stock import Stock
from planner.search import Search
from specs.decisions.placement.checks import value
from specs.decisions.placement.holding import Layout
from specs.decisions.placement.nouns import Copy, Objective, Question, Tier
from tests.planner.placement.questions import MIB, NS, llm, pool, questions, route


def crossed(**changes):
    """Two devices of 10 MiB, and LLMs of 6, 6, 4 and 4 MiB that fit on them in one way; they start from a store.

    One more, of 4 MiB and with few requests, finds no room.
    """
    pools = (pool("g", Tier.DEVICE, 10 * MIB, 10 * MIB, node="n0"), pool("r", Tier.REMOTE, 99 * MIB))
    pools = (attrs.evolve(pools[0], landing_bytes=10 * MIB), pools[1])
    items = tuple(llm(f"m{index}", size * MIB) for index, size in enumerate((6, 6, 4, 4)))
    items = (*items, llm("m4", 4 * MIB, 1))
    known = {"pools": pools, "routes": (route("r", "g", MIB),), "items": items, "objective": Objective.START_TIME}
    return Question(**(known | changes))


def held(question, **memories):
    stock = Stock(Layout(question))
    for item, places in memories.items():
        for memory in places.split():
            stock.add(Copy(item=item, memories=(memory,)))
    return stock


def test_many_copies_change_their_places_at_once():
    stock = held(crossed(), m0="g.0", m1="r.0", m2="g.1", m3="g.1", m4="r.0")
    relaxed = relax(stock.layout, Search())
    assert relaxed.scarce == {"g"}
    assert rearrange(stock, relaxed, Search())
    assert stock.cost_of(stock.layout.question.items) == (0, 4 * NS)
    assert not rearrange(stock, relaxed, Search())


@pytest.mark.parametrize(("most", "cost"), [(10, 4), (9, 10 * 6), (3, 4 + 10 * 6)])
def test_places_change_within_the_limit_on_moved_bytes(most, cost):
    """6 MiB to hold m1, and 4 for m2 or m3, whose place it takes; or 4 for m4 where there is room."""
    at = {"m0": "g.0", "m2": "g.1", "m3": "g.1", "m1": "r.0", "m4": "r.0"}
    now = tuple(Copy(item=item, memories=(memory,)) for item, memory in at.items())
    question = crossed(held=now, moved_bytes_max=most * MIB)
    stock = keep(Layout(question))
    relaxed = relax(Layout(crossed()), Search())
    assert rearrange(stock, relaxed, Search()) is (most > 3)
    assert stock.cost_of(question.items) == (0, cost * NS)


@settings(deadline=None, max_examples=40)
@given(questions())
def test_no_exchange_makes_a_holding_worse(question):
    layout = Layout(question)
    relaxed = relax(layout, Search())
    if not relaxed.states:
        return
    for stock in (keep(layout), fill(layout, relaxed)):
        stock.scarce = relaxed.scarce
        before = stock.cost_of(question.items)
        changed = rearrange(stock, relaxed, Search())
        after = stock.cost_of(question.items)
        assert after < before if changed else after == before
        if relaxed.feasible and not after[0]:  # then every copy is where it may be: `placed` checks it
            assert value(question, placed(layout, stock.all_copies(), relaxed.witness).answer) <= after[1]


def test_idle_copies_go_only_where_room_is_scarce():
    host = pool("h", Tier.HOST, 20 * MIB, node="n0")
    pools = (*crossed().pools, host)
    stock = held(
        crossed(pools=pools, routes=(*crossed().routes, route("h", "g", 2 * MIB))), m0="g.0 h.0 r.0", m1="h.0 r.0"
    )
    stock.scarce = frozenset(["h"])
    for item in stock.layout.question.items[:2]:
        stock.drop_idle(item)
    assert [copy.memories for copy in stock.copies["m0"]] == [("g.0",), ("r.0",)]  # never cold
    assert {copy.memories for copy in stock.copies["m1"]} == {("h.0",), ("r.0",)}  # from the host it starts sooner


def test_devices_are_packed_full_with_what_adapters_want():
    question = crossed()
    pieces = [Piece(item=item, beside_bytes=2 * MIB if item.id == "m2" else 0) for item in question.items]
    stock = Stock(Layout(question))
    pack(stock, pieces, question.pools[:1])
    assert sorted(stock.room.values()) == [0, 0, 99 * MIB]
    assert sorted(copy.item for copy in stock.all_copies()) == ["m0", "m1", "m3", "m4"]  # m2 would need 6 MiB
