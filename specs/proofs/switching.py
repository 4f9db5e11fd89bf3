"""Switches between pipelines are safe for any number of nodes, pipelines and blobs: an invariant, proved by Z3.

The model (`switching_model`) is the part of `specs.protocols.block_multicast` that builds, opens, switches and closes
pipelines and releases blobs, without messages: what a node hears was true and stays true.  It can do more than the code
(pipelines fail and leaders are lost at any moment, nothing waits for transfers, or for what the next plan counts on).
`tests/proofs` holds it against the code: whatever a rule of the code changes, wherever the explorer gets, the guards of
the model's step hold.  A pipeline that drains when the plan begins is one that failed, here: its successor is of the
plan before.

Of the plan it assumes what the checker has seen to: switches form no circle (SERVE), and a release stands behind every
stage that needs the copy (LAST), so that a release need only look at stages that it stands behind.

Shown: whatever has opened, a pipeline to which switches lead from it, or it itself, is open now, unless that one failed
(SERVE); a pipeline closes only because a pipeline to which a switch leads has opened, or because it failed (CLOSE);
what an open pipeline computes with is held, except by a member that has lost the leader or was started again (HELD); a
pipeline that is switched away from by copying closes only when its KV was handed over (HANDED).

    python -m specs.proofs.switching
"""

import attrs

from specs.proofs import switching_model as model
from specs.proofs.obligations import Change, Induction, say
from specs.proofs.symbolic import Symbolic


def _any_plan(logic: Symbolic) -> model.Plan:
    return model.Plan(
        rank=logic.function("rank", "Pipeline", "number"),
        leads=logic.function("leads", "Pipeline", "Pipeline", "truth"),
        copies=logic.function("copies", "Pipeline", "truth"),
        runs=logic.function("runs", "Pipeline", "truth"),
        has=logic.function("has", "Pipeline", "Node", "truth"),
        needs=logic.function("needs", "Pipeline", "Node", "Copy", "truth"),
        unable=logic.function("unable", "Pipeline", "Node", "truth"),
    )


def _any_state(logic: Symbolic) -> model.State:
    kinds = {
        "held": ("Copy", "truth"),
        **dict.fromkeys(("heir", "guest", "server"), ("Pipeline", "Pipeline")),
        **dict.fromkeys(("building", "freed", "ended", "lost"), ("Pipeline", "Node", "truth")),
    }
    names = [field.name for field in attrs.fields(model.State)]
    return model.State(**{name: logic.function(name, *kinds.get(name, ("Pipeline", "truth"))) for name in names})


def proof() -> Induction:
    """State the proof: what the model assumes, may do, keeps, and shows."""
    logic = Symbolic()
    plan, s = _any_plan(logic), _any_state(logic)
    p, q = logic.constant("p", "Pipeline"), logic.constant("q", "Pipeline")
    m, c = logic.constant("m", "Node"), logic.constant("c", "Copy")
    steps = {
        "receive": model.receive(logic, s, c),
        "build": model.build(logic, plan, s, p, m),
        "give up": model.give_up(logic, s, p, m),
        "open": model.open_pipeline(logic, plan, s, p),
        "hand over": model.hand_over(logic, plan, s, p, q),
        "stop": model.stop(logic, plan, s, p, q),
        "close": model.close(logic, s, p),
        "fail": model.fail(logic, s, p),
        "hear": model.hear(logic, s, p, m),
        "lose": model.lose(logic, s, p, m),
        "free": model.free(logic, s, p, m),
        "release": model.release(logic, plan, s, c),
    }
    return Induction(
        axioms=model.axioms(logic, plan),
        at_start=model.invariant(logic, plan, model.at_start(logic, plan, s)),
        invariant=model.invariant(logic, plan, s),
        changes=tuple(
            Change(name=name, guards=guards, after=model.invariant(logic, plan, after))
            for name, (guards, after) in steps.items()
        ),
        shown=model.shown(logic, plan, s),
    )


if __name__ == "__main__":
    say(proof().obligations())
