"""The checker of placements: one good answer, and for each fault an answer that has exactly that one."""

from itertools import product

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.decisions.placement.bounds import price_bound, proves_infeasible
from specs.decisions.placement.checks import answer_of, faults, value
from specs.decisions.placement.exhaustion import TooManyStates, optimum
from specs.decisions.placement.holding import Layout
from specs.decisions.placement.nouns import MOVED, Copy, Eviction, Objective, Question, Tier
from specs.decisions.placement.prices import dearest
from specs.errors import InvalidProblem
from specs.witness import Price
from tests.planner.placement.questions import NS, llm, pool, route


def a_question(**changes):
    """Two nodes with two devices and a host each, and a store.  Rates are in bytes per second, sizes in bytes.

    `big` is cut over two devices; `hot` gets 30 requests an hour, of which a copy serves 10; `tuned` is its adapter.
    """
    pools = (
        pool("g0", Tier.DEVICE, 12, 12, node="n0", landing=12),
        pool("h0", Tier.HOST, 30, node="n0"),
        pool("g1", Tier.DEVICE, 12, 12, node="n1", landing=12),
        pool("h1", Tier.HOST, 30, node="n1"),
        pool("store", Tier.REMOTE, 100),
    )
    near, far, store = 10, 5, 1
    routes = (
        route("h0", "g0", near), route("h0", "g1", far), route("h1", "g0", far), route("h1", "g1", near),
        route("g0", "g0", 20), route("g0", "g1", far), route("g1", "g0", far), route("g1", "g1", 20),
        route("store", "g0", store, latency=NS), route("store", "g1", store, latency=NS),
    )  # fmt: skip
    items = (
        llm("hot", 10, 30, requests_per_hour_per_copy=10, start_ns_max=NS),
        llm("tuned", 2, 5, base="hot", requests_per_hour_per_copy=5),
        llm("big", 20, 2, devices=2, copies_min=1),
    )
    known = {"objective": Objective.START_TIME, "pools": pools, "routes": routes, "items": items} | changes
    return Question(**known)


COPIES = (
    Copy(item="hot", memories=("g0.0",)),
    Copy(item="hot", memories=("h0.0",)),
    Copy(item="tuned", memories=("g0.0",)),
    Copy(item="big", memories=("h1.0",)),
)


def an_answer(question, copies=COPIES):
    return answer_of(Layout(question), copies)


def misshapen(*copies):
    """Nothing follows from such copies; the rest of the answer is not looked at."""
    return lambda _, good: attrs.evolve(good, copies=copies)


def with_copies(*copies):
    return lambda question, _: an_answer(question, copies)


def sentences(question, answer):
    return list(faults(question, answer))


def test_a_good_answer_has_no_fault_and_its_value_is_worked_out_by_hand():
    question = a_question()
    answer = an_answer(question)
    assert sentences(question, answer) == []
    # hot: 20 of 30 requests wait 10 / 20 s from the device beside; big: 2 requests, 10 bytes on each device at 10 / s
    assert value(question, answer) == 20 * NS // 2 + 2 * NS
    assert [(s.item, s.pool, s.source, s.start_ns) for s in answer.starts] == [
        ("hot", "g0", "g0.0", NS // 2),
        ("big", "g1", "h1.0", NS),
    ]


def test_evictions_are_priced_by_what_it_takes_to_get_copies_back():
    """Without hot on the device 30 requests wait 1 s from the host, 20 more seconds than now; tuned cannot start."""
    question = a_question()
    both = (*COPIES, Copy(item="tuned", memories=("h0.0",)), Copy(item="big", memories=("store.0",)))
    order = {e.memory: e.items for e in an_answer(question, both).evictions}
    assert order["h0.0"] == ("hot", "tuned")  # neither is missed as long as the device has both; the larger first
    # tuned: 5 requests of 0.2 s for 2 bytes, 0.5 s a byte; hot, and tuned with it: 30 * 1 - 10 + 5 * 1.2 s for 10 bytes
    assert order["g0.0"] == ("tuned", "hot")
    assert order["h1.0"] == ()  # big must be on a node
    assert order["store.0"] == ("big",)


BREAKS = {
    "in nowhere.0: the question has no such item": misshapen(*COPIES, Copy(item="hot", memories=("nowhere.0",))),
    "its parts are in different pools": misshapen(*COPIES[:3], Copy(item="big", memories=("g0.1", "g1.0"))),
    "must be in 2 different memories": misshapen(*COPIES, Copy(item="big", memories=("g1.0",))),
    "it holds big twice": with_copies(*COPIES, *[Copy(item="big", memories=("store.0",))] * 2),
    "no copy of its base hot": with_copies(*COPIES, Copy(item="tuned", memories=("g1.0",))),
    "memory h1.0: its copies need 32 bytes, it has 30: 2 too few": with_copies(
        *COPIES, Copy(item="hot", memories=("h1.0",)), Copy(item="tuned", memories=("h1.0",))
    ),
    "copies on 0 nodes, at least 1": with_copies(*COPIES[:3], Copy(item="big", memories=("store.0",))),
    "no copy in reach can give one": with_copies(COPIES[0], COPIES[1], COPIES[3]),
    "it starts after 11000000000 ns from store.0, at most 1000000000": with_copies(
        Copy(item="hot", memories=("store.0",)), Copy(item="tuned", memories=("h0.0",)), COPIES[3]
    ),
    "item hot: its start is not given": lambda _, good: attrs.evolve(good, starts=good.starts[1:]),
    "the quickest is on g0 from g0.0 after": lambda _, good: attrs.evolve(
        good, starts=(attrs.evolve(good.starts[0], source="h0.0", start_ns=NS), good.starts[1])
    ),
    "item tuned: a start is given": lambda _, good: attrs.evolve(
        good, starts=(good.starts[0], attrs.evolve(good.starts[0], item="tuned"), good.starts[1])
    ),
    "in the order of the question's items": lambda _, good: attrs.evolve(good, starts=good.starts[::-1]),
    "memory g0.0: its order of eviction says hot, tuned": lambda _, good: attrs.evolve(
        good,
        evictions=tuple(attrs.evolve(e, items=("hot", "tuned")) if e.memory == "g0.0" else e for e in good.evictions),
    ),
    "in the order of the question's memories": lambda _, good: attrs.evolve(good, evictions=good.evictions[::-1]),
    "memory nowhere.0: the question has no such memory": lambda _, good: attrs.evolve(
        good, evictions=(*good.evictions, Eviction(memory="nowhere.0", items=()))
    ),
}


@pytest.mark.parametrize("sentence", BREAKS)
def test_each_fault_is_found_and_nothing_else(sentence):
    question = a_question()
    found = sentences(question, BREAKS[sentence](question, an_answer(question)))
    assert len(found) == 1, found
    assert sentence in found[0]


def test_an_item_lies_only_where_it_may():
    question, answer = a_question(), an_answer(a_question())
    items = tuple(attrs.evolve(item, memories=("g1.0", "g1.1")) for item in question.items if item.id == "big")
    asked = attrs.evolve(question, items=(*question.items[:2], *items))
    assert sentences(asked, answer) == ["copy of big in h1.0: h1.0 may not keep it"]
    with pytest.raises(InvalidProblem, match="that may keep it must be of the question"):
        attrs.evolve(question, items=(attrs.evolve(question.items[0], memories=("nowhere",)), *question.items[1:]))


def test_moved_bytes_are_limited_to_the_byte():
    held = COPIES[:3]
    for limit, wrong in ((20, []), (19, ["the answer moves 20 bytes, at most 19 may be: 1 too many"])):
        question = a_question(held=held, moved_bytes_max=limit)
        assert sentences(question, an_answer(question)) == wrong


@pytest.mark.parametrize(("limit", "late"), [(NS // 2, 0), (NS // 2 - 1, 1)])
def test_a_start_is_in_time_to_the_nanosecond(limit, late):
    items = tuple(attrs.evolve(i, start_ns_max=limit if i.id == "hot" else None) for i in a_question().items)
    question = a_question(items=items)
    assert len(sentences(question, an_answer(question))) == late
    counted = a_question(items=items, objective=Objective.LATE_ITEMS)
    assert sentences(counted, an_answer(counted)) == []
    assert value(counted, an_answer(counted)) == late


@pytest.mark.parametrize(("landing", "starts"), [(12, True), (11, False)])
def test_an_adapter_and_its_base_start_where_both_fit(landing, starts):
    pools = tuple(attrs.evolve(p, landing_bytes=landing) if p.tier is Tier.DEVICE else p for p in a_question().pools)
    question = a_question(pools=pools)
    copies = (COPIES[1], Copy(item="tuned", memories=("h0.0",)), COPIES[3])
    start = Layout(question).start(question.items[1], {c.item: [c] for c in copies})
    assert (start is not None) is starts
    if start is not None:
        assert (start.source, start.base_source, start.start_ns) == ("h0.0", "h0.0", NS + NS // 5)


def test_witnesses_name_pools_once_and_limits_that_are_there():
    question = a_question()
    for witness in (
        (Price(name="g9", amount=1),),
        (Price(name=MOVED, amount=1),),
        (Price(name="g0", amount=1), Price(name="g0", amount=1)),
    ):
        with pytest.raises(ValueError, match="price"):
            price_bound(question, witness)


def test_prices_show_that_room_is_lacking():
    """Two items of 20 bytes must be on nodes, which have 78 bytes; then on 30."""
    items = tuple(llm(f"m{index}", 20, devices=2, copies_min=1) for index in range(2))
    few = tuple(p for p in a_question().pools if p.id in ("g0", "store"))
    routes = tuple(r for r in a_question().routes if r.destination == "g0" and r.source in ("g0", "store"))
    question = a_question(pools=few, routes=routes, items=items)
    assert optimum(question) is None
    assert proves_infeasible(question, (Price(name="g0", amount=1),))
    assert not proves_infeasible(question, ())
    assert not proves_infeasible(a_question(), (Price(name="g0", amount=1), Price(name="h0", amount=1)))


def test_surcharges_show_that_large_parts_do_not_fit_though_their_bytes_would():
    """Three items of 6 bytes must be on a node, whose two devices have 9 bytes each: one fits in each."""
    items = tuple(llm(f"m{index}", 6, copies_min=1) for index in range(3))
    question = a_question(pools=(pool("g0", Tier.DEVICE, 9, 9, node="n0"),), routes=(), items=items)
    assert optimum(question) is None
    assert not proves_infeasible(question, (Price(name="g0", amount=1),))
    assert proves_infeasible(question, (Price(name="g0@5", amount=1),))
    assert not proves_infeasible(question, (Price(name="g0@4", amount=1),))  # two parts of 4 fit
    assert not proves_infeasible(question, (Price(name="g0@7", amount=1),))  # nobody pays


@given(st.integers(1, 12), st.dictionaries(st.integers(1, 12), st.integers(0, 9), max_size=4))
def test_the_dearest_content_of_a_memory_is_that_of_all_contents(capacity, surcharges):
    ascending = tuple(sorted(surcharges.items()))
    contents = product(*(range(capacity // size + 1) for size, _ in ascending))
    fit = [c for c in contents if sum(n * size for n, (size, _) in zip(c, ascending, strict=True)) <= capacity]
    paid = max(sum(n * amount for n, (_, amount) in zip(c, ascending, strict=True)) for c in fit)
    assert dearest(capacity, ascending) == paid


@pytest.mark.parametrize("name", ["g0@0", "g0@04", "g0@", "nowhere@4", "g0@x"])
def test_what_is_no_surcharge_is_refused(name):
    with pytest.raises(ValueError, match="one price"):
        price_bound(a_question(), (Price(name=name, amount=1),))


def test_surcharges_that_would_take_long_to_count_are_refused():
    many = tuple(Price(name=f"g0@{size}", amount=1) for size in range(1, 18))
    with pytest.raises(ValueError, match="at most 16"):
        price_bound(a_question(), many)
    large = a_question(pools=(*a_question().pools[:4], pool("store", Tier.REMOTE, 4097)))
    with pytest.raises(ValueError, match="too few to count"):
        price_bound(large, (Price(name="store@1", amount=1),))


def test_a_space_that_is_too_large_is_refused():
    with pytest.raises(TooManyStates):
        optimum(a_question(), 10)


@pytest.mark.parametrize(
    "changes",
    [
        {"items": (llm("a", 1), llm("a", 1))},
        {"items": (llm("a", 1, base="b"),)},
        {"items": (llm("a", 1), llm("b", 1, base="a", devices=2))},
        {"items": (llm("a", 1, start_ns_max=-1),)},
        {"held": (Copy(item="none", memories=("g0.0",)),)},
        {"routes": (route("g0", "h0", 1),)},
        {"routes": (route("g9", "g0", 1),)},
        {"pools": (pool(MOVED, Tier.HOST, 1),), "routes": (), "items": ()},
    ],
)
def test_questions_that_contradict_themselves_are_refused(changes):
    with pytest.raises(InvalidProblem):
        a_question(**changes)
