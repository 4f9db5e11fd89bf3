"""Closed forms against what is best possible, in small worlds where every order of transfers can be tried."""

from fractions import Fraction
from itertools import pairwise, product
from random import Random

import attrs
import pytest

from specs import codec
from specs.certificates import FORMULAS, NO_FORMULA, Inapplicable, certify, derive, value_of
from specs.cluster import Link, Place, PlaceKind
from specs.invariants.facts import Facts
from specs.plan import Claim, Measure, Method
from specs.profile import DeviceRate, Profile
from specs.timing import decode_ns
from tests.broken_plans import a_bound
from tests.builders import GIGABYTE, TOY, a_cluster, a_problem, an_llm
from tests.plans import (
    Draft,
    a_chain,
    a_pipeline,
    a_relay_station,
    a_relocation,
    a_rescue,
    blobs_of,
    broken,
    certified,
    gpu,
    local,
    with_pipeline,
)


def bound(name, problem, plan, subject="llm"):
    return derive(FORMULAS[name], problem, plan, subject, ())


# --- against every order of transfers --------------------------------------------------------------------------------


def best_possible(sources, receivers, relays, sizes):
    """Least completion and least first cover over all orders of whole-block transfers, one port each, rate 1.

    Nodes are numbered sources, receivers, relays.  Every order of moves is tried, each move as early as its ports and
    its block allow; later starts help nobody.
    """
    wanted = range(sources, sources + receivers)
    nodes = sources + receivers + relays
    best = {"completion": Fraction(10**9), "cover": Fraction(10**9)}

    def extend(held, sending, receiving):
        arrived = [[held.get((block, node)) for node in wanted] for block in range(len(sizes))]
        if all(any(at is not None for at in row) for row in arrived):
            cover = max(min(at for at in row if at is not None) for row in arrived)
            best["cover"] = min(best["cover"], cover)
        if all(at is not None for row in arrived for at in row):
            best["completion"] = min(best["completion"], max(at for row in arrived for at in row))
            return
        for (block, source), at in list(held.items()):
            for destination in range(sources, nodes):
                if (block, destination) not in held:
                    end = max(at, sending.get(source, 0), receiving.get(destination, 0)) + sizes[block]
                    if end < best["completion"]:
                        extend(
                            {**held, (block, destination): end},
                            {**sending, source: end},
                            {**receiving, destination: end},
                        )

    extend({(block, node): 0 for block in range(len(sizes)) for node in range(sources)}, {}, {})
    return best


def a_small_world(sources, receivers, relays, sizes):
    """A problem and an empty plan with blobs of these sizes (in kilobytes), one byte per nanosecond, no latency."""
    nodes = sources + receivers + relays
    llm = an_llm(len(sizes))
    tensors = [attrs.evolve(tensor, bytes=0, shape=(0,)) for tensor in llm.tensors]
    for index, size in enumerate(sizes):
        tensors[index + 1] = attrs.evolve(tensors[index + 1], bytes=1000 * size, shape=(250 * size,))
    llm = attrs.evolve(llm, tensors=tuple(tensors))
    base = a_problem(nodes, sources, llm=llm, cluster=a_cluster(nodes, latency_ns=0))
    problem = attrs.evolve(base, targets=base.targets[:receivers])
    borders = [0, *range(2, len(sizes) + 1), len(tensors)]
    template = blobs_of(llm, 1)[0]
    blobs = tuple(
        attrs.evolve(template, id=f"llm/{index}", first_tensor=first, end_tensor=end, bytes=1000 * sizes[index])
        for index, (first, end) in enumerate(pairwise(borders))
    )
    _, plan = a_chain(2)
    empty = attrs.evolve(plan, problem=codec.digest(problem), blobs=blobs, routes=(), pipelines=(), steps=())
    return problem, attrs.evolve(empty, routing=(), certificates=())


WORLDS = [
    (sources, receivers, relays, sizes)
    for sources, receivers, relays in ((1, 1, 1), (1, 2, 0), (1, 2, 1), (2, 1, 1), (2, 2, 0), (1, 3, 0), (1, 1, 2))
    for sizes in ((1,), (1, 1), (3, 1), (2, 3))
] + [(1, 2, 0, (1, 1, 1)), (1, 2, 0, (1, 2, 3)), (2, 1, 0, (1, 2, 4)), (2, 2, 0, (1, 1, 1))]


@pytest.mark.parametrize(("sources", "receivers", "relays", "sizes"), WORLDS)
def test_no_order_beats_the_closed_forms(sources, receivers, relays, sizes):
    problem, plan = a_small_world(sources, receivers, relays, sizes)
    best = best_possible(sources, receivers, relays, sizes)
    for name in ("one-port-multicast-ns", "port-bytes-ns"):
        assert 0 < bound(name, problem, plan) <= 1000 * best["completion"]
    for name in ("one-port-cover-ns", "port-bytes-cover-ns"):
        assert 0 < bound(name, problem, plan) <= 1000 * best["cover"]
    if len(set(sizes)) == 1:
        assert bound("one-port-multicast-ticks", problem, plan) == best["completion"]
        assert bound("one-port-cover-ticks", problem, plan) == best["cover"]
        assert bound("one-port-multicast-ns", problem, plan) == 1000 * best["completion"]


# --- against random orders in richer clusters ------------------------------------------------------------------------


def a_rich_cluster(dice):
    """Unequal links, host memories beside the devices, and sometimes a second way out of a device."""
    cluster = a_cluster(4, latency_ns=dice.choice([0, 1000]))
    places, links = list(cluster.places), list(cluster.links)

    def link(source, destination):
        links.append(
            Link(
                id=f"{source}>{destination}",
                source=source,
                destination=destination,
                bytes_per_second=GIGABYTE,
                latency_ns=0,
            )
        )

    for node in range(4):
        host = f"n{node}/host"
        places.append(Place(id=host, kind=PlaceKind.HOST, node=f"n{node}", memory_bytes=10 * GIGABYTE))
        link(host, f"n{node}/nic0")
        link(f"n{node}/nic0", host)
    if dice.random() < 0.3:
        link(gpu(1), gpu(2))
    speeds = [GIGABYTE * tenths // 10 for tenths in (1, 3, 5, 10, 10, 20)]
    links = [attrs.evolve(each, bytes_per_second=dice.choice(speeds)) for each in links]
    return attrs.evolve(cluster, places=tuple(places), links=tuple(links))


def routes_between(cluster, source, destination):
    memories = {place.id for place in cluster.places if place.kind is not PlaceKind.SWITCH}
    paths = [[each] for each in cluster.links if each.source == source]
    while paths:
        path = paths.pop(0)
        end = path[-1].destination
        if end == destination:
            return tuple(each.id for each in path), min(each.bytes_per_second for each in path)
        if end not in memories:
            paths += [[*path, each] for each in cluster.links if each.source == end and each not in path]
    return None


@pytest.mark.parametrize("seed", range(60))
def test_no_random_plan_beats_any_closed_form(seed):
    """Whatever order moves are made in, also through hosts, each closed form stays below what the plan achieves."""
    dice = Random(f"rich {seed}")
    cluster = a_rich_cluster(dice)
    llm = an_llm(dice.choice([2, 5]))
    held = [gpu(0), *dice.sample(["n0/host", "n1/host", gpu(1)], dice.randrange(3))]
    base = a_problem(4, 1, llm=llm, cluster=cluster)
    problem = attrs.evolve(base, holdings=tuple(attrs.evolve(base.holdings[0], place=place) for place in held))
    draft = Draft(problem, blobs_of(llm, dice.choice([1, 2, 3])))
    memories = [place.id for place in cluster.places if place.kind is not PlaceKind.SWITCH]
    has = {(blob, place) for blob in draft.blobs for place in held}
    targets = [target.place for target in problem.targets]
    busy = {}
    while any((blob, place) not in has for blob, place in product(draft.blobs, targets)):
        blob, source = dice.choice(sorted(has, key=lambda row: (row[0].id, row[1])))
        goal = dice.choice([*targets, *targets, *memories])
        if (blob, goal) not in has:
            links, rate = routes_between(cluster, source, goal)
            free = max(busy.get(link, 0) for link in links)
            end = draft.move(blob, source, goal, not_before=free, links=links, rate=rate)
            busy |= dict.fromkeys(links, end)
            has.add((blob, goal))
    done = max(step.end_ns for step in draft.steps)
    for place in targets:
        draft.open(local(llm, place), done)
    plan = draft.plan()
    assert broken(problem, plan) == set()
    for row in plan.certificates:
        assert row.bound <= row.value
        assert row.method is Method.CLOSED_FORM or (row.bound, row.formula) == (0, NO_FORMULA)
    assert any(row.bound > 0 for row in plan.certificates if row.claim is Claim.COMPLETION)


# --- values ----------------------------------------------------------------------------------------------------------


def test_values_of_a_chain():
    problem, plan = a_chain(4, 3)
    facts = Facts(problem, plan)
    assert value_of(facts, Claim.COMPLETION, "llm", Measure.TICKS) == 5
    assert value_of(facts, Claim.FIRST_COVER, "llm", Measure.TICKS) == 3
    assert value_of(facts, Claim.COMPLETION, "llm", Measure.NANOS) == max(s.end_ns for s in plan.steps[1:10])
    assert value_of(facts, Claim.FIRST_COVER, "llm", Measure.NANOS) == plan.steps[7].end_ns
    assert value_of(facts, Claim.BOTTLENECK, "llm@n0/gpu0", Measure.NANOS) == decode_ns(problem, plan.pipelines[0])[0]
    assert isinstance(value_of(facts, Claim.BOTTLENECK, "llm@n0/gpu0", Measure.TICKS), Inapplicable)


def test_a_target_that_holds_the_llm_covers_it_from_the_start():
    problem, plan = a_relocation()
    assert value_of(Facts(problem, plan), Claim.FIRST_COVER, "stays", Measure.NANOS) == 0
    for name in ("one-port-cover-ticks", "one-port-cover-ns", "port-bytes-cover-ns"):
        assert bound(name, problem, plan, "stays") == 0
    for name in ("one-port-multicast-ticks", "one-port-multicast-ns", "port-bytes-ns"):
        assert bound(name, problem, plan, "stays") > 0


def test_only_targets_cover():
    problem, plan = a_relay_station()
    facts = Facts(problem, plan)
    assert value_of(facts, Claim.FIRST_COVER, "llm", Measure.TICKS) == 3
    assert value_of(facts, Claim.FIRST_COVER, "llm", Measure.NANOS) == plan.steps[5].end_ns


def test_no_value_without_a_cover():
    problem, plan = a_chain()
    facts = Facts(problem, attrs.evolve(plan, steps=()))
    value = value_of(facts, Claim.FIRST_COVER, "llm", Measure.NANOS)
    assert value == Inapplicable("llm/0 never reaches a target, so the targets never cover llm")
    with pytest.raises(ValueError, match="never reaches a target"):
        certify(facts, Claim.FIRST_COVER, "llm", Measure.NANOS, "one-port-cover-ns")


def test_port_bytes_sees_the_slowest_receiver_and_the_sources():
    problem, plan = a_chain(4, 3)
    total = sum(blob.bytes for blob in plan.blobs)
    assert bound("port-bytes-ns", problem, plan) == total
    slow = tuple(
        attrs.evolve(link, bytes_per_second=GIGABYTE // 10) if link.id == "leaf>n3/nic0" else link
        for link in problem.cluster.links
    )
    slower = attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, links=slow))
    assert bound("port-bytes-ns", slower, plan) == 10 * total
    assert bound("port-bytes-cover-ns", slower, plan) == total


# --- where closed forms say nothing ----------------------------------------------------------------------------------


def test_two_ways_out_are_not_one_port():
    problem, plan = a_chain()
    extra = attrs.evolve(problem.cluster.links[0], id="second", destination="n1/nic0")
    wider = attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, links=(*problem.cluster.links, extra)))
    for name in FORMULAS:
        if name.startswith("one-port"):
            assert bound(name, wider, plan) == Inapplicable("more than one link leads out of n0/gpu0")
        elif name.startswith("port-bytes"):
            assert bound(name, wider, plan) > 0
    row = certify(Facts(wider, plan), Claim.COMPLETION, "llm", Measure.TICKS, "one-port-multicast-ticks")
    assert (row.method, row.formula, row.bound) == (Method.NONE, NO_FORMULA, 0)
    assert broken(wider, certified(wider, attrs.evolve(plan, problem=codec.digest(wider)))) == set()


def test_no_links_no_bound():
    problem, plan = a_chain()
    cut_off = attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, links=()))
    for name in ("one-port-multicast-ns", "one-port-cover-ns", "port-bytes-ns", "port-bytes-cover-ns"):
        assert isinstance(bound(name, cut_off, plan), Inapplicable)


# --- pipelines -------------------------------------------------------------------------------------------------------


def test_pipeline_bottleneck_is_met_by_equal_halves_and_never_beaten():
    """Every cut of the LLM into up to three stages over unequal devices stays at or above the bound."""
    slow = DeviceRate(
        device="toy",
        dtype="F32",
        flops_per_second=TOY.flops_per_second_fp32,
        memory_bytes_per_second=TOY.memory_bytes_per_second // 1000,
        overhead_ns_per_unit=7,
        source="made up",
    )
    problem, plan = a_rescue()
    (llm,) = problem.llms
    kinds = (TOY, attrs.evolve(TOY, name="slow"))
    places = tuple(
        attrs.evolve(place, device="slow") if place.id == gpu(1) else place for place in problem.cluster.places
    )
    cluster = attrs.evolve(problem.cluster, device_kinds=kinds, places=places)
    profile = Profile(rates=(slow, attrs.evolve(slow, device="slow", overhead_ns_per_unit=3, flops_per_second=10**11)))
    problem = attrs.evolve(problem, cluster=cluster, profile=profile)
    units = len(llm.units)
    best = {}
    for first, second in product(range(1, units), repeat=2):
        cuts = [(0, units), (0, first, units), (0, min(first, second), max(first, second), units)]
        for borders in cuts:
            runs = [(a, b) for a, b in pairwise(borders) if a < b]
            for devices in product((gpu(0), gpu(1)), repeat=len(runs)):
                pipeline = a_pipeline("pair", llm, *((place, *run) for place, run in zip(devices, runs, strict=True)))
                changed = with_pipeline(plan, 1, stages=pipeline.stages)
                value = max(decode_ns(problem, changed.pipelines[1]))
                assert bound("pipeline-bottleneck", problem, changed, "pair") <= value
                best[len(runs)] = min(best.get(len(runs), value), value)
    halves = a_pipeline("pair", llm, (gpu(0), 0, units // 2), (gpu(0), units // 2, units))
    found = bound("pipeline-bottleneck", problem, with_pipeline(plan, 1, stages=halves.stages), "pair")
    assert found <= best[2] <= found * 11 // 10


def test_one_unit_that_is_most_of_the_llm_decides():
    llm = an_llm(3)
    heavy = attrs.evolve(llm.units[2], flops_per_token=10**12)
    llm = attrs.evolve(llm, units=(*llm.units[:2], heavy, *llm.units[3:]))
    problem, plan = a_chain(problem=a_problem(4, llm=llm))
    stages = a_pipeline("p", llm, (gpu(0), 0, 2), (gpu(0), 2, 3), (gpu(0), 3, 5)).stages
    changed = with_pipeline(plan, 0, stages=stages)
    value = max(decode_ns(problem, changed.pipelines[0]))
    assert bound("pipeline-bottleneck", problem, changed, "llm@n0/gpu0") == value


def test_no_stages_no_bottleneck():
    problem, plan = a_chain()
    empty = with_pipeline(plan, 0, stages=())
    assert isinstance(bound("pipeline-bottleneck", problem, empty, "llm@n0/gpu0"), Inapplicable)


# --- what the checker makes of them ----------------------------------------------------------------------------------


def _with_row(plan, **changes):
    return attrs.evolve(plan, certificates=(attrs.evolve(plan.certificates[0], **changes), *plan.certificates[1:]))


@pytest.mark.parametrize(
    "changes",
    [
        {"value": 6},
        {"value": 4},
        {"bound": 5},
        {"bound": 6},
        {"method": Method.NONE},
        {"method": Method.EXHAUSTED},
        {"formula": "magic"},
        {"formula": "port-bytes-ns"},
        {"measure": Measure.NANOS},
        {"claim": Claim.FIRST_COVER},
    ],
)
def test_a_false_certificate_is_rejected(changes):
    problem, plan = a_chain()
    assert broken(problem, _with_row(plan, **changes)) == {"BOUND"}


def test_a_weaker_claim_is_true():
    assert broken(*a_bound(-1)) == set()
    problem, plan = a_chain()
    assert broken(problem, _with_row(plan, method=Method.NONE, bound=0, formula=NO_FORMULA)) == set()


def test_both_claims_are_wanted_for_every_llm():
    problem, plan = a_chain()
    for claim in (Claim.COMPLETION, Claim.FIRST_COVER):
        kept = tuple(row for row in plan.certificates if row.claim is not claim)
        assert broken(problem, attrs.evolve(plan, certificates=kept)) == {"BOUND"}
    kept = tuple(row for row in plan.certificates if row.claim is not Claim.BOTTLENECK)
    assert broken(problem, attrs.evolve(plan, certificates=kept)) == set()
