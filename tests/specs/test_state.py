"""The state of a running cluster: a strict document, and what contradicts itself in it."""

import attrs
import pytest

from specs import codec
from specs.errors import MalformedDocument
from specs.protocols.nouns import Copy
from specs.protocols.plan_switch_nouns import PlanName
from specs.state import Load, RunningCluster, RunningNode
from tests.plans import a_chain, gpu, local


def a_node(plan, number, held, leads=()):
    return RunningNode(
        node=f"n{number}",
        plan=PlanName(generation=plan.generation, digest=codec.digest(plan)),
        generation_max=plan.generation,
        held=tuple(Copy(blob=blob, place=gpu(number)) for blob in held),
        leads=tuple(Load(pipeline=pipeline, live_requests=2, live_tokens=33) for pipeline in leads),
    )


ENTRIES = (("n2", 6), ("new", 0))


def a_running_chain():
    problem, plan = a_chain()
    names = [blob.id for blob in plan.blobs]
    nodes = (a_node(plan, 0, names, [f"llm@{gpu(0)}"]), a_node(plan, 1, names[:1]))
    return RunningCluster(problem=problem, plan=plan, nodes=nodes)


def test_it_is_read_as_it_was_written():
    state = a_running_chain()
    assert codec.decode(RunningCluster, codec.encode(state)) == state


def test_nodes_that_said_nothing():
    assert a_running_chain().silent == ("n2", "n3")


def test_nodes_without_a_plan_say_how_high_the_next_generation_must_be():
    state = a_running_chain()
    empty = [RunningNode(node=node, plan=None, generation_max=most, held=(), leads=()) for node, most in ENTRIES]
    state = attrs.evolve(state, nodes=(*state.nodes, *empty))
    assert (state.empty, state.silent, state.generation_max) == (("n2",), ("n3",), 6)
    assert codec.decode(RunningCluster, codec.encode(state)) == state


def test_pipelines_are_those_that_ran_and_those_of_the_plan():
    state = a_running_chain()
    (llm,) = state.problem.llms
    assert state.pipelines[f"llm@{gpu(0)}"] == state.plan.pipelines[0]
    assert local(llm, gpu(3)).id in state.pipelines


def test_what_runs_has_the_load_and_the_slots_that_its_leader_says():
    state = a_running_chain()
    (load,) = state.nodes[0].leads
    (running,) = state.open
    assert (running.live_requests, running.live_tokens, running.slots_now) == (2, 33, 4)
    shrunk = attrs.evolve(state.nodes[0], leads=(attrs.evolve(load, slots=3),))
    (running,) = attrs.evolve(state, nodes=(shrunk, state.nodes[1])).open
    assert running.slots_now == 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"node": "n7"}, "n7 is not in cluster"),
        ({"node": "n1"}, "n1 is given 2 times"),
        ({"plan": PlanName(generation=1, digest="0" * 64)}, "n0 has adopted plan 000000000000, generation 1"),
        ({"plan": None}, "n0 has no plan, and says that it holds or leads"),
        ({"held": (Copy(blob="llm/0", place=gpu(1)),)}, "which is not a place of it"),
        ({"held": (Copy(blob="llm/9", place=gpu(0)),)}, "holds llm/9, which its plan does not name"),
        ({"held": (Copy(blob="llm/0", place=gpu(0)),) * 2}, "names a copy twice"),
        ({"leads": (Load(pipeline="other", live_requests=0, live_tokens=0),)}, "leads pipeline other"),
        ({"leads": (Load(pipeline=f"llm@{gpu(1)}", live_requests=0, live_tokens=0),)}, "which begins at n1"),
        ({"leads": (Load(pipeline=f"llm@{gpu(0)}", live_requests=0, live_tokens=0),) * 2}, "names a pipeline twice"),
        (
            {"leads": (Load(pipeline=f"llm@{gpu(0)}", live_requests=0, live_tokens=0, slots=5),)},
            f"n0 says that pipeline llm@{gpu(0)} has 5 slots, of 4",
        ),
    ],
)
def test_what_contradicts_itself_is_said(changes, sentence):
    state = a_running_chain()
    with pytest.raises(MalformedDocument, match=sentence):
        attrs.evolve(state, nodes=(attrs.evolve(state.nodes[0], **changes), state.nodes[1]))


def test_a_plan_of_another_problem():
    state = a_running_chain()
    with pytest.raises(MalformedDocument, match="the plan is for problem"):
        attrs.evolve(state, problem=attrs.evolve(state.problem, name="another"))
