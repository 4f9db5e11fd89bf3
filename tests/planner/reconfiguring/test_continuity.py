"""What becomes of requests: rates within links, bounds of copies, and which way is taken."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.reconfiguring.continuity import PAUSE_NS_MAX, prefill_ns, ways
from planner.routes import Routes
from specs.handing_over import far_pairs, pre_copy
from specs.plan import Continuity
from specs.problem import Running
from specs.workload import Slo
from tests.builders import GIGABYTE, a_cluster
from tests.planner.reconfiguring.cases import a_service
from tests.plans import a_pipeline, gpu


def asked(old, new, *, rate=GIGABYTE, requests=2, tokens=40, slos=()):
    """A problem, and a running pipeline with these runs that closes into another with those."""
    problem = attrs.evolve(a_service((1, 2), slos=slos), cluster=a_cluster(7, rate=rate))
    (llm,) = problem.llms
    before, after = a_pipeline("old", llm, *old), a_pipeline("new", llm, *new)
    running = Running(pipeline=before, live_requests=requests, live_tokens=requests * tokens)
    return problem, running, after, ways(problem, Routes(problem.cluster), running, after)


HALVES = ((gpu(1), 0, 5), (gpu(2), 5, 10))
OTHERS = ((gpu(3), 0, 5), (gpu(4), 5, 10))


def way(found, continuity):
    return next(each for each in found if each.continuity is continuity)


@st.composite
def layouts(draw):
    """Two pipelines of up to three stages over ten units, on six devices of which they may share some."""
    found = []
    for _ in range(2):
        borders = sorted(draw(st.sets(st.integers(1, 9), max_size=2)))
        places = draw(st.permutations(range(1, 7)))
        edges = [0, *borders, 10]
        found.append(tuple((gpu(places[index]), edges[index], edges[index + 1]) for index in range(len(edges) - 1)))
    return found


@given(pair=layouts(), rate=st.sampled_from([10**7, GIGABYTE]))
@settings(max_examples=40, deadline=None)
def test_paths_are_those_that_are_needed_and_links_carry_them(pair, rate):
    problem, running, new, found = asked(*pair, rate=rate)
    (llm,) = problem.llms
    for each in found:
        if each.continuity is not Continuity.COPY:
            continue
        paths = each.hand_over.paths
        assert [(path.old_stage, path.new_stage) for path in paths] == list(far_pairs(llm, running.pipeline, new))
        load = {}
        for path in paths:
            for link in each.routes[path.route].links:
                load[link] = load.get(link, 0) + path.bytes_per_second
        capacity = {link.id: link.bytes_per_second for link in problem.cluster.links}
        assert all(used <= capacity[link] for link, used in load.items())
        bound = pre_copy(problem, Routes(problem.cluster).links, each.routes, running.pipeline, new, paths)
        assert each.hand_over.pause_ns == bound.pause_ns(each.hand_over.rest_tokens_max)
        rounds = bound.rounds(each.hand_over.rest_tokens_max, each.hand_over.rounds_max)
        assert each.lasts_ns == bound.rounds_ns(rounds) + each.hand_over.pause_ns


def test_what_is_done_soonest_within_the_pause_comes_first():
    *_, found = asked(HALVES, OTHERS)
    assert [each.continuity for each in found] == [Continuity.COPY, Continuity.DRAIN, Continuity.RECOMPUTE]
    copied = found[0]
    assert copied.pause_ns <= PAUSE_NS_MAX
    assert copied.lasts_ns < way(found, Continuity.DRAIN).lasts_ns


def test_short_contexts_are_computed_again():
    problem, _, new, found = asked(HALVES, OTHERS, requests=1, tokens=4)
    assert prefill_ns(problem, new, 4) < PAUSE_NS_MAX
    assert found[0].continuity is Continuity.RECOMPUTE
    assert found[0].lasts_ns == 0


def test_over_slow_links_requests_are_finished_first():
    *_, found = asked(HALVES, OTHERS, rate=10**6)
    assert found[0].continuity is Continuity.DRAIN


def test_a_promise_rules_out_longer_pauses_of_copies():
    slo = Slo(llm="llm", percentile=90, ttft_ns_max=10**10, tpot_ns_max=10**10, pause_ns_max=1000)
    *_, found = asked(HALVES, OTHERS, slos=(slo,))
    assert Continuity.COPY not in {each.continuity for each in found}


@pytest.mark.parametrize("change", [{"slots": 2}, {"request_tokens_max": 32}])
def test_a_smaller_pipeline_takes_no_copies(change):
    problem, running, new, _ = asked(HALVES, OTHERS)
    found = ways(problem, Routes(problem.cluster), running, attrs.evolve(new, **change))
    assert Continuity.COPY not in {each.continuity for each in found}


def test_a_longer_context_takes_longer_to_compute():
    problem, _, new, _ = asked(HALVES, OTHERS)
    times = [prefill_ns(problem, new, tokens) for tokens in (1, 16, 64)]
    assert times == sorted(times)
    assert times[0] < times[2]
