"""Reads what the product's code does in the world of a KV hand-over as steps of the model of the proof.

The roles of `tests.protocols.hand_over_world` run the code.  Whatever one of them does, and whatever happens around
them, is a few steps of the model: each must be allowed there, and afterwards both must agree.  Editions have other
numbers in the model, which counts more of them.
"""

from itertools import product

import attrs
import z3

from specs.proofs.kv_hand_over import STEPS
from specs.proofs.kv_hand_over_invariant import at_start
from specs.proofs.kv_hand_over_state import Chosen, any_state, anything, home, leads, number, old, via
from specs.protocols import kv_hand_over, kv_hand_over_target
from specs.protocols.kv_hand_over_nouns import Phase
from tests.proofs.hand_over_readings import Readings
from tests.protocols.hand_over_moves import Moves
from tests.protocols.hand_over_world import NEW, OLD


class Mirror(Readings, Moves):
    """The world's roles, and the model's state beside them."""

    def begin(self, world):
        self.calls = []
        self.state = at_start(any_state())
        self.names = [name for name, _ in world.requests]
        self.slots = ["free"] * len(world.owners)
        self.editions, self.ordered, self.seat_editions = {}, {}, {0: z3.IntVal(0)}
        self.taken = []
        self.things = {
            "HandOver": [anything(f"hand-over {n}", "HandOver") for n in range(1, self.terms.hand_overs_max + 2)],
            "Request": [anything(f"request {name}", "Request") for name in (*self.names, "of nobody")],
            "Slot": [anything(f"slot {n}", "Slot") for n in range(len(world.owners))],
            "Stage": [anything(f"stage {n}", "Stage") for n in range(self.host.stages)],
            "Path": [anything(f"path {n}", "Path") for n in range(len(self.terms.paths))],
            "Layer": [anything(f"layer {n}", "Layer") for n in range(len(self.terms.paths))],
            "Pipeline": [anything("the old pipeline", "Pipeline")],
        }
        self.solver = z3.Solver()
        self.solver.add(*(z3.Distinct(*each) for each in self.things.values() if len(each) > 1))
        q = self.things["Pipeline"][0]
        for n, i in enumerate(self.things["HandOver"], start=1):
            self.solver.add(old(i) == q, number(i) == n)
            self.solver.add(*(via(i, m) == p for m, p in zip(self.things["Layer"], self.things["Path"], strict=True)))
        self.solver.add(*(home(r) == q for r in self.things["Request"]))
        for path, p in zip(self.terms.paths, self.things["Path"], strict=True):
            self.solver.add(leads(p) == self.stage(path.new_stage))
        self.before = world
        for r in self.names:
            if world.of(r).slot is not None:
                self.take("admit", r=self.request(r))
        self.compute(world)

    # --- names ---

    def hand_over(self, id_):
        return self.things["HandOver"][id_.number - 1]

    def request(self, name):
        return self.things["Request"][self.names.index(name)]

    def slot(self, seat):
        return self.things["Slot"][seat]

    def stage(self, index):
        return self.things["Stage"][index]

    # --- the model ---

    def ground(self, sentence):
        """Spell out what is said of all things."""
        if z3.is_quantifier(sentence):
            domains = [self.things[sentence.var_sort(n).name()] for n in range(sentence.num_vars())]
            return z3.And(
                *(self.ground(z3.substitute_vars(sentence.body(), *reversed(things))) for things in product(*domains))
            )
        if z3.is_and(sentence) or z3.is_or(sentence) or z3.is_not(sentence) or z3.is_implies(sentence):
            return sentence.decl()(*(self.ground(each) for each in sentence.children()))
        return sentence

    def holds(self, *sentences):
        wrong = z3.Not(self.ground(z3.And(*sentences)))
        return self.solver.check(wrong) == z3.unsat

    def take(self, name, **said):
        guards, after = STEPS[name](self.state, Chosen(**{each: _thing(value) for each, value in said.items()}))
        for guard, truth in guards.items():
            assert self.holds(truth), f"{name}: {guard}: {said}"
        changed = {each: of for each, of in after.functions.items() if of is not self.state.functions[each]}
        self.state = after.but(**{each: _remembered(of) for each, of in changed.items()})
        self.taken.append(name)

    # --- what happens around the roles ---

    def follow(self, world):
        """Do what has happened around the roles since they were looked at last."""
        before, self.before = self.before, world
        q = self.things["Pipeline"][0]
        if world.flying and not before.flying:
            self.take("iteration_begins", q=q)
        if before.flying and not world.flying:
            before = self._drop_lost(world, before)
            self.compute(world)
        for name, asked in world.requests:
            self._follow_request(world, name, before.of(name), asked)
        for path, slot in set(world.stale) - set(before.stale):
            self._follow_owner(world, slot)
            self.take("iteration_goes_out", g=self.stage(self.terms.paths[path].new_stage), s=self.slot(slot))
        junk = self.things["Request"][-1]
        for path, slot in set(before.stale) - set(world.stale):
            stage = self.terms.paths[path].new_stage
            more = any(self.terms.paths[p].new_stage == stage and s == slot for p, s in world.stale)
            chosen = {"first": 0, "goes_on": more, "kv": lambda _m, _n: junk}
            self.take("iteration_writes", g=self.stage(stage), s=self.slot(slot), **chosen)
        for slot in range(len(world.owners)):
            self._follow_owner(world, slot)

    def _drop_lost(self, world, before):
        """Requests that were given back without what the iteration was to compute have ended before it."""
        for name, asked in () if world.ended else world.requests:
            was = before.of(name)
            if was.slot is not None and asked.slot is None and asked.computed == was.computed:
                self.take("drop", r=self.request(name))
                before = self.set(before, name, slot=None)
        return before

    def _follow_request(self, world, name, before, asked):
        r = self.request(name)
        if asked.place == OLD and asked.seen != before.seen:
            self.take("front_hears", r=r, n=asked.seen)
        if not world.ended and (before.slot is None) != (asked.slot is None):
            self.take("drop" if asked.slot is None else "admit", r=r)
        if asked.place != before.place:
            if asked.place == NEW:
                self.take("front_is_handed", i=self.handed, r=r)
            else:
                self.take("front_gives_up", r=r)

    def _follow_owner(self, world, slot):
        now = {None: "free", "seat": "reserved"}.get(world.owners[slot], "busy")
        if (self.slots[slot], now) == ("free", "busy"):
            self.take("stranger_comes", s=self.slot(slot))
            self.slots[slot] = now
        if (self.slots[slot], now) == ("busy", "free"):
            self.take("request_ends", s=self.slot(slot))
            self.slots[slot] = now

    def compute(self, world):
        """Let an iteration end with what is computed and sampled by now."""
        q = self.things["Pipeline"][0]
        asked = [(self.request(name), each) for name, each in world.requests]

        def table(count, of):
            def read(r):
                value = of(r)
                for request, each in asked:
                    value = z3.If(r == request, getattr(each, count), value)
                return value

            return read

        if not world.ended:
            if not self.holds(self.state.flying(q)):
                self.take("iteration_begins", q=q)
            computed = table("computed", self.state.computed)
            self.take(
                "iteration_ends",
                q=q,
                goes_on=world.flying,
                computed=computed,
                tokens=table("tokens", self.state.tokens),
            )
            for name, each in world.requests:
                if each.place == OLD:
                    self.take("front_hears", r=self.request(name), n=each.seen)

    # --- the roles ---

    def tell_source(self, world, event, **changes):
        seen = attrs.evolve(world, **changes)
        if seen.source is not None and not seen.ended:
            after, actions = self._ask(kv_hand_over.step, self.terms, seen.source, event)
            self.calls.append((self.source_did, seen, seen.source, event, after, actions))
        return super().tell_source(world, event, **changes)

    def tell_target(self, world, event, host=None):
        if host is self.hasty:
            self.calls = []  # of a tick that did not happen
        if world.target is not None:
            after, actions = self._ask(kv_hand_over_target.step, host or self.host, world.target, event)
            self.calls.append((self.target_did, world, world.target, event, after, actions))
        return super().tell_target(world, event, host)

    def tell_stage(self, world, stage, event, content=()):
        if world.target is not None:
            call = self._ask(kv_hand_over_target.step_stage, NEW, stage, world.stages[stage], event)
            self.calls.append((self.stage_did, world, (stage, world.stages[stage], content), event, *call))
        return super().tell_stage(world, stage, event, content)

    # --- running beside the code ---

    def read(self, before, after):
        """An old stage has read a row: find which order it obeyed."""
        known = {letter for letter in before.says if letter[0].startswith("chunk")}
        for way, message in after.says:
            if way.startswith("chunk") and (way, message) not in known:
                chunk, _ = message
                order = next(o for path, _, rows in before.orders for o in rows[:1] if f"chunk{path}" == way)
                i, m = self.hand_over(chunk.id), self.things["Layer"][int(way.removeprefix("chunk"))]
                start, end = self.ordered[chunk.id, chunk.request, order.end]
                said = {"start": start, "end": end, "first": chunk.start, "last": chunk.end}
                self.take("old_stage_reads", i=i, m=m, r=self.request(chunk.request), s=self.slot(chunk.seat), **said)

    def options(self, world):
        """List what may happen next, each with what the roles did then."""
        self.calls = []
        found = []
        for move in self.moves(world):
            found.append((move, self.calls))
            self.calls = []
        return found

    def go(self, world, move, calls):
        """Do in the model what has happened, and compare."""
        if move.label.startswith("read"):
            self.read(world, move.state)
        for did, seen, *call in calls:
            self.follow(seen)
            did(seen, *call)
        self.follow(move.state)
        self.compare(move.state)

    def compare(self, world):
        """The model is where the code is."""
        w, same = self.state, []
        for name, asked in world.requests:
            r = self.request(name)
            same += [
                w.there(r) == (asked.slot is not None),
                w.at_old(r) == (asked.place == OLD),
                w.at_new(r) == (asked.place == NEW),
            ]
            if asked.slot is not None:
                same += [w.computed(r) == asked.computed, w.tokens(r) == asked.tokens]
        same += [w.ended(self.things["Pipeline"][0]) == world.ended, *self._same_source(world)]
        if world.target is not None:
            same += self._same_target(world)
        assert self.holds(*same)

    def _same_source(self, world):
        w = self.state
        current = None if world.source is None or world.ended else world.source.current
        if current is None:
            return []
        i = self.hand_over(current.id)
        guests = {guest.request: guest for guest in current.guests}
        same = [w.rounds(i) == (current.phase is Phase.ROUNDS), w.rest(i) == (current.phase is Phase.REST)]
        for name in self.names:
            r, guest = self.request(name), guests.get(name)
            same.append(w.guest(i, r) == (guest is not None))
            if guest is not None:
                same += [w.has_seat(i, r) == (guest.seat is not None), w.goal(i, r) == guest.goal]
                same += [w.known(i, r) == guest.is_known, w.held(i, r) == guest.held]
        return same

    def _same_target(self, world):
        w = self.state
        stays = {stay.id.number: stay for stay in world.target.stays}
        same = []
        for n, i in enumerate(self.things["HandOver"], start=1):
            seated = {guest.request: guest for guest in stays[n].guests} if n in stays else {}
            same.append(w.stay(i) == (n in stays))
            for name in self.names:
                r = self.request(name)
                same.append(w.seated(i, r) == (name in seated))
                if name in seated:
                    same.append(w.seat_of(i, r) == self.slot(seated[name].seat))
                    same.append(w.has_final(i, r) == (seated[name].final is not None))
                for path, p in zip(self.terms.paths, self.things["Path"], strict=True):
                    counts = world.stages[path.new_stage].counts
                    key = (n, name, path.old_stage)
                    tokens = {(c.id.number, c.request, c.old_stage): c.tokens for c in counts}.get(key, 0)
                    same.append(w.count(p, i, r) == tokens)
        for slot, owner in enumerate(world.owners):
            s = self.slot(slot)
            same += [w.free(s) == (owner is None), w.reserved(s) == (owner == "seat")]
        return same

    def _waited(self, world):
        self.calls = []
        return super()._waited(world)

    def _front(self, world):
        self.calls = []
        yield from super()._front(world)


def _thing(value):
    return z3.BoolVal(value) if isinstance(value, bool) else z3.IntVal(value) if isinstance(value, int) else value


def _remembered(of):
    """Build no term twice."""
    known = {}

    def read(*at):
        key = tuple(each.get_id() if isinstance(each, z3.AstRef) else each for each in at)
        if key not in known:
            known[key] = (of(*at), at)  # what is kept alive keeps its id
        return known[key][0]

    return read
