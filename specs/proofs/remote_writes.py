"""A blob by one-sided writes is what was checked, for any number of spans and failures: an invariant, proved by Z3.

The model (`remote_writes_model`) is the receiver of `specs.protocols.remote_writes` with its device, its memory and a
sender.  The receiver does its actions one at a time, and between any two of them anything else may happen: that a key
is taken away before the bytes are looked at, and that its side is shut before it asks for a stream, is in the guards
of its steps, and nowhere else.  Messages are left out: what an end hears was true and stays true.  The model can do
more than the code: the receiver gives up at any moment, bytes land in pieces and in any order, spans are opened while
one is looked at.  `tests/proofs` holds it against the code: in every state that the explorer reaches the invariant
holds, and every step of the code is some steps of the model.

A sender that is not honest is bound by keys alone: it writes anything wherever one is open, sends word of any span at
any moment, and streams anything when it is asked; what it says can only make the receiver give up.  Of devices it is
assumed that no write lands where there is no key, and that word of a span comes after all its bytes that were written.

Shown: what was checked is not written any more (CHECKED).  With an honest sender what is checked is whole (WHOLE).
Once a stream is asked for no key is open, and no write lands (APART).  What was checked is what lies below `arrived`,
span after span, but for one at most whose check is due, and what the stream has brought; when a stream is asked for,
or the blob acknowledged, none is due (ORDER).  The stream has brought the first of the spans from `arrived` on, and an
honest sender begins there (STREAM).  What is granted and asked for an honest sender takes (ASK).  When the blob is
acknowledged, every span was checked and no key is open (ALL).  At most `open_max` keys are open at once, and each is
of a span of the blob (OPEN).

    python -m specs.proofs.remote_writes
"""

import attrs

from specs.proofs import remote_writes_model as model
from specs.proofs.logic import Thing
from specs.proofs.obligations import Change, Induction, say
from specs.proofs.symbolic import Symbolic


def _any_terms(logic: Symbolic) -> model.Terms:
    return model.Terms(
        spans=logic.constant("spans", "number"),
        open_max=logic.constant("open_max", "number"),
        is_honest=logic.constant("is_honest", "truth"),
    )


def _any_state(logic: Symbolic) -> model.State:
    def anything(name: str) -> Thing:
        if name in _OF_SPANS:
            return logic.function(name, "number", "truth")
        return logic.constant(name, "number" if name in _NUMBERS else "truth")

    return model.State(**{field.name: anything(field.name) for field in attrs.fields(model.State)})


_NUMBERS = {"made", "arrived", "closed", "looked", "start", "taken", "granted", "first"}
_OF_SPANS = {"key", "landed", "told", "whole", "checked", "brought"}


def proof() -> Induction:
    """State the proof: what the model assumes, may do, keeps, and shows."""
    logic = Symbolic()
    terms, s = _any_terms(logic), _any_state(logic)
    n = logic.constant("n", "number")
    last, whole = logic.constant("last", "truth"), logic.constant("whole'", "truth")
    steps = model.steps(logic, terms, s, n, last, whole)
    return Induction(
        axioms=model.axioms(terms),
        at_start=model.invariant(logic, terms, model.at_start(terms, s)),
        invariant=model.invariant(logic, terms, s),
        changes=tuple(
            Change(name=name, guards=guards, after=model.invariant(logic, terms, after))
            for name, (guards, after) in steps.items()
        ),
        shown=model.shown(logic, terms, s),
    )


if __name__ == "__main__":
    say(proof().obligations())
