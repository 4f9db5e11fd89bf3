"""The model of room and of resizes: what is proved, and with what.  See `specs.proofs.room`."""

from collections.abc import Callable, Mapping

import attrs

from specs.proofs.logic import Logic, Thing, Truth


@attrs.frozen(kw_only=True)
class Plan:
    """What the plan says; it never changes.  A step that needs room is a taker, one that makes some a giver."""

    stands: Callable[[Thing], Thing]  # step: its number
    needs: Callable[[Thing, Thing], Truth]  # (taker, place)
    makes: Callable[[Thing, Thing], Truth]  # (giver, place)
    counts: Callable[[Thing, Thing], Truth]  # (taker, giver): the one waits for what the other is
    of_old: Callable[[Thing, Thing], Truth]  # (switch, resize): of the pipeline that is to close
    of_new: Callable[[Thing, Thing], Truth]  # (switch, resize): of the one that takes over


@attrs.frozen(kw_only=True)
class State:
    """Where all steps are."""

    over: Callable[[Thing, Thing], Truth]  # (giver, place): the room is there, or will never be taken
    known: Callable[[Thing, Thing], Truth]  # (giver, place): the place's node knows that
    roomy: Callable[[Thing, Thing], Truth]  # (taker, place): the place's node has found the room
    said: Callable[[Thing, Thing], Truth]  # (taker, place): who begins the step knows that
    begun: Callable[[Thing], Truth]  # taker: its room is taken, or about to be
    resizing: Callable[[Thing], Truth]  # resize: under way
    resized: Callable[[Thing], Truth]  # resize: done, or void since its pipeline has closed
    handing: Callable[[Thing], Truth]  # switch: the old pipeline hands over to the new one
    ended: Callable[[Thing], Truth]  # switch: the old pipeline has closed


Sentences = Mapping[str, Truth]


def axioms(logic: Logic, plan: Plan) -> tuple[Truth, ...]:
    """What closes is not resized behind its switch (SIZE)."""
    return (
        logic.every(("Step", "Step"), lambda s, r: logic.implies(plan.of_old(s, r), plan.stands(r) < plan.stands(s))),
    )


def at_start(state: State) -> State:
    """Nothing has begun."""
    return attrs.evolve(
        state,
        known=lambda _g, _p: False,
        roomy=lambda _t, _p: False,
        said=lambda _t, _p: False,
        begun=lambda _t: False,
        resizing=lambda _r: False,
        resized=lambda _r: False,
        handing=lambda _w: False,
        ended=lambda _w: False,
    )


def _before(logic: Logic, plan: Plan, t: Thing, p: Thing, holds: Callable[[Thing], Truth]) -> Truth:
    """Something holds of every giver that a taker counts on at a place."""
    return logic.every(
        ("Step",),
        lambda g: logic.implies(
            logic.both(plan.makes(g, p), plan.counts(t, g), plan.stands(g) < plan.stands(t)), holds(g)
        ),
    )


def shown(logic: Logic, plan: Plan, s: State) -> Sentences:
    """What is promised."""
    return {
        "ROOM": logic.every(
            ("Step", "Place"),
            lambda t, p: logic.implies(
                logic.both(s.begun(t), plan.needs(t, p)), _before(logic, plan, t, p, lambda g: s.over(g, p))
            ),
        ),
        "SIZE": logic.every(
            ("Step", "Step"),
            lambda w, r: logic.implies(
                logic.both(s.handing(w), logic.either(plan.of_old(w, r), plan.of_new(w, r))),
                logic.without(s.resizing(r)),
            ),
        ),
    }


def invariant(logic: Logic, plan: Plan, s: State) -> Sentences:
    """What is true of every state, and kept by every step."""

    def at_places(holds: Callable[[Thing, Thing], Truth]) -> Truth:
        return logic.every(("Step", "Place"), holds)

    return {
        "what is known is so": at_places(lambda g, p: logic.implies(s.known(g, p), s.over(g, p))),
        "where room was found it is": at_places(
            lambda t, p: logic.implies(s.roomy(t, p), _before(logic, plan, t, p, lambda g: s.over(g, p)))
        ),
        "what was said was found": at_places(lambda t, p: logic.implies(s.said(t, p), s.roomy(t, p))),
        "what has begun has its room": at_places(
            lambda t, p: logic.implies(logic.both(s.begun(t), plan.needs(t, p)), s.said(t, p))
        ),
        "what is done is not under way": logic.every(
            ("Step",), lambda r: logic.implies(s.resized(r), logic.without(s.resizing(r)))
        ),
        "what has closed hands nothing over": logic.every(
            ("Step",), lambda w: logic.implies(s.ended(w), logic.without(s.handing(w)))
        ),
        "a hand-over has waited for resizes": logic.every(
            ("Step", "Step"),
            lambda w, r: logic.implies(
                logic.both(
                    s.handing(w),
                    logic.either(plan.of_old(w, r), plan.of_new(w, r)),
                    plan.stands(r) < plan.stands(w),
                ),
                s.resized(r),
            ),
        ),
        "a resize has waited for switches": logic.every(
            ("Step", "Step"),
            lambda w, r: logic.implies(
                logic.both(s.resizing(r), plan.of_new(w, r), logic.without(plan.stands(r) < plan.stands(w))),
                s.ended(w),
            ),
        ),
    }


# --- steps: the guards, by name, and the state after ------------------------------------------------------------------


def _added(logic: Logic, to: Callable[..., Truth], *things: Thing) -> Callable[..., Truth]:
    return lambda *each: logic.either(to(*each), logic.both(*(a == b for a, b in zip(each, things, strict=True))))


def give(logic: Logic, s: State, g: Thing, p: Thing) -> tuple[Sentences, State]:
    """A copy is given up, a shrink is done, or a stage is gone."""
    return {}, attrs.evolve(s, over=_added(logic, s.over, g, p))


def know(logic: Logic, s: State, g: Thing, p: Thing) -> tuple[Sentences, State]:
    """The place's node hears of it, or did it."""
    return {"it is so": s.over(g, p)}, attrs.evolve(s, known=_added(logic, s.known, g, p))


def find(logic: Logic, plan: Plan, s: State, t: Thing, p: Thing) -> tuple[Sentences, State]:
    """The place's node finds that it has the room that a step needs."""
    known = _before(logic, plan, t, p, lambda g: s.known(g, p))
    return {"what makes room before it is known": known}, attrs.evolve(s, roomy=_added(logic, s.roomy, t, p))


def say_so(logic: Logic, s: State, t: Thing, p: Thing) -> tuple[Sentences, State]:
    """Who begins the step hears that."""
    return {"it was found": s.roomy(t, p)}, attrs.evolve(s, said=_added(logic, s.said, t, p))


def begin(logic: Logic, plan: Plan, s: State, t: Thing) -> tuple[Sentences, State]:
    """A transfer, a stage or a resize takes its room."""
    each = logic.every(("Place",), lambda p: logic.implies(plan.needs(t, p), s.said(t, p)))
    return {"each place has said so": each}, attrs.evolve(s, begun=_added(logic, s.begun, t))


def resize(logic: Logic, plan: Plan, s: State, r: Thing) -> tuple[Sentences, State]:
    """The leader of a pipeline gives it other slots."""
    guards = {
        "it was not done": logic.without(s.resized(r)),
        "each switch to its pipeline before it has ended": logic.every(
            ("Step",),
            lambda w: logic.implies(
                logic.both(plan.of_new(w, r), logic.without(plan.stands(r) < plan.stands(w))), s.ended(w)
            ),
        ),
    }
    return guards, attrs.evolve(s, resizing=_added(logic, s.resizing, r))


def end_resize(logic: Logic, s: State, r: Thing) -> tuple[Sentences, State]:
    """A resize is done, or void."""
    return {}, attrs.evolve(
        s,
        resized=_added(logic, s.resized, r),
        resizing=lambda q: logic.both(s.resizing(q), logic.without(q == r)),
    )


def hand_over(logic: Logic, plan: Plan, s: State, w: Thing) -> tuple[Sentences, State]:
    """A pipeline begins to hand over to the one that its switch names."""
    guards = {
        "it has not closed": logic.without(s.ended(w)),
        "each resize of both before it is over": logic.every(
            ("Step",),
            lambda r: logic.implies(
                logic.both(logic.either(plan.of_old(w, r), plan.of_new(w, r)), plan.stands(r) < plan.stands(w)),
                s.resized(r),
            ),
        ),
    }
    return guards, attrs.evolve(s, handing=_added(logic, s.handing, w))


def abort(logic: Logic, s: State, w: Thing) -> tuple[Sentences, State]:
    """It takes the hand-over back."""
    return {}, attrs.evolve(s, handing=lambda q: logic.both(s.handing(q), logic.without(q == w)))


def end(logic: Logic, s: State, w: Thing) -> tuple[Sentences, State]:
    """The old pipeline closes."""
    return {}, attrs.evolve(
        s,
        ended=_added(logic, s.ended, w),
        handing=lambda q: logic.both(s.handing(q), logic.without(q == w)),
    )
