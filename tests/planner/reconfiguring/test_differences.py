"""What a plan changes, against sums over its steps."""

import pytest

from planner.outcome import Planned
from planner.reconfiguring.arrived import arrived
from planner.reconfiguring.differences import difference
from planner.reconfiguring.picture import draw
from specs.invariants.facts import Facts
from specs.plan import Release, Transfer
from specs.problem import Running
from tests.planner.reconfiguring.cases import a_service
from tests.plans import a_pipeline, gpu
from tests.running_clusters import after, reached, replanned


@pytest.fixture(scope="module")
def moved():
    outcome = replanned(reached(a_service((1, 2, 3, 4))), a_service((1, 2, 5, 6)))
    assert isinstance(outcome, Planned)
    return outcome.verified


def test_sums(moved):
    found = difference(moved)
    sizes = {blob.id: blob.bytes for blob in moved.plan.blobs}
    transfers = [step for step in moved.plan.steps if isinstance(step, Transfer)]
    (of_llm,) = found.moved
    assert of_llm.bytes == sum(sizes[step.blob] for step in transfers)
    assert of_llm.released == sum(isinstance(step, Release) for step in moved.plan.steps)
    for each in found.crossed:
        crossing = [step for step in transfers if each.link in moved.plan.routes[step.route].links]
        assert each.weights_bytes == sum(sizes[step.blob] for step in crossing)
        assert each.busy_ns <= found.lasts_ns
    assert found.lasts_ns == max(getattr(step, "end_ns", getattr(step, "at_ns", 0)) for step in moved.plan.steps)


def test_memories_at_their_tightest(moved):
    facts = Facts(moved.problem, moved.plan)
    for each in difference(moved).fullest:
        arrived_here = facts.arrivals.get(each.place, {}).keys() | facts.held.get(each.place, set())
        most = sum(facts.blob_bytes[blob] for blob in arrived_here)
        most += sum(stage.kv_bytes + stage.workspace_bytes for _, stage in facts.stages_at[each.place])
        assert 0 < each.used_bytes <= min(most, each.memory_bytes)


def test_what_requests_see(moved):
    kept, copied = difference(moved).seen
    assert (kept.fate, kept.pause_ns, kept.successor) == ("kept", 0, None)
    assert (copied.fate, copied.requests, copied.tokens) == ("copy", 2, 48)
    assert 0 < copied.pause_ns <= 10_000_000
    assert copied.at_ns == difference(moved).lasts_ns


def test_kv_of_now_crosses_the_links_of_its_paths(moved):
    kv = {each.link: each.kv_bytes for each in difference(moved).crossed if each.kv_bytes}
    layers, tokens, per_layer = 8, 48, 4096
    assert sum(kv[link] for link in kv if link.startswith("leaf>")) == layers * tokens * per_layer


def test_a_pipeline_that_the_plan_does_not_name_closes(moved):
    (llm,) = moved.problem.llms
    stranger = Running(pipeline=a_pipeline("stranger", llm, (gpu(0), 0, 10)), live_requests=1, live_tokens=5)
    (seen,) = difference(moved, (stranger,)).seen
    assert (seen.fate, seen.at_ns) == ("closed", None)


def test_the_picture_names_devices_and_pipelines(moved):
    drawn = draw(moved, difference(moved))
    for word in ("llm/serve-1", "llm/serve-1:g2", gpu(5), "hands KV over"):
        assert word in drawn


def test_the_state_that_a_plan_leads_to(moved):
    found, replayed = (arrived(moved, requests=2, context_tokens=24), after(moved.problem, moved.plan))
    for ours, theirs in zip(found.nodes, replayed.nodes, strict=True):
        assert (ours.leads, ours.generation_max) == (theirs.leads, theirs.generation_max)
        assert (set(ours.held), len(ours.held)) == (set(theirs.held), len(theirs.held))
