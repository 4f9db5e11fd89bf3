"""What may happen next in the world of a KV hand-over, and what should be true of it."""

from collections.abc import Callable, Iterator

import attrs

from specs.protocols import kv_hand_over_events as ev
from specs.protocols.explore import Found, Move, explore
from specs.protocols.kv_hand_over_nouns import Chunk, Path, Terms
from tests.protocols.hand_over_world import NEW, OLD, Faults, Roles, World, X

ONE = (Path(old_stage=0, new_stage=0),)
SPLIT = (Path(old_stage=0, new_stage=0), Path(old_stage=0, new_stage=1))
JOIN = (Path(old_stage=0, new_stage=0), Path(old_stage=1, new_stage=0))
LOST_BY_BREAKS = ("handed", "resume")  # the connection breaks, and both ends hear of that


def less(world: World, fault: str) -> Faults:
    return attrs.evolve(world.faults, **{fault: getattr(world.faults, fault) - 1})


class Moves(Roles):
    """Everything that may happen next."""

    def moves(self, world: World) -> Iterator[Move[World]]:
        yield from self._letters(world)
        yield from self._copies(world)
        yield from self._old_pipeline(world)
        yield from self._new_pipeline(world)
        yield from self._clocks(world)
        yield from self._front(world)
        yield from self._troubles(world)

    def _letters(self, world: World) -> Iterator[Move[World]]:
        for way, message in world.says:
            rest = attrs.evolve(world, says=tuple(each for each in world.says if each[0] != way))
            yield Move(f"heard {way}", self.hear(rest, way, message))
            if world.faults.losses:
                yield Move(f"LOST {way}", attrs.evolve(rest, faults=less(world, "losses")), is_fault=True)
            stray = world.strays | {(way, message)}
            if world.faults.lates:
                late = attrs.evolve(rest, strays=stray, faults=less(world, "lates"))
                yield Move(f"LATE {way}", late, is_fault=True)
            if world.faults.repeats:
                again = attrs.evolve(rest, strays=stray, faults=less(world, "repeats"))
                yield Move(f"REPEAT {way}", self.hear(again, way, message), is_fault=True)
        for way, message in sorted(world.strays, key=repr):
            rest = attrs.evolve(world, strays=world.strays - {(way, message)})
            yield Move(f"heard at last {way}", self.hear(rest, way, message))

    def _copies(self, world: World) -> Iterator[Move[World]]:
        """An old stage reads the next token of a row, whoever has the slot by now, and sends its KV."""
        busy = {way for way, _ in world.says}
        for index, (path, id_, rows) in enumerate(world.orders):
            way = f"chunk{path}"
            if way in busy:
                continue
            row, start = rows[0], rows[0].start
            chunk = Chunk(
                id=id_, path=self.terms.paths[path], request=row.request, seat=row.seat, start=start, end=start + 1
            )
            rest = ((attrs.evolve(row, start=start + 1),) if start + 1 < row.end else ()) + rows[1:]
            left = ((path, id_, rest),) if rest else ()
            orders = (*world.orders[:index], *left, *world.orders[index + 1 :])
            after = self.say(attrs.evolve(world, orders=orders), way, (chunk, ((world.last[row.slot], start),)))
            yield Move(f"read {way} {row.request} at {start}", after)

    def _old_pipeline(self, world: World) -> Iterator[Move[World]]:
        if world.source is None or world.ended:
            return
        if world.source.current is None and world.target is not None:
            yield Move("the hand-over begins", self.tell_source(world, ev.Begin(NEW, world.live)))
        if world.target is None and world.source.current is not None:
            yield Move("the successor has closed", self.tell_source(world, ev.Abort()))
        if not world.flying and not world.halted and world.live:
            yield Move("an iteration begins", attrs.evolve(world, flying=True, served=world.back))
        if world.flying:
            after = self._iterated(world)
            yield Move("an iteration ends", after)
            if world.faults.missed:
                missing = attrs.evolve(after, faults=less(world, "missed"))
                for name, asked in world.requests:
                    if asked.place == OLD and after.of(name).seen > asked.seen:
                        behind = self.set(missing, name, seen=asked.seen, place=OLD)
                        yield Move(f"the front MISSES a token of {name}", behind, is_fault=True)

    def _iterated(self, world: World) -> World:
        """Each request with a slot has computed a token more, and sampled one if its prompt is done."""
        world = attrs.evolve(world, flying=False)
        for live in world.live:
            if any(each[0] == live.request for each in world.running):
                world = attrs.evolve(world, breaches=world.breaches | {"TWICE"})
            asked = world.of(live.request)
            computed, tokens = asked.computed + 1, asked.tokens + (asked.computed + 1 == asked.tokens)
            seen = tokens if asked.place == OLD and asked.seen == asked.tokens else asked.seen
            world = self.set(world, live.request, computed=computed, tokens=tokens, seen=seen)
            if tokens == self.end:
                world = self.set(world, live.request, is_there=False, slot=None)
                if seen == tokens:
                    world = self.set(world, live.request, place="done")
        return self._boundary(self._admit(world))

    def _admit(self, world: World) -> World:
        for slot in range(len(world.last)):
            taken = {each.slot for each in world.live}
            waiting = next((name for name, asked in world.requests if asked.is_there and asked.slot is None), None)
            if slot not in taken and waiting is not None:
                last = (*world.last[:slot], waiting, *world.last[slot + 1 :])
                world = self.set(attrs.evolve(world, last=last), waiting, slot=slot)
        return world

    def _boundary(self, world: World) -> World:
        if world.source is None or world.source.current is None:
            return world
        return self.tell_source(world, world.boundary)

    def _new_pipeline(self, world: World) -> Iterator[Move[World]]:
        if world.target is None:
            return
        for running in world.running:
            yield Move(f"{running[0]} goes on in the new pipeline", self._resumed(world, running))
        for path, slot in world.stale:
            left = attrs.evolve(world, stale=tuple(each for each in world.stale if each != (path, slot)))
            left = self.write(left, path, slot, 0, ((X, 0),))
            yield Move(f"the stranger's iteration comes to path {path}", left)
        if X in world.owners and not world.stale:
            yield Move("the stranger ends", self.own(world, world.owners.index(X), None, X))
        if world.strangers and None in world.owners:
            slot = world.owners.index(None)
            stale = tuple((path, slot) for path in range(len(self.terms.paths)))
            came = attrs.evolve(world, strangers=world.strangers - 1, stale=world.stale + stale)
            yield Move("a stranger comes", self.own(came, slot, X, None))

    def _resumed(self, world: World, running: tuple[str, int, int, int]) -> World:
        name, slot, computed, tokens = running
        asked = world.of(name)
        broken = set()
        wanted = tuple((name, position) for position in range(computed))
        if any(row[slot][:computed] != wanted for row in world.kv):
            broken.add("WHOLE")
        if asked.seen != tokens:
            broken.add("COUNT")
        if asked.is_there or asked.place != NEW:
            broken.add("TWICE")
        world = attrs.evolve(world, breaches=world.breaches | broken)
        for path in range(len(self.terms.paths)):
            world = self.write(world, path, slot, computed, ((name, computed),))
        tokens += computed + 1 == tokens
        others = tuple(each for each in world.running if each[0] != name)
        if tokens >= self.end or broken:
            world = self.set(attrs.evolve(world, running=others), name, place="done", seen=tokens)
            return self.own(world, slot, None, name)
        world = attrs.evolve(world, running=(*others, (name, slot, computed + 1, tokens)))
        return self.set(world, name, seen=tokens)

    def _clocks(self, world: World) -> Iterator[Move[World]]:
        is_calm = not world.says and not world.orders
        if world.source is not None and world.source.current is not None and is_calm:
            after = self.tell_source(world, ev.Tick())
            if after != world:
                yield Move("a tick at the source", after)
        if world.target is None:
            return
        after = self._waited(world)
        if is_calm and after != world:
            yield Move("a tick at the target", after)
        if world.faults.impatience and world.target.stays:
            hasty = self.tell_target(attrs.evolve(world, faults=less(world, "impatience")), ev.Tick(), self.hasty)
            yield Move("the target is IMPATIENT", hasty, is_fault=True)

    def _waited(self, world: World) -> World:
        """Time passes at the target: an invitation comes meanwhile, if the source has anything to hand over."""
        assert world.target is not None
        current = None if world.source is None or world.ended else world.source.current
        if current is None or any(stay.id != current.id for stay in world.target.stays):
            return self.tell_target(world, ev.Tick(), self.hasty)
        after = self.tell_target(world, ev.Tick())
        target = after.target
        stays = tuple(attrs.evolve(stay, quiet=0) for stay in target.stays)
        return attrs.evolve(after, target=attrs.evolve(target, stays=stays))

    def _front(self, world: World) -> Iterator[Move[World]]:
        """The front learns that a connection broke: it lacks tokens, or nobody has its request any more."""
        ways = {way for way, _ in (*world.says, *world.strays)}
        for name, asked in world.requests:
            lost = asked.place == OLD and (world.source is None or (world.ended and "handed" not in ways))
            lost |= asked.place == NEW and name not in {each[0] for each in world.running} and "resume" not in ways
            lost |= asked.place == NEW and world.target is None
            if lost or (asked.place == OLD and asked.seen < asked.tokens):
                after = self.set(world, name, place="again", is_there=False, slot=None)
                yield Move(f"{name} is submitted again", self._boundary(self._admit_quietly(after)))

    def _admit_quietly(self, world: World) -> World:
        return world if world.flying else self._admit(world)

    def _troubles(self, world: World) -> Iterator[Move[World]]:
        faults = world.faults
        if faults.aborts and world.source is not None and world.source.current is not None:
            after = attrs.evolve(world, faults=less(world, "aborts"))
            yield Move("ABORT", self.tell_source(after, ev.Abort()), is_fault=True)
        if faults.source_deaths and world.source is not None:
            requests = tuple((n, attrs.evolve(r, is_there=False, slot=None)) for n, r in world.requests)
            after = attrs.evolve(world, faults=less(world, "source_deaths"), source=None, requests=requests)
            yield Move("the source DIES", attrs.evolve(after, flying=False), is_fault=True)
        if faults.target_deaths and world.target is not None:
            after = attrs.evolve(
                world,
                faults=less(world, "target_deaths"),
                target=None,
                orders=(),
                says=tuple(each for each in world.says if each[0] in ("hosting", "handed")),
                running=(),
                stale=(),
            )
            yield Move("the target DIES", after, is_fault=True)
        if faults.cancels:
            for name, asked in world.requests:
                if asked.place in (OLD, NEW):
                    yield Move(f"{name} is CANCELLED", self._cancelled(world, name), is_fault=True)
        if faults.source_drains and world.source is not None and world.live:
            after = attrs.evolve(world, faults=less(world, "source_drains"), flying=False)
            for live in world.live:
                after = self.set(after, live.request, is_there=False, slot=None)
                if after.of(live.request).place == OLD:
                    after = self.set(after, live.request, place="again")
            yield Move("the old pipeline GIVES BACK", self._boundary(self._admit(after)), is_fault=True)
        if faults.target_drains and world.target is not None:
            after = attrs.evolve(world, faults=less(world, "target_drains"), running=())
            for slot, owner in enumerate(world.owners):
                if owner not in (None, "seat"):
                    after = self.own(after, slot, None, owner)
                    after = after if owner == X else self.set(after, owner, place="again")
            yield Move("the new pipeline GIVES BACK", after, is_fault=True)

    def _cancelled(self, world: World, name: str) -> World:
        after = self.set(attrs.evolve(world, faults=less(world, "cancels")), name, place="cancelled")
        after = self.set(after, name, is_there=False, slot=None)
        for running in world.running:
            if running[0] == name:
                after = attrs.evolve(after, running=tuple(each for each in after.running if each != running))
                return self.own(after, running[1], None, name)
        return self._boundary(self._admit_quietly(after))


# --- what should be true ----------------------------------------------------------------------------------------------

ALWAYS = {
    "a resumed request decodes on whole and own KV": "WHOLE",
    "no chunk is written but into the seat of its guest": "OVERWRITE",
    "a request goes on with the tokens that its front has": "COUNT",
    "one pipeline at most decodes a request": "TWICE",
    "a slot has one owner at a time": "SLOT",
}


def is_good(world: World) -> bool:
    """Every request is answered, cancelled or elsewhere, and the new pipeline keeps no seat."""
    if any(asked.place in (OLD, NEW) for _, asked in world.requests):
        return False
    if world.target is None:
        return True
    return not any(stay.guests for stay in world.target.stays) and "seat" not in world.owners


def all_ended_in_the_new(world: World) -> bool:
    """Every request was handed over, and was answered to the end."""
    return all(asked.place == "done" and asked.computed < asked.seen - 1 for _, asked in world.requests)


def listed_again(world: World) -> bool:
    return any(asked.place == "again" for _, asked in world.requests)


def aborted_and_served(world: World) -> bool:
    """The old pipeline had halted, went back to decoding, and finished a request."""
    return world.served and not world.ended and any(asked.place == "done" for _, asked in world.requests)


def run(
    terms: Terms,
    faults: Faults,
    sometimes: tuple[Callable[[World], bool], ...] = (all_ended_in_the_new,),
    *,
    stages: int = 1,
    end: int = 4,
    states_max: int = 60_000,
    **start,
) -> Found[World]:
    roles = Moves(terms, stages, end)
    return explore(
        [roles.start(faults, **start)],
        roles.moves,
        always={about: (lambda world, name=name: name not in world.breaches) for about, name in ALWAYS.items()},
        sometimes={each.__name__: each for each in sometimes},
        good=is_good,
        states_max=states_max,
    )


def terms(paths: tuple[Path, ...] = ONE, **changes: int) -> Terms:
    usual = {
        "rounds_max": 2,
        "rest_tokens_max": 1,
        "copy_tokens_min": 1,
        "late_max": 1,
        "tries_max": 1,
        "hand_overs_max": 2,
    }
    return Terms(pipeline=OLD, paths=paths, **{**usual, **changes})
