"""Requests come to a pipeline with their KV: the target leader of `specs.protocols.kv_hand_over` at work."""

import asyncio

from executor.choices import tokens_digest
from executor.engine.errors import RequestRefused
from executor.engine.request import Request, RequestId
from executor.errors import MalformedFrame
from executor.kv_traffic import Card, Guest, Invited, Resume
from executor.notes import AtTarget, Later
from executor.pipelines.led import Led
from executor.traffic import Returned
from specs import journal
from specs.cluster import NodeId
from specs.protocols import kv_hand_over_events as ev
from specs.protocols import kv_hand_over_target as target
from specs.protocols.kv_hand_over_nouns import HandOverId, Held, Hosting, TargetState
from specs.protocols.kv_hand_over_terms import successor_of

TICK_SECONDS = 0.2
_GATHER_SECONDS = 0.005  # from the word of the first front to that of the last

_Key = tuple[HandOverId, str]


class Arrival:
    """Seats the guests of one pipeline."""

    def __init__(self, led: Led) -> None:
        self._led = led
        self._successor = successor_of(led.pipeline)
        self._state = TargetState()
        self._cards: dict[_Key, Card] = {}
        self._coming: dict[HandOverId, dict[RequestId, Guest]] = {}  # by attempt: they wait for each other
        self._tails: dict[_Key, tuple[int, ...]] = {}  # of those that go on now
        self._sources: dict[HandOverId, NodeId] = {}
        self._is_ticking = False
        self._is_closed = False

    def close(self) -> None:
        """Have no guests any more; those that wait to go on are returned."""
        self._is_closed = True
        self._state = TargetState()
        for guests in self._coming.values():
            for attempt in guests:
                if (front := self._led.fronts.pop(attempt, None)) is not None:
                    self._led.post.send(front, Returned(request=attempt, shut=True))
        self._coming.clear()

    def invited(self, peer: NodeId, message: Invited) -> None:
        """Hear who comes."""
        id_ = message.invitation.id
        if self._is_closed:
            self._led.post.send(peer, Hosting(id=id_, is_over=True))
            return
        self._sources[id_] = peer
        self._cards |= {(id_, card.request): card for card in message.cards}
        self._take(ev.Invited(message.invitation))
        if not self._is_ticking:
            self._is_ticking = True
            self._led.spawn(self._tick())

    def held(self, held: Held) -> None:
        """Hear what a stage has."""
        self._take(ev.HeldIs(held))

    def resume(self, front: NodeId, resume: Resume) -> None:
        """Go on with a front's requests, or return them.

        Raises MalformedFrame for names that are not its own, and for tokens that are not as many as it says.
        """
        for guest in resume.guests:
            if not (guest.request.startswith(f"{front}:") and guest.attempt.startswith(f"{front}:")):
                raise MalformedFrame(f"request {guest.attempt}, once {guest.request}, is not of {front}")
            card = self._cards.get((resume.id, guest.request))
            if card is not None and len(card.tokens) + len(guest.tail) != guest.tokens:
                raise MalformedFrame(f"request {guest.attempt} comes with other tokens than are counted")
        if self._is_closed:
            for guest in resume.guests:
                self._led.post.send(front, Returned(request=guest.attempt, shut=True))
            return
        new = {RequestId(guest.attempt): guest for guest in resume.guests if guest.attempt not in self._led.fronts}
        self._led.fronts.update(dict.fromkeys(new, front))
        if resume.id not in self._coming:
            self._coming[resume.id] = {}
            asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._go_on, resume.id)
        self._coming[resume.id] |= new
        if len(self._coming[resume.id]) >= self._expected(resume.id):
            self._go_on(resume.id)

    def _expected(self, id_: HandOverId) -> int:
        return sum(len(stay.guests) for stay in self._state.stays if stay.id == id_)

    def _go_on(self, id_: HandOverId) -> None:
        """Begin with all who have come: an iteration of a few would keep the others waiting."""
        guests = {each: guest for each, guest in self._coming.pop(id_, {}).items() if each in self._led.fronts}
        if not guests:
            return  # all at once before, or they were given up
        self._tails = {(id_, guest.request): guest.tail for guest in guests.values()}
        self._take(ev.Resumed(id_, tuple(ev.Claim(e.request, e.attempt, e.tokens) for e in guests.values())))
        self._led.pump()

    async def _tick(self) -> None:
        while self._state.stays or self._state.closing:
            await asyncio.sleep(TICK_SECONDS)
            self._take(ev.Tick())
        self._is_ticking = False

    def _take(self, event: ev.TargetEvent) -> None:
        if self._is_closed:
            return
        before = self._state
        self._state, actions = target.step(self._successor, before, event)
        self._led.note(AtTarget(self._successor, event, before, self._state, actions))
        for action in actions:
            self._do(action)
        stays = {stay.id for stay in self._state.stays}
        if not stays.issuperset(self._sources):
            self._cards = {key: card for key, card in self._cards.items() if key[0] in stays}
            self._sources = {id_: node for id_, node in self._sources.items() if id_ in stays}

    def _do(self, action: ev.TargetAction) -> None:
        match action:
            case ev.Answer(hosting):
                if (source := self._sources.get(hosting.id)) is not None:
                    self._led.post.send(source, hosting)
            case ev.TellSeats(seats):
                self._led.post.send(self._led.host.node_of_stage(seats.pipeline, seats.stage), seats)
            case ev.Reserve(id_, requests):
                self._take(ev.Reserved(id_, tuple((request, self._reserve(id_, request)) for request in requests)))
            case ev.GiveBack(seat):
                self._led.batcher.give_back(seat)
                self._led.pump()
            case ev.TakeOver():
                self._take_over(action)
            case ev.TurnAway(attempt):
                self._return(RequestId(attempt))

    def _reserve(self, id_: HandOverId, request: str) -> int | None:
        card = self._cards[id_, request]
        guest = RequestId(f"{id_.old}#{id_.number}#{request}")
        return self._led.batcher.reserve(guest, card.prompt_tokens + card.max_tokens)

    def _take_over(self, action: ev.TakeOver) -> None:
        card = self._cards[action.id, action.request]
        attempt = RequestId(action.attempt)
        tokens = card.tokens + self._tails[action.id, action.request]
        assert len(tokens) == action.tokens, "cards and tails are those of their invitation"
        try:
            request = Request(
                id=attempt,
                tokens=tokens,
                prompt_tokens=card.prompt_tokens,
                max_tokens=card.max_tokens,
                end_tokens=frozenset(card.end_tokens),
                sampling=card.choice.params(),
            )
            self._led.check(request)
            self._led.batcher.seat(request, action.seat, action.computed)
            self._led.note(Later(lambda: journal.TookOver(attempt=attempt, digest=tokens_digest(request.tokens))))
        except RequestRefused:
            self._led.batcher.give_back(action.seat)  # it is whole, so no chunk gets into it any more
            self._return(attempt)

    def _return(self, attempt: RequestId) -> None:
        self._led.post.send(self._led.fronts.pop(attempt), Returned(request=attempt, shut=False))
