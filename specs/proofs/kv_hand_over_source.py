"""What a source leader, its pipeline and the fronts may do: `specs.protocols.kv_hand_over`, as changes of a state.

Each function is named after the one of the protocol that it stands for.  It gives the conditions on which the step may
be taken, by name, and the state after it.  What the code does in one step (several guests, several rules) may be
several steps here.  See `specs.proofs.kv_hand_over`.
"""

from collections.abc import Mapping
from typing import Any

from z3 import And, If, Implies, Not, Or

from specs.proofs.kv_hand_over_state import (
    Chosen,
    Of,
    State,
    every,
    home,
    i,
    j,
    number,
    old,
    put,
    r,
)
from specs.proofs.logic import Truth

Step = tuple[Mapping[str, Truth], State]


def is_current(w: State, i: Any) -> Truth:
    """Say that a hand-over is under way at its source leader."""
    return Or(w.rounds(i), w.halting(i), w.rest(i))


def _tell(w: State, changed: Of) -> State:
    """Let an invitation of a new edition say what is so, of the hand-overs that have changed."""
    return w.but(
        edition=lambda i: If(changed(i), w.edition(i) + 1, w.edition(i)),
        invited=lambda i, e, r: If(And(changed(i), e == w.edition(i) + 1), w.guest(i, r), w.invited(i, e, r)),
        invited_rest=lambda i, e: If(And(changed(i), e == w.edition(i) + 1), w.rest(i), w.invited_rest(i, e)),
    )


# --- the old pipeline and the fronts ----------------------------------------------------------------------------------


def admit(w: State, c: Chosen) -> Step:
    """A request gets a slot in the old pipeline, once."""
    guards = {"it never had one": Not(w.was_there(c.r)), "the pipeline is not done": Not(w.ended(home(c.r)))}
    return guards, w.but(was_there=put(w.was_there, c.r), there=put(w.there, c.r))


def iteration_begins(w: State, c: Chosen) -> Step:
    """The old pipeline forms an iteration."""
    guards = {"it has not halted": Not(w.halted(c.q)), "it is not done": Not(w.ended(c.q))}
    return guards, w.but(flying=put(w.flying, c.q))


def iteration_ends(w: State, c: Chosen) -> Step:
    """Any of its requests have any number of tokens more, computed and sampled; another iteration may be under way.

    Once none is formed any more, guests get what the target leader was told.
    """

    def moves(r: Any) -> Truth:
        return And(w.there(r), home(r) == c.q)

    told = And(w.rest(i), old(i) == c.q, w.guest(i, r))
    guards = {
        "one is under way": w.flying(c.q),
        "no token is taken back": every((r,), And(c.computed(r) >= w.computed(r), c.tokens(r) >= w.tokens(r))),
        "no more comes than was told": every(
            (i, r),
            Implies(told, And(c.computed(r) <= w.final_computed(i, r), c.tokens(r) <= w.final_tokens(i, r))),
        ),
        "in the end all that was told has come": every(
            (i, r),
            Implies(
                And(told, Not(c.goes_on)),
                And(c.computed(r) == w.final_computed(i, r), c.tokens(r) == w.final_tokens(i, r)),
            ),
        ),
    }
    return guards, w.but(
        flying=put(w.flying, c.q, value=c.goes_on),
        computed=lambda r: If(moves(r), c.computed(r), w.computed(r)),
        tokens=lambda r: If(moves(r), c.tokens(r), w.tokens(r)),
    )


def front_hears(w: State, c: Chosen) -> Step:
    """A front gets tokens of the submission that it has, in their order."""
    guards = {
        "it takes them": w.at_old(c.r),
        "they were sampled": And(w.seen(c.r) <= c.n, c.n <= w.tokens(c.r)),
    }
    return guards, w.but(seen=put(w.seen, c.r, value=c.n))


def front_gives_up(w: State, c: Chosen) -> Step:
    """A front takes no more tokens of a submission: cancelled, or submitted elsewhere."""
    return {}, w.but(
        at_old=put(w.at_old, c.r, value=False), at_new=put(w.at_new, c.r, value=False), gave_up=put(w.gave_up, c.r)
    )


def front_is_handed(w: State, c: Chosen) -> Step:
    """A front hears HandOut, and says Resumed of a request that it has still in the old pipeline."""
    guards = {
        "it was handed out": And(w.out(c.i), w.guest(c.i, c.r)),
        "the front has it in the old pipeline": w.at_old(c.r),
    }
    return guards, w.but(
        at_old=put(w.at_old, c.r, value=False),
        at_new=put(w.at_new, c.r),
        resume=put(w.resume, c.i, c.r, w.seen(c.r)),
    )


def old_stage_reads(w: State, c: Chosen) -> Step:
    """An old stage obeys an order, however old, in any part: it reads the request's KV, or that of another.

    It reads a token once it has computed it, which may be before its iteration has ended.
    """
    guards = {
        "it was ordered": w.order(c.i, c.r, c.s, c.start, c.end),
        "it is a part": And(c.start <= c.first, c.first < c.last, c.last <= c.end),
    }
    is_its_own = w.there(c.r)  # it has its slot
    where = (c.i, c.m, c.r, c.s, c.first, c.last)
    return guards, w.but(
        chunk=put(w.chunk, *where, value=Or(w.chunk(*where), is_its_own)),
        foul=put(w.foul, *where, value=Or(w.foul(*where), Not(is_its_own))),
    )


# --- the source leader: learn ----------------------------------------------------------------------------------------


def begin(w: State, c: Chosen) -> Step:
    """A hand-over begins, of a higher number than those before it."""
    guards = {
        "it is new": Not(w.begun(c.i)),
        "its number is above": every((j,), Implies(And(w.begun(j), old(j) == old(c.i)), number(j) < number(c.i))),
        "none is under way": every((j,), Implies(old(j) == old(c.i), Not(is_current(w, j)))),
        "the pipeline is not done": Not(w.ended(old(c.i))),
    }
    after = w.but(begun=put(w.begun, c.i), rounds=put(w.rounds, c.i), current=put(w.current, old(c.i), value=c.i))
    return guards, _tell(after, lambda i: i == c.i)


def begin_too_often(w: State, c: Chosen) -> Step:
    """All requests of the pipeline are to be computed again: HandOut of nobody."""
    guards, after = begin(w, c)
    return guards, _forget(c, w.but(begun=after.begun, current=after.current))


def hear_row(w: State, c: Chosen) -> Step:
    """The source leader hears of a guest: it is known, and may have a seat.  What is held, it may believe anything."""
    guards = {
        "a guest": And(is_current(w, c.i), w.guest(c.i, c.r)),
        "the seat was said": Implies(c.has_seat, w.says_seat(c.i, c.r, c.s)),
    }
    return guards, w.but(
        known=put(w.known, c.i, c.r),
        has_seat=put(w.has_seat, c.i, c.r, value=Or(c.has_seat, w.has_seat(c.i, c.r))),
        seat=put(w.seat, c.i, c.r, value=If(c.has_seat, c.s, w.seat(c.i, c.r))),
        held=put(w.held, c.i, c.r, value=c.n),
    )


def hear_whole(w: State, c: Chosen) -> Step:
    """The source leader hears that all is there."""
    guards = {"the rest was told": w.rest(c.i), "it was said": w.says_whole(c.i)}
    return guards, w.but(whole=put(w.whole, c.i))


def give_up(w: State, c: Chosen) -> Step:
    """A guest is to be computed again: refused, late, or with too much left."""
    guards = {"a guest": And(is_current(w, c.i), w.guest(c.i, c.r))}
    after = w.but(guest=put(w.guest, c.i, c.r, value=False), again=put(w.again, c.i, c.r))
    return guards, _tell(after, lambda i: i == c.i)


def fail(w: State, c: Chosen) -> Step:
    """Go back to decoding in the old pipeline; at any time, for any reason."""
    return {"it is under way": is_current(w, c.i)}, w.but(
        rounds=put(w.rounds, c.i, value=False),
        halting=put(w.halting, c.i, value=False),
        rest=put(w.rest, c.i, value=False),
        guest=lambda i, r: And(w.guest(i, r), i != c.i),
        halted=put(w.halted, old(c.i), value=And(w.halted(old(c.i)), w.rounds(c.i))),
        edition=put(w.edition, c.i, value=w.edition(c.i) + 1),
    )


# --- the source leader: act ------------------------------------------------------------------------------------------


def drop(w: State, c: Chosen) -> Step:
    """A request ends, whatever the reason: it has no slot any more, and is no guest."""
    after = w.but(
        there=put(w.there, c.r, value=False),
        guest=lambda i, r: And(w.guest(i, r), Not(And(r == c.r, is_current(w, i)))),
    )
    return {"it is there": w.there(c.r)}, _tell(after, lambda i: And(is_current(w, i), w.guest(i, c.r)))


def invite(w: State, c: Chosen) -> Step:
    """A request becomes a guest."""
    guards = {
        "there are rounds to come": w.rounds(c.i),
        "it lives": And(w.there(c.r), home(c.r) == old(c.i)),
        "it is not known": And(Not(w.guest(c.i, c.r)), Not(w.again(c.i, c.r))),
    }
    after = w.but(
        guest=put(w.guest, c.i, c.r),
        known=put(w.known, c.i, c.r, value=False),
        has_seat=put(w.has_seat, c.i, c.r, value=False),
        held=put(w.held, c.i, c.r, value=0),
        goal=put(w.goal, c.i, c.r, value=0),
    )
    return guards, _tell(after, lambda i: i == c.i)


def tell_fresh(w: State, c: Chosen) -> Step:
    """An invitation says who is fresh."""
    guards = {"a guest": And(is_current(w, c.i), w.guest(c.i, c.r)), "it is not known": Not(w.known(c.i, c.r))}
    return guards, w.but(fresh=put(w.fresh, c.i, w.edition(c.i), c.r))


def set_goals(w: State, c: Chosen) -> Step:
    """Another round: what is computed by now is to be copied."""
    guards = {"there are rounds to come": w.rounds(c.i)}
    return guards, w.but(goal=lambda i, r: If(i == c.i, w.computed(r), w.goal(i, r)))


def copy(w: State, c: Chosen) -> Step:
    """Order a guest's KV to be copied to its seat, from what is held up to the goal; again, whenever it is late."""
    guards = {"a guest": And(is_current(w, c.i), w.guest(c.i, c.r)), "it has a seat": w.has_seat(c.i, c.r)}
    return guards, w.but(order=put(w.order, c.i, c.r, w.seat(c.i, c.r), w.held(c.i, c.r), w.goal(c.i, c.r)))


def halt(w: State, c: Chosen) -> Step:
    """A round is whole, and the last: no more iterations are formed."""
    guards = {
        "there were rounds": w.rounds(c.i),
        "every guest has a seat": every((r,), Implies(w.guest(c.i, r), And(w.known(c.i, r), w.has_seat(c.i, r)))),
    }
    return guards, w.but(
        rounds=put(w.rounds, c.i, value=False), halting=put(w.halting, c.i), halted=put(w.halted, old(c.i))
    )


def tell_rest(w: State, c: Chosen) -> Step:
    """No iteration is formed any more: what those under way come to is told, and to be copied."""
    guards = {
        "the source has halted": w.halting(c.i),
        "no token is taken back": every((r,), And(c.computed(r) >= w.computed(r), c.tokens(r) >= w.tokens(r))),
        "nothing comes of no iteration": every(
            (r,),
            Implies(Not(w.flying(old(c.i))), And(c.computed(r) == w.computed(r), c.tokens(r) == w.tokens(r))),
        ),
    }
    after = w.but(
        halting=put(w.halting, c.i, value=False),
        rest=put(w.rest, c.i),
        goal=lambda i, r: If(i == c.i, c.computed(r), w.goal(i, r)),
        final_computed=lambda i, r: If(i == c.i, c.computed(r), w.final_computed(i, r)),
        final_tokens=lambda i, r: If(i == c.i, c.tokens(r), w.final_tokens(i, r)),
    )
    return guards, _tell(after, lambda i: i == c.i)


def hand_out(w: State, c: Chosen) -> Step:
    """All is there, or nobody is to come: the requests are the fronts' again, and forgotten here."""
    guards = {
        "the rest was told": w.rest(c.i),
        "no iteration is under way": Not(w.flying(old(c.i))),
        "all is there": Or(w.whole(c.i), every((r,), Not(w.guest(c.i, r)))),
    }
    return guards, _forget(c, w.but(rest=put(w.rest, c.i, value=False)))


def _forget(c: Chosen, w: State) -> State:
    return w.but(
        out=put(w.out, c.i),
        ended=put(w.ended, old(c.i)),
        there=lambda x: And(w.there(x), home(x) != old(c.i)),
    )
