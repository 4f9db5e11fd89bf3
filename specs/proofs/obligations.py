"""What has to be shown for an inductive invariant, and Z3's verdict on it.

That something is always true is shown in three parts: an invariant holds at the start; every step keeps it; and it
implies what is to be shown.  Of each part, an obligation, Z3 is asked for a case against it: `unsat` is a proof; `sat`
comes with a counterexample; `unknown` is neither.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
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
    """One kind of step: when it may be taken, and what is to hold of the state after it."""

    name: str
    guards: Mapping[str, Truth]
    after: Mapping[str, Truth]

    def without(self, name: str) -> "Change":
        """Take away one guard, named "step: guard", or one sentence of the invariant."""
        guards = {guard: truth for guard, truth in self.guards.items() if f"{self.name}: {guard}" != name}
        return attrs.evolve(self, guards=guards, after=_but(self.after, name))


@attrs.frozen(kw_only=True)
class Induction:
    """A proof: the invariant holds at the start, every change keeps it, and what is to be shown follows from it."""

    axioms: tuple[Truth, ...]
    at_start: Mapping[str, Truth]
    invariant: Mapping[str, Truth]
    changes: tuple[Change, ...]
    shown: Mapping[str, Truth]

    def without(self, name: str) -> "Induction":
        """Take away one guard, named "step: guard", or one sentence of the invariant, to see what needs it."""
        return attrs.evolve(
            self,
            at_start=_but(self.at_start, name),
            invariant=_but(self.invariant, name),
            changes=tuple(change.without(name) for change in self.changes),
        )

    def guards(self) -> tuple[str, ...]:
        """Name every guard of every step, as "step: guard"."""
        return tuple(f"{change.name}: {guard}" for change in self.changes for guard in change.guards)

    def obligations(self) -> tuple[Obligation, ...]:
        """List what is to be proved."""
        known = (*self.axioms, *self.invariant.values())
        return (
            *_each("at the start", self.axioms, self.at_start),
            *(
                obligation
                for change in self.changes
                for obligation in _each(change.name, (*known, *change.guards.values()), change.after)
            ),
            *_each("follows", known, self.shown),
        )


def _but(sentences: Mapping[str, Truth], name: str) -> Mapping[str, Truth]:
    return {each: truth for each, truth in sentences.items() if each != name}


def _each(part: str, premises: tuple[Truth, ...], goals: Mapping[str, Truth]) -> Iterator[Obligation]:
    for name, goal in goals.items():
        yield Obligation(name=f"{part}: {name}", premises=premises, goal=goal)


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
