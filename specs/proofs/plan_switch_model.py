"""The model of plan switch: what is proved, and what it is proved with.  See `specs.proofs.plan_switch`."""

from collections.abc import Callable, Mapping

import attrs

from specs.proofs.logic import Logic, Thing, Truth


@attrs.frozen(kw_only=True)
class Plans:
    """What plans are; it never changes."""

    generation: Callable[[Thing], Thing]
    depth: Callable[[Thing], Thing]
    follows: Callable[[Thing, Thing], Truth]  # (plan, its parent)
    has: Callable[[Thing, Thing], Truth]  # (plan, node): the plan's cluster has the node


@attrs.frozen(kw_only=True)
class State:
    """Where all nodes are.  (node, plan) unless something else is said."""

    settled: Callable[[Thing], Thing]  # node
    recorded: Callable[[Thing], Thing]  # node: on its disk
    serves: Callable[[Thing], Truth]  # node: has adopted a plan in its present life
    current: Callable[[Thing], Thing]  # node: the plan that it carries out; of a node that has none, anything
    adopted: Callable[[Thing, Thing], Truth]  # in its present life
    stands: Callable[[Thing, Thing], Truth]  # has accepted it since it last adopted a plan, in its present life
    refuses: Callable[[Thing, Thing], Truth]  # has declined it, and remembers
    accepted: Callable[[Thing, Thing], Truth]  # ever
    declined: Callable[[Thing, Thing], Truth]  # ever
    used: Callable[[Thing], Truth]  # plan: some node adopted it, ever
    dead: Callable[[Thing], Truth]  # plan: a node that it has declined it
    killer: Callable[[Thing], Thing]  # plan: that node


Sentences = Mapping[str, Truth]


def _serves(logic: Logic, s: State, n: Thing, p: Thing) -> Truth:
    """Say that a node carries a plan out."""
    return logic.both(s.serves(n), s.current(n) == p)


def axioms(logic: Logic, plans: Plans) -> tuple[Truth, ...]:
    """A plan follows at most one, and no plan comes before itself."""
    return (
        logic.every(
            ("Plan", "Plan", "Plan"),
            lambda p, q, r: logic.implies(logic.both(plans.follows(p, q), plans.follows(p, r)), q == r),
        ),
        logic.every(("Plan", "Plan"), lambda p, q: logic.implies(plans.follows(p, q), plans.depth(q) < plans.depth(p))),
    )


def at_start(state: State) -> State:
    """No node has a plan; nobody said anything.  Who died was anywhere."""
    return attrs.evolve(
        state,
        settled=lambda _n: 0,
        recorded=lambda _n: 0,
        serves=lambda _n: False,
        adopted=lambda _n, _p: False,
        stands=lambda _n, _p: False,
        refuses=lambda _n, _p: False,
        accepted=lambda _n, _p: False,
        declined=lambda _n, _p: False,
        used=lambda _p: False,
        dead=lambda _p: False,
    )


def shown(logic: Logic, plans: Plans, s: State) -> Sentences:
    """What plan switch promises."""

    def are_rivals(p: Thing, q: Thing, r: Thing) -> Truth:
        return logic.both(plans.follows(p, r), plans.follows(q, r), logic.without(p == q))

    def is_older(p: Thing, q: Thing) -> Truth:
        return plans.generation(p) <= plans.generation(q)

    return {
        "RIVALS": logic.every(
            ("Node", "Plan", "Plan", "Plan"),
            lambda n, p, q, r: logic.implies(
                logic.both(are_rivals(p, q, r), is_older(p, q), s.adopted(n, p), s.used(q)),
                logic.without(plans.has(q, n)),
            ),
        ),
        "FOLLOW": logic.every(
            ("Node", "Plan", "Plan"),
            lambda n, p, q: logic.implies(logic.both(s.stands(n, p), _serves(logic, s, n, q)), plans.follows(p, q)),
        ),
        "RISE": logic.every(
            ("Node", "Plan", "Plan"),
            lambda n, p, q: logic.implies(
                logic.both(s.stands(n, p), _serves(logic, s, n, q)), plans.generation(p) > plans.generation(q)
            ),
        ),
        "DEAD": logic.every(
            ("Plan", "Plan", "Node"),
            lambda p, r, n: logic.implies(
                logic.both(s.used(p), plans.follows(p, r), plans.has(p, n)), logic.without(s.declined(n, p))
            ),
        ),
    }


def invariant(logic: Logic, plans: Plans, s: State) -> Sentences:
    """What is true of every state, and kept by every step."""
    return {**_words(logic, plans, s), **_knowledge(logic, plans, s)}


def _words(logic: Logic, plans: Plans, s: State) -> Sentences:
    """What was said never contradicts itself."""
    generation, has = plans.generation, plans.has

    def of_plans(holds: Callable[[Thing, Thing], Truth]) -> Truth:
        return logic.every(("Node", "Plan"), holds)

    return {
        "WORD": of_plans(
            lambda n, p: logic.implies(logic.both(has(p, n), s.accepted(n, p)), logic.without(s.declined(n, p)))
        ),
        "ONCE": logic.every(
            ("Node", "Plan", "Plan"),
            lambda n, p, q: logic.implies(
                logic.both(s.accepted(n, p), s.accepted(n, q), generation(p) == generation(q)), p == q
            ),
        ),
        "ALL": logic.every(
            ("Plan", "Plan", "Node"),
            lambda p, r, n: logic.implies(logic.both(s.used(p), plans.follows(p, r), has(p, n)), s.accepted(n, p)),
        ),
        "a rival of what was adopted, accepted before and not older, is dead": logic.every(
            ("Node", "Plan", "Plan", "Plan"),
            lambda n, p, q, r: logic.implies(
                logic.both(
                    plans.follows(p, r),
                    plans.follows(q, r),
                    logic.without(p == q),
                    generation(p) <= generation(q),
                    s.adopted(n, p),
                    s.accepted(n, q),
                ),
                s.dead(q),
            ),
        ),
    }


def _knowledge(logic: Logic, plans: Plans, s: State) -> Sentences:
    """Each node knows enough of what it said."""
    generation, depth, has = plans.generation, plans.depth, plans.has

    def of_plans(holds: Callable[[Thing, Thing], Truth]) -> Truth:
        return logic.every(("Node", "Plan"), holds)

    return {
        "what is dead was declined by a node of it": logic.every(
            ("Plan",),
            lambda p: logic.implies(s.dead(p), logic.both(has(p, s.killer(p)), s.declined(s.killer(p), p))),
        ),
        "what was accepted stands, or is settled": of_plans(
            lambda n, p: logic.implies(
                s.accepted(n, p), logic.both(has(p, n), logic.either(s.stands(n, p), generation(p) <= s.settled(n)))
            )
        ),
        "what was declined is remembered, or is settled": of_plans(
            lambda n, p: logic.implies(
                logic.both(has(p, n), s.declined(n, p)),
                logic.either(s.refuses(n, p), generation(p) <= s.settled(n)),
            )
        ),
        "what stands was accepted and is not settled": of_plans(
            lambda n, p: logic.implies(s.stands(n, p), logic.both(s.accepted(n, p), generation(p) > s.settled(n)))
        ),
        "what stands follows what is served": logic.every(
            ("Node", "Plan", "Plan"),
            lambda n, p, r: logic.implies(logic.both(s.stands(n, p), _serves(logic, s, n, r)), plans.follows(p, r)),
        ),
        "what is served was adopted": of_plans(lambda n, p: logic.implies(_serves(logic, s, n, p), s.adopted(n, p))),
        "what was adopted does not come after what is served": logic.every(
            ("Node", "Plan", "Plan"),
            lambda n, p, q: logic.implies(
                s.adopted(n, p),
                logic.both(
                    s.serves(n),
                    s.used(p),
                    generation(p) <= s.settled(n),
                    logic.implies(_serves(logic, s, n, q), depth(p) <= depth(q)),
                ),
            ),
        ),
        "the disk knows all": of_plans(
            lambda n, p: logic.both(
                s.settled(n) <= s.recorded(n),
                logic.implies(logic.either(s.accepted(n, p), s.declined(n, p)), generation(p) <= s.recorded(n)),
            )
        ),
    }


# --- steps: the guards, by name, and the state after ------------------------------------------------------------------


def _recording(logic: Logic, s: State, node: Thing, number: Thing, recorded: Thing) -> Sentences:
    return {"the disk is written": logic.both(recorded >= s.recorded(node), recorded >= number)}


def accept(logic: Logic, plans: Plans, s: State, n: Thing, p: Thing, recorded: Thing) -> tuple[Sentences, State]:
    """A node accepts a plan."""
    number = plans.generation(p)
    guards = {
        "the plan names it": plans.has(p, n),
        "it is not settled": number > s.settled(n),
        "it is above all that stand": logic.every(
            ("Plan",), lambda q: logic.implies(s.stands(n, q), plans.generation(q) < number)
        ),
        "it was not declined": logic.without(s.refuses(n, p)),
        "it follows what is served": logic.every(
            ("Plan",), lambda r: logic.implies(_serves(logic, s, n, r), plans.follows(p, r))
        ),
        **_recording(logic, s, n, number, recorded),
    }
    after = attrs.evolve(
        s,
        accepted=lambda m, q: logic.either(s.accepted(m, q), logic.both(m == n, q == p)),
        stands=lambda m, q: logic.either(s.stands(m, q), logic.both(m == n, q == p)),
        recorded=lambda m: logic.where(m == n, recorded, s.recorded(m)),
    )
    return guards, after


def decline(logic: Logic, plans: Plans, s: State, n: Thing, p: Thing, recorded: Thing) -> tuple[Sentences, State]:
    """A node that a plan names declines it; what other nodes say of it counts for nothing."""
    guards = {
        "the plan names it": plans.has(p, n),
        "it is not settled": plans.generation(p) > s.settled(n),
        "it was not accepted": logic.without(s.stands(n, p)),
        **_recording(logic, s, n, plans.generation(p), recorded),
    }
    after = attrs.evolve(
        s,
        declined=lambda m, q: logic.either(s.declined(m, q), logic.both(m == n, q == p)),
        refuses=lambda m, q: logic.either(s.refuses(m, q), logic.both(m == n, q == p)),
        dead=lambda q: logic.either(s.dead(q), q == p),
        killer=lambda q: logic.where(q == p, n, s.killer(q)),
        recorded=lambda m: logic.where(m == n, recorded, s.recorded(m)),
    )
    return guards, after


def adopt(
    logic: Logic, plans: Plans, s: State, n: Thing, p: Thing, settled: Thing, recorded: Thing
) -> tuple[Sentences, State]:
    """A node adopts a plan for which it stands."""
    guards = {
        "it stands for the plan": s.stands(n, p),
        "what is above it is dead": logic.every(
            ("Plan",),
            lambda q: logic.implies(logic.both(s.stands(n, q), plans.generation(q) > plans.generation(p)), s.dead(q)),
        ),
        "all have accepted it, or one has adopted it": logic.either(
            s.used(p), logic.every(("Node",), lambda m: logic.implies(plans.has(p, m), s.accepted(m, p)))
        ),
        **_recording(logic, s, n, settled, recorded),
    }
    return {**guards, **_settling(logic, plans, s, n, p, settled)}, _adopted(logic, plans, s, n, p, settled, recorded)


def begin(
    logic: Logic, plans: Plans, s: State, n: Thing, p: Thing, settled: Thing, recorded: Thing
) -> tuple[Sentences, State]:
    """A node without a plan adopts one that has no parent, or that a peer has adopted."""
    number = plans.generation(p)
    guards = {
        "it has no plan": logic.without(s.serves(n)),
        "the plan names it": plans.has(p, n),
        "it is as new as what an earlier life knew": number >= s.settled(n),
        "what stands above it is dead": logic.every(
            ("Plan",),
            lambda q: logic.implies(logic.both(s.stands(n, q), plans.generation(q) >= number), s.dead(q)),
        ),
        "a peer has adopted it, or it has no parent": logic.either(
            s.used(p), logic.every(("Plan",), lambda r: logic.without(plans.follows(p, r)))
        ),
        **_recording(logic, s, n, settled, recorded),
    }
    return {**guards, **_settling(logic, plans, s, n, p, settled)}, _adopted(logic, plans, s, n, p, settled, recorded)


def _settling(logic: Logic, plans: Plans, s: State, n: Thing, p: Thing, settled: Thing) -> Sentences:
    return {
        "what was accepted and adopted is settled": logic.both(
            settled >= s.settled(n),
            settled >= plans.generation(p),
            logic.every(("Plan",), lambda q: logic.implies(s.stands(n, q), plans.generation(q) <= settled)),
        )
    }


def _adopted(logic: Logic, plans: Plans, s: State, n: Thing, p: Thing, settled: Thing, recorded: Thing) -> State:
    return attrs.evolve(
        s,
        settled=lambda m: logic.where(m == n, settled, s.settled(m)),
        recorded=lambda m: logic.where(m == n, recorded, s.recorded(m)),
        serves=lambda m: logic.either(s.serves(m), m == n),
        current=lambda m: logic.where(m == n, p, s.current(m)),
        adopted=lambda m, q: logic.either(s.adopted(m, q), logic.both(m == n, q == p)),
        stands=lambda m, q: logic.both(s.stands(m, q), logic.without(m == n)),
        refuses=lambda m, q: logic.both(
            s.refuses(m, q), logic.either(logic.without(m == n), plans.generation(q) > plans.generation(p))
        ),
        used=lambda q: logic.either(s.used(q), q == p),
    )


def record(logic: Logic, s: State, n: Thing, recorded: Thing) -> tuple[Sentences, State]:
    """A node writes more on its disk than it must, as of a plan that does not name it."""
    after = attrs.evolve(s, recorded=lambda m: logic.where(m == n, recorded, s.recorded(m)))
    return {"the disk is written": recorded >= s.recorded(n)}, after


def restart(logic: Logic, s: State, n: Thing) -> tuple[Sentences, State]:
    """A node is started again: it knows what is on its disk."""
    after = attrs.evolve(
        s,
        settled=lambda m: logic.where(m == n, s.recorded(m), s.settled(m)),
        serves=lambda m: logic.both(s.serves(m), logic.without(m == n)),
        adopted=lambda m, q: logic.both(s.adopted(m, q), logic.without(m == n)),
        stands=lambda m, q: logic.both(s.stands(m, q), logic.without(m == n)),
        refuses=lambda m, q: logic.both(s.refuses(m, q), logic.without(m == n)),
    )
    return {}, after
