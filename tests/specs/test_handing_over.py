"""Pre-copy: bounds on what is left and on the time, against writers acted out token by token."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.decisions.speculation.lengths import Load, geometric
from specs.drafting import Drafting
from specs.handing_over import PreCopy, Way, far_pairs, pre_copy, shared_kv
from specs.plan import KvPath
from specs.timing import decode_ns, links_by_id, route_latency_ns
from tests.live_plans import a_merge, a_pair, a_running_problem
from tests.plans import SLOTS, a_pipeline, a_route, gpu, local

ways = st.builds(
    Way,
    bytes_per_token=st.integers(1, 50),
    bytes_per_second=st.integers(10**8, 10**10),
    latency_ns=st.integers(0, 40),
)
questions = st.builds(
    PreCopy,
    ways=st.lists(ways, max_size=3).map(tuple),
    slots=st.integers(1, 4),
    request_tokens_max=st.integers(1, 30),
    lap_ns=st.integers(1, 300),
    lap_tokens=st.integers(1, 3),
    wait_ns=st.integers(0, 9),
    iteration_ns=st.integers(1, 9),
)


@given(questions, st.data())
def test_no_writer_leaves_more_than_the_bound_after_any_round(asked, data):
    """Each slot writes a lap's tokens at least a lap after its last, from any context on; rounds copy what is there."""
    spans = st.integers(asked.lap_ns, 2 * asked.lap_ns)
    computed = [data.draw(st.integers(0, asked.request_tokens_max)) for _ in range(asked.slots)]
    due = [data.draw(st.integers(0, asked.lap_ns)) for _ in range(asked.slots)]
    copied, now, rounds = [0] * asked.slots, 0, 4
    for done, bound in enumerate(asked.left_tokens(rounds)):
        left = sum(computed) - sum(copied)
        last = [min(tokens + asked.lap_tokens, asked.request_tokens_max) for tokens in computed]
        assert sum(last) - sum(copied) <= bound
        assert now <= asked.rounds_ns(done)
        copied, now = list(computed), now + asked.round_ns(left)
        for slot in range(asked.slots):
            while due[slot] <= now and computed[slot] < asked.request_tokens_max:
                computed[slot] = min(computed[slot] + asked.lap_tokens, asked.request_tokens_max)
                due[slot] += data.draw(spans)


@given(questions)
def test_rounds_never_leave_more_and_are_as_few_as_suffice(asked):
    left = asked.left_tokens(8)
    assert list(left) == sorted(left, reverse=True)
    assert left[0] == asked.tokens_max
    for rest in {*left, *(tokens - 1 for tokens in left)}:
        rounds = asked.rounds(rest, 8)
        assert rounds == next((done for done, tokens in enumerate(left) if tokens <= rest), None)


def test_the_figures_of_one_hand_over():
    """A slot writes at most 3 tokens in 20 ns at 10 ns a lap; 8 bytes a token at 4 bytes per ns, 4 ns latency."""
    way = Way(bytes_per_token=8, bytes_per_second=4 * 10**9, latency_ns=4)
    asked = PreCopy(ways=(way,), slots=2, request_tokens_max=10, lap_ns=10, lap_tokens=1, wait_ns=7, iteration_ns=11)
    assert [asked.copy_ns(tokens) for tokens in (0, 1, 20)] == [4, 6, 44]
    assert [asked.written_tokens(ns) for ns in (0, 9, 10, 20, 10**6)] == [2, 2, 4, 6, 20]
    assert [asked.round_ns(tokens) for tokens in (20, 12, 10, 8)] == [56, 40, 36, 32]
    assert asked.left_tokens(4) == (20, 14, 12, 10, 10)  # 20, 12, 10, 8, 8 and at most one more in each slot
    assert (asked.rounds(10), asked.rounds(9), asked.rounds(10, 2), asked.rounds(20)) == (3, None, None, 0)
    assert asked.rounds_ns(3) == 56 + 40 + 36
    assert asked.pause_ns(10) == 7 + (10 * 2 + 4 * 4) + 2 * 4 + 11
    assert asked.pause_ns(10**6) == 7 + 56 + 2 * 4 + 11  # no more than all contexts


def test_a_slower_way_decides_and_convergence_is_a_matter_of_rates():
    quick = Way(bytes_per_token=1, bytes_per_second=10**9, latency_ns=0)
    slow = attrs.evolve(quick, bytes_per_second=10**8)
    asked = PreCopy(
        ways=(quick, slow), slots=1, request_tokens_max=1000, lap_ns=20, lap_tokens=1, wait_ns=0, iteration_ns=1
    )
    assert asked.copy_ns(7) == 70
    assert (asked.rounds(4), asked.rounds(3), asked.rounds(2)) == (9, 10, None)  # written at half the rate: halves
    assert attrs.evolve(asked, lap_ns=10).rounds(999) is None
    assert attrs.evolve(asked, lap_tokens=2).rounds(999) is None


def test_drafted_tokens_are_written_at_once():
    """An iteration keeps up to three drafted tokens beside its own."""
    load = Load(batch_max=4, draft_ns=1, draft_overhead_ns=0, verify_ns=(5, 6, 7, 8))
    drafting = Drafting(llm="llm", length_max=3, loads=(load,), acceptances=(geometric(0, 3),), source="made up")
    (llm,) = a_merge()[0].llms
    old, new = local(llm, gpu(0)), local(llm, gpu(1))
    problem = a_running_problem(2, (old,), targets=(1,))
    links, path = links_by_id(problem.cluster), KvPath(old_stage=0, new_stage=0, route=0, bytes_per_second=10**9)

    def asked(problem):
        return pre_copy(problem, links, (a_route(gpu(0), gpu(1)),), old, new, (path,))

    drafted = asked(attrs.evolve(problem, profile=attrs.evolve(problem.profile, draftings=(drafting,))))
    assert (asked(problem).lap_tokens, drafted.lap_tokens) == (1, 4)
    assert drafted.written_tokens(0) == 4 * SLOTS
    assert drafted.left_tokens(9)[-1] == 2 * 4 * SLOTS
    assert asked(problem).left_tokens(9)[-1] == 2 * SLOTS


def test_only_layers_have_kv_and_only_between_devices_is_there_a_path():
    problem, _ = a_merge()
    (llm,) = problem.llms
    last = len(llm.units)
    old = a_pipeline("old", llm, (gpu(0), 0, 1), (gpu(1), 1, 4), (gpu(0), 4, last))
    new = a_pipeline("new", llm, (gpu(0), 0, 3), (gpu(2), 3, last - 1), (gpu(3), last - 1, last))
    layers = {pair: size // 128 for pair, size in shared_kv(llm, old, new).items()}
    assert layers == {(1, 0): 2, (1, 1): 1, (2, 1): last - 5}
    assert far_pairs(llm, old, new) == ((1, 0), (1, 1), (2, 1))
    assert far_pairs(llm, old, old) == ()


@pytest.mark.parametrize("slots", [1, 2, SLOTS])
def test_what_a_hand_over_asks(slots):
    """From two stages to one at the second's place: one path, one copy within a device; two batches under way."""
    (llm,) = a_merge()[0].llms
    pair, new = attrs.evolve(a_pair(llm, "pair", gpu(0), gpu(1)), slots=slots), local(llm, gpu(1))
    problem = a_running_problem(2, (pair,), targets=(1,))
    links, route = links_by_id(problem.cluster), a_route(gpu(0), gpu(1))
    path = KvPath(old_stage=0, new_stage=0, route=0, bytes_per_second=7)
    asked = pre_copy(problem, links, (route,), pair, new, (path,))
    (far, near), sizes = asked.ways, list(shared_kv(llm, pair, new).values())
    assert far == Way(bytes_per_token=sizes[0], bytes_per_second=7, latency_ns=route_latency_ns(links, route))
    assert near == Way(bytes_per_token=2 * sizes[1], bytes_per_second=10**12, latency_ns=0)
    times = decode_ns(problem, attrs.evolve(pair, slots=(slots + 1) // 2))
    assert (asked.slots, asked.lap_ns) == (slots, sum(times))
    assert asked.wait_ns == (2 * max(times) if slots > 1 else 0)
    assert asked.iteration_ns == sum(decode_ns(problem, new))
