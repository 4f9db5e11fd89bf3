"""Plan switch is safe for any number of nodes and plans: an inductive invariant, proved by Z3.

The model (`plan_switch_model`) is `specs.protocols.plan_switch` without messages.  What a node hears is a fact that was
true once and stays true, so whatever it does because it heard that, it may do here because it is so: the model can do
all that the code can, and more.  A node that dies takes no further step.  `tests/proofs` holds the model against the
code: the invariant is evaluated in every state that the explorer reaches, and every step of the code must be one of the
model.

Plans have generations and parents.  A digest names what was there before it: `depth`, the number of plans before a
plan, is less for its parent.  Nothing else is assumed of plans, not even that a parent's generation is lower.

Shown: the theorem of plan switch (RIVALS); what a node has accepted it never declines, nor the other way round (WORD);
a node accepts one plan of a generation (ONCE); what was adopted and has a parent, every node of it has accepted (ALL),
and none has declined (DEAD); what a node may adopt next is of a higher generation than what it carries out (RISE), and
follows it (FOLLOW).

    python -m specs.proofs.plan_switch
"""

import attrs

from specs.proofs import plan_switch_model as model
from specs.proofs.obligations import Change, Induction, say
from specs.proofs.symbolic import Symbolic


def _any_state(logic: Symbolic) -> model.State:
    kinds = {
        "settled": ("Node", "number"),
        "recorded": ("Node", "number"),
        "serves": ("Node", "truth"),
        "used": ("Plan", "truth"),
        "dead": ("Plan", "truth"),
        "killer": ("Plan", "Node"),
        "current": ("Node", "Plan"),
    }
    names = [field.name for field in attrs.fields(model.State)]
    return model.State(**{name: logic.function(name, *kinds.get(name, ("Node", "Plan", "truth"))) for name in names})


def proof() -> Induction:
    """State the proof: what the model assumes, may do, keeps, and shows."""
    logic = Symbolic()
    plans = model.Plans(
        generation=logic.function("generation", "Plan", "number"),
        depth=logic.function("depth", "Plan", "number"),
        follows=logic.function("follows", "Plan", "Plan", "truth"),
        has=logic.function("has", "Plan", "Node", "truth"),
    )
    s = _any_state(logic)
    n, p = logic.constant("n", "Node"), logic.constant("p", "Plan")
    settled, recorded = logic.constant("settled'", "number"), logic.constant("recorded'", "number")
    steps = {
        "accept": model.accept(logic, plans, s, n, p, recorded),
        "decline": model.decline(logic, plans, s, n, p, recorded),
        "adopt": model.adopt(logic, plans, s, n, p, settled, recorded),
        "begin": model.begin(logic, plans, s, n, p, settled, recorded),
        "record": model.record(logic, s, n, recorded),
        "restart": model.restart(logic, s, n),
    }
    return Induction(
        axioms=model.axioms(logic, plans),
        at_start=model.invariant(logic, plans, model.at_start(s)),
        invariant=model.invariant(logic, plans, s),
        changes=tuple(
            Change(name=name, guards=guards, after=model.invariant(logic, plans, after))
            for name, (guards, after) in steps.items()
        ),
        shown=model.shown(logic, plans, s),
    )


if __name__ == "__main__":
    say(proof().obligations())
