"""Plan files: written whole or not at all, read strictly."""

from pathlib import Path
from typing import TypeGuard

import attrs

from planner.cli.output import write_whole
from planner.errors import BadPlan, BadState
from specs import codec
from specs.checker import Rejected, VerifiedPlan, verify
from specs.errors import InvalidProblem, MalformedDocument
from specs.invariants.facts import Facts
from specs.plan import FORMAT, Plan
from specs.problem import Problem, Running
from specs.state import RunningCluster
from specs.units import Tokens


def write_plan(path: Path, plan: Plan) -> int:
    """Write a plan's canonical bytes; give their number.  Raises CannotWrite; then nothing has changed."""
    return write_whole(path, codec.encode(plan))


def write_document(path: Path, verified: VerifiedPlan) -> int:
    """Write a plan with its problem, as daemons take them; give the number of bytes.  Raises CannotWrite."""
    problem, plan = codec.encode(verified.problem), codec.encode(verified.plan)
    return write_whole(path, b'{"plan":' + plan + b',"problem":' + problem + b"}")


def read_plan(path: Path) -> Plan:
    """Read a plan, also out of a document.  Raises BadPlan."""
    parsed = _parsed(path)
    return _plan(path, parsed["plan"] if _is_document(parsed) else parsed)


def _parsed(path: Path) -> object:
    try:
        return codec.parse(path.read_bytes())
    except OSError as error:
        raise BadPlan(f"{path}: cannot be read: {error.strerror}") from error
    except MalformedDocument as error:
        raise BadPlan(f"{path}: {error}") from error


def _plan(path: Path, parsed: object) -> Plan:
    if isinstance(parsed, dict) and parsed.get("format", FORMAT) != FORMAT:
        raise BadPlan(f"{path}: format {parsed['format']!r:.40}; this version reads format {FORMAT}")
    try:
        return codec.read(Plan, parsed, "plan")
    except MalformedDocument as error:
        raise BadPlan(f"{path}: {error}") from error


def read_begun(path: Path, described: Problem) -> VerifiedPlan:
    """Read a plan: a document, with its problem, or a plan of the problem described.

    Raises BadPlan, also for a plan that the checker rejects.
    """
    parsed = _parsed(path)
    problem, part = described, parsed
    if _is_document(parsed):
        problem, part = _problem(path, parsed), parsed["plan"]
    plan = _plan(path, part)
    if plan.problem != codec.digest(problem):
        raise BadPlan(
            f"{path}: the plan is for problem {plan.problem[:12]}, described is {codec.digest(problem)[:12]}; give the "
            "document that the daemons took (--document writes it), which has its problem"
        )
    return _verified(path, problem, plan)


def read_document(path: Path) -> VerifiedPlan:
    """Read a plan with its problem.  Raises BadPlan, also for a plan that the checker rejects."""
    parsed = _parsed(path)
    if not _is_document(parsed):
        raise BadPlan(f"{path}: a plan with its problem is wanted: what `holdfast plan --document` writes")
    return _verified(path, _problem(path, parsed), _plan(path, parsed["plan"]))


@attrs.frozen(kw_only=True)
class WhatRuns:
    """Pipelines that are open, and the digest of the plan under which they are."""

    plan: str
    pipelines: tuple[Running, ...]


def read_what_runs(path: Path) -> WhatRuns:
    """Read what is open from a state, or what a document's plan leaves open, with no requests.

    Raises BadPlan and BadState.
    """
    parsed = _parsed(path)
    if not _is_document(parsed):
        state = read_state(path)
        return WhatRuns(plan=codec.digest(state.plan), pipelines=state.open)
    verified = read_document(path)
    lasting = Facts(verified.problem, verified.plan).open_at_end
    idle = (Running(pipeline=each, live_requests=0, live_tokens=Tokens(0)) for each in lasting)
    return WhatRuns(plan=codec.digest(verified.plan), pipelines=tuple(idle))


def _is_document(parsed: object) -> TypeGuard[dict[str, object]]:
    return isinstance(parsed, dict) and parsed.keys() == {"plan", "problem"}


def _problem(path: Path, parsed: dict[str, object]) -> Problem:
    try:
        return codec.read(Problem, parsed["problem"], "problem")
    except (MalformedDocument, InvalidProblem) as error:
        raise BadPlan(f"{path}: {error}") from error


def read_state(path: Path) -> RunningCluster:
    """Read the state of a running cluster.  Raises BadState."""
    try:
        return codec.decode(RunningCluster, path.read_bytes())
    except OSError as error:
        raise BadState(f"{path}: cannot be read: {error.strerror}") from error
    except (MalformedDocument, InvalidProblem) as error:
        raise BadState(f"{path}: {error}") from error


def read_verified(described: Problem, path: Path) -> VerifiedPlan:
    """Read a plan and have the checker pass it.  Raises BadPlan, also for a plan that the checker rejects."""
    problem, plan = read_candidate(described, path)
    return _verified(path, problem, plan)


def read_candidate(described: Problem, path: Path) -> tuple[Problem, Plan]:
    """Read a plan and its problem: a document's own where pipelines run at the start, else the one described.

    What runs is in no description.  Raises BadPlan.
    """
    parsed = _parsed(path)
    if not _is_document(parsed):
        return described, _plan(path, parsed)
    problem, plan = _problem(path, parsed), _plan(path, parsed["plan"])
    return problem if problem.running else described, plan


def _verified(path: Path, problem: Problem, plan: Plan) -> VerifiedPlan:
    verdict = verify(problem, plan)
    if isinstance(verdict, Rejected):
        rules = ", ".join(sorted({each.rule for each in verdict.violations}))
        raise BadPlan(f"{path}: the plan breaks {rules}: {verdict.violations[0].sentence}; `holdfast check` says all")
    return verdict
