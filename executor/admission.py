"""The door that every plan passes: decoded strictly, verified again, compared with what this node is and knows."""

from typing import cast

import attrs

from specs import codec
from specs.checker import Rejected, VerifiedPlan, verify
from specs.cluster import NodeId
from specs.errors import InvalidProblem, MalformedDocument
from specs.plan import FORMAT, Plan
from specs.problem import Problem


@attrs.frozen
class Malformed:
    """The bytes are no problem with a plan."""

    sentence: str


@attrs.frozen
class Broken:
    """The plan breaks invariants."""

    rejected: Rejected


@attrs.frozen
class Stale:
    """The plan is not newer than the one that this node carries out, or does not follow it."""

    sentence: str


@attrs.frozen
class NotForUs:
    """The plan is for another cluster than the one that this node belongs to."""

    sentence: str


@attrs.frozen
class AlreadyHere:
    """This very plan is being carried out."""


Verdict = VerifiedPlan | Malformed | Broken | Stale | NotForUs | AlreadyHere


def admit(document: bytes, node: NodeId, current: VerifiedPlan | None) -> Verdict:
    """Judge a document {"problem": ..., "plan": ...} that somebody offers to a node."""
    try:
        problem, plan = _decode(document)
    except (MalformedDocument, InvalidProblem) as error:
        return Malformed(str(error))
    if current is not None:
        if (problem, plan) == (current.problem, current.plan):
            return AlreadyHere()
        if problem.cluster.name != current.problem.cluster.name:
            ours = current.problem.cluster.name
            return NotForUs(f"the plan is for cluster {problem.cluster.name}; {node} serves cluster {ours}")
        if plan.generation <= current.plan.generation:
            newest = current.plan.generation
            return Stale(f"the plan has generation {plan.generation}; {node} carries out generation {newest}")
        if plan.parent != codec.digest(current.plan):
            return Stale(f"the plan does not follow the one that {node} carries out: its parent is {plan.parent}")
    known = {each.id: each for each in problem.cluster.nodes}
    if node not in known:
        return NotForUs(f"the plan is for cluster {problem.cluster.name}, which has no node {node}")
    if missing := sorted(name for name, each in known.items() if each.address is None):
        return NotForUs(f"nodes {', '.join(missing[:5])} have no address: the plan can be studied, not carried out")
    verdict = verify(problem, plan)
    return Broken(verdict) if isinstance(verdict, Rejected) else verdict


def _decode(document: bytes) -> tuple[Problem, Plan]:
    parsed = codec.parse(document)
    if not isinstance(parsed, dict) or parsed.keys() != {"problem", "plan"}:
        raise MalformedDocument('the document must be an object with the keys "problem" and "plan", and no other')
    parts = cast("dict[str, object]", parsed)
    plan_part = parts["plan"]
    if isinstance(plan_part, dict) and plan_part.get("format") != FORMAT:
        raise MalformedDocument(f"plan.format is {plan_part.get('format')!r:.40}; this node reads format {FORMAT}")
    return codec.read(Problem, parts["problem"], "problem"), codec.read(Plan, plan_part, "plan")
