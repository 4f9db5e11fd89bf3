"""What each role of a KV hand-over did, as steps of the model of the proof: see `tests.proofs.hand_over_mirror`."""

import z3

from specs.protocols import kv_hand_over_events as ev
from specs.protocols.kv_hand_over_nouns import Phase
from tests.protocols.hand_over_world import OLD


class Readings:
    """The part of a mirror that reads the roles; `take` takes a step of the model, `holds` asks it."""

    def source_did(self, _world, before, event, after, actions):
        was, now = before.current, after.current
        if isinstance(event, ev.Begin) and was is None:
            is_last = any(isinstance(action, ev.HandOut) for action in actions) and now is None
            name = "begin_too_often" if is_last and not self._is_invited(actions) else "begin"
            self.take(name, i=self.things["HandOver"][after.number - 1])
            if name == "begin_too_often":
                return
        id_ = (was or now).id if was or now else None
        if id_ is None:
            return
        i = self.hand_over(id_)
        if isinstance(event, ev.HostingIs) and was is not None:
            self._hosting_is(i, was, event.hosting)
        if any(isinstance(action, ev.Failed) for action in actions):
            self.take("fail", i=i)
        elif now is not None:
            self._act(i, was, now, after.live)
        else:
            self._act_at_last(i, was, after.live, actions)
        self._source_says(i, now, actions)

    def _is_invited(self, actions):
        return any(isinstance(action, ev.Invite) for action in actions)

    def _hosting_is(self, i, was, hosting):
        guests = {guest.request: guest for guest in was.guests}
        if hosting.id != was.id or hosting.is_over:
            return
        for row in hosting.rows:
            if row.request in guests:
                r = self.request(row.request)
                if row.is_refused:
                    self.take("give_up", i=i, r=r)
                    continue
                held = max(row.held, guests[row.request].held)
                seat = {} if row.seat is None else {"s": self.slot(row.seat)}
                self.take("hear_row", i=i, r=r, has_seat=row.seat is not None, n=held, **seat)
        if hosting.is_whole and was.phase is Phase.REST:
            self.take("hear_whole", i=i)

    def _act(self, i, was, now, live):
        before = {guest.request for guest in was.guests} if was else set()
        names = {guest.request for guest in now.guests}
        for name in names - before:
            self.take("invite", i=i, r=self.request(name))
        for name in before - names:
            if self.holds(self.state.guest(i, self.request(name))):
                self.take("give_up", i=i, r=self.request(name))
        if now.round > (was.round if was else 0):
            self.take("set_goals", i=i)
        phase = was.phase if was else Phase.ROUNDS
        if phase is Phase.ROUNDS and now.phase is not Phase.ROUNDS:
            self.take("halt", i=i)
        if phase is not Phase.REST and now.phase is Phase.REST:
            self._tell_rest(i, live)

    def _tell_rest(self, i, live):
        finals = [(self.request(each.request), each.final) for each in live]

        def table(count):
            def read(r):
                value = getattr(self.state, count)(r)
                for request, final in finals:
                    value = z3.If(r == request, getattr(final, count), value)
                return value

            return read

        self.take("tell_rest", i=i, computed=table("computed"), tokens=table("tokens"))

    def _act_at_last(self, i, was, live, actions):
        """It was handed out: perhaps nobody, once all were given up for the rest."""
        (handed,) = (action for action in actions if isinstance(action, ev.HandOut))
        for guest in was.guests:
            r = self.request(guest.request)
            if guest.request not in handed.requests and self.holds(self.state.guest(i, r)):
                self.take("give_up", i=i, r=r)
        if was.phase is Phase.HALTING:
            self._tell_rest(i, live)

    def _source_says(self, i, now, actions):
        for action in actions:
            match action:
                case ev.Invite(invitation):
                    for fresh in invitation.fresh:
                        if now is not None:
                            self.take("tell_fresh", i=i, r=self.request(fresh.request))
                    self.editions[invitation.id, invitation.edition] = self.state.edition(i)
                case ev.Copy(_, rows):
                    for row in rows:
                        self.take("copy", i=i, r=self.request(row.request))
                        self.ordered[action.id, row.request, row.end] = (row.start, row.end)
                case ev.HandOut():
                    self.take("hand_out", i=i)
                    self.handed = i

    def target_did(self, _world, before, event, after, actions):
        match event:
            case ev.Invited(invitation):
                self._invited(before, invitation)
            case ev.Reserved(id_, seats):
                for name, seat in seats:
                    i, r = self.hand_over(id_), self.request(name)
                    if seat is None:
                        self.take("refuse", i=i, r=r)
                    else:
                        self.take("seat", i=i, r=r, s=self.slot(seat))
                        self.slots[seat] = "reserved"
            case ev.HeldIs(held):
                if held in after.stages:
                    self._merge(before, held)
            case ev.Tick():
                for stay in before.stays:
                    if stay.id not in {each.id for each in after.stays}:
                        self.take("end", i=self.hand_over(stay.id), leaves=bool(stay.guests))
        for action in actions:
            match action:
                case ev.TakeOver(id_, name, _, seat, _, tokens):
                    self.take("resume", i=self.hand_over(id_), r=self.request(name), n=tokens)
                    self.slots[seat] = "busy"
                case ev.GiveBack(seat):
                    self.take("give_back", s=self.slot(seat))
                    self.slots[seat] = "free"
                case ev.TellSeats(seats):
                    self.seat_editions[seats.edition] = self.state.top()
                case ev.Answer(hosting):
                    for row in hosting.rows:
                        if row.seat is not None:
                            self.take("answer_seat", i=self.hand_over(hosting.id), r=self.request(row.request))
                    if hosting.is_whole:
                        self.take("answer_whole", i=self.hand_over(hosting.id))

    def _invited(self, before, invitation):
        i = self.hand_over(invitation.id)
        stay = next(iter(before.stays), None)
        if stay is not None and stay.id.number < invitation.id.number:
            self.take("end", i=self.hand_over(stay.id), leaves=bool(stay.guests))
            stay = None
        over = max(dict(before.over).get(OLD, 0), *(each.id.number - 1 for each in before.stays), 0)
        if invitation.id.number <= over or (stay is not None and stay.id != invitation.id):
            return
        if stay is None:
            self.take("hear", i=i)
        if invitation.is_over:
            self.take("end", i=i, leaves=bool(stay and stay.guests))
        elif stay is None or invitation.edition >= stay.edition:
            leaves = any(guest.request not in invitation.guests for guest in (stay.guests if stay else ()))
            self.take("welcome", i=i, e=self.editions[invitation.id, invitation.edition], leaves=leaves)

    def _merge(self, before, held):
        g = self.stage(held.stage)
        self.take("merge_edition", g=g, n=self.seat_editions[held.edition])
        counts = {(each.id, each.request, each.old_stage): each.tokens for each in held.counts}
        for each in before.stages:
            if each.stage == held.stage:
                counts = {**{(c.id, c.request, c.old_stage): 0 for c in each.counts}, **counts}
        for (id_, name, old_stage), tokens in counts.items():
            p = self._path(old_stage, held.stage)
            self.take("merge_count", p=p, i=self.hand_over(id_), r=self.request(name), n=tokens)

    def _path(self, old_stage, new_stage):
        at = [(path.old_stage, path.new_stage) for path in self.terms.paths].index((old_stage, new_stage))
        return self.things["Path"][at]

    def stage_did(self, _world, before, event, _after, actions):
        stage, state, content = before
        g = self.stage(stage)
        match event:
            case ev.SeatsAre(seats) if seats.edition > state.edition:
                self.take("open_seats", g=g, e=self.seat_editions[seats.edition])
            case ev.ChunkCame(chunk) if any(isinstance(action, ev.Write) for action in actions):
                self._taken(chunk, content)
        self.take("tell_held", g=g)

    def _taken(self, chunk, content):
        """The chunk was read by now at the latest; whose it is, its content says."""
        i, r, s = self.hand_over(chunk.id), self.request(chunk.request), self.slot(chunk.seat)
        m = self.things["Layer"][self.terms.paths.index(chunk.path)]
        is_foul = not self.holds(self.state.chunk(i, m, r, s, chunk.start, chunk.end))
        (cell,) = content
        whose = self.request(cell[0])
        chosen = {"start": chunk.start, "end": chunk.end, "is_foul": is_foul, "kv": lambda _m, _n: whose}
        self.take("take", i=i, m=m, r=r, s=s, **chosen)
