"""What the model of KV hand-over is made of: kinds of things, what never changes, and the state.

See `specs.proofs.kv_hand_over`.  A state is a function for each name of `_STATE`.  What was said once is a relation
that only grows: whoever hears may hear anything of it, at any time and again, or never.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import z3

from specs.proofs.logic import Truth

Of = Callable[..., Any]

SORTS = {
    **{name: z3.DeclareSort(name) for name in ("HandOver", "Pipeline", "Request", "Slot", "Stage", "Path", "Layer")},
    "number": z3.IntSort(),
    "truth": z3.BoolSort(),
}

_STATE = """
# requests in the old pipelines, and the pipelines themselves
was there: Request truth
there: Request truth
computed: Request number
tokens: Request number
flying: Pipeline truth
halted: Pipeline truth
ended: Pipeline truth
current: Pipeline HandOver
# the source leaders
begun: HandOver truth
rounds: HandOver truth
halting: HandOver truth
rest: HandOver truth
out: HandOver truth
whole: HandOver truth
edition: HandOver number
guest: HandOver Request truth
again: HandOver Request truth
known: HandOver Request truth
has seat: HandOver Request truth
seat: HandOver Request Slot
held: HandOver Request number
goal: HandOver Request number
final computed: HandOver Request number
final tokens: HandOver Request number
# what they say: the invitation of an edition; orders to copy tokens [from, to) of a request to a seat
invited: HandOver number Request truth
invited rest: HandOver number truth
fresh: HandOver number Request truth
order: HandOver Request Slot number number truth
# what the old stages say: tokens [from, to) on the path of a layer, or foul: of whoever has its slot by now
chunk: HandOver Layer Request Slot number number truth
foul: HandOver Layer Request Slot number number truth
# the target leader
stay: HandOver truth
over: Pipeline number
heard: HandOver number
heard rest: HandOver truth
seated: HandOver Request truth
has final: HandOver Request truth
refused: HandOver Request truth
resumed: HandOver Request truth
had: HandOver Request truth
joined: HandOver Request number
seat of: HandOver Request Slot
since: HandOver Request number
top: number
closing: Slot truth
closes: Slot number
holder hand over: Slot HandOver
holder: Slot Request
known edition: Stage number
known count: Path HandOver Request number
# what it says: the seats of an edition, and of guests
opens: number HandOver Request truth
says seat: HandOver Request Slot truth
says whole: HandOver truth
# the target stages, and what they say
at: Stage number
count: Path HandOver Request number
told edition: Stage number truth
told count: Path HandOver Request number truth
# the slots of the new pipeline, and whose KV is in them
free: Slot truth
reserved: Slot truth
busy: Slot truth
running: HandOver Request truth
stale: Stage Slot truth
kv: Layer Slot number Request
# the fronts, and where each takes tokens of a request from: the old pipeline, the new one, or neither
at old: Request truth
at new: Request truth
gave up: Request truth
seen: Request number
resume: HandOver Request number truth
"""


def _signatures() -> Mapping[str, tuple[str, ...]]:
    lines = (line.split(":") for line in _STATE.splitlines() if line and not line.startswith("#"))
    return {name.replace(" ", "_"): tuple(kinds.split()) for name, kinds in lines}


class State:
    """Where everything is: each name is a function."""

    def __init__(self, functions: Mapping[str, Of]) -> None:
        self.functions = dict(functions)

    def __getattr__(self, name: str) -> Of:
        """Give the function of a name."""
        try:
            return self.functions[name]
        except KeyError:
            raise AttributeError(name) from None

    def but(self, **changes: Of) -> "State":
        """Replace some functions.  Raises KeyError for a name that there is not."""
        for name in changes:
            self.functions[name]
        return State({**self.functions, **changes})


def any_state() -> State:
    """Name a state of which nothing is known."""
    return State({name: function(name, *kinds) for name, kinds in _signatures().items()})


def function(name: str, *kinds: str) -> Of:
    """Name a function from things of these kinds to one of the last kind, any."""
    declared: Of = z3.Function(name, *(SORTS[kind] for kind in kinds))
    return declared


def anything(name: str, kind: str) -> Any:
    """Name a thing of this kind, any."""
    return z3.Const(name, SORTS[kind])


_CHOICES = {
    "i": ("HandOver",),
    "r": ("Request",),
    "q": ("Pipeline",),
    "s": ("Slot",),
    "g": ("Stage",),
    "m": ("Layer",),
    "p": ("Path",),
    **dict.fromkeys(("e", "n", "start", "end", "first", "last"), ("number",)),
    **dict.fromkeys(("goes_on", "has_seat", "is_foul", "leaves"), ("truth",)),
    **dict.fromkeys(("computed", "tokens"), ("Request", "number")),
    "kv": ("Layer", "number", "Request"),
}


class Chosen:
    """With what a step is taken, by name; what is not said is anything."""

    def __init__(self, **said: Any) -> None:
        self._said = said

    def __getattr__(self, name: str) -> Any:
        """Give the thing, or the function, that was chosen."""
        if name in self._said:
            return self._said[name]
        if name not in _CHOICES:
            raise AttributeError(name)
        kinds = _CHOICES[name]
        return anything(f"{name}'", kinds[0]) if len(kinds) == 1 else function(f"{name}'", *kinds)


def put(of: Of, *where: Any, value: Any = True) -> Of:
    """Change a function in one place; add a row to a relation."""
    return lambda *at: z3.If(z3.And(*(a == b for a, b in zip(at, where, strict=True))), value, of(*at))


def every(things: Sequence[Any], sentence: Truth) -> Truth:
    """Say that a sentence holds whatever these are."""
    return z3.ForAll(list(things), sentence)


# --- what never changes -----------------------------------------------------------------------------------------------

old = function("old", "HandOver", "Pipeline")
number = function("number", "HandOver", "number")
home = function("home", "Request", "Pipeline")  # the pipeline to which a request was submitted under this name
via = function("via", "HandOver", "Layer", "Path")  # the path on which a hand-over copies a layer
leads = function("leads", "Path", "Stage")

# --- names for sentences about all things -----------------------------------------------------------------------------

i, j = anything("i", "HandOver"), anything("j", "HandOver")
q = anything("q", "Pipeline")
r, x = anything("r", "Request"), anything("x", "Request")
s = anything("s", "Slot")
g = anything("g", "Stage")
p = anything("p", "Path")
m = anything("m", "Layer")
e, f, h, k, n = (anything(name, "number") for name in "efhkn")


def axioms() -> tuple[Truth, ...]:
    """A hand-over is named by its old pipeline and its number."""
    return (every((i, j), z3.Implies(z3.And(old(i) == old(j), number(i) == number(j)), i == j)),)
