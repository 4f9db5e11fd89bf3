"""The invariant of KV hand-over, what holds at the start, and what is shown.  See `specs.proofs.kv_hand_over`."""

from collections.abc import Mapping
from typing import Any

from z3 import And, Implies, Not, Or

from specs.proofs.kv_hand_over_source import is_current
from specs.proofs.kv_hand_over_state import (
    State,
    e,
    every,
    f,
    g,
    h,
    home,
    i,
    j,
    k,
    leads,
    m,
    n,
    number,
    old,
    p,
    q,
    r,
    s,
    via,
    x,
)
from specs.proofs.logic import Truth

Sentences = Mapping[str, Truth]


def at_start(w: State) -> State:
    """No request has come, and no hand-over has begun."""
    no = (
        *("was_there", "there", "flying", "halted", "ended", "begun", "rounds", "halting", "rest", "out", "whole"),
        *("guest", "again", "known", "invited", "invited_rest", "fresh", "order", "chunk", "foul"),
        *("stay", "seated", "has_final", "refused", "resumed", "had", "closing", "opens", "says_seat", "says_whole"),
        *("told_edition", "told_count", "reserved", "busy", "running", "stale", "at_new", "gave_up", "resume"),
    )
    zero = (
        "computed",
        "tokens",
        "edition",
        "over",
        "heard",
        "top",
        "known_edition",
        "known_count",
        "at",
        "count",
        "seen",
    )
    return w.but(
        **{name: lambda *_: False for name in no},
        **{name: lambda *_: 0 for name in zero},
        at_old=lambda _r: True,
        free=lambda _s: True,
    )


def _is_one(this: Truth, that: Truth, other: Truth) -> Truth:
    return And(Or(this, that, other), Not(And(this, that)), Not(And(this, other)), Not(And(that, other)))


def invariant(w: State) -> Sentences:
    """What is so in every state, by name."""
    parts = (_phases, _guests, _invitations, _stays, _resumed, _slots, _seats, _stages, _content, _fronts)
    return {name: sentence for part in parts for name, sentence in part(w).items()}


def _phases(w: State) -> Sentences:
    is_late = Or(w.halting(i), w.rest(i), w.out(i))
    return {
        "phases exclude each other": every(
            (i,),
            And(
                Implies(Or(is_current(w, i), w.out(i)), w.begun(i)),
                Implies(w.rounds(i), Not(is_late)),
                Implies(w.halting(i), Not(Or(w.rest(i), w.out(i)))),
                Implies(w.rest(i), Not(w.out(i))),
            ),
        ),
        "one hand-over at a time": every(
            (i,),
            And(
                Implies(is_current(w, i), Not(w.ended(old(i)))),
                Implies(w.out(i), w.ended(old(i))),
                Implies(Or(is_current(w, i), w.out(i)), w.current(old(i)) == i),
            ),
        ),
    }


def _guests(w: State) -> Sentences:
    is_late = Or(w.halting(i), w.rest(i), w.out(i))
    return {
        "guests come from the old pipeline": every(
            (i, r),
            Implies(
                w.guest(i, r),
                And(home(r) == old(i), w.was_there(r), Or(is_current(w, i), w.out(i)), Not(w.again(i, r))),
            ),
        ),
        "guests live": every((i, r), Implies(And(w.guest(i, r), is_current(w, i)), w.there(r))),
        "a pipeline that is done has no requests": every(
            (r,), Implies(w.there(r), And(w.was_there(r), Not(w.ended(home(r)))))
        ),
        "no iteration is formed during the rest": every((i,), Implies(Or(w.halting(i), w.rest(i)), w.halted(old(i)))),
        "who has halted hands over": every(
            (q,),
            Implies(
                And(w.halted(q), Not(w.ended(q))),
                And(old(w.current(q)) == q, Or(w.halting(w.current(q)), w.rest(w.current(q)))),
            ),
        ),
        "what was told last is so": every(
            (i, r),
            Implies(
                And(w.guest(i, r), Or(And(w.rest(i), Not(w.flying(old(i)))), w.out(i))),
                And(w.final_computed(i, r) == w.computed(r), w.final_tokens(i, r) == w.tokens(r)),
            ),
        ),
        "what was told is to come": every(
            (i, r), Implies(And(w.guest(i, r), w.rest(i)), w.final_computed(i, r) >= w.computed(r))
        ),
        "in the end every guest has a seat": every(
            (i, r), Implies(And(w.guest(i, r), is_late), And(w.known(i, r), w.has_seat(i, r)))
        ),
        "a seat is what was said": every(
            (i, r), Implies(And(w.guest(i, r), w.has_seat(i, r)), w.says_seat(i, r, w.seat(i, r)))
        ),
        "goals are computed, or told": every(
            (i, r), And(w.computed(r) >= 0, Implies(w.guest(i, r), _is_due(w, w.goal(i, r))))
        ),
    }


def _invitations(w: State) -> Sentences:
    return {
        "editions rise": every(
            (i, e, r),
            And(w.edition(i) >= 0, Implies(w.invited(i, e, r), And(w.begun(i), e >= 1, e <= w.edition(i)))),
        ),
        "the rest is told in the end": every(
            (i, e),
            Implies(w.invited_rest(i, e), And(w.begun(i), Not(w.rounds(i)), Not(w.halting(i)), e <= w.edition(i))),
        ),
        "who is a guest is invited": every((i, r), Implies(w.guest(i, r), w.invited(i, w.edition(i), r))),
        "who was a guest is not invited again": every(
            (i, e, r),
            Implies(
                And(is_current(w, i), w.invited(i, e, r)),
                Or(w.guest(i, r), w.again(i, r), And(w.was_there(r), Not(w.there(r)))),
            ),
        ),
        "a guest stays once": every(
            (i, e, f, h, r),
            Implies(And(w.invited(i, e, r), w.invited(i, h, r), e <= f, f <= h), w.invited(i, f, r)),
        ),
        "the fresh are guests": every((i, e, r), Implies(w.fresh(i, e, r), w.invited(i, e, r))),
        "in the end nobody is fresh": every((i, e, f, r), Implies(And(w.invited_rest(i, e), w.fresh(i, f, r)), f < e)),
    }


def _stays(w: State) -> Sentences:
    return {
        "one stay of a pipeline": every((i, j), Implies(And(w.stay(i), w.stay(j), old(i) == old(j)), i == j)),
        "a stay is not over": every(
            (i,), Implies(w.stay(i), And(w.begun(i), w.over(old(i)) < number(i), w.heard(i) <= w.edition(i)))
        ),
        "what is over stays over": every((i, r), Implies(w.had(i, r), Or(w.stay(i), number(i) <= w.over(old(i))))),
        "who had a seat was invited": every(
            (i, r),
            Implies(
                w.had(i, r),
                And(w.invited(i, w.joined(i, r), r), Implies(w.stay(i), w.joined(i, r) <= w.heard(i))),
            ),
        ),
        "who has left is not fresh": every(
            (i, e, r),
            Implies(And(w.stay(i), w.had(i, r), Not(w.seated(i, r)), w.fresh(i, e, r)), e < w.heard(i)),
        ),
        "a guest who is not seated was resumed": every(
            (i, r),
            Implies(And(w.stay(i), w.had(i, r), Not(w.seated(i, r)), w.guest(i, r)), w.resumed(i, r)),
        ),
    }


def _resumed(w: State) -> Sentences:
    return {
        "who was resumed had left": every(
            (i, r),
            Implies(
                w.resumed(i, r),
                And(
                    w.had(i, r),
                    Not(w.seated(i, r)),
                    w.out(i),
                    w.guest(i, r),
                    w.resume(i, r, w.final_tokens(i, r)),
                ),
            ),
        ),
        "the rest was heard": every(
            (i, r),
            And(
                Implies(And(w.stay(i), w.heard_rest(i)), w.invited_rest(i, w.heard(i))),
                Implies(And(w.seated(i, r), w.has_final(i, r)), w.heard_rest(i)),
            ),
        ),
        "whole is said of the rest": every(
            (i,), Implies(w.says_whole(i), And(w.begun(i), Not(w.rounds(i)), Not(w.halting(i))))
        ),
        "a seat that was said is had": every(
            (i, r, s), Implies(w.says_seat(i, r, s), And(w.had(i, r), s == w.seat_of(i, r)))
        ),
        "handed out is whole": every(
            (i, r),
            And(Implies(w.whole(i), w.says_whole(i)), Implies(And(w.out(i), w.guest(i, r)), w.says_whole(i))),
        ),
    }


def _slots(w: State) -> Sentences:
    return {
        "a slot is free, a seat, or busy": every(
            (s,),
            _is_one(w.free(s), w.reserved(s), w.busy(s)),
        ),
        "who runs has the slot": every(
            (i, r),
            Implies(
                w.running(i, r),
                And(
                    w.resumed(i, r),
                    w.busy(w.seat_of(i, r)),
                    w.holder_hand_over(w.seat_of(i, r)) == i,
                    w.holder(w.seat_of(i, r)) == r,
                ),
            ),
        ),
        "a closing seat is no slot yet": every((s,), Implies(w.closing(s), And(w.reserved(s), w.closes(s) <= w.top()))),
        "a closing seat is closed": every(
            (i, e, r),
            Implies(
                And(
                    w.closing(w.seat_of(i, r)),
                    w.holder_hand_over(w.seat_of(i, r)) == i,
                    w.holder(w.seat_of(i, r)) == r,
                    w.opens(e, i, r),
                ),
                e < w.closes(w.seat_of(i, r)),
            ),
        ),
        "no iteration writes to a seat": every((g, s), Implies(w.reserved(s), Not(w.stale(g, s)))),
    }


def _seats(w: State) -> Sentences:
    return {
        "an open seat was had": every((i, e, r), Implies(w.opens(e, i, r), And(w.had(i, r), e >= 0, e <= w.top()))),
        "the latest seats are those of who is seated": every((i, r), w.opens(w.top(), i, r) == w.seated(i, r)),
        "a seat is open once": every(
            (i, e, f, h, r),
            Implies(And(w.opens(e, i, r), w.opens(h, i, r), e <= f, f <= h), w.opens(f, i, r)),
        ),
        "what a stage may take has the seat": every(
            (i, e, r, g),
            Implies(
                And(w.opens(e, i, r), w.at(g) <= e, Not(w.resumed(i, r))),
                And(
                    w.reserved(w.seat_of(i, r)),
                    w.holder_hand_over(w.seat_of(i, r)) == i,
                    w.holder(w.seat_of(i, r)) == r,
                ),
            ),
        ),
    }


def _stages(w: State) -> Sentences:
    opens_at = w.at(leads(p))
    return {
        "stages follow": every(
            (g, e),
            And(
                w.at(g) >= 0,
                w.at(g) <= w.top(),
                w.known_edition(g) <= w.at(g),
                Implies(w.told_edition(g, e), e <= w.at(g)),
            ),
        ),
        "what is closed counts no more": every(
            (p, i, r), And(w.count(p, i, r) >= 0, Implies(Not(w.opens(opens_at, i, r)), w.count(p, i, r) == 0))
        ),
        "who had no seat has no KV": every(
            (p, i, r, n),
            Implies(And(Or(w.told_count(p, i, r, n), w.known_count(p, i, r) == n), n > 0), w.had(i, r)),
        ),
        "what was told is there": every(
            (p, i, e, r, n),
            Implies(
                And(opens_at <= e, w.opens(e, i, r), Or(w.told_count(p, i, r, n), w.known_count(p, i, r) == n)),
                n <= w.count(p, i, r),
            ),
        ),
    }


def _is_due(w: State, tokens: Any) -> Truth:
    """Say that no more tokens are copied of a guest than are computed, or will be with the last iteration."""
    return Or(tokens <= w.computed(r), And(Or(w.rest(i), w.out(i)), tokens <= w.final_computed(i, r)))


def _is_for_its_guest(w: State) -> Truth:
    return And(w.had(i, r), s == w.seat_of(i, r), w.was_there(r), Implies(w.guest(i, r), _is_due(w, k)))


def _content(w: State) -> Sentences:
    path = via(i, m)
    at, count = w.at(leads(path)), w.count(path, i, r)
    return {
        "orders are for what is computed, or told": every(
            (i, r, s, n, k), Implies(w.order(i, r, s, n, k), _is_for_its_guest(w))
        ),
        "chunks are for what is computed, or told": every(
            (i, m, r, s, n, k),
            Implies(Or(w.chunk(i, m, r, s, n, k), w.foul(i, m, r, s, n, k)), _is_for_its_guest(w)),
        ),
        "foul chunks come when a request has ended": every(
            (i, m, r, s, n, k), Implies(w.foul(i, m, r, s, n, k), Not(w.there(r)))
        ),
        "what is whole is sealed": every(
            (i, e, m, r),
            Implies(And(w.says_whole(i), w.guest(i, r), at <= e, w.opens(e, i, r)), w.final_computed(i, r) <= count),
        ),
        "what counts is written": every(
            (i, m, r, n),
            Implies(
                And(w.guest(i, r), Not(w.resumed(i, r)), w.opens(at, i, r), n >= 0, n < count),
                w.kv(m, w.seat_of(i, r), n) == r,
            ),
        ),
        "who runs has its KV": every(
            (i, m, r, n),
            Implies(
                And(w.running(i, r), n >= 0, n < w.final_computed(i, r)),
                w.kv(m, w.seat_of(i, r), n) == r,
            ),
        ),
    }


def _fronts(w: State) -> Sentences:
    return {
        "a front takes tokens from one place": every((r,), _is_one(w.at_old(r), w.at_new(r), w.gave_up(r))),
        "nothing is in the new pipeline before": every((r,), Implies(w.at_new(r), w.ended(home(r)))),
        "a front resumes what was handed out": every(
            (i, r, n),
            Implies(w.resume(i, r, n), And(w.out(i), w.guest(i, r), Not(w.at_old(r)), n == w.seen(r))),
        ),
    }


def shown(w: State) -> Sentences:
    """What KV hand-over promises; OWN and that a source leader goes back are shown where the step is taken."""
    return {
        "WHOLE: what runs has its KV": every(
            (i, m, r, n),
            Implies(And(w.running(i, r), n >= 0, n < w.computed(r)), w.kv(m, w.seat_of(i, r), n) == r),
        ),
        "WHOLE: what runs has the tokens of its front": every(
            (i, r),
            Implies(w.running(i, r), And(w.final_tokens(i, r) == w.seen(r), w.seen(r) == w.tokens(r))),
        ),
        "ONE: what runs is not in the old pipeline": every(
            (i, r), Implies(w.running(i, r), And(Not(w.there(r)), Not(w.at_old(r))))
        ),
        "ONE: a front takes tokens from one place": every(
            (r,), And(_is_one(w.at_old(r), w.at_new(r), w.gave_up(r)), Implies(w.there(r), Not(w.at_new(r))))
        ),
        "ONE: nothing runs twice": every((i, j, r), Implies(And(w.running(i, r), w.running(j, r)), i == j)),
        "ONE: a slot is one request's": every(
            (i, j, r, x),
            Implies(And(w.running(i, r), w.running(j, x), w.seat_of(i, r) == w.seat_of(j, x)), And(i == j, r == x)),
        ),
        "BACK: before HandOut nothing is given away": every(
            (i, r, n),
            Implies(
                Not(w.ended(home(r))),
                And(Or(w.at_old(r), w.gave_up(r)), Not(w.resume(i, r, n)), Not(w.running(i, r))),
            ),
        ),
    }
