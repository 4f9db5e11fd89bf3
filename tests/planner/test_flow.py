import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.flow import (
    WHOLE_PPM,
    Use,
    _link_flow,
    bottleneck,
    certified_members,
    cut_around,
    flow_of,
    tightest_cut,
    uses_of,
)
from planner.outcome import Planned
from planner.solve import Request, solve
from specs.invariants.facts import Facts
from specs.plan import Claim, Method
from specs.units import NANOS_PER_SECOND
from specs.witness import Price
from tests import plans
from tests.builders import GIGABYTE, a_problem, an_llm
from tests.place_graphs import Wiring


def facts_of(name="chain"):
    return Facts(*plans.GOOD[name]())


def by_link(flow):
    return {each.link: each for each in flow.links}


# --- what links carry ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", plans.GOOD)
def test_every_transfer_is_on_every_link_of_its_route(name):
    facts = facts_of(name)
    flow = flow_of(facts)
    crossed = sum(
        facts.blobs[hop.transfer.blob].bytes * len(facts.plan.routes[hop.transfer.route].links) for hop in facts.hops
    )
    assert sum(each.bytes for each in flow.links) == crossed
    assert sum(each.transfers for each in flow.links) == sum(
        len(facts.plan.routes[hop.transfer.route].links) for hop in facts.hops
    )
    assert [each.link for each in flow.links] == [link.id for link in facts.problem.cluster.links]
    assert flow.duration_ns == max(hop.transfer.end_ns for hop in facts.hops)
    for each in flow.links:
        assert 0 <= each.mean_ppm <= each.taken_ppm <= WHOLE_PPM or each.taken_ppm == 0 == each.bytes
        assert each.busy_ns <= flow.duration_ns
        assert (each.transfers == 0) == (each.busy_ns == 0) == (each.peak_ppm == 0)


def test_a_chain_sends_the_llm_once_over_every_wire_that_leads_on():
    facts = facts_of()
    found = by_link(flow_of(facts))
    (llm,) = facts.problem.llms
    for node in range(3):
        assert found[f"n{node}/nic0>leaf"].bytes == facts.llm_bytes(llm.id)
        assert found[f"leaf>n{node + 1}/nic0"].bytes == facts.llm_bytes(llm.id)
    assert found["leaf>n0/nic0"].transfers == 0
    assert found["n3/nic0>leaf"].transfers == 0


def test_nothing_moves_nothing_flows():
    problem, plan = plans.a_chain()
    facts = Facts(problem, attrs.evolve(plan, steps=(), pipelines=(), routing=()))
    flow = flow_of(facts)
    assert flow.duration_ns == 0
    assert all(each.mean_ppm == each.taken_ppm == each.bytes == 0 for each in flow.links)
    assert bottleneck(facts, flow, problem.llms[0].id) is None
    assert uses_of(facts) == {}


USES = st.lists(
    st.builds(
        lambda start, length, rate, port: Use(
            start_ns=start,
            end_ns=start + length,
            bytes_per_second=rate * NANOS_PER_SECOND,
            bytes=rate * length,
            port=port,
        ),
        st.integers(0, 12),
        st.integers(1, 6),
        st.integers(1, 4),
        st.booleans(),
    ),
    max_size=6,
)


@given(USES)
def test_shares_are_those_of_counting_nanosecond_by_nanosecond(uses):
    capacity, duration = 30, 20
    found = _link_flow("link", capacity * NANOS_PER_SECOND, uses, duration)
    rates = [[use for use in uses if use.start_ns <= at < use.end_ns] for at in range(duration)]
    taken = [
        capacity if any(use.port for use in now) else sum(use.bytes_per_second for use in now) // NANOS_PER_SECOND
        for now in rates
    ]
    assert found.busy_ns == sum(bool(now) for now in rates)
    assert found.bytes == sum(use.bytes for use in uses)
    assert found.mean_ppm == sum(use.bytes for use in uses) * WHOLE_PPM // (capacity * duration)
    assert found.taken_ppm == sum(taken) * WHOLE_PPM // (capacity * duration)
    peak = max(sum(use.bytes_per_second for use in now) for now in rates)
    assert found.peak_ppm == peak * WHOLE_PPM // (capacity * NANOS_PER_SECOND)


# --- what binds ------------------------------------------------------------------------------------------------------


def planned(problem, blocks=8):
    outcome = solve(problem, Request(blocks=blocks))
    assert isinstance(outcome, Planned), outcome
    return Facts(problem, outcome.verified.plan)


def found_in(facts, members=None):
    return bottleneck(facts, flow_of(facts), facts.problem.llms[0].id, members)


def a_star():
    """Node 0 sends everything itself: its wire out is busy all the time."""
    problem = a_problem(4)
    draft = plans.Draft(problem, plans.blobs_of(problem.llms[0], 3))
    for blob in draft.blobs:
        for node in (1, 2, 3):
            draft.move(blob, plans.gpu(0), plans.gpu(node))
    return Facts(problem, draft.plan())


def test_a_star_binds_at_its_source():
    found = found_in(a_star())
    assert [each.link for each in found.links] == ["n0/nic0>leaf"]
    # Each transfer has a latency besides its bytes.
    assert found.links[0].taken_ppm > found.links[0].mean_ppm > 900_000
    assert len(found.chain) == 9


def test_a_thin_uplink_binds():
    """Two racks of three: what the second rack wants crosses a wire of a tenth of a NIC."""
    wiring = Wiring()
    for name in ("left", "right", "spine"):
        wiring.switch(name)
    for number in range(6):
        wiring.node(number, "left" if number < 3 else "right")
    wiring.cable("left", "spine", GIGABYTE // 10)
    wiring.cable("spine", "right", GIGABYTE // 10)
    facts = planned(a_problem(6, cluster=wiring.cluster()))
    found = found_in(facts)
    assert {each.link for each in found.links} <= {"left>spine", "spine>right"}
    assert found.links
    assert set(found.cut.places) == {"right", *(f"n{node}/{place}" for node in (3, 4, 5) for place in ("gpu0", "nic0"))}
    assert found.cut.links == ("spine>right",)
    assert found.cut.bytes == facts.llm_bytes(facts.problem.llms[0].id)
    assert found.cut.bound_ns == found.cut.bytes * 10 * NANOS_PER_SECOND // GIGABYTE


def test_a_slow_receiver_binds():
    wiring = Wiring()
    wiring.switch("leaf")
    for number in range(3):
        wiring.node(number, "leaf", GIGABYTE // 8 if number == 2 else GIGABYTE)
    facts = planned(a_problem(3, cluster=wiring.cluster()))
    found = found_in(facts)
    assert "leaf>n2/nic0" in [each.link for each in found.links]
    assert set(found.cut.places) == {"n2/gpu0", "n2/nic0"}


def test_a_port_that_waits_for_slow_wires_is_taken_but_not_full():
    wiring = Wiring()
    wiring.switch("leaf")
    for number in range(4):
        wiring.node(number, "leaf", GIGABYTE if number == 0 else GIGABYTE // 8)
    base = a_problem(4, cluster=wiring.cluster())
    draft = plans.Draft(base, plans.blobs_of(base.llms[0], 3), rate=GIGABYTE // 8)
    for blob in draft.blobs:
        for node in (1, 2, 3):
            draft.move(blob, plans.gpu(0), plans.gpu(node))
    flow = by_link(flow_of(Facts(base, draft.plan())))
    assert flow["n0/gpu0>n0/nic0"].taken_ppm == WHOLE_PPM
    assert flow["n0/gpu0>n0/nic0"].mean_ppm < 40_000
    assert flow["n0/nic0>leaf"].taken_ppm < 130_000


def test_a_given_cut_takes_the_place_of_the_simple_ones():
    facts = facts_of()
    members = ("n3/gpu0", "n2/gpu0", "n3/nic0", "n2/nic0")
    found = found_in(facts, members)
    assert found.cut.places == ("n2/gpu0", "n2/nic0", "n3/gpu0", "n3/nic0")
    assert {each.link for each in found.links} == {"leaf>n2/nic0", "leaf>n3/nic0"}
    assert found.cut.bytes == facts.llm_bytes(facts.problem.llms[0].id)
    assert found.cut.bytes_per_second == 2 * GIGABYTE


def test_nothing_must_enter_places_that_hold_or_want_nothing():
    facts = facts_of()
    llm = facts.problem.llms[0].id
    assert cut_around(facts, llm, ("n0/gpu0",)).bytes == 0
    assert cut_around(facts, llm, ("n0/gpu0", "n1/gpu0", "leaf")).bytes == 0
    assert cut_around(facts, llm, ("leaf", "n1/nic0")).bytes == 0
    assert cut_around(facts, llm, ("n1/gpu0",)).bytes > 0
    assert cut_around(facts, llm, ()).bound_ns == 0


@pytest.mark.parametrize("name", plans.GOOD)
def test_no_cut_is_above_the_plan(name):
    facts = facts_of(name)
    for llm in facts.problem.llms:
        cut = tightest_cut(facts, llm.id)
        assert cut is not None
        ends = [hop.transfer.end_ns for hop in facts.hops if facts.blobs[hop.transfer.blob].llm == llm.id]
        assert 0 < cut.bound_ns <= max(ends)


@pytest.mark.parametrize("name", plans.GOOD)
def test_chains_wait_one_for_another_and_end_last(name):
    facts = facts_of(name)
    hops = {hop.transfer.id: hop for hop in facts.hops}
    for llm in facts.problem.llms:
        found = bottleneck(facts, flow_of(facts), llm.id)
        ends = {step: hop.transfer.end_ns for step, hop in hops.items() if facts.blobs[hop.transfer.blob].llm == llm.id}
        assert ends[found.chain[-1]] == max(ends.values())
        for before, after in zip(found.chain, found.chain[1:], strict=False):
            assert before in hops[after].predecessors


def test_devices_of_one_node_are_bound_by_what_they_share():
    """Two devices behind one NIC: both get everything from outside over it."""
    wiring = Wiring()
    wiring.switch("leaf")
    wiring.node(0, "leaf")
    wiring.switch("n1/nic0")
    for device in ("n1/gpu0", "n1/gpu1"):
        wiring.device(device)
        wiring.cable(device, "n1/nic0", 4 * GIGABYTE, 0)
    wiring.cable("n1/nic0", "leaf")
    base = a_problem(2, llm=an_llm(4), cluster=wiring.cluster())
    problem = attrs.evolve(base, targets=(*base.targets, attrs.evolve(base.targets[0], place="n1/gpu1")))
    facts = planned(problem, blocks=4)
    found = found_in(facts)
    names = {each.link for each in found.links}
    assert names & {"n0/nic0>leaf", "leaf>n1/nic0"}


def test_the_cut_of_a_certificate_is_found_by_its_witness():
    facts = facts_of()
    (llm,) = facts.problem.llms
    assert certified_members(facts, llm.id) is None
    assert not found_in(facts).certified
    first = facts.plan.certificates[0]
    witness = tuple(Price(name=name, amount=1) for name in ("leaf", "n3/gpu0", "n3/nic0"))
    cut = attrs.evolve(first, claim=Claim.COMPLETION, subject=llm.id, method=Method.CUT, witness=witness)
    certified = Facts(facts.problem, attrs.evolve(facts.plan, certificates=(cut,)))
    members = certified_members(certified, llm.id)
    assert members == ("leaf", "n3/gpu0", "n3/nic0")
    found = found_in(certified, members)
    assert found.certified
    assert set(found.cut.links) == {"n0/nic0>leaf", "n1/nic0>leaf", "n2/nic0>leaf"}
    assert [each.link for each in found.links] == sorted(
        found.cut.links, key=lambda link: -by_link(flow_of(facts))[link].taken_ppm
    )
