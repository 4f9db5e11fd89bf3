"""A small world around the roles of KV hand-over: two pipelines, a front, a network, and faults.

The roles are the product's own functions.  The old pipeline computes one token of each of its requests per iteration;
the new one those that it takes over, and may have a request of its own, the stranger.  KV is modelled by what each
position was written for: (request, position).  Of the messages that say how things are the newest is under way on each
way; with faults an old one lingers (late), stays after it is heard (repeat) or vanishes (loss).  Ticks come when
nothing is under way.  Each thing that may happen next is a `Move`.
"""

import attrs

from specs.protocols import kv_hand_over, kv_hand_over_target
from specs.protocols import kv_hand_over_events as ev
from specs.protocols.kv_hand_over_nouns import HandOverId, Live, SourceState, StageState, Successor, TargetState, Terms

OLD, NEW = "old", "new"
X = "x"  # the stranger
Letter = tuple[str, object]  # a way and what is said on it


@attrs.frozen(kw_only=True, cache_hash=True)
class Faults:
    """How many of each may still happen."""

    losses: int = 0
    repeats: int = 0
    lates: int = 0
    aborts: int = 0
    source_deaths: int = 0
    target_deaths: int = 0  # of its leader or of a stage: the new pipeline closes
    cancels: int = 0
    missed: int = 0  # tokens that a front does not get
    impatience: int = 0  # the target leader gives up though the source lives
    source_drains: int = 0  # a connection between stages broke: the pipeline gives all its requests back
    target_drains: int = 0


@attrs.frozen(kw_only=True, cache_hash=True)
class Asked:
    """A request in the old pipeline, and at its front."""

    computed: int = 1
    tokens: int = 2
    slot: int | None = None  # of the old pipeline; None: it waits, or is there no more
    is_there: bool = True  # the old pipeline has it
    place: str = OLD  # where its front has it: old, new, again (elsewhere), done, cancelled
    seen: int = 2  # tokens at the front


@attrs.frozen(kw_only=True, cache_hash=True)
class World:
    source: SourceState | None = SourceState()
    target: TargetState | None = TargetState()
    stages: tuple[StageState, ...]
    requests: tuple[tuple[str, Asked], ...]
    last: tuple[str, ...]  # for each slot of the old pipeline, who had it last
    flying: bool = False  # an iteration of the old pipeline is under way
    halted: bool = False
    ended: bool = False  # the old pipeline has handed out
    owners: tuple[str | None, ...]  # of the slots of the new pipeline: "seat", a request, the stranger
    running: tuple[tuple[str, int, int, int], ...] = ()  # in the new pipeline: request, slot, computed, tokens
    kv: tuple[tuple[tuple[tuple[str, int] | None, ...], ...], ...]  # [path][slot][position]: what it was written for
    strangers: int = 0  # that may still come
    stale: tuple[tuple[int, int], ...] = ()  # the stranger's iteration is under way to these paths and slots
    says: tuple[Letter, ...] = ()  # the newest on each way
    strays: frozenset[Letter] = frozenset()
    orders: tuple[tuple[int, HandOverId, tuple[ev.CopyRow, ...]], ...] = ()  # at the old stages, by path
    faults: Faults
    breaches: frozenset[str] = frozenset()
    back: bool = False  # a hand-over has failed whose source had halted
    served: bool = False  # and an iteration began after that

    def of(self, request: str) -> Asked:
        return dict(self.requests)[request]

    @property
    def live(self) -> tuple[Live, ...]:
        return tuple(
            Live(
                request=name,
                slot=asked.slot,
                computed=asked.computed,
                tokens=asked.tokens,
                under_way=int(self.flying),
                samples=self.flying and asked.computed + 1 == asked.tokens,
            )
            for name, asked in self.requests
            if asked.is_there and asked.slot is not None
        )

    @property
    def boundary(self) -> ev.Boundary:
        return ev.Boundary(self.live, is_heeded=self.halted, is_quiet=self.halted and not self.flying)


class Roles:
    """The three roles and the front, with what their actions do to the world."""

    def __init__(self, terms: Terms, stages: int, end: int) -> None:
        self.terms = terms
        self.host = Successor(pipeline=NEW, stages=stages, patience=1)
        self.hasty = attrs.evolve(self.host, patience=0)
        self.end = end  # a request is done with so many tokens
        self._known: dict[object, tuple] = {}

    def start(
        self, faults: Faults, *, requests: int = 1, old_slots: int = 1, new_slots: int = 1, strangers: int = 0, **first
    ) -> World:
        names = [f"r{number}" for number in range(requests)]
        return World(
            stages=(StageState(),) * self.host.stages,
            requests=tuple(
                (name, Asked(slot=number if number < old_slots else None, **first)) for number, name in enumerate(names)
            ),
            last=tuple(names[:old_slots]),
            owners=(None,) * new_slots,
            kv=(((),) * new_slots,) * len(self.terms.paths),
            strangers=strangers,
            faults=faults,
        )

    def _ask(self, step, *arguments):
        key = (step.__module__, step.__name__, *arguments)
        if key not in self._known:
            self._known[key] = step(*arguments)
        return self._known[key]

    # --- the source leader ---

    def tell_source(self, world: World, event: ev.SourceEvent, **changes: object) -> World:
        world = attrs.evolve(world, **changes)
        if world.source is None or world.ended:
            return world
        after, actions = self._ask(kv_hand_over.step, self.terms, world.source, event)
        is_back = world.halted and any(isinstance(action, ev.Failed) for action in actions)
        world = attrs.evolve(world, source=after, back=world.back or is_back)
        for action in actions:
            world = self._do_source(world, action)
        return world

    def _do_source(self, world: World, action: ev.SourceAction) -> World:
        match action:
            case ev.Invite(invitation):
                return self.say(world, "invitation", invitation)
            case ev.Copy(id_, rows):
                orders = tuple((path, id_, rows) for path in range(len(self.terms.paths)))
                return attrs.evolve(world, orders=orders if world.target is not None else ())
            case ev.Halt():
                world = attrs.evolve(world, halted=True)
                return self.tell_source(world, world.boundary)
            case ev.GoOn():
                return attrs.evolve(world, halted=False)
            case ev.HandOut():
                requests = tuple((n, attrs.evolve(r, is_there=False, slot=None)) for n, r in world.requests)
                return self.say(attrs.evolve(world, ended=True, requests=requests), "handed", action)
            case ev.Failed():
                return world
        raise AssertionError(action)

    # --- the target leader ---

    def tell_target(self, world: World, event: ev.TargetEvent, host: Successor | None = None) -> World:
        if world.target is None:
            return world
        after, actions = self._ask(kv_hand_over_target.step, host or self.host, world.target, event)
        world = attrs.evolve(world, target=after)
        for action in actions:
            match action:
                case ev.Answer(hosting):
                    world = self.say(world, "hosting", hosting)
                case ev.TellSeats(seats):
                    world = self.say(world, f"seats{seats.stage}", seats)
                case ev.Reserve():
                    world = self._reserve(world, action)
                case ev.GiveBack(seat):
                    world = self.own(world, seat, None, "seat")
                case ev.TakeOver():
                    world = self._take_over(world, action)
                case ev.TurnAway(attempt):
                    if world.of(attempt).place == NEW:
                        world = self.set(world, attempt, place="again")
        return world

    def _reserve(self, world: World, action: ev.Reserve) -> World:
        free = [slot for slot, owner in enumerate(world.owners) if owner is None and self.is_untouched(world, slot)]
        seats = tuple((name, free.pop(0) if free else None) for name in action.requests)
        for _, seat in seats:
            world = world if seat is None else self.own(world, seat, "seat", None)
        return self.tell_target(world, ev.Reserved(action.id, seats))

    def is_untouched(self, world: World, slot: int) -> bool:
        """Whether no iteration of the new pipeline can still write to a slot that is free."""
        return all(each[1] != slot for each in world.stale)

    def _take_over(self, world: World, action: ev.TakeOver) -> World:
        if world.of(action.request).place != NEW:  # cancelled: the word of it follows at once
            return self.own(world, action.seat, None, "seat")
        running = (*world.running, (action.request, action.seat, action.computed, action.tokens))
        return self.own(attrs.evolve(world, running=running), action.seat, action.request, "seat")

    # --- a target stage ---

    def tell_stage(self, world: World, stage: int, event: ev.StageEvent, content: tuple = ()) -> World:
        if world.target is None:
            return world
        after, actions = self._ask(kv_hand_over_target.step_stage, NEW, stage, world.stages[stage], event)
        world = attrs.evolve(world, stages=(*world.stages[:stage], after, *world.stages[stage + 1 :]))
        for action in actions:
            match action:
                case ev.Write(chunk):
                    if world.owners[chunk.seat] != "seat":
                        world = attrs.evolve(world, breaches=world.breaches | {"OVERWRITE"})
                    path = self.terms.paths.index(chunk.path)
                    world = self.write(world, path, chunk.seat, chunk.start, content)
                case ev.TellHeld(held):
                    world = self.say(world, f"held{stage}", held)
        return world

    # --- the network ---

    def say(self, world: World, way: str, message: object) -> World:
        says = {each: said for each, said in world.says if each != way}
        if self._matters(world, way, message):
            says[way] = message
        return attrs.evolve(world, says=tuple(sorted(says.items(), key=lambda letter: letter[0])))

    def _matters(self, world: World, way: str, message: object) -> bool:
        """Words that teach their hearer nothing, nor those whom it answers, are left out."""
        if way == "hosting":
            if world.source is None or world.ended:
                return False
            return self._ask(kv_hand_over.step, self.terms, world.source, ev.HostingIs(message))[0] != world.source
        if way == "handed":
            return True
        if world.target is None:
            return False
        if way == "invitation":
            after, actions = self._ask(kv_hand_over_target.step, self.host, world.target, ev.Invited(message))
            answers = [("hosting", action.hosting) for action in actions if isinstance(action, ev.Answer)]
            return after != world.target or any(self._matters(world, *answer) for answer in answers)
        if way.startswith("held"):
            after, actions = self._ask(kv_hand_over_target.step, self.host, world.target, ev.HeldIs(message))
            return after != world.target
        if way.startswith("seats"):
            stage = int(way[-1])
            event = ev.SeatsAre(message)
            after, actions = self._ask(kv_hand_over_target.step_stage, NEW, stage, world.stages[stage], event)
            held = actions[-1].held
            return after != world.stages[stage] or self._matters(world, f"held{stage}", held)
        return True

    def hear(self, world: World, way: str, message: object) -> World:
        """Deliver a message that is not under way any more."""
        match way:
            case "invitation":
                return self.tell_target(world, ev.Invited(message))
            case "hosting":
                return self.tell_source(world, ev.HostingIs(message))
            case "handed":
                return self._handed(world, message)
            case "resume":
                running = {each[0] for each in world.running}
                claims = tuple(ev.Claim(name, name, tokens) for name, tokens in message[1] if name not in running)
                return self.tell_target(world, ev.Resumed(message[0], claims))
        if way.startswith("seats"):
            return self.tell_stage(world, int(way[-1]), ev.SeatsAre(message))
        if way.startswith("held"):
            return self.tell_target(world, ev.HeldIs(message))
        chunk, content = message
        return self.tell_stage(world, chunk.path.new_stage, ev.ChunkCame(chunk), content)

    def _handed(self, world: World, handed: ev.HandOut) -> World:
        """The front: what was handed over is resumed, what else it had in the old pipeline goes elsewhere."""
        rows = []
        for name, asked in world.requests:
            if asked.place == OLD:
                is_guest = name in handed.requests and world.target is not None
                world = self.set(world, name, place=NEW if is_guest else "again")
                if is_guest:
                    rows.append((name, asked.seen))
        return self.say(world, "resume", (handed.id, tuple(rows))) if rows else world

    # --- small changes ---

    def write(self, world: World, path: int, slot: int, start: int, cells: tuple) -> World:
        row = world.kv[path]
        before = row[slot] + (None,) * (start - len(row[slot]))
        after = before[:start] + cells + before[start + len(cells) :]
        row = (*row[:slot], after, *row[slot + 1 :])
        return attrs.evolve(world, kv=(*world.kv[:path], row, *world.kv[path + 1 :]))

    def own(self, world: World, slot: int, owner: str | None, before: str | None) -> World:
        breaches = world.breaches if world.owners[slot] == before else world.breaches | {"SLOT"}
        kv = world.kv
        if owner is None:  # what is left of it matters to nobody
            kv = tuple((*row[:slot], (), *row[slot + 1 :]) for row in kv)
        owners = (*world.owners[:slot], owner, *world.owners[slot + 1 :])
        return attrs.evolve(world, owners=owners, breaches=breaches, kv=kv)

    def set(self, world: World, request: str, **changes: object) -> World:
        requests = tuple((n, attrs.evolve(r, **changes) if n == request else r) for n, r in world.requests)
        return attrs.evolve(world, requests=requests)
