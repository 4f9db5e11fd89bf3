"""Resizes in a journal: what is done once, after it began, and what does not follow."""

import attrs
import pytest

from specs import codec, journal
from specs.checker import VerifiedPlan, verify
from specs.plan import Resize
from specs.protocols import events as core
from specs.protocols import plan_switch_nouns as switch
from specs.replay import Life, replay
from tests.builders import a_problem
from tests.plans import Draft, blobs_of, gpu, local

PIPELINE = f"llm@{gpu(0)}"


def verified():
    """One node opens a pipeline with 2 of 4 slots, and then gives it 3."""
    problem = a_problem(1)
    (llm,) = problem.llms
    draft = Draft(problem, blobs_of(llm, 1))
    draft.open(local(llm, gpu(0)), 0, 2)
    draft.resize(local(llm, gpu(0)), 3, 1)
    found = verify(problem, draft.plan())
    assert isinstance(found, VerifiedPlan), str(found)
    return found


def under(*events):
    return [journal.LearntUnderPlan(event=event) for event in events]


RESIZED = journal.Resized(step=1, pipeline=PIPELINE, slots_before=2, slots=3, elapsed_ns=5)


def said(*after_opening):
    plan = verified()
    digest = codec.digest(plan.plan)
    name = switch.PlanName(generation=1, digest=digest)
    whats = [
        journal.Started(settled=0),
        journal.LearntOfPlans(event=switch.Offered(switch.Offer(name=name, parent=None, nodes=("n0",)))),
        journal.Adopted(plan=digest, problem=codec.digest(plan.problem)),
        journal.StageBuilt(pipeline=PIPELINE),
        *under(core.StageBuilt(PIPELINE)),
        journal.Proved(pipeline=PIPELINE, right=True),
        *under(core.Proved(PIPELINE, right=True)),
        journal.Opened(pipeline=PIPELINE),
        *after_opening,
    ]
    records = tuple(
        journal.Record(sequence=order, at_unix_ns=1 + order, node="n0", generation=1, what=what)
        for order, what in enumerate(whats)
    )
    return [each.sentence for each in replay((Life(node="n0", records=records),), {digest: plan}).breaches]


def test_a_resize_that_was_due_replays():
    assert isinstance(verified().plan.steps[1], Resize)
    assert said(RESIZED, *under(core.Resized(1))) == []


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ((RESIZED, RESIZED), "a resize is done once"),
        ((RESIZED, *under(core.Resized(1)), RESIZED), "a resize is done once"),
        ((attrs.evolve(RESIZED, slots=4),), "as many slots as it says"),
        ((attrs.evolve(RESIZED, step=0),), "after it began"),
        ((attrs.evolve(RESIZED, pipeline="other"),), "after it began"),
        (tuple(under(core.Resized(1))), "has not written that this happened"),
    ],
)
def test_what_does_not_follow(records, words):
    (sentence,) = said(*records)
    assert words in sentence
