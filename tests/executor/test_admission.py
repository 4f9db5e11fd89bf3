"""The door for plans: every verdict, each for its own reason."""

import json

import attrs
import pytest

from executor.admission import Broken, Current, NotForUs, Stale, Unable, judge, judge_again, read
from specs import codec
from specs.checker import VerifiedPlan, verify
from specs.cluster import Place, PlaceKind
from specs.errors import MalformedDocument
from specs.llm import File
from specs.plan import FORMAT, Activate
from specs.problem import Holding
from specs.protocols.nouns import NodeState
from tests.builders import a_digest
from tests.live_plans import a_growth, wider
from tests.plans import a_chain, certified, with_step

PROBLEM, PLAN = a_chain(3)


def document(problem=PROBLEM, plan=PLAN):
    return b'{"problem":' + codec.encode(problem) + b',"plan":' + codec.encode(plan) + b"}"


def admit(body, node, known):
    return judge(*read(body), node, known)


def current(problem=PROBLEM, plan=PLAN, *, built=(), opened=(), closed=(), draining=(), slots=None):
    verified = verify(problem, plan)
    assert isinstance(verified, VerifiedPlan)
    state = NodeState(
        held=frozenset(),
        built=frozenset(built),
        opened=frozenset(opened),
        closed=frozenset(closed),
        draining=frozenset(draining),
    )
    pipelines = (*(each.pipeline for each in problem.running), *plan.pipelines)
    has = {each.id: each.slots for each in pipelines} | (slots or {})
    return Current(verified=verified, state=state, named={each.id for each in plan.pipelines}, slots=has)


def following(plan, parent):
    """The plan under new names, after another."""
    generation = parent.generation + 1
    names = {each.id: f"{each.id}:g{generation}" for each in plan.pipelines}

    def renamed(step):
        return attrs.evolve(step, pipeline=names[step.pipeline]) if isinstance(step, Activate) else step

    return attrs.evolve(
        plan,
        generation=generation,
        parent=codec.digest(parent),
        pipelines=tuple(attrs.evolve(each, id=names[each.id]) for each in plan.pipelines),
        steps=tuple(map(renamed, plan.steps)),
        routing=tuple(attrs.evolve(row, pipeline=names.get(row.pipeline, row.pipeline)) for row in plan.routing),
        certificates=tuple(attrs.evolve(c, subject=names.get(c.subject, c.subject)) for c in plan.certificates),
    )


CHILD = following(PLAN, PLAN)


def test_a_good_plan_is_verified():
    verdict = admit(document(), "n0", None)
    assert isinstance(verdict, VerifiedPlan)
    assert (verdict.problem, verdict.plan) == (PROBLEM, PLAN)


def test_its_follower_too():
    assert isinstance(admit(document(plan=CHILD), "n0", current()), VerifiedPlan)


def test_names_of_pipelines_never_come_again():
    again = attrs.evolve(PLAN, generation=2, parent=codec.digest(PLAN))
    verdict = admit(document(plan=again), "n0", current())
    assert isinstance(verdict, Stale)
    assert "ids of pipelines never come again" in verdict.sentence


GROWING, GROWTH = a_growth()
(KEPT,) = GROWING.running
KEPT_ID = KEPT.pipeline.id
OTHER_SLOTS = attrs.evolve(KEPT, pipeline=wider(KEPT.pipeline, GROWING.llms[0], KEPT.pipeline.slots + 1))


def growing(node="n0", problem=GROWING, *, at_first=False, **known):
    before = current(GROWING, GROWTH, **{"built": {KEPT_ID}, "opened": {KEPT_ID}} | known)
    plan = certified(problem, attrs.evolve(following(GROWTH, GROWTH), problem=codec.digest(problem)))
    return admit(document(problem, plan), node, None if at_first else before)


@pytest.mark.parametrize("node", ["n0", "n1"])
def test_a_plan_that_finds_what_runs_is_good(node):
    assert isinstance(growing(node), VerifiedPlan)


def test_who_has_no_part_in_what_runs_need_not_know_it():
    assert isinstance(growing("n1", built=(), opened=()), VerifiedPlan)
    assert isinstance(growing("n1", at_first=True), VerifiedPlan)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"opened": ()}, f"pipeline {KEPT_ID} has not opened"),
        ({"closed": {KEPT_ID}}, f"pipeline {KEPT_ID} takes no requests any more"),
        ({"draining": {KEPT_ID}}, f"pipeline {KEPT_ID} takes no requests any more"),
        ({"slots": {KEPT_ID: 3}}, f"pipeline {KEPT_ID} has 3 slots now, not the 4 that the plan finds"),
        ({"built": ()}, f"the stage of pipeline {KEPT_ID} on n0 does not compute"),
        ({"at_first": True}, f"pipeline {KEPT_ID} does not run on n0, which has no plan yet"),
        ({"problem": attrs.evolve(GROWING, running=(OTHER_SLOTS,))}, "runs with other stages or limits"),
    ],
)
def test_what_does_not_run_as_the_plan_says_is_stale(how, words):
    verdict = growing(**how)
    assert isinstance(verdict, Stale)
    assert words in verdict.sentence


@pytest.mark.parametrize(
    ("how", "is_good"),
    [({}, True), ({"closed": {KEPT_ID}}, False), ({"draining": {KEPT_ID}}, False), ({"slots": {KEPT_ID: 3}}, False)],
)
def test_what_is_led_here_is_judged_again(how, is_good):
    verified = growing()
    now = current(GROWING, GROWTH, **{"built": {KEPT_ID}, "opened": {KEPT_ID}} | how)
    assert (judge_again(verified, now) == verified) == is_good
    elsewhere = attrs.evolve(now, slots={})
    assert judge_again(verified, elsewhere) == judge_again(verified, None) == verified


def with_plan(**changes):
    parsed = json.loads(document())
    return json.dumps(parsed | {"plan": parsed["plan"] | changes}).encode()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[]", 'an object with the keys "problem" and "plan"'),
        (b'{"plan":{}}', 'an object with the keys "problem" and "plan"'),
        (b'{"plan":{},"problem":{},"more":{}}', 'an object with the keys "problem" and "plan"'),
        (b'{"plan":{},"plan":{}}', "given twice"),
        (b'{"plan":{},"problem":{}}', "plan.format is None; this node reads format 1"),
        (b'{"plan":[],"problem":{}}', "problem lacks"),
        (with_plan(format=FORMAT + 1), "plan.format is 2; this node reads format 1"),
        (with_plan(steps=None), "plan.steps is null"),
        (with_plan(generation=0), "from 1"),
        (with_plan(generation=1.0), "not a whole number"),
        (document()[:-1], "not JSON"),
    ],
)
def test_what_is_no_plan_is_malformed(body, words):
    with pytest.raises(MalformedDocument, match=words):
        read(body)


def test_a_broken_plan_names_the_rule():
    verdict = admit(document(plan=with_step(PLAN, 1, bytes_per_second=10**15)), "n0", None)
    assert isinstance(verdict, Broken)
    assert "LINK" in {violation.rule for violation in verdict.rejected.violations}


def test_a_broken_plan_is_broken_for_a_node_that_has_one_too():
    assert isinstance(admit(document(plan=with_step(CHILD, 1, bytes_per_second=10**15)), "n0", current()), Broken)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (
            attrs.evolve(PLAN, provenance=attrs.evolve(PLAN.provenance, seed=1)),
            "generation 1; n0 carries out generation 1",
        ),
        (attrs.evolve(CHILD, parent=None), "its parent is None"),
        (attrs.evolve(CHILD, parent=a_digest("other")), "does not follow"),
        (attrs.evolve(CHILD, generation=9, parent=a_digest("other")), "does not follow"),
    ],
)
def test_a_plan_that_does_not_follow_is_stale(plan, words):
    verdict = admit(document(plan=plan), "n0", current())
    assert isinstance(verdict, Stale)
    assert words in verdict.sentence


def test_another_cluster_is_not_for_us():
    elsewhere = attrs.evolve(PROBLEM, cluster=attrs.evolve(PROBLEM.cluster, name="elsewhere"))
    verdict = admit(document(elsewhere, attrs.evolve(CHILD, problem=codec.digest(elsewhere))), "n0", current())
    assert verdict == NotForUs("the plan is for cluster elsewhere; n0 serves cluster toys")


def test_a_plan_without_this_node_is_not_for_us():
    assert admit(document(), "n9", None) == NotForUs("the plan is for cluster toys, which has no node n9")


def test_a_plan_without_addresses_is_only_for_study():
    nodes = tuple(attrs.evolve(node, address=None) for node in PROBLEM.cluster.nodes)
    problem = attrs.evolve(PROBLEM, cluster=attrs.evolve(PROBLEM.cluster, nodes=nodes))
    verdict = admit(document(problem, attrs.evolve(PLAN, problem=codec.digest(problem))), "n0", None)
    assert isinstance(verdict, NotForUs)
    assert "n0, n1, n2 have no address" in verdict.sentence


def test_the_same_plan_with_another_problem_is_not_the_same():
    other = attrs.evolve(PROBLEM, name="other")
    assert isinstance(admit(document(other), "n0", None), Broken)


def test_only_the_checker_makes_a_verified_plan():
    with pytest.raises(TypeError):
        VerifiedPlan(PROBLEM, PLAN, None)


def with_problem(problem):
    return document(problem, certified(problem, attrs.evolve(PLAN, problem=codec.digest(problem))))


def test_a_memory_in_which_no_daemon_keeps_blobs():
    ssd = Place(id="n0/ssd0", kind=PlaceKind.SSD, node="n0", memory_bytes=2**40)
    cluster = attrs.evolve(PROBLEM.cluster, places=(*PROBLEM.cluster.places, ssd))
    unused = attrs.evolve(PROBLEM, cluster=cluster)
    assert isinstance(admit(with_problem(unused), "n0", None), VerifiedPlan)
    used = attrs.evolve(unused, holdings=(*PROBLEM.holdings, Holding(llm="llm", place="n0/ssd0")))
    verdict = admit(with_problem(used), "n1", None)
    words = "n0/ssd0, of kind ssd, holds llm at the start: daemons keep blobs in the memory of devices and hosts only"
    assert verdict == Unable((words,))


def test_a_small_file_that_is_none():
    (llm,) = PROBLEM.llms
    files = (File(name="vocab.json", bytes=2**28, digest=a_digest("vocab")),)
    verdict = admit(with_problem(attrs.evolve(PROBLEM, llms=(attrs.evolve(llm, files=files),))), "n0", None)
    words = "vocab.json of llm has 268,435,456 bytes: daemons pass on small files of at most 268,369,920"
    assert verdict == Unable((words,))
