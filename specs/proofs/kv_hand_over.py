"""KV hand-over is safe for any number of requests, slots, stages, layers and tokens: an invariant, proved by Z3.

What is shown
=============

(WHOLE) A resumed request runs in the new pipeline only while the KV of each of its tokens that was computed in the old
    one is, for every layer, in its slot, written for it; and it has the tokens that its front has.
(OWN) A chunk is written only into the seat of its own guest.
(ONE) What runs in the new pipeline, the old one has not, and its front takes no tokens from there; nor does it run
    twice, nor share its slot.
(BACK) Until HandOut the front of each request takes tokens from the old pipeline, or gave the request up by itself;
    nobody has resumed it; and a source leader that fails goes back to decoding.

The model
=========

There is one new pipeline, with any number of stages, layers and slots, and any number of old ones.  Each step
(`kv_hand_over_source`, `kv_hand_over_target`) is named after the function of `specs.protocols` that it stands for, or
after what happens around it.  What is abstracted, always so that the model can do more than the code:

- What was said is a relation that only grows.  Whoever hears may hear anything of it, in any order, again, or never.
  So loss, delay, repetition and reordering need no steps; nor does death: who is dead takes no step, and the others
  may take theirs.
- What the code does in one step (a round for all guests, several rules) is several steps, in between which others may
  be taken.  Editions therefore may rise more often, and be heard in between.
- Invitation and Seats of an edition say what was so in that edition: they are kept by edition.  Held and Hosting are
  heard row by row, of different times: the order that `_merge` keeps is not needed for safety.
- Bounds (rounds, tokens left, tries, patience) are left out: a round may end, a guest be given up, a copy be repeated
  and a hand-over fail at any time.  How much the source leader believes to be held is anything.
- Positions are integers; tokens of requests are counted, not named.  KV at (layer, slot, position) is the request
  that it was written for.  A chunk read when its request had no slot any more is *foul*: it holds anything.
- A chunk's path is named by a layer that it carries (`via`).  An iteration may write to all layers at once.

What is assumed of others: a digest tells what is in a chunk.  The paths of a hand-over carry each layer once.  An
attempt has a slot once and keeps it until it ends, and the source leader sees that at once (Boundary).  Halt is heeded
before the next Boundary.  An iteration writes to the slots of its own requests, from where they are computed;
`Reserved` gives free slots to which none can write.  A front gets tokens in their order.  The new pipeline serves the
LLM of the old one.  Iterations under way compute and sample what they were formed for, or their requests end; an old
stage reads what it has computed.  Ids never repeat.  Nothing is assumed of the order of messages.

`had`, `joined`, `seat of`, `holder`, `current` and `resumed` are history: no condition of a step looks at them, but
`seat of`, which is the seat of those who are seated.

`tests/proofs` holds the model against the code: on random schedules with faults whatever the code does passes the
conditions of steps of the model, and both agree afterwards.

    python -m specs.proofs.kv_hand_over
"""

from collections.abc import Callable, Mapping

from z3 import And, Not

from specs.proofs import kv_hand_over_source as source
from specs.proofs import kv_hand_over_target as target
from specs.proofs.kv_hand_over_invariant import at_start, invariant, shown
from specs.proofs.kv_hand_over_source import Step
from specs.proofs.kv_hand_over_state import Chosen, State, any_state, axioms, old
from specs.proofs.logic import Truth
from specs.proofs.obligations import Change, Induction, say

STEPS: Mapping[str, Callable[[State, Chosen], Step]] = {
    step.__name__: step
    for step in (
        source.admit,
        source.iteration_begins,
        source.iteration_ends,
        source.front_hears,
        source.front_gives_up,
        source.front_is_handed,
        source.old_stage_reads,
        source.begin,
        source.begin_too_often,
        source.hear_row,
        source.hear_whole,
        source.give_up,
        source.fail,
        source.drop,
        source.invite,
        source.tell_fresh,
        source.set_goals,
        source.copy,
        source.halt,
        source.tell_rest,
        source.hand_out,
        target.hear,
        target.welcome,
        target.seat,
        target.refuse,
        target.end,
        target.merge_edition,
        target.merge_count,
        target.resume,
        target.give_back,
        target.answer_seat,
        target.answer_whole,
        target.open_seats,
        target.take,
        target.tell_held,
        target.stranger_comes,
        target.request_ends,
        target.iteration_goes_out,
        target.iteration_writes,
    )
}


def proof(steps: Mapping[str, Callable[[State, Chosen], Step]] = STEPS) -> Induction:
    """State the proof of these steps.  A sentence that reads the same before and after a step needs no obligation."""
    before = any_state()
    known = invariant(before)
    return Induction(
        axioms=axioms(),
        at_start=invariant(at_start(before)),
        invariant=known,
        changes=tuple(_change(name, step, before, known) for name, step in steps.items()),
        shown=shown(before),
    )


def _change(name: str, step: Callable[[State, Chosen], Step], before: State, known: Mapping[str, Truth]) -> Change:
    chosen = Chosen()
    guards, after = step(before, chosen)
    goals = {sentence: goal for sentence, goal in invariant(after).items() if not goal.eq(known[sentence])}
    if name == "take":
        has_seat = before.holder_hand_over(chosen.s) == chosen.i, before.holder(chosen.s) == chosen.r
        goals["OWN: the chunk's guest has the seat"] = And(before.reserved(chosen.s), *has_seat)
    if name == "fail":
        goals["BACK: iterations are formed again"] = Not(after.halted(old(chosen.i)))
    return Change(name=name, guards=guards, after=goals)


if __name__ == "__main__":
    say(proof().obligations())
