"""What has to be shown for an inductive invariant, and Z3's verdict on it.

That something is always true is shown in three parts: an invariant holds at the start; every step keeps it; and it
implies what is to be shown.  Of each part, an obligation, Z3 is asked for a case against it: `unsat` is a proof; `sat`
comes with a counterexample; `unknown` is neither.
"""

import time
from collections.abc import Iterable, Mapping
from enum import StrEnum

import attrs
import z3

from specs.proofs.logic import Truth

WITHIN_MS = 20_000  # for one obligation


class Verdict(StrEnum):
    """What Z3 says of an obligation."""

    PROVED = "proved"
    REFUTED = "refuted"  # there is a counterexample
    UNKNOWN = "unknown"


_VERDICTS = {"unsat": Verdict.PROVED, "sat": Verdict.REFUTED, "unknown": Verdict.UNKNOWN}


@attrs.frozen(kw_only=True)
class Obligation:
    """The goal follows from the premises."""

    name: str
    premises: tuple[Truth, ...]
    goal: Truth


@attrs.frozen(kw_only=True)
class Judged:
    """An obligation, what became of it, and how long that took."""

    name: str
    verdict: Verdict
    seconds: float
    counterexample: str | None


@attrs.frozen(kw_only=True)
class Change:
    """One kind of step: when it may be taken, and which invariants hold of the state after it."""

    name: str
    guards: Mapping[str, Truth]
    after: Mapping[str, Truth]

    def without(self, guard: str | None) -> "Change":
        """Take away one guard, named "step: guard", if it is of this step: what is not proved any more needs it."""
        kept = {name: truth for name, truth in self.guards.items() if f"{self.name}: {name}" != guard}
        return attrs.evolve(self, guards=kept)


def judge(obligation: Obligation, within_ms: int = WITHIN_MS) -> Judged:
    """Ask Z3 for a case in which the premises hold and the goal does not."""
    solver = z3.Solver()
    solver.set("timeout", within_ms)
    solver.add(*obligation.premises)
    solver.add(z3.Not(obligation.goal))
    began = time.monotonic()
    answer = solver.check()
    seconds = time.monotonic() - began
    verdict = _VERDICTS[str(answer)]
    counterexample = str(solver.model()) if verdict is Verdict.REFUTED else None
    return Judged(name=obligation.name, verdict=verdict, seconds=seconds, counterexample=counterexample)


def induction(
    *,
    axioms: Iterable[Truth],
    at_start: Mapping[str, Truth],
    invariant: Mapping[str, Truth],
    changes: Iterable[Change],
    shown: Mapping[str, Truth],
) -> tuple[Obligation, ...]:
    """List the obligations: the invariant at the start, kept by every change, and what follows from it."""
    known = (*axioms, *invariant.values())
    found = [
        Obligation(name=f"at the start: {name}", premises=tuple(axioms), goal=goal) for name, goal in at_start.items()
    ]
    for change in changes:
        premises = (*known, *change.guards.values())
        found += (
            Obligation(name=f"{change.name}: {name}", premises=premises, goal=goal)
            for name, goal in change.after.items()
        )
    found += (Obligation(name=f"follows: {name}", premises=known, goal=goal) for name, goal in shown.items())
    return tuple(found)


def say(obligations: Iterable[Obligation]) -> None:
    """Prove each obligation and print a line on it.  Raises SystemExit when one is not proved."""
    judged = []
    for obligation in obligations:
        judged.append(judge(obligation))
        print(f"{judged[-1].verdict:8} {judged[-1].seconds:7.3f} s  {judged[-1].name}")
    proved = sum(each.verdict is Verdict.PROVED for each in judged)
    print(f"{proved} of {len(judged)} obligations proved in {sum(each.seconds for each in judged):.2f} s")
    if proved < len(judged):
        raise SystemExit(1)
