"""Formulas read for Z3: see `specs.proofs.logic`."""

from collections.abc import Callable, Sequence
from typing import Any

import z3

from specs.proofs.logic import Thing, Truth


class Symbolic:
    """Formulas for Z3.  Each kind is a sort without an interpretation."""

    def __init__(self) -> None:
        self._sorts: dict[str, Any] = {"number": z3.IntSort(), "truth": z3.BoolSort()}
        self._count = 0

    def sort(self, kind: str) -> Any:
        """Give the sort of a kind; numbers are Z3's integers."""
        if kind not in self._sorts:
            self._sorts[kind] = z3.DeclareSort(kind)
        return self._sorts[kind]

    def constant(self, name: str, kind: str) -> Thing:
        """Name a thing of this kind, any."""
        return z3.Const(name, self.sort(kind))

    def function(self, name: str, *kinds: str) -> Callable[..., Any]:
        """Name a function from things of these kinds to one of the last kind, any."""
        declared: Callable[..., Any] = z3.Function(name, *(self.sort(kind) for kind in kinds))
        return declared

    def every(self, kinds: Sequence[str], holds: Callable[..., Truth]) -> Truth:
        """See `Logic`."""
        self._count += 1
        things = [self.constant(f"{kind}{self._count}.{index}", kind) for index, kind in enumerate(kinds)]
        sentence = holds(*things)
        return z3.ForAll(things, z3.BoolVal(sentence) if isinstance(sentence, bool) else sentence)

    def both(self, *parts: Truth) -> Truth:
        """See `Logic`."""
        return z3.And(*parts)

    def either(self, *parts: Truth) -> Truth:
        """See `Logic`."""
        return z3.Or(*parts)

    def without(self, part: Truth) -> Truth:
        """See `Logic`."""
        return z3.Not(part)

    def implies(self, premise: Truth, conclusion: Truth) -> Truth:
        """See `Logic`."""
        return z3.Implies(premise, conclusion)

    def where(self, condition: Truth, this: Thing, that: Thing) -> Thing:
        """See `Logic`."""
        return z3.If(condition, this, that)
