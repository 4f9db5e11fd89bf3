"""Standbys from problem to plan: what just fits, what starts just in time, what must make room."""

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.outcome import Infeasible, Planned, Undecided
from planner.solve import solve
from specs.checker import Rejected, verify
from specs.cluster import PlaceKind
from specs.plan import Claim, Method, Release, Transfer
from specs.problem import Holding, Problem, Target
from specs.profile import Profile
from specs.timing import kv_bytes, workspace_bytes
from specs.units import duration_ns
from specs.wishes import Standby
from specs.workload import Workload
from tests.builders import GIGABYTE, an_llm
from tests.hash_seeds import printed
from tests.place_graphs import Wiring

LLM_BYTES = sum(tensor.bytes for tensor in an_llm().tensors)
STORE_RATE, HOST_RATE = GIGABYTE // 8, 4 * GIGABYTE
HOUR = 3600 * 10**9


def a_node(memory_bytes=None):
    """A device, a host and an SSD of one node, and a remote store behind a slow link."""
    wiring = Wiring()
    pcie, leaf = wiring.switch("n0/pcie"), wiring.switch("leaf")
    wiring.cable(wiring.device("n0/gpu0"), pcie, 8 * GIGABYTE, 0)
    wiring.cable(wiring.store("n0/host"), pcie, HOST_RATE, 500)
    wiring.cable(wiring.store("n0/ssd", PlaceKind.SSD), pcie, GIGABYTE, 500)
    wiring.cable(wiring.store("s3/remote", PlaceKind.REMOTE), leaf, STORE_RATE, 500)
    wiring.cable(leaf, pcie, GIGABYTE, 500)
    cluster = wiring.cluster()
    sizes = memory_bytes or {}
    places = tuple(attrs.evolve(p, memory_bytes=sizes.get(p.id, p.memory_bytes)) for p in cluster.places)
    return attrs.evolve(cluster, places=places)


def waiting(names, held, standbys, targets=(), memory_bytes=None, requests=None):
    """`held` and `targets` are pairs of an LLM and a place; `standbys` of an LLM, places and a limit in ns."""
    return Problem(
        name="waiting",
        cluster=a_node(memory_bytes),
        llms=tuple(an_llm(name=name) for name in names),
        workloads=tuple(
            Workload(
                llm=name,
                requests_per_hour=(requests or {}).get(name, 60),
                prompt_tokens_mean=8,
                output_tokens_mean=8,
                request_tokens_max=32,
                live_requests_max=2,
            )
            for name in names
        ),
        slos=(),
        profile=Profile(rates=()),
        holdings=tuple(Holding(llm=llm, place=place) for llm, place in held),
        targets=tuple(Target(llm=llm, place=place) for llm, place in targets),
        standbys=tuple(Standby(llm=llm, places=tuple(on), start_ns_max=limit) for llm, on, limit in standbys),
    )


def planned(problem):
    outcome = solve(problem)
    assert isinstance(outcome, Planned), outcome
    assert not isinstance(verify(problem, outcome.verified.plan), Rejected)
    return outcome.verified.plan


def kept(plan):
    return {(resident.llm, resident.place) for resident in plan.residents}


def start_claim(plan):
    (found,) = [each for each in plan.certificates if each.claim is Claim.START]
    return found


def packed_bytes(problem):
    plan = planned(attrs.evolve(problem, standbys=tuple(attrs.evolve(s, start_ns_max=HOUR) for s in problem.standbys)))
    return sum(blob.bytes for blob in plan.blobs if blob.llm == problem.standbys[0].llm)


ONE = waiting(("a",), [("a", "s3/remote")], [("a", ("n0/host", "n0/ssd"), HOUR)])
SIZE = packed_bytes(ONE)
FROM_HOST_NS = duration_ns(SIZE, HOST_RATE) + 500


def test_a_copy_comes_to_the_memory_from_which_it_starts_soonest():
    plan = planned(ONE)
    assert kept(plan) == {("a", "n0/host")}
    assert [plan.routes[step.route].links[0] for step in plan.steps if isinstance(step, Transfer)] == ["s3/remote>leaf"]
    claim = start_claim(plan)
    assert (claim.value, claim.bound, claim.subject) == (FROM_HOST_NS, FROM_HOST_NS, "waiting")


@pytest.mark.parametrize("less_ns", [0, 1])
def test_a_start_just_in_time_and_a_nanosecond_late(less_ns):
    problem = waiting(("a",), [("a", "s3/remote")], [("a", ("n0/host",), FROM_HOST_NS - less_ns)])
    if not less_ns:
        planned(problem)
        return
    outcome = solve(problem)
    assert isinstance(outcome, Infeasible)
    (conflict,) = outcome.conflicts
    assert (conflict.rule, conflict.where) == ("START", "standby a")
    assert [(give.allowed, give.needed) for give in conflict.gives] == [(FROM_HOST_NS - 1, FROM_HOST_NS)]


@pytest.mark.parametrize("less", [0, 1])
def test_memories_that_just_suffice_and_miss_by_a_byte(less):
    names = ("a", "b")
    problem = waiting(
        names,
        [(name, "s3/remote") for name in names],
        [(name, ("n0/host",), HOUR) for name in names],
        memory_bytes={"n0/host": 2 * SIZE - less},
    )
    if not less:
        assert kept(planned(problem)) == {("a", "n0/host"), ("b", "n0/host")}
        return
    outcome = solve(problem)
    assert isinstance(outcome, Infeasible)
    (conflict,) = outcome.conflicts
    give = next(give for give in conflict.gives if give.limit == "memory of n0/host")
    assert (give.allowed, give.needed) == (2 * SIZE - 1, 2 * SIZE)


def test_the_memory_that_is_scarce_goes_to_the_llm_with_more_requests():
    names = ("a", "b")
    problem = waiting(
        names,
        [(name, "s3/remote") for name in names],
        [(name, ("n0/host", "n0/ssd"), HOUR) for name in names],
        memory_bytes={"n0/host": SIZE},
        requests={"a": 5, "b": 50},
    )
    plan = planned(problem)
    assert kept(plan) == {("a", "n0/ssd"), ("b", "n0/host")}
    claim = start_claim(plan)
    assert claim.value == claim.bound
    assert claim.method in (Method.DUAL, Method.EXHAUSTED)


def test_what_is_elsewhere_makes_room():
    problem = waiting(
        ("idle", "a"),
        [("idle", "s3/remote"), ("idle", "n0/host"), ("a", "s3/remote")],
        [("a", ("n0/host",), HOUR)],
        memory_bytes={"n0/host": 2 * SIZE - 1},
    )
    plan = planned(problem)
    (release,) = [step for step in plan.steps if isinstance(step, Release)]
    (blob,) = [blob for blob in plan.blobs if blob.id == release.blob]
    assert (blob.llm, release.place) == ("idle", "n0/host")
    assert all(step.start_ns > release.at_ns for step in plan.steps if isinstance(step, Transfer))


def test_a_last_copy_makes_no_room():
    problem = waiting(
        ("idle", "a"),
        [("idle", "n0/host"), ("a", "s3/remote")],
        [("a", ("n0/host",), HOUR)],
        memory_bytes={"n0/host": 2 * SIZE - 1},
    )
    assert isinstance(solve(problem), Undecided)


def test_a_standby_moves_on_to_make_room_for_another():
    """b must be in the host, where a is; a may be on the SSD too."""
    problem = waiting(
        ("a", "b"),
        [("a", "n0/host"), ("b", "s3/remote")],
        [("a", ("n0/host", "n0/ssd"), HOUR), ("b", ("n0/host",), HOUR)],
        memory_bytes={"n0/host": SIZE},
    )
    plan = planned(problem)
    assert kept(plan) == {("a", "n0/ssd"), ("b", "n0/host")}


def test_a_target_stands_by_where_it_serves():
    problem = waiting(("a",), [("a", "s3/remote")], [("a", ("n0/gpu0", "n0/host"), 1)], targets=[("a", "n0/gpu0")])
    plan = planned(problem)
    assert kept(plan) == {("a", "n0/gpu0")}
    assert start_claim(plan).value == 0


def test_a_copy_that_is_there_stays():
    problem = waiting(("a",), [("a", "s3/remote"), ("a", "n0/host")], [("a", ("n0/host", "n0/ssd"), HOUR)])
    plan = planned(problem)
    assert kept(plan) == {("a", "n0/host")}
    assert plan.steps == ()


PLACES = ("n0/gpu0", "n0/host", "n0/ssd", "s3/remote")


@st.composite
def problems(draw):
    names = ("a", "b", "c")[: draw(st.integers(1, 3))]
    sizes = {place: draw(st.sampled_from([1, 2, 3, 4])) * SIZE + draw(st.integers(-1, 20_000)) for place in PLACES}
    held = [
        (name, place)
        for name in names
        for place in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=2, unique=True))
    ]
    targets = [(name, "n0/gpu0") for name in draw(st.lists(st.sampled_from(names), max_size=1))]
    standbys = [
        (
            name,
            draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=3, unique=True)),
            draw(st.sampled_from([1, FROM_HOST_NS, 2 * FROM_HOST_NS, 5 * FROM_HOST_NS, HOUR])),
        )
        for name in draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    ]
    requests = {name: draw(st.integers(0, 100)) for name in names}
    return waiting(names, held, standbys, targets, sizes, requests)


@given(problem=problems())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_plans_keep_every_rule_and_refusals_are_true(problem):
    outcome = solve(problem)
    match outcome:
        case Planned(verified=verified):
            assert not isinstance(verify(problem, verified.plan), Rejected)
            assert {llm for llm, _ in kept(verified.plan)} == {standby.llm for standby in problem.standbys}
            assert start_claim(verified.plan).bound <= start_claim(verified.plan).value
        case Infeasible(conflicts=conflicts):
            assert {conflict.rule for conflict in conflicts} <= {"START", "MEM"}
            if conflicts[0].rule == "START":
                assert not any_placement(problem)
        case Undecided(sentence=sentence):
            assert "this planner" in sentence


def any_placement(problem):
    """Whether each standby has a place where it starts in time and all fit, by trying all; pipelines left out."""
    rates = {"n0/gpu0": None, "n0/host": HOST_RATE, "n0/ssd": GIGABYTE, "s3/remote": STORE_RATE}
    latency = {"n0/host": 500, "n0/ssd": 500, "s3/remote": 1000}

    def start(place):
        return 0 if rates[place] is None else duration_ns(SIZE, rates[place]) + latency[place]

    room = {place.id: place.memory_bytes for place in problem.cluster.places}
    for target in problem.targets:
        llm = problem.llm(target.llm)
        room[target.place] -= SIZE + kv_bytes(llm, 0, 10, 32) + workspace_bytes(llm, 10, 1, 1)  # one request
    wanted = {(target.llm, target.place) for target in problem.targets}

    def tries(index, left):
        if index == len(problem.standbys):
            return True
        standby = problem.standbys[index]
        for place in standby.places:
            size = 0 if (standby.llm, place) in wanted else SIZE
            possible = start(place) <= standby.start_ns_max and left[place] >= size
            if possible and tries(index + 1, left | {place: left[place] - size}):
                return True
        return False

    return tries(0, room)


def test_two_processes_give_the_same_plan():
    program = (
        "from tests.planner.test_standing_by import *; from specs import codec;"
        "print(codec.encode(planned(waiting(('a', 'b'), [(n, 's3/remote') for n in 'ab'],"
        "[(n, ('n0/host', 'n0/ssd'), HOUR) for n in 'ab'], memory_bytes={'n0/host': SIZE}))))"
    )
    assert printed(program)
