"""`python -m specs DOCUMENT.json`: judge a plan with its problem where only this package and attrs are installed.

Exit codes: 0 verified, 1 rejected, 2 bad input.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO, cast

from specs import codec
from specs.checker import Rejected, verify
from specs.errors import MalformedDocument, SpecError
from specs.invariants.table import INVARIANTS
from specs.plan import Plan
from specs.problem import Problem

_USAGE = 'usage: python -m specs DOCUMENT.json   (an object with the keys "problem" and "plan")'


def main(argv: Sequence[str], out: TextIO) -> int:
    """Judge the document that the one argument names; write the verdict; give the exit code."""
    if len(argv) != 1 or argv[0].startswith("-"):
        out.write(_USAGE + "\n")
        return 2
    try:
        problem, plan = _read(Path(argv[0]))
    except (OSError, SpecError) as error:
        out.write(f"{argv[0]}: {error}\n")
        return 2
    verdict = verify(problem, plan)
    if isinstance(verdict, Rejected):
        out.write(f"rejected\n{verdict}\n")
        return 1
    out.write(f"verified: the plan keeps all {len(INVARIANTS)} invariants\n")
    return 0


def _read(path: Path) -> tuple[Problem, Plan]:
    document = codec.parse(path.read_bytes())
    if not isinstance(document, dict) or document.keys() != {"problem", "plan"}:
        raise MalformedDocument('an object with the keys "problem" and "plan" is wanted')
    parts = cast("dict[str, object]", document)
    return codec.read(Problem, parts["problem"], "problem"), codec.read(Plan, parts["plan"], "plan")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdout))
