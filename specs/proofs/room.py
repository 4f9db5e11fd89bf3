"""What needs room has it, and no hand-over goes with a resize, in plans of any size: an invariant, proved by Z3.

The model (`room_model`) is the part of `specs.protocols.room` that makes steps wait, with what nodes tell each other: a
place's node knows which steps have made room there, finds that a step has the room that it counts on, and tells whoever
begins it.  A transfer or a stage is begun by the place's own node, a resize by its leader.  It can do more than the
code: releases, closings and losses come at any moment.  `tests/proofs` holds it against the code: whatever begins,
wherever the explorer gets, the guards of the model's step hold.

Of the plan it assumes what the checker has seen to: what closes is not resized behind its switch (SIZE).

Shown: when a step has begun, whatever makes room before it at a place where it needs some, and on which it counts, has
made it (ROOM).  So a memory never holds more than rule MEM counts at the last step that took room there: what stands
up to it may be there, what stands before it and makes room does not count any more.  And while a pipeline hands over to
the one that its switch names, neither is being resized (SIZE).  Where that one has closed, and the hand-over is to its
own successor, nothing is promised: requests that find no slot there are computed again.

    python -m specs.proofs.room
"""

import attrs

from specs.proofs import room_model as model
from specs.proofs.obligations import Change, Induction, say
from specs.proofs.symbolic import Symbolic


def _any_plan(logic: Symbolic) -> model.Plan:
    return model.Plan(
        stands=logic.function("stands", "Step", "number"),
        needs=logic.function("needs", "Step", "Place", "truth"),
        makes=logic.function("makes", "Step", "Place", "truth"),
        counts=logic.function("counts", "Step", "Step", "truth"),
        of_old=logic.function("of_old", "Step", "Step", "truth"),
        of_new=logic.function("of_new", "Step", "Step", "truth"),
    )


def _any_state(logic: Symbolic) -> model.State:
    at_places = ("over", "known", "roomy", "said")
    kinds = {name: ("Step", "Place", "truth") if name in at_places else ("Step", "truth") for name in _NAMES}
    return model.State(**{name: logic.function(name, *kinds[name]) for name in _NAMES})


_NAMES = tuple(field.name for field in attrs.fields(model.State))


def proof() -> Induction:
    """State the proof: what the model assumes, may do, keeps, and shows."""
    logic = Symbolic()
    plan, s = _any_plan(logic), _any_state(logic)
    t, p = logic.constant("t", "Step"), logic.constant("p", "Place")
    steps = {
        "give": model.give(logic, s, t, p),
        "know": model.know(logic, s, t, p),
        "find": model.find(logic, plan, s, t, p),
        "say": model.say_so(logic, s, t, p),
        "begin": model.begin(logic, plan, s, t),
        "resize": model.resize(logic, plan, s, t),
        "end resize": model.end_resize(logic, s, t),
        "hand over": model.hand_over(logic, plan, s, t),
        "abort": model.abort(logic, s, t),
        "end": model.end(logic, s, t),
    }
    return Induction(
        axioms=model.axioms(logic, plan),
        at_start=model.invariant(logic, plan, model.at_start(s)),
        invariant=model.invariant(logic, plan, s),
        changes=tuple(
            Change(name=name, guards=guards, after=model.invariant(logic, plan, after))
            for name, (guards, after) in steps.items()
        ),
        shown=model.shown(logic, plan, s),
    )


if __name__ == "__main__":
    say(proof().obligations())
