"""Plan files: written whole or not at all, read strictly."""

from pathlib import Path

from planner.cli.output import write_whole
from planner.errors import BadPlan
from specs import codec
from specs.checker import Rejected, VerifiedPlan, verify
from specs.errors import MalformedDocument
from specs.plan import FORMAT, Plan
from specs.problem import Problem


def write_plan(path: Path, plan: Plan) -> int:
    """Write a plan's canonical bytes; give their number.  Raises CannotWrite; then nothing has changed."""
    return write_whole(path, codec.encode(plan))


def write_document(path: Path, verified: VerifiedPlan) -> int:
    """Write a plan with its problem, as daemons take them; give the number of bytes.  Raises CannotWrite."""
    problem, plan = codec.encode(verified.problem), codec.encode(verified.plan)
    return write_whole(path, b'{"plan":' + plan + b',"problem":' + problem + b"}")


def read_plan(path: Path) -> Plan:
    """Read a plan.  Raises BadPlan."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadPlan(f"{path}: cannot be read: {error.strerror}") from error
    try:
        parsed = codec.parse(data)
        if isinstance(parsed, dict) and parsed.get("format", FORMAT) != FORMAT:
            raise BadPlan(f"{path}: format {parsed['format']!r:.40}; this version reads format {FORMAT}")
        return codec.read(Plan, parsed, "plan")
    except MalformedDocument as error:
        raise BadPlan(f"{path}: {error}") from error


def read_verified(problem: Problem, path: Path) -> VerifiedPlan:
    """Read a plan and have the checker pass it.  Raises BadPlan, also for a plan that the checker rejects."""
    verdict = verify(problem, read_plan(path))
    if isinstance(verdict, Rejected):
        rules = ", ".join(sorted({each.rule for each in verdict.violations}))
        raise BadPlan(f"{path}: the plan breaks {rules}: {verdict.violations[0].sentence}; `holdfast check` says all")
    return verdict
