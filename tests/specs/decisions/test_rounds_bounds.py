"""Bounds on steps and rounds: by hand, against brute force, and certificates that claim too much."""

from fractions import Fraction
from itertools import product

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import specs.decisions.rounds.delivery
from specs.decisions.rounds.bounds import (
    Toll,
    Unreachable,
    cut_rounds_bound,
    divisions,
    growth_rounds_bound,
    priced_rounds_bound,
    rounds_allowed,
    steps_bound,
    toll,
)
from specs.decisions.rounds.certificate import Certificate, Method, certificate_faults
from specs.decisions.rounds.collectives import allgather, broadcast
from specs.decisions.rounds.delivery import Unaffordable, cheapest_delivery, dear_targets
from specs.decisions.rounds.question import Chunks, Fabric, Question
from specs.errors import MalformedDocument
from specs.witness import Price, Witness
from tests.planner.rounds.brute_force import least_rounds
from tests.planner.rounds.fabrics import DGX1, questions, ring, switch


def price(name: str, amount: int = 1) -> Price:
    return Price(name=name, amount=amount)


ALLGATHER_3 = Question(fabric=DGX1, chunks=allgather(8, 3), steps=2, rounds=4)
CHUNKS_OF_A_RING = Question(fabric=ring(4), chunks=allgather(4, 1), steps=2, rounds=2)


def test_steps_by_distance():
    assert steps_bound(CHUNKS_OF_A_RING) == 2
    assert steps_bound(Question(fabric=DGX1, chunks=allgather(8, 1), steps=1, rounds=1)) == 2
    two_holders = Chunks(count=1, held_by=(0, 4), wanted_at=(2, 3))
    assert steps_bound(Question(fabric=ring(6), chunks=(two_holders,), steps=1, rounds=1)) == 2
    one_way = Fabric.from_matrix(((0, 1), (0, 0)))
    found = steps_bound(Question(fabric=one_way, chunks=allgather(2, 1), steps=1, rounds=1))
    assert found == Unreachable(sentence="no path leads from a holder of chunks 1 to node 0")


def test_a_cut_counts_what_must_enter():
    question = Question(fabric=DGX1, chunks=allgather(8, 6), steps=3, rounds=7)
    assert cut_rounds_bound(question, (price("5"),)) == 7
    assert cut_rounds_bound(question, tuple(price(str(node)) for node in range(4))) == 4
    assert cut_rounds_bound(question, tuple(price(str(node)) for node in range(8))) == 3  # nothing enters


def test_a_cut_counts_links_that_share_a_port_once():
    question = Question(fabric=switch(4, 2), chunks=allgather(4, 5), steps=1, rounds=8)
    assert cut_rounds_bound(question, (price("3"),)) == 8  # 15 chunks through one port of 2, not three links of 2
    assert cut_rounds_bound(question, (price("2"), price("3"))) == 3


@pytest.mark.parametrize("witness", [(price("9"),), (price("5", 2),), (price("in5"),)])
def test_a_cut_names_nodes(witness):
    with pytest.raises(MalformedDocument, match="a cut names nodes"):
        cut_rounds_bound(ALLGATHER_3, witness)


def test_growth_of_the_holders():
    """One port each: 1, 2, 4, 8 nodes can send in steps of one round, and 21 arrivals are wanted."""
    question = Question(fabric=switch(8, 1), chunks=broadcast(8, 3, 0), steps=4, rounds=4)
    assert growth_rounds_bound(question) == 5
    assert growth_rounds_bound(attrs.evolve(question, steps=5, rounds=5)) == 5
    # Three steps: divided 1, 1, 4 they bring 1 + 2 + 4 x 4 = 19 arrivals; 1, 2, 3 bring 1 + 4 + 3 x 6 = 23.
    assert growth_rounds_bound(attrs.evolve(question, steps=3)) == 6
    nothing = Question(fabric=Fabric(nodes=2, links=()), chunks=broadcast(2, 1, 0), steps=1, rounds=1)
    assert growth_rounds_bound(nothing) == 1


@pytest.mark.parametrize("name", ["0>1", "0>1@2", "0>5@0", "0>1@x", "0>1@-1"])
def test_prices_name_carriers_in_steps(name):
    with pytest.raises(MalformedDocument, match="is not a link or shared capacity in a step"):
        toll(ALLGATHER_3, (price(name),))


def test_a_toll_by_hand():
    """A ring of four: in each step the two links into node 0 take two chunks per round, and three must pass."""
    witness = tuple(price(f"{source}>0@{step}") for source in (1, 3) for step in (0, 1))
    assert toll(CHUNKS_OF_A_RING, witness) == Toll(due=3, per_round=(2, 2))
    assert priced_rounds_bound(CHUNKS_OF_A_RING, (witness,)) == 2
    assert priced_rounds_bound(attrs.evolve(CHUNKS_OF_A_RING, chunks=allgather(4, 2)), (witness,)) == 3
    assert toll(CHUNKS_OF_A_RING, witness).rounds_per_copy == Fraction(3, 2)


def test_who_shares_a_port_pays_for_both():
    question = Question(fabric=switch(3, 1), chunks=broadcast(3, 1, 0), steps=1, rounds=2)
    assert toll(question, (price("out0@0", 2), price("0>1@0"))) == Toll(due=5, per_round=(3,))
    assert priced_rounds_bound(question, ((price("out0@0"),),)) == 2


def test_several_lists_refute_what_each_alone_does_not():
    """Two steps in the line: what passes the first link late cannot pass the second, and the other way round."""
    line = Fabric.from_matrix(((0, 1, 0), (0, 0, 1), (0, 0, 0)))
    question = Question(fabric=line, chunks=broadcast(3, 3, 0), steps=2, rounds=6)
    first, second = (price("0>1@0"),), (price("1>2@1"),)
    assert priced_rounds_bound(question, (first,)) == 4
    assert priced_rounds_bound(question, (second,)) == 4
    assert priced_rounds_bound(question, (first, second)) == 6


def test_too_few_steps_are_unreachable_at_any_price():
    assert isinstance(toll(attrs.evolve(ALLGATHER_3, steps=1), ()), Unreachable)
    assert isinstance(priced_rounds_bound(attrs.evolve(ALLGATHER_3, steps=1), ((),)), Unreachable)


@given(
    st.lists(st.tuples(st.integers(0, 14), st.lists(st.integers(1, 5), min_size=3, max_size=3)), max_size=3),
)
def test_rounds_allowed_are_the_fewest_that_keep_all_tolls(drawn):
    tolls = [Toll(due=due, per_round=tuple(per_round)) for due, per_round in drawn]
    fewest = min(
        sum(rounds)
        for rounds in product(range(1, 13), repeat=3)
        if sum(rounds) <= 14
        and all(sum(r * c for r, c in zip(rounds, each.per_round, strict=True)) >= each.due for each in tolls)
    )
    assert rounds_allowed(tolls, 3) == fewest


def test_divisions_give_each_step_a_round():
    assert list(divisions(4, 2)) == [(1, 3), (2, 2), (3, 1)]
    assert list(divisions(3, 3)) == [(1, 1, 1)]
    assert list(divisions(2, 3)) == []


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_no_prices_and_no_cut_prove_more_than_the_optimum(data):
    question = data.draw(st.one_of(questions(nodes_max=3, chunks_max=4), questions(nodes_max=4, chunks_max=2)))
    least = least_rounds(question)
    if least is None:
        return
    names = [f"{carrier.name}@{step}" for carrier in question.fabric.carriers for step in range(question.steps)]
    some_prices = st.dictionaries(st.sampled_from(names), st.integers(1, 5))
    lists = data.draw(st.lists(some_prices, max_size=3))
    witnesses = tuple(tuple(price(name, amount) for name, amount in sorted(each.items())) for each in lists)
    assert priced_rounds_bound(question, witnesses) <= least
    assert growth_rounds_bound(question) <= least
    members = data.draw(st.sets(st.integers(0, question.fabric.nodes - 1)))
    assert cut_rounds_bound(question, tuple(price(str(node)) for node in sorted(members))) <= least


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_cuts_of_the_unrolled_fabric_never_cost_more_than_the_cheapest_delivery(data):
    question = data.draw(questions(nodes_max=5, chunks_max=1))
    chunks = question.chunks[0]
    amounts = {(link.ends, step): data.draw(st.integers(0, 4)) for link in question.fabric.links for step in range(3)}
    exact = cheapest_delivery(question.fabric, chunks, 3, lambda ends, step: amounts[ends, step])
    below = specs.decisions.rounds.delivery._by_cuts(question.fabric, chunks, 3, lambda ends, step: amounts[ends, step])
    if isinstance(exact, Unaffordable) or not chunks.targets:
        assert below == exact
    else:
        assert below <= exact
        assert len(chunks.targets) > 1 or below == exact  # one target: the cheapest way


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_targets_that_cost_nothing_change_no_cost(data):
    question = data.draw(questions(nodes_max=4, chunks_max=1))
    chunks = question.chunks[0]
    amounts = {(link.ends, step): data.draw(st.integers(0, 1)) for link in question.fabric.links for step in range(3)}
    price_of = lambda ends, step: amounts[ends, step]
    dear = dear_targets(question.fabric, chunks, 3, price_of)
    assert set(dear) <= set(chunks.targets)
    whole = specs.decisions.rounds.delivery._exact(question.fabric, chunks, 3, price_of)
    assert cheapest_delivery(question.fabric, chunks, 3, price_of) == whole
    assert (whole == 0) == (not dear)


def test_many_targets_are_exact_where_most_cost_nothing():
    fabric = ring(12)
    (chunks,) = broadcast(12, 1, 0)
    price_of = lambda ends, step: 0 if ends[1] == (ends[0] + 1) % 12 and ends[1] < 9 else 5
    assert dear_targets(fabric, chunks, 11, price_of) == (9, 10, 11)
    assert cheapest_delivery(fabric, chunks, 11, price_of) == 15


def test_delivery_to_many_targets_goes_by_cuts():
    fabric = ring(12)
    (chunks,) = broadcast(12, 1, 0)
    assert len(chunks.targets) > specs.decisions.rounds.delivery.EXACT_TARGETS_MAX
    assert cheapest_delivery(fabric, chunks, 6, lambda ends, step: 1) == 11
    assert cheapest_delivery(fabric, chunks, 5, lambda ends, step: 1) == Unaffordable()


# --- certificates ----------------------------------------------------------------------------------------------------

SQUARE = Question(fabric=ring(4), chunks=allgather(4, 2), steps=2, rounds=3)
PRICES: Witness = tuple(price(f"{source}>0@{step}") for source in (1, 3) for step in (0, 1))
RIGHT = [
    Certificate(rounds=3, method=Method.DUAL, witnesses=(PRICES,)),
    Certificate(rounds=3, method=Method.CUT, witnesses=((price("0"),),)),
    Certificate(rounds=3, method=Method.CLOSED_FORM),  # 24 arrivals, 8 per round
    Certificate(rounds=2, method=Method.DUAL, witnesses=()),
    Certificate(rounds=99, method=Method.SOLVER, solver="some/1.0"),
]


@pytest.mark.parametrize("certificate", RIGHT)
def test_right_certificates_pass(certificate):
    assert list(certificate_faults(SQUARE, certificate)) == []


def test_a_distance_excludes_any_number_of_rounds():
    certificate = Certificate(rounds=None, method=Method.CLOSED_FORM)
    assert list(certificate_faults(attrs.evolve(SQUARE, steps=1), certificate)) == []
    assert list(certificate_faults(SQUARE, certificate)) == [
        "it claims that there is no schedule at all; its witness proves 3 rounds"
    ]


@pytest.mark.parametrize("certificate", RIGHT[:4])
def test_a_claim_of_one_round_more_is_refused(certificate):
    (fault,) = certificate_faults(SQUARE, attrs.evolve(certificate, rounds=certificate.rounds + 1))
    assert fault.startswith(f"it claims that {certificate.rounds + 1} rounds are needed; its witness proves")


@pytest.mark.parametrize(
    ("certificate", "sentence"),
    [
        (attrs.evolve(RIGHT[0], witnesses=((price("1>0@0"),),)), "its witness proves 2"),
        (attrs.evolve(RIGHT[0], witnesses=((price("1>0@7"),),)), "is not a link or shared capacity in a step"),
        (attrs.evolve(RIGHT[1], witnesses=((price("0", 3),),)), "a cut names nodes"),
        (attrs.evolve(RIGHT[1], witnesses=((price("0"), price("1")),)), "its witness proves 2"),
        (attrs.evolve(RIGHT[1], witnesses=()), "a cut has one witness; there are 0"),
        (attrs.evolve(RIGHT[4], solver=""), "a solver's word names the solver"),
        (attrs.evolve(RIGHT[4], witnesses=(PRICES,)), "has no witness"),
    ],
)
def test_changed_certificates_are_refused(certificate, sentence):
    (fault,) = certificate_faults(SQUARE, certificate)
    assert sentence in fault
