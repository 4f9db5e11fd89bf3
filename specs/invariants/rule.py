"""What a rule is, and what it finds."""

from collections.abc import Callable, Iterator

import attrs

from specs.invariants.facts import Facts


@attrs.frozen
class Violation:
    """One place at which a plan breaks one rule."""

    rule: str  # id of the invariant
    where: str  # "transfer 12", "link n0/nic0>leaf", "pipeline llm@n3"
    sentence: str  # the numbers and the consequence

    def __str__(self) -> str:
        return f"{self.rule} at {self.where}: {self.sentence}"


@attrs.frozen
class Invariant:
    """A rule that every plan keeps.

    The rules REF and FOR judge any plan that could be decoded.  All others may rely on REF and FOR.
    """

    id: str
    sentence: str
    check: Callable[[Facts], Iterator[Violation]]
