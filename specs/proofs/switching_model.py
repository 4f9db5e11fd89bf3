"""The model of switches between pipelines: what is proved, and with what.  See `specs.proofs.switching`."""

from collections.abc import Callable, Mapping

import attrs

from specs.proofs.logic import Logic, Thing, Truth


@attrs.frozen(kw_only=True)
class Plan:
    """What the plan says of its pipelines; it never changes."""

    rank: Callable[[Thing], Thing]  # pipeline: a number that grows along switches
    leads: Callable[[Thing, Thing], Truth]  # (old, new): one switch or several in a row lead from old to new
    copies: Callable[[Thing], Truth]  # pipeline: it is switched away from by copying KV
    runs: Callable[[Thing], Truth]  # pipeline: it is open when the plan begins
    has: Callable[[Thing, Thing], Truth]  # (pipeline, node): a member
    needs: Callable[[Thing, Thing, Thing], Truth]  # (pipeline, member, copy)
    unable: Callable[[Thing, Thing], Truth]  # (pipeline, node): it runs, but the member was started again


@attrs.frozen(kw_only=True)
class State:
    """Where all pipelines and nodes are."""

    held: Callable[[Thing], Truth]  # copy
    building: Callable[[Thing, Thing], Truth]  # (pipeline, member): its stage was begun
    freed: Callable[[Thing, Thing], Truth]  # (pipeline, member)
    ended: Callable[[Thing, Thing], Truth]  # (pipeline, member): the member counts it as closed
    lost: Callable[[Thing, Thing], Truth]  # (pipeline, member): the member has lost the leader
    opened: Callable[[Thing], Truth]  # pipeline, by its leader, ever
    stopped: Callable[[Thing], Truth]  # pipeline: a switch has ended it; it takes no new request
    closed: Callable[[Thing], Truth]  # pipeline, by its leader
    failed: Callable[[Thing], Truth]  # pipeline: closed because of a loss, a wrong answer or an unable member
    handed: Callable[[Thing], Truth]  # pipeline: its KV is with another, and the fronts have been told
    guest: Callable[[Thing], Thing]  # of what was handed over: the pipeline that has its KV
    heir: Callable[[Thing], Thing]  # of what stopped: what it stopped for
    server: Callable[[Thing], Thing]  # of what opened: what takes its requests now


Sentences = Mapping[str, Truth]


def axioms(logic: Logic, plan: Plan) -> tuple[Truth, ...]:
    """Switches form no circle, and what two rows of them lead to, one row does."""
    return (
        logic.every(
            ("Pipeline", "Pipeline"), lambda p, q: logic.implies(plan.leads(p, q), plan.rank(p) < plan.rank(q))
        ),
        logic.every(
            ("Pipeline", "Pipeline", "Pipeline"),
            lambda p, q, r: logic.implies(logic.both(plan.leads(p, q), plan.leads(q, r)), plan.leads(p, r)),
        ),
    )


def at_start(logic: Logic, plan: Plan, state: State) -> State:
    """What runs is open, and its members compute unless they were started again."""
    return attrs.evolve(
        state,
        held=lambda c: logic.either(
            state.held(c),
            logic.without(
                logic.every(
                    ("Pipeline", "Node"),
                    lambda p, m: logic.without(
                        logic.both(plan.runs(p), plan.has(p, m), plan.needs(p, m, c), logic.without(plan.unable(p, m)))
                    ),
                )
            ),
        ),
        building=lambda p, m: logic.both(plan.runs(p), plan.has(p, m), logic.without(plan.unable(p, m))),
        freed=lambda _p, _m: False,
        ended=lambda _p, _m: False,
        lost=lambda _p, _m: False,
        opened=plan.runs,
        stopped=lambda _p: False,
        closed=lambda _p: False,
        failed=lambda _p: False,
        handed=lambda _p: False,
        server=lambda p: p,
    )


def shown(logic: Logic, plan: Plan, s: State) -> Sentences:
    """What switches promise."""
    return {
        "SERVE": logic.every(
            ("Pipeline",),
            lambda p: logic.implies(
                s.opened(p),
                logic.both(
                    s.opened(s.server(p)),
                    logic.either(p == s.server(p), plan.leads(p, s.server(p))),
                    logic.either(logic.without(s.closed(s.server(p))), s.failed(s.server(p))),
                ),
            ),
        ),
        "CLOSE": logic.every(
            ("Pipeline",),
            lambda p: logic.implies(
                s.closed(p), logic.either(s.failed(p), logic.both(plan.leads(p, s.heir(p)), s.opened(s.heir(p))))
            ),
        ),
        "HELD": logic.every(
            ("Pipeline", "Node", "Copy"),
            lambda p, m, c: logic.implies(
                logic.both(s.opened(p), logic.without(s.closed(p)), plan.has(p, m), plan.needs(p, m, c)),
                logic.either(s.held(c), s.lost(p, m), plan.unable(p, m)),
            ),
        ),
        "HANDED": logic.every(
            ("Pipeline",),
            lambda p: logic.implies(
                logic.both(s.closed(p), s.opened(p), plan.copies(p)),
                logic.either(s.failed(p), logic.both(s.handed(p), plan.leads(p, s.guest(p)), s.opened(s.guest(p)))),
            ),
        ),
    }


def invariant(logic: Logic, plan: Plan, s: State) -> Sentences:
    """What is true of every state, and kept by every step."""

    def of_members(holds: Callable[[Thing, Thing], Truth]) -> Truth:
        return logic.every(("Pipeline", "Node"), holds)

    return {
        "what opened is computed by its members": of_members(
            lambda p, m: logic.implies(
                logic.both(s.opened(p), plan.has(p, m)), logic.either(s.building(p, m), plan.unable(p, m))
            )
        ),
        "who computes holds what it needs": logic.every(
            ("Pipeline", "Node", "Copy"),
            lambda p, m, c: logic.implies(
                logic.both(s.building(p, m), logic.without(s.freed(p, m)), plan.needs(p, m, c)), s.held(c)
            ),
        ),
        "who freed its stage counts the pipeline as closed": of_members(
            lambda p, m: logic.implies(s.freed(p, m), s.ended(p, m))
        ),
        "who counts it as closed is right, or has lost the leader": of_members(
            lambda p, m: logic.implies(s.ended(p, m), logic.either(s.closed(p), s.lost(p, m)))
        ),
        "what closed was stopped, or failed": logic.every(
            ("Pipeline",), lambda p: logic.implies(s.closed(p), logic.either(s.stopped(p), s.failed(p)))
        ),
        "what stopped has an heir that opened": logic.every(
            ("Pipeline",),
            lambda p: logic.implies(s.stopped(p), logic.both(plan.leads(p, s.heir(p)), s.opened(s.heir(p)))),
        ),
        "what stopped and was to copy has handed over": logic.every(
            ("Pipeline",),
            lambda p: logic.implies(logic.both(s.stopped(p), s.opened(p), plan.copies(p)), s.handed(p)),
        ),
        "what opened has a server that has not stopped": logic.every(
            ("Pipeline",),
            lambda p: logic.implies(
                s.opened(p),
                logic.both(
                    s.opened(s.server(p)),
                    logic.without(s.stopped(s.server(p))),
                    logic.either(p == s.server(p), plan.leads(p, s.server(p))),
                ),
            ),
        ),
        "KV goes where a switch leads, to what opened": logic.every(
            ("Pipeline",),
            lambda p: logic.implies(s.handed(p), logic.both(plan.leads(p, s.guest(p)), s.opened(s.guest(p)))),
        ),
    }


# --- steps: the guards, by name, and the state after ------------------------------------------------------------------


def receive(logic: Logic, s: State, c: Thing) -> tuple[Sentences, State]:
    """A blob arrives."""
    return {}, attrs.evolve(s, held=lambda d: logic.either(s.held(d), d == c))


def build(logic: Logic, plan: Plan, s: State, p: Thing, m: Thing) -> tuple[Sentences, State]:
    """A member begins to build its stage."""
    needed = logic.every(("Copy",), lambda c: logic.implies(plan.needs(p, m, c), s.held(c)))
    after = attrs.evolve(s, building=lambda q, n: logic.either(s.building(q, n), logic.both(q == p, n == m)))
    return {"it holds what it needs": needed}, after


def give_up(logic: Logic, s: State, p: Thing, m: Thing) -> tuple[Sentences, State]:
    """A member cannot build its stage."""
    after = attrs.evolve(
        s, building=lambda q, n: logic.both(s.building(q, n), logic.without(logic.both(q == p, n == m)))
    )
    return {"the pipeline is not open": logic.without(s.opened(p))}, after


def open_pipeline(logic: Logic, plan: Plan, s: State, p: Thing) -> tuple[Sentences, State]:
    """The leader opens a pipeline that gave the right answer."""
    guards = {
        "each member has built its stage": logic.every(
            ("Node",), lambda m: logic.implies(plan.has(p, m), s.building(p, m))
        ),
        "it was not stopped": logic.without(s.stopped(p)),
    }
    after = attrs.evolve(
        s,
        opened=lambda q: logic.either(s.opened(q), q == p),
        server=lambda q: logic.where(q == p, p, s.server(q)),
    )
    return guards, after


def hand_over(logic: Logic, plan: Plan, s: State, p: Thing, q: Thing) -> tuple[Sentences, State]:
    """The KV of a pipeline has been copied.  Until then, and when that is given up, nothing changes here."""
    guards = {"a switch leads there": plan.leads(p, q), "the new one has opened": s.opened(q)}
    after = attrs.evolve(
        s,
        handed=lambda o: logic.either(s.handed(o), o == p),
        guest=lambda o: logic.where(o == p, q, s.guest(o)),
    )
    return guards, after


def stop(logic: Logic, plan: Plan, s: State, p: Thing, q: Thing) -> tuple[Sentences, State]:
    """The leader stops a pipeline for one that a switch puts in its place: it closes, or drains and closes later."""
    guards = {
        "a switch leads there": plan.leads(p, q),
        "the new one has opened": s.opened(q),
        "its KV was handed over if it was to be": logic.implies(logic.both(s.opened(p), plan.copies(p)), s.handed(p)),
    }
    after = attrs.evolve(
        s,
        stopped=lambda o: logic.either(s.stopped(o), o == p),
        heir=lambda o: logic.where(o == p, q, s.heir(o)),
        server=lambda o: logic.where(s.server(o) == p, s.server(q), s.server(o)),
    )
    return guards, after


def close(logic: Logic, s: State, p: Thing) -> tuple[Sentences, State]:
    """What was stopped closes for good: at once, or when it has drained."""
    return {"it was stopped": s.stopped(p)}, attrs.evolve(s, closed=lambda q: logic.either(s.closed(q), q == p))


def fail(logic: Logic, s: State, p: Thing) -> tuple[Sentences, State]:
    """Members have lost each other, one is unable, or the answer was wrong: the leader closes the pipeline."""
    after = attrs.evolve(
        s,
        closed=lambda q: logic.either(s.closed(q), q == p),
        failed=lambda q: logic.either(s.failed(q), q == p),
    )
    return {}, after


def hear(logic: Logic, s: State, p: Thing, m: Thing) -> tuple[Sentences, State]:
    """A member hears that a pipeline has closed."""
    after = attrs.evolve(s, ended=lambda q, n: logic.either(s.ended(q, n), logic.both(q == p, n == m)))
    return {"it has closed": s.closed(p)}, after


def lose(logic: Logic, s: State, p: Thing, m: Thing) -> tuple[Sentences, State]:
    """A member loses the leader of a pipeline."""
    after = attrs.evolve(
        s,
        ended=lambda q, n: logic.either(s.ended(q, n), logic.both(q == p, n == m)),
        lost=lambda q, n: logic.either(s.lost(q, n), logic.both(q == p, n == m)),
    )
    return {}, after


def free(logic: Logic, s: State, p: Thing, m: Thing) -> tuple[Sentences, State]:
    """A member frees its stage."""
    after = attrs.evolve(s, freed=lambda q, n: logic.either(s.freed(q, n), logic.both(q == p, n == m)))
    return {"it counts the pipeline as closed": s.ended(p, m)}, after


def release(logic: Logic, plan: Plan, s: State, c: Thing) -> tuple[Sentences, State]:
    """A node gives up a copy."""
    unused = logic.every(
        ("Pipeline", "Node"),
        lambda p, m: logic.implies(logic.both(plan.needs(p, m, c), s.building(p, m)), s.freed(p, m)),
    )
    return {"no stage uses it": unused}, attrs.evolve(s, held=lambda d: logic.both(s.held(d), logic.without(d == c)))
