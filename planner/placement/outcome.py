"""The three answers to a placement question, as types."""

from enum import StrEnum

import attrs

from specs.decisions.placement.nouns import Answer
from specs.witness import Witness


class Method(StrEnum):
    """How a bound is known, from strongest to none."""

    PRICES = "dual"  # `specs.decisions.placement.bounds.price_bound` of the witness
    EXHAUSTED = "exhausted"  # `specs.decisions.placement.exhaustion.optimum`
    SOLVER = "solver's word"
    NONE = "none"


class LimitKind(StrEnum):
    """What may be asked for too much."""

    ROOM = "room"  # of a memory
    IN_TIME = "in-time"  # of an item's cold requests
    COPIES = "copies"  # of an item, on different nodes
    MOVED = "moved"
    LANDING = "landing"  # what devices keep free, for an item that cannot start at all


@attrs.frozen(kw_only=True, order=True)
class Limit:
    """One limit of a question."""

    kind: LimitKind
    name: str  # of a memory, an item, or `MOVED`


@attrs.frozen(kw_only=True)
class Conflict:
    """One limit of a least set that cannot hold together, and what it would have to become, alone."""

    limit: Limit
    allowed: int  # bytes, nanoseconds or nodes
    needed: int | None  # with which all others could hold; None: giving this one alone is not enough, or not known
    sentence: str


@attrs.frozen(kw_only=True)
class Placed:
    """An answer without faults, and how far it may be from the best."""

    answer: Answer
    value: int
    bound: int  # no answer has a smaller value
    method: Method
    witness: Witness
    solver: str | None  # whose word the bound is, where it is a solver's

    @property
    def gap(self) -> float:
        """Return (value - bound) / value; 0 when the answer is the best."""
        return 0.0 if self.value == self.bound else (self.value - self.bound) / self.value


@attrs.frozen(kw_only=True)
class Infeasible:
    """No answer exists: a least set of limits that conflict, and how that is known."""

    conflicts: tuple[Conflict, ...]
    method: Method
    witness: Witness  # for `proves_infeasible`; empty where the checker needs none


@attrs.frozen(kw_only=True)
class Undecided:
    """No answer was found, and none was shown not to exist: why, in a sentence for a person."""

    sentence: str


Outcome = Placed | Infeasible | Undecided
