"""TTFT and TPOT at a percentile: arithmetic, edges, monotony, and the executor's batcher simulated."""

import functools
import math
import statistics
from fractions import Fraction

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs import queueing
from specs.decisions.latency import question as questions
from specs.decisions.latency.limits import Promise, keeps, requests_within, shortfall, slots_within
from specs.decisions.latency.load import Load
from specs.decisions.latency.prediction import Overload, Prediction, predict, predict_shared
from specs.decisions.latency.question import constant, exponential
from specs.decisions.latency.rounding import ONE, decay_down, decay_up, excess_up, exp_down, exp_up
from specs.ways import NoWay
from specs.workload import Slo
from tests.batching import PERIOD_NS, SHAPES, percentile, simulate
from tests.plans import a_chain, a_rescue, gpu


@functools.cache
def capacity(shape):
    overload = predict(shape.question(PERIOD_NS // 100), 90)
    assert isinstance(overload, Overload)
    return overload.requests_max


def at(name, load_percent):
    shape = SHAPES[name]
    return shape.question(capacity(shape) * load_percent // 100)


# --- arithmetic ------------------------------------------------------------------------------------------------------


@given(st.fractions(min_value=0, max_value=55))
def test_exponentials_enclose_the_true_value_closely(x):
    scaled = int(x * ONE)
    for low, high, true in (
        (exp_down(scaled), exp_up(scaled), math.exp(x)),
        (decay_down(scaled), decay_up(scaled), math.exp(-x)),
    ):
        assert low <= high
        assert high - low <= max(high // 10**20, 2)
        assert float(Fraction(low, ONE)) == pytest.approx(true, rel=1e-12, abs=1e-28)


@given(st.integers(0, 30 * 1000), st.integers(0, 30 * 1000))
def test_the_excess_of_poisson_sums_is_the_sum_over_both(mean_milli, taken_milli):
    mean, taken = mean_milli / 1000, taken_milli / 1000

    def chances(rate):
        return [
            math.exp(-rate + k * math.log(rate) - math.lgamma(k + 1)) if rate else float(k == 0) for k in range(160)
        ]

    arriving, fitting = chances(mean), chances(taken)
    wanted = sum(p * q * (k - j) for k, p in enumerate(arriving) for j, q in enumerate(fitting[:k]))
    found = excess_up(mean_milli * ONE // 1000, taken_milli * ONE // 1000)
    assert float(Fraction(found, ONE)) == pytest.approx(wanted, rel=1e-8, abs=1e-9)
    assert found >= int((wanted - 1e-11) * ONE)


def test_the_steps_of_the_exponential_lie_above_it():
    for miss, log_millionths in questions._STEPS:
        wanted = -math.log(miss / 10**6) * 10**6
        assert wanted <= log_millionths <= wanted + 1 + 1e-6
    shares = exponential(100, 450)
    assert sum(share.millionths for share in shares) == 10**6
    assert shares[-1].tokens == 450


def test_a_single_slot_is_erlangs_queue():
    load = Load(at("one slot", 50), free=True)
    assert load.at_least[0] == ONE
    assert load.at_least[1] == pytest.approx(load.utilisation, rel=1e-12)


def test_many_slots_of_equal_pace_follow_erlangs_delay_formula():
    shape = attrs.evolve(SHAPES["compute bound"], slots=8, read=0, row=0, token=100, prompt=1, output=10**6)
    # Laps grow with their rows: the pace is that of one server whatever is live, so that P(n or more) = rho^n.
    load = Load(attrs.evolve(shape.question(1), requests=6 * 10**6), free=True)
    rho = load.utilisation / ONE
    assert 0.5 < rho < 1
    for live in range(9):
        assert load.at_least[live] / ONE == pytest.approx(rho**live, rel=1e-3)
    slow = attrs.evolve(shape, read=10**6)  # laps do not grow: eight servers
    load = Load(attrs.evolve(slow.question(1), requests=6000), free=True)
    offered = 8 * load.utilisation / ONE
    erlang_b = 1.0
    for servers in range(1, 9):
        erlang_b = offered * erlang_b / (servers + offered * erlang_b)
    erlang_c = 8 * erlang_b / (8 - offered * (1 - erlang_b))
    assert load.at_least[-1] / ONE == pytest.approx(erlang_c, rel=1e-2)


def test_thousands_of_slots_are_quick_enough_to_ask_for():
    shape = attrs.evolve(SHAPES["four stages"], slots=4000, iteration_tokens_max=8192)
    assert isinstance(predict(shape.question(capacity(shape) // 2), 99), Prediction)


# --- questions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"stages": ()}, "without stages"),
        ({"iteration_tokens_max": 7}, "7 tokens per iteration cannot carry its 8 decoding rows"),
        ({"prompts": constant(5) * 2}, "do not sum to"),
        ({"prompts": tuple(reversed(exponential(9, 99)))}, "ascending"),
    ],
)
def test_questions_without_a_meaning_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        attrs.evolve(at("eight slots", 50), **changes)


def test_percentiles_are_from_1_to_99():
    for wrong in (0, 100):
        with pytest.raises(ValueError, match="from 1 to 99"):
            predict(at("eight slots", 50), wrong)


def test_pipelines_that_share_requests_count_them_in_equal_periods():
    question = at("eight slots", 50)
    with pytest.raises(ValueError, match="equal periods"):
        predict_shared((question, attrs.evolve(question, period_ns=1)), 90)
    with pytest.raises(ValueError, match="equal periods"):
        predict_shared((), 90)


# --- edges -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["one slot", "eight slots", "two stages", "four stages, long prompts"])
def test_the_largest_rate_with_a_steady_state_has_one_and_one_more_has_none(name):
    shape = SHAPES[name]
    most = capacity(shape)
    assert isinstance(predict(shape.question(most), 90), Prediction)
    overload = predict(shape.question(most + 1), 90)
    assert isinstance(overload, Overload)
    assert overload.requests_max == most
    assert overload.utilisation_ppm >= 10**6


@pytest.mark.parametrize("name", ["one slot", "heavy prompts", "four stages"])
def test_a_promise_is_kept_exactly_and_broken_by_a_nanosecond(name):
    question = at(name, 60)
    found = predict(question, 95)
    promise = Promise(percentile=95, ttft_ns_max=found.ttft_ns, tpot_ns_max=found.tpot_ns)
    assert keeps(question, promise)
    assert not keeps(question, attrs.evolve(promise, ttft_ns_max=found.ttft_ns - 1))
    assert not keeps(question, attrs.evolve(promise, tpot_ns_max=found.tpot_ns - 1))


def test_the_largest_rate_within_a_promise():
    question = at("eight slots", 60)
    found = predict(question, 90)
    promise = Promise(percentile=90, ttft_ns_max=found.ttft_ns, tpot_ns_max=found.tpot_ns)
    most = requests_within(question, promise)
    assert most >= question.requests
    assert keeps(attrs.evolve(question, requests=most), promise)
    assert not keeps(attrs.evolve(question, requests=most + 1), promise)
    assert requests_within(question, attrs.evolve(promise, tpot_ns_max=1)) is None


def test_a_shortfall_names_each_way_out_and_each_works():
    question = at("heavy prompts", 80)
    found = predict(question, 90)
    promise = Promise(percentile=90, ttft_ns_max=2 * found.ttft_ns, tpot_ns_max=found.tpot_ns * 9 // 10)
    missing = shortfall(question, promise)
    assert missing.ttft_ns is None
    assert keeps(question, attrs.evolve(promise, tpot_ns_max=missing.tpot_ns))
    assert not keeps(question, attrs.evolve(promise, tpot_ns_max=missing.tpot_ns - 1))
    assert keeps(attrs.evolve(question, requests=missing.requests), promise)
    assert missing.slots == slots_within(question, promise)
    assert all(keeps(attrs.evolve(question, slots=slots), promise) for slots in missing.slots)
    assert f"promise a TPOT of {found.tpot_ns} ns" in missing.sentences
    assert shortfall(question, attrs.evolve(promise, tpot_ns_max=found.tpot_ns)) is None


def test_an_overloaded_pipeline_falls_short_in_its_rate():
    question = attrs.evolve(at("one slot", 50), requests=PERIOD_NS // 1000)
    missing = shortfall(question, Promise(percentile=50, ttft_ns_max=10**9, tpot_ns_max=10**9))
    assert missing.ttft_ns is missing.tpot_ns is None
    assert 0 < missing.requests < question.requests


# --- monotony --------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(sorted(set(SHAPES) - {"compute bound", "four stages"}))


@settings(max_examples=20, deadline=None)
@given(NAMES, st.integers(0, 99), st.integers(0, 99), st.sampled_from([50, 90, 99]))
def test_more_load_never_shortens_anything(name, one, other, at_percentile):
    less, more = (predict(at(name, load), at_percentile) for load in sorted((one, other)))
    assert less.ttft_ns <= more.ttft_ns
    assert less.tpot_ns <= more.tpot_ns
    assert less.waiting_ppm <= more.waiting_ppm


STAGES = st.builds(
    questions.StageCost,
    token_fs=st.integers(10**6, 10**8),
    row_compute_fs=st.integers(0, 10**8),
    read_ns=st.integers(10, 2000),
    row_read_fs=st.integers(0, 10**8),
    overhead_ns=st.integers(0, 100),
    hop_ns=st.integers(0, 1000),
    hop_token_fs=st.sampled_from([0, 10**5, 10**7]),
    thread=st.integers(0, 3),
    rival_ns=st.sampled_from([0, 500]),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(STAGES, min_size=1, max_size=4), st.integers(1, 12), st.integers(1, 999), st.integers(1, 999))
def test_more_load_never_shortens_anything_on_any_pipeline(stages, slots, one, other):
    shape = attrs.evolve(SHAPES["eight slots"], slots=slots)
    question = attrs.evolve(shape.question(PERIOD_NS), stages=tuple(stages))
    most = predict(question, 90).requests_max
    less, more = (predict(attrs.evolve(question, requests=most * x // 1000), 90) for x in sorted((one, other)))
    assert less.ttft_ns <= more.ttft_ns
    assert less.tpot_ns <= more.tpot_ns


@settings(max_examples=12, deadline=None)
@given(NAMES, st.integers(1, 95), st.integers(50, 97), st.integers(1, 2))
def test_a_stricter_percentile_never_shortens_anything(name, load, at_percentile, more):
    question = at(name, load)
    less, strict = predict(question, at_percentile), predict(question, at_percentile + more)
    assert less.ttft_ns <= strict.ttft_ns
    assert less.tpot_ns <= strict.tpot_ns


@settings(max_examples=12, deadline=None)
@given(NAMES, st.integers(1, 95), st.integers(1, 50))
def test_a_slower_device_never_shortens_anything(name, load, slower_percent):
    question = at(name, load)
    stages = tuple(
        attrs.evolve(
            stage,
            token_fs=stage.token_fs * (100 + slower_percent) // 100,
            row_compute_fs=stage.row_compute_fs * (100 + slower_percent) // 100,
            read_ns=-(-stage.read_ns * (100 + slower_percent) // 100),
            row_read_fs=stage.row_read_fs * (100 + slower_percent) // 100,
        )
        for stage in question.stages
    )
    quick, slow = predict(question, 90), predict(attrs.evolve(question, stages=stages), 90)
    if isinstance(slow, Prediction):
        assert quick.ttft_ns <= slow.ttft_ns
        assert quick.tpot_ns <= slow.tpot_ns


# --- several pipelines -----------------------------------------------------------------------------------------------


def test_equal_pipelines_are_like_one_and_unequal_ones_lie_between():
    slow, quick = at("eight slots", 90), at("eight slots", 20)
    alone = [predict(question, 90) for question in (slow, quick)]
    assert predict_shared((slow, slow, slow), 90) == alone[0]
    both = predict_shared((slow, quick), 90)
    assert alone[1].ttft_ns < both.ttft_ns < alone[0].ttft_ns
    assert alone[1].tpot_ns <= both.tpot_ns <= alone[0].tpot_ns
    assert isinstance(predict_shared((quick, attrs.evolve(quick, requests=PERIOD_NS)), 90), Overload)


def with_slo(problem, at_percentile=90):
    llm = problem.llms[0].id
    slo = Slo(llm=llm, percentile=at_percentile, ttft_ns_max=10**9, tpot_ns_max=10**9)
    return attrs.evolve(problem, slos=(slo,))


def test_a_plan_is_predicted_by_its_open_pipelines_and_weights():
    problem, plan = a_chain()
    (llm,) = problem.llms
    assert queueing.predict(problem, plan, llm.id) is None, "no SLO, no percentile"
    problem = with_slo(problem)
    asked = queueing.questions_of(problem, plan, llm.id)
    assert set(asked) == {pipeline.id for pipeline in plan.pipelines}
    assert sum(question.requests for question in asked.values()) == 3600 * 10**6
    assert queueing.predict(problem, plan, llm.id) == predict_shared(tuple(asked.values()), 90)
    weights = (attrs.evolve(plan.routing[0], weight=3), *plan.routing[1:])
    shares = [q.requests for q in queueing.questions_of(problem, attrs.evolve(plan, routing=weights), llm.id).values()]
    assert shares == [1800 * 10**6, *[600 * 10**6] * 3]


def test_a_pipeline_that_closes_is_not_asked():
    problem, plan = a_rescue()
    asked = queueing.questions_of(with_slo(problem), plan, problem.llms[0].id)
    assert "pair" not in asked
    assert len(asked) == 3


def test_hops_follow_the_links_and_neighbours_on_a_node_delay():
    problem, plan = a_rescue()
    pair = next(pipeline for pipeline in plan.pipelines if pipeline.id == "pair")
    question = queueing.question(problem, pair, 1)
    assert [stage.hop_ns for stage in question.stages] == [1000, 1000], "one NIC has a latency, on the way out"
    assert [stage.hop_token_fs for stage in question.stages] == [256 * 10**6, 0], "256 bytes at 10^9 per second"
    assert [stage.thread for stage in question.stages] == [0, 1]
    assert [stage.rival_ns for stage in question.stages] == [0, 0]
    crowded = queueing.question(problem, pair, 1, plan.pipelines)
    assert all(stage.rival_ns > 0 for stage in crowded.stages)


def test_stages_without_a_way_between_them_are_refused():
    problem, plan = a_rescue()
    pair = next(pipeline for pipeline in plan.pipelines if pipeline.id == "pair")
    links = tuple(link for link in problem.cluster.links if link.source != gpu(1))
    cut = attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, links=links))
    with pytest.raises(NoWay, match=f"{gpu(1)} to {gpu(2)}"):
        queueing.question(cut, pair, 1)


# --- the executor's batcher ------------------------------------------------------------------------------------------


def below(question, count, seeds):
    """Percentiles at which simulations took longer than predicted, beyond two standard errors of their mean.

    Waits follow one another closely: one busy hour makes a whole run slow, so only runs are independent.
    """
    runs = [simulate(question, count, seed) for seed in seeds]
    found = []
    for at_percentile in (50, 90, 95, 99):
        predicted = predict(question, at_percentile)
        for name, limit in (("ttft", predicted.ttft_ns), ("tpot", predicted.tpot_ns)):
            seen = [percentile(getattr(run, name), at_percentile) for run in runs]
            error = statistics.stdev(seen) / math.sqrt(len(seen))
            if statistics.mean(seen) - 2 * error > limit * (1 + 1e-9):
                found.append((at_percentile, name, seen, limit))
    return found


@pytest.mark.parametrize(("name", "load"), [("eight slots", 50), ("two stages", 80), ("four slots, four stages", 50)])
def test_predictions_are_not_below_a_short_simulation(name, load):
    assert below(at(name, load), 400, (7, 8)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "load"),
    [(name, load) for number, name in enumerate(SHAPES) for load in ((20, 80) if number % 2 else (50, 95))],
)
def test_predictions_are_not_below_simulations(name, load):
    assert below(at(name, load), 1200, range(3)) == []
