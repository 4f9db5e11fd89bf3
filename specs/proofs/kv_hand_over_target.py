"""What a target leader, its stages and its pipeline may do: `specs.protocols.kv_hand_over_target`.

Changes of a state, as in `specs.proofs.kv_hand_over_source`, which is the other half.
"""

from typing import Any

from z3 import And, If, Implies, Not, Or

from specs.proofs.kv_hand_over_source import Step
from specs.proofs.kv_hand_over_state import (
    Chosen,
    State,
    every,
    g,
    i,
    j,
    leads,
    m,
    number,
    old,
    put,
    r,
    via,
)
from specs.proofs.logic import Truth

# --- the target leader ------------------------------------------------------------------------------------------------


def _go_by(w: State, after: State, more: Truth | bool) -> State:
    """Let the seats of a new edition be those that are open after the step."""
    top = If(more, w.top() + 1, w.top())
    return after.but(
        top=lambda: top,
        opens=lambda e, i, r: If(e == top, after.seated(i, r), w.opens(e, i, r)),
    )


def _close(w: State, c: Chosen, seated: Any) -> State:
    """Close the seats of those who are seated no more."""

    def leaves(s: Any) -> Truth:
        i, r = w.holder_hand_over(s), w.holder(s)
        return And(w.reserved(s), w.seated(i, r), w.seat_of(i, r) == s, Not(seated(i, r)))

    after = w.but(
        seated=seated,
        closing=lambda s: Or(w.closing(s), leaves(s)),
        closes=lambda s: If(leaves(s), w.top() + 1, w.closes(s)),
    )
    return _go_by(w, after, c.leaves)


def _nobody_leaves_quietly(w: State, c: Chosen, seated: Any) -> Truth:
    return Or(c.leaves, every((i, r), Implies(w.seated(i, r), seated(i, r))))


def hear(w: State, c: Chosen) -> Step:
    """An invitation to a hand-over of which the target leader has not heard."""
    guards = {
        "it was said": w.begun(c.i),
        "it is not over": w.over(old(c.i)) < number(c.i),
        "none of this pipeline is under way": every((j,), Implies(old(j) == old(c.i), Not(w.stay(j)))),
    }
    return guards, w.but(
        stay=put(w.stay, c.i), heard=put(w.heard, c.i, value=0), heard_rest=put(w.heard_rest, c.i, value=False)
    )


def welcome(w: State, c: Chosen) -> Step:
    """An invitation of this edition or a later one: who does not come any more leaves; the rest may be told."""

    def seated(i: Any, r: Any) -> Truth:
        return And(w.seated(i, r), Or(i != c.i, w.invited(i, c.e, r)))

    guards = {
        "the hand-over is under way": w.stay(c.i),
        "it was said": And(c.e >= 1, c.e <= w.edition(c.i)),
        "it is not older": w.heard(c.i) <= c.e,
        "edition": _nobody_leaves_quietly(w, c, seated),
    }
    after = w.but(
        heard=put(w.heard, c.i, value=c.e),
        heard_rest=put(w.heard_rest, c.i, value=w.invited_rest(c.i, c.e)),
        has_final=lambda i, r: If(i == c.i, And(seated(i, r), w.invited_rest(i, c.e)), w.has_final(i, r)),
    )
    return guards, _close(after, c, seated)


def seat(w: State, c: Chosen) -> Step:
    """A fresh guest of the invitation gets a slot that is free, and to which no iteration can write."""
    guards = {
        "the hand-over is under way": w.stay(c.i),
        "it is fresh": w.fresh(c.i, w.heard(c.i), c.r),
        "it is not known": And(Not(w.seated(c.i, c.r)), Not(w.refused(c.i, c.r))),
        "the slot is free": w.free(c.s),
        "no iteration can write to it": every((g,), Not(w.stale(g, c.s))),
    }
    after = w.but(
        seated=put(w.seated, c.i, c.r),
        has_final=put(w.has_final, c.i, c.r, value=False),
        had=put(w.had, c.i, c.r),
        joined=put(w.joined, c.i, c.r, value=w.heard(c.i)),
        seat_of=put(w.seat_of, c.i, c.r, value=c.s),
        since=put(w.since, c.i, c.r, value=w.top() + 1),
        holder_hand_over=put(w.holder_hand_over, c.s, value=c.i),
        holder=put(w.holder, c.s, value=c.r),
        free=put(w.free, c.s, value=False),
        reserved=put(w.reserved, c.s),
    )
    return guards, _go_by(w, after, True)


def refuse(w: State, c: Chosen) -> Step:
    """There is no slot for a fresh guest."""
    guards = {"it is not known": And(w.stay(c.i), Not(w.seated(c.i, c.r)))}
    return guards, w.but(refused=put(w.refused, c.i, c.r))


def end(w: State, c: Chosen) -> Step:
    """A hand-over is over, for ever: it was said, one of a higher number begins, or its source is silent."""

    def seated(i: Any, r: Any) -> Truth:
        return And(w.seated(i, r), i != c.i)

    guards = {"it is under way": w.stay(c.i), "edition": _nobody_leaves_quietly(w, c, seated)}
    after = w.but(stay=put(w.stay, c.i, value=False), over=put(w.over, old(c.i), value=number(c.i)))
    return guards, _close(after, c, seated)


def merge_edition(w: State, c: Chosen) -> Step:
    """The target leader hears which edition a stage goes by."""
    return {"it was said": w.told_edition(c.g, c.n)}, w.but(known_edition=put(w.known_edition, c.g, value=c.n))


def merge_count(w: State, c: Chosen) -> Step:
    """The target leader hears how much a stage has of a guest; what it does not hear of is nothing."""
    guards = {"it was said": Or(w.told_count(c.p, c.i, c.r, c.n), c.n == 0)}
    return guards, w.but(known_count=put(w.known_count, c.p, c.i, c.r, value=c.n))


def resume(w: State, c: Chosen) -> Step:
    """Take over a guest whose KV is whole and whose tokens are those of its front."""
    guards = {
        "the front said so": w.resume(c.i, c.r, c.n),
        "it is a guest": And(w.stay(c.i), w.seated(c.i, c.r)),
        "the rest was told": w.has_final(c.i, c.r),
        "its KV is whole": every((m,), w.known_count(via(c.i, m), c.i, c.r) >= w.final_computed(c.i, c.r)),
        "it has the front's tokens": c.n == w.final_tokens(c.i, c.r),
    }
    slot = w.seat_of(c.i, c.r)
    after = w.but(
        seated=put(w.seated, c.i, c.r, value=False),
        resumed=put(w.resumed, c.i, c.r),
        running=put(w.running, c.i, c.r),
        reserved=put(w.reserved, slot, value=False),
        busy=put(w.busy, slot),
    )
    return guards, _go_by(w, after, True)


def give_back(w: State, c: Chosen) -> Step:
    """A closed seat is a free slot again."""
    guards = {
        "it is closed": w.closing(c.s),
        "every stage knows": every((g,), w.closes(c.s) <= w.known_edition(g)),
    }
    return guards, w.but(
        closing=put(w.closing, c.s, value=False), reserved=put(w.reserved, c.s, value=False), free=put(w.free, c.s)
    )


def answer_seat(w: State, c: Chosen) -> Step:
    """Say that a guest has a seat: every stage goes by an edition with it."""
    guards = {
        "it is a guest": And(w.stay(c.i), w.seated(c.i, c.r)),
        "every stage knows": every((g,), w.since(c.i, c.r) <= w.known_edition(g)),
    }
    return guards, w.but(says_seat=put(w.says_seat, c.i, c.r, w.seat_of(c.i, c.r)))


def answer_whole(w: State, c: Chosen) -> Step:
    """Say that the rest was told, and is there."""
    is_whole = every((m,), w.known_count(via(c.i, m), c.i, r) >= w.final_computed(c.i, r))
    guards = {
        "the rest was told": And(w.stay(c.i), w.heard_rest(c.i)),
        "all is there": every((r,), Implies(w.seated(c.i, r), And(w.has_final(c.i, r), is_whole))),
    }
    return guards, w.but(says_whole=put(w.says_whole, c.i))


# --- a target stage ---------------------------------------------------------------------------------------------------


def open_seats(w: State, c: Chosen) -> Step:
    """A stage goes by later seats; what was written for a guest who has left counts no more."""
    guards = {"it was said": And(c.e >= 0, c.e <= w.top()), "it is later": w.at(c.g) < c.e}
    return guards, w.but(
        at=put(w.at, c.g, value=c.e),
        count=lambda p, i, r: If(And(leads(p) == c.g, Not(w.opens(c.e, i, r))), 0, w.count(p, i, r)),
    )


def take(w: State, c: Chosen) -> Step:
    """A stage takes a chunk for an open seat that continues what there is of its guest, and writes it."""
    path, sent = via(c.i, c.m), (c.i, c.m, c.r, c.s, c.start, c.end)
    guards = {
        "it was sent": If(c.is_foul, w.foul(*sent), w.chunk(*sent)),
        "its seat is open for it": And(w.opens(w.at(leads(path)), c.i, c.r), w.seat_of(c.i, c.r) == c.s),
        "nothing is missing before it": c.start <= w.count(path, c.i, c.r),
        "it brings more": w.count(path, c.i, c.r) < c.end,
    }

    def kv(m: Any, s: Any, n: Any) -> Any:
        is_written = And(via(c.i, m) == path, s == c.s, c.start <= n, n < c.end)
        return If(is_written, If(c.is_foul, c.kv(m, n), c.r), w.kv(m, s, n))

    return guards, w.but(count=put(w.count, path, c.i, c.r, value=c.end), kv=kv)


def tell_held(w: State, c: Chosen) -> Step:
    """A stage says which seats it goes by, and how much it has."""
    edition = w.at(c.g)
    return {}, w.but(
        told_edition=put(w.told_edition, c.g, edition),
        told_count=lambda p, i, r, n: Or(w.told_count(p, i, r, n), And(leads(p) == c.g, n == w.count(p, i, r))),
    )


# --- the new pipeline -------------------------------------------------------------------------------------------------


def stranger_comes(w: State, c: Chosen) -> Step:
    """A request of the new pipeline's own gets a free slot."""
    return {"the slot is free": w.free(c.s)}, w.but(free=put(w.free, c.s, value=False), busy=put(w.busy, c.s))


def request_ends(w: State, c: Chosen) -> Step:
    """A request of the new pipeline ends, or is given back; its slot is free at once."""
    return {"it has a slot": w.busy(c.s)}, w.but(
        busy=put(w.busy, c.s, value=False),
        free=put(w.free, c.s),
        running=lambda i, r: And(w.running(i, r), w.seat_of(i, r) != c.s),
    )


def iteration_goes_out(w: State, c: Chosen) -> Step:
    """An iteration of the new pipeline for the request in a slot is on its way to a stage."""
    return {"it has a slot": w.busy(c.s)}, w.but(stale=put(w.stale, c.g, c.s))


def iteration_writes(w: State, c: Chosen) -> Step:
    """It writes after what its request came with, even when that has ended since; it may come again."""
    guards = {
        "it is on its way": w.stale(c.g, c.s),
        "it comes after what there was": every(
            (i, r), Implies(And(w.running(i, r), w.seat_of(i, r) == c.s), w.final_computed(i, r) <= c.first)
        ),
    }
    return guards, w.but(
        stale=put(w.stale, c.g, c.s, value=c.goes_on),
        kv=lambda m, s, n: If(And(s == c.s, n >= c.first), c.kv(m, n), w.kv(m, s, n)),
    )
