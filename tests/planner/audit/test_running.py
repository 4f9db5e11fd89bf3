"""Runs of plans that begin from running pipelines: their closings are audited like any other."""

import pytest

from planner.audit.instants import predicted
from planner.audit.report import audit
from planner.outcome import Planned
from specs.journal import Closed, StageFreed
from tests.planner.reconfiguring.cases import a_service
from tests.running_clusters import reached, replanned
from tests.runs import exact_run, journals_of, with_record, without


@pytest.fixture(scope="module")
def moved():
    outcome = replanned(reached(a_service((1, 2, 3, 4))), a_service((1, 2, 5, 6)))
    assert isinstance(outcome, Planned)
    return outcome.verified


def differs(verified, run):
    report = audit(verified, journals_of(run, generation=verified.plan.generation))
    return {finding.id: [each.sentence for each in finding.differs] for finding in report.findings if finding.differs}


def test_a_run_as_planned(moved):
    assert differs(moved, exact_run(moved.problem, moved.plan)) == {}


def test_a_running_pipeline_that_never_closed(moved):
    run = without(exact_run(moved.problem, moved.plan), lambda what: isinstance(what, Closed | StageFreed))
    assert differs(moved, run) == {"CLOSED": ["it never closed; the plan switches to llm/serve-1:g2"]}


def test_a_kept_pipeline_that_was_freed(moved):
    run = with_record(exact_run(moved.problem, moved.plan), "n1", StageFreed(pipeline="llm/serve-0"), 1)
    assert differs(moved, run) == {"FREED": ["n1 freed its stage of a pipeline that never closed"]}


def test_running_pipelines_are_open_from_the_start(moved):
    instants = {each.pipeline: each for each in predicted(moved.plan, moved.problem).pipelines}
    assert (instants["llm/serve-0"].opened_ns, instants["llm/serve-0"].closed_ns) == (0, None)
    assert instants["llm/serve-1"].opened_ns == 0
    assert instants["llm/serve-1"].closed_ns == max(step.at_ns for step in moved.plan.steps if hasattr(step, "old"))
