"""One way to write formulas, two ways to read them: for Z3, and as plain truths about a finite world.

A model of a protocol is written once against `Logic`.  Read by `symbolic.Symbolic` its formulas are proved for any
number of things; read by `Finite` they are evaluated in the states that the explorer reaches with the protocol's own
code, so that model and code cannot drift apart.  Comparisons and equality are Python's own operators in both.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, Protocol

Truth = Any  # z3.BoolRef, or bool
Thing = Any  # z3.ExprRef, or what a finite world consists of


class Logic(Protocol):
    """What formulas are made with."""

    def every(self, kinds: Sequence[str], holds: Callable[..., Truth]) -> Truth:
        """Say that a sentence holds of all things of these kinds."""

    def both(self, *parts: Truth) -> Truth:
        """Say that all parts hold."""

    def either(self, *parts: Truth) -> Truth:
        """Say that a part holds."""

    def without(self, part: Truth) -> Truth:
        """Say that it does not hold."""

    def implies(self, premise: Truth, conclusion: Truth) -> Truth:
        """Say that the conclusion holds where the premise does."""

    def where(self, condition: Truth, this: Thing, that: Thing) -> Thing:
        """Give this where the condition holds, that elsewhere."""


class Finite:
    """Truths about a world with these things of each kind."""

    def __init__(self, things: Mapping[str, Sequence[Thing]]) -> None:
        self._things = things

    def every(self, kinds: Sequence[str], holds: Callable[..., Truth]) -> Truth:
        """See `Logic`."""
        return all(holds(*things) for things in product(*(self._things[kind] for kind in kinds)))

    def both(self, *parts: Truth) -> Truth:
        """See `Logic`."""
        return all(parts)

    def either(self, *parts: Truth) -> Truth:
        """See `Logic`."""
        return any(parts)

    def without(self, part: Truth) -> Truth:
        """See `Logic`."""
        return not part

    def implies(self, premise: Truth, conclusion: Truth) -> Truth:
        """See `Logic`."""
        return conclusion if premise else True

    def where(self, condition: Truth, this: Thing, that: Thing) -> Thing:
        """See `Logic`."""
        return this if condition else that
