"""What a node's parts learn from the core when it begins to carry out a plan."""

from unittest.mock import Mock

import attrs
import pytest

from executor.equipment import Equipment
from executor.hearing import Hearing
from executor.loading import Loaded
from executor.messages import Message, encode
from executor.pipelines.front import Front, doors_of
from executor.shell import Shell
from specs.checker import VerifiedPlan
from specs.protocols.node_plan import node_plan
from specs.protocols.nouns import Carried, Report
from specs.protocols.plan_switch_nouns import PlanName
from tests.executor.test_machine import before, from_running
from tests.plans import a_relocation


def begun(carried, node="n1"):
    """The front of a node that begins a plan, and that saw the running pipeline open under the plan before."""
    problem, plan = from_running(*a_relocation())
    (running,) = (each.pipeline for each in problem.running)
    front = Front(node, Mock(), [].append)
    front.adopt(doors_of(problem, plan, lambda _: "n0"))
    front.openings(frozenset({running.id}))
    assert front.can_serve(running.llm)
    parts = {field.name: Mock() for field in attrs.fields(Equipment)}
    equipment = Equipment(**parts | {"node": node, "life": "life", "hearing": Hearing(), "front": front, "leaders": {}})
    equipment.tasks.spawn = lambda work: work.close()
    given = {field.name: Mock() for field in attrs.fields(Loaded)}
    verified = Mock(spec=VerifiedPlan, problem=problem, plan=plan)
    loaded = Loaded(**given | {"verified": verified, "node_plan": node_plan(problem, plan, node), "digest": "ab" * 32})
    shell = Shell(loaded, before(loaded.node_plan, carried(running.id)), equipment)
    shell.begin()
    return front, running, shell


@pytest.mark.parametrize(
    ("carried", "is_open"),
    [
        (lambda it: Carried(opened=frozenset({it})), True),
        (lambda it: Carried(opened=frozenset({it}), closed=frozenset({it})), False),  # its leader counted as lost
        (lambda _: Carried(), False),
    ],
)
def test_the_front_goes_by_what_the_node_knows_from_the_first_moment(carried, is_open):
    front, running, _ = begun(carried)
    assert front.can_serve(running.llm) == is_open


def test_a_peer_is_heard_under_the_plan_that_it_carries_out_and_no_other():
    """It may speak for ever and never carry out this one: it declined, was started again, or carries out a rival."""
    _, _, shell = begun(lambda _: Carried())
    heard = shell._equipment.hearing._heard_ns
    other = attrs.evolve(shell.name, generation=shell.generation + 1)
    shell.met("n0", "life", None)
    shell.met("n0", "life", other)
    shell.hear("n0", a_report(other))
    assert not heard
    shell.met("n2", "life", shell.name)
    shell.hear("n0", a_report(shell.name))
    assert heard.keys() == {"n0", "n2"}


def a_report(name: PlanName) -> bytes:
    message = Message(plan=name.digest, generation=name.generation, life="life", report=Report())
    return encode(message)
