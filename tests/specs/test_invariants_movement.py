"""CAUSE, PORT, LINK and FULL: more ways to break them."""

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from specs import codec
from specs.checker import Rejected, VerifiedPlan, verify
from specs.cluster import Cluster, Link, Node, Place, PlaceKind
from specs.invariants.movement import highest_load
from specs.plan import FORMAT, Activate, Plan, Provenance, Route, RoutingWeight, Transfer
from tests.builders import TOY, a_problem, an_llm
from tests.plans import (
    a_chain,
    blobs_of,
    broken,
    certified,
    gpu,
    local,
    with_step,
)


def test_cause_a_source_that_never_or_only_later_receives():
    problem, plan = a_chain(3, 1)
    first, second = plan.steps[1], plan.steps[2]
    swapped = (plan.steps[0], attrs.evolve(second, id=1), attrs.evolve(first, id=2), *plan.steps[3:])
    assert "which receives it only by the later step 2" in str(verify(problem, attrs.evolve(plan, steps=swapped)))
    without = attrs.evolve(plan, steps=(plan.steps[0], *plan.steps[2:]))
    assert "n1/gpu0, which never receives it" in str(verify(problem, without))


def test_port_follows_the_order_of_the_plan_not_of_the_clock():
    problem, plan = a_chain(2, 2)
    first, second = plan.steps[1], plan.steps[2]
    swapped = (plan.steps[0], attrs.evolve(second, id=1), attrs.evolve(first, id=2), plan.steps[3])
    assert broken(problem, certified(problem, attrs.evolve(plan, steps=swapped))) == {"PORT"}


@pytest.mark.parametrize("name", ["n0/gpu0>n0/nic0", "n0/nic0>leaf", "leaf>n1/nic0", "n1/nic0>n1/gpu0"])
def test_link_every_link_of_a_route_carries_the_rate(name):
    problem, plan = a_chain(2, 1)
    for capacity, rules in ((10**9, set()), (10**9 - 1, {"LINK"})):
        links = tuple(
            attrs.evolve(link, bytes_per_second=capacity) if link.id == name else link for link in problem.cluster.links
        )
        other = attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, links=links))
        assert broken(other, certified(other, attrs.evolve(plan, problem=codec.digest(other)))) == rules


def test_link_tells_transfers_apart_that_differ_in_their_latency_alone():
    problem, plan = a_chain(3, 1)
    links = tuple(
        attrs.evolve(link, latency_ns=5) if link.id == "n2/nic0>n2/gpu0" else link for link in problem.cluster.links
    )
    slower = attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, links=links))
    verdict = verify(slower, certified(slower, attrs.evolve(plan, problem=codec.digest(slower))))
    assert isinstance(verdict, Rejected)
    assert [(violation.rule, violation.where) for violation in verdict.violations] == [("LINK", "transfer 2")]


crossings = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9))


@given(st.lists(crossings, max_size=7))
@example([(0, 2, 5), (2, 4, 5)])
@example([(0, 9, 5), (1, 2, 1), (3, 4, 2)])
def test_the_highest_load_is_that_of_the_worst_instant(found):
    loads = [sum(rate for start, end, rate in found if start <= now < end) for now in range(10)]
    highest = max(loads)
    assert highest_load(found) == (highest, loads.index(highest) if highest else 0)


def test_link_sums_overlapping_transfers():
    """Two receivers behind one narrow link: each transfer alone fits, both together do not."""
    problem, plan = _two_receivers_behind_one_link(capacity=2 * 10**9)
    assert isinstance(verify(problem, plan), VerifiedPlan)
    problem, plan = _two_receivers_behind_one_link(capacity=2 * 10**9 - 1)
    verdict = verify(problem, plan)
    assert {violation.rule for violation in verdict.violations} == {"LINK"}
    assert "link a>b: at 0 ns transfers cross it at 2000000000 bytes/s, it carries 1999999999" in str(verdict)


def _two_receivers_behind_one_link(capacity):
    """Two sources on switch a, two receivers on switch b, one link from a to b."""
    devices = [
        Place(id=gpu(index), kind=PlaceKind.DEVICE, node=f"n{index}", memory_bytes=10**9, device="toy")
        for index in range(4)
    ]
    switches = [Place(id=name, kind=PlaceKind.SWITCH, memory_bytes=0) for name in ("a", "b")]
    ends = [(gpu(0), "a"), (gpu(1), "a"), ("b", gpu(2)), ("b", gpu(3)), ("a", "b")]
    cluster = Cluster(
        name="bottleneck",
        device_kinds=(TOY,),
        nodes=tuple(Node(id=f"n{index}") for index in range(4)),
        places=(*devices, *switches),
        links=tuple(
            Link(
                id=f"{source}>{destination}",
                source=source,
                destination=destination,
                bytes_per_second=capacity if source == "a" else 10**9,
                latency_ns=0,
            )
            for source, destination in ends
        ),
    )
    llm = an_llm(2)
    problem = a_problem(4, 2, llm=llm, cluster=cluster)
    (blob,) = blobs_of(llm, 1)
    pipelines = tuple(local(llm, gpu(index)) for index in (2, 3))
    steps = [
        Transfer(id=index, blob=blob.id, route=index, bytes_per_second=10**9, start_ns=0, end_ns=blob.bytes)
        for index in range(2)
    ]
    steps += [Activate(id=2 + index, pipeline=pipelines[index].id, at_ns=blob.bytes) for index in range(2)]
    plan = Plan(
        format=FORMAT,
        problem=codec.digest(problem),
        generation=1,
        provenance=Provenance(planner="hand/1", solvers=(), seed=0),
        blobs=(blob,),
        routes=tuple(Route(links=(f"{gpu(i)}>a", "a>b", f"b>{gpu(i + 2)}")) for i in range(2)),
        pipelines=pipelines,
        steps=tuple(steps),
        routing=tuple(RoutingWeight(pipeline=pipeline.id, weight=1) for pipeline in pipelines),
        certificates=(),
    )
    return problem, certified(problem, plan)


def test_a_transfer_is_not_faster_than_its_rate():
    problem, plan = a_chain()
    verdict = verify(problem, with_step(plan, 1, bytes_per_second=10**9 - 1))
    assert {violation.rule for violation in verdict.violations} == {"LINK"}
    assert "129024 bytes at 999999999 bytes/s and 1000 ns of latency take 130025 ns" in str(verdict)


def test_full_a_target_that_stays_incomplete():
    problem, plan = a_chain()
    steps = tuple(step for step in plan.steps if step.id != 9)  # the last hop of the last blob
    verdict = verify(problem, certified(problem, attrs.evolve(plan, steps=steps)))
    assert {violation.rule for violation in verdict.violations} == {"FULL", "EARLY"}
    assert "n3/gpu0 never holds llm/2, which its units need" in str(verdict)


def test_full_nothing_is_sent_to_a_holder():
    problem, plan = a_chain(3, 1)
    back = attrs.evolve(plan.routes[0], links=tuple(_reversed(link) for link in reversed(plan.routes[0].links)))
    step = attrs.evolve(plan.steps[2], id=99, route=2, start_ns=10**9, end_ns=2 * 10**9)
    changed = attrs.evolve(plan, routes=(*plan.routes, back), steps=(*plan.steps, step))
    verdict = verify(problem, certified(problem, changed))
    assert {violation.rule for violation in verdict.violations} == {"FULL"}
    assert "to n0/gpu0, which holds it from the start" in str(verdict)


def _reversed(link):
    source, destination = link.split(">")
    return f"{destination}>{source}"
