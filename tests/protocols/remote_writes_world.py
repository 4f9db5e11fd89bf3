"""A blob that goes by one-sided writes, in a world that can go wrong: both ends, the devices and what lies between.

An end does what is due one thing at a time, and the world goes on meanwhile.  The connection delivers in order; that it
breaks ends everything, and is left out.  A write lands if the devices work and its key is open, and comes back as
failed otherwise; one on its way when a device fails may have landed in part, which the memory shows.
"""

from collections.abc import Iterator

import attrs

from specs.protocols import remote_writes as protocol
from specs.protocols.explore import Move, explore

CHECKED = "what was checked is not written any more"
WHOLE = "what is checked is whole"
APART = "no write lands in what the stream brings"
IDS = (CHECKED, WHOLE, APART)


@attrs.frozen(kw_only=True, cache_hash=True)
class World:
    sender: protocol.SenderState
    receiver: protocol.ReceiverState
    sender_due: tuple[object, ...] = ()
    receiver_due: tuple[object, ...] = ()
    to_sender: tuple[object, ...] = ()
    to_receiver: tuple[object, ...] = ()
    flying: tuple[int, ...] = ()  # spans whose writes are on their way
    news: tuple[int, ...] = ()  # of spans, at the receiver's device
    is_sending: bool = True  # the sender's device works, and is not shut
    is_receiving: bool = True
    has_failed: bool = False  # the sender has not been told that its device failed
    keys: frozenset[int] = frozenset()
    memory: tuple[str, ...]  # of each span: nothing, part or whole; other, where a hostile sender wrote
    checked: frozenset[int] = frozenset()
    asked: int | None = None  # the stream begins here
    failures: int  # that may still happen
    breaches: frozenset[str] = frozenset()


class Pair:
    """`is_hostile`: the sender writes whatever it likes, wherever a key lets it."""

    def __init__(self, spans: int, open_max: int, failures: int, *, is_hostile: bool = False) -> None:
        self.terms = protocol.Terms(spans=spans, open_max=open_max)
        self.failures, self.is_hostile = failures, is_hostile

    def start(self) -> World:
        receiver, due = protocol.begin_receiver(self.terms)
        return World(
            sender=protocol.SenderState(),
            receiver=receiver,
            receiver_due=due,
            memory=("nothing",) * self.terms.spans,
            failures=self.failures,
        )

    def moves(self, world: World) -> Iterator[Move[World]]:
        if world.sender_due:
            yield Move(f"the sender: {world.sender_due[0]}", self._do_sender(world))
        else:
            yield from self._hear_sender(world)
        if world.receiver_due:
            yield Move(f"the receiver: {world.receiver_due[0]}", self._do_receiver(world))
        else:
            yield from self._hear_receiver(world)
        if world.flying:
            yield Move(f"span {world.flying[0]} lands", self._land(world))
        yield from self._faults(world)

    def _step_sender(self, world: World, event: object) -> World:
        state, due = protocol.step_sender(self.terms, world.sender, event)
        return attrs.evolve(world, sender=state, sender_due=due)

    def _step_receiver(self, world: World, event: object) -> World:
        state, due = protocol.step_receiver(self.terms, world.receiver, event)
        return attrs.evolve(world, receiver=state, receiver_due=due)

    # --- what is due ---

    def _do_sender(self, world: World) -> World:
        action, *rest = world.sender_due
        world = attrs.evolve(world, sender_due=tuple(rest))
        match action:
            case protocol.WriteSpan(span) if world.is_sending:
                return attrs.evolve(world, flying=(*world.flying, span))
            case protocol.Shut():
                return attrs.evolve(world, is_sending=False, flying=(), has_failed=False)
            case protocol.Say():
                return attrs.evolve(world, to_receiver=(*world.to_receiver, protocol.Said()))
            case protocol.Stream(span):
                spans = range(span, self.terms.spans)
                return attrs.evolve(world, to_receiver=(*world.to_receiver, *spans, protocol.Streamed()))
        return world

    def _do_receiver(self, world: World) -> World:
        action, *rest = world.receiver_due
        world = attrs.evolve(world, receiver_due=tuple(rest))
        match action:
            case protocol.OpenSpan(span):
                keys = world.keys | ({span} if world.is_receiving else set())
                return attrs.evolve(world, keys=keys, to_sender=(*world.to_sender, protocol.Granted(span)))
            case protocol.CloseSpan(span):
                return attrs.evolve(world, keys=world.keys - {span})
            case protocol.Check(span):
                broken = set() if world.memory[span] == "whole" or self.is_hostile else {WHOLE}
                return attrs.evolve(world, checked=world.checked | {span}, breaches=world.breaches | broken)
            case protocol.Shut():
                return attrs.evolve(world, is_receiving=False, keys=frozenset(), news=())
            case protocol.Ask(span):
                return attrs.evolve(world, asked=span, to_sender=(*world.to_sender, protocol.Asked(span)))
            case protocol.Acknowledge():
                return attrs.evolve(world, to_sender=(*world.to_sender, protocol.Acknowledged()))

    # --- what comes ---

    def _hear_sender(self, world: World) -> Iterator[Move[World]]:
        if world.has_failed:
            told = attrs.evolve(world, has_failed=False)
            yield Move("the sender sees a failure", self._step_sender(told, protocol.Failed()))
        if world.to_sender:
            heard, *rest = world.to_sender
            after = self._step_sender(attrs.evolve(world, to_sender=tuple(rest)), heard)
            yield Move(f"the sender hears {heard}", after)

    def _hear_receiver(self, world: World) -> Iterator[Move[World]]:
        if world.news:
            rest = attrs.evolve(world, news=world.news[1:])
            yield Move(f"span {world.news[0]} is said to be there", self._step_receiver(rest, self._arrived(world)))
        if world.to_receiver:
            heard, *rest = world.to_receiver
            world = attrs.evolve(world, to_receiver=tuple(rest))
            if isinstance(heard, int):
                yield Move(f"the stream brings span {heard}", self._bring(world, heard))
            else:
                yield Move(f"the receiver hears {heard}", self._step_receiver(world, heard))

    def _arrived(self, world: World) -> protocol.Arrived:
        return protocol.Arrived(world.news[0])

    def _bring(self, world: World, span: int) -> World:
        broken = {CHECKED} if span in world.checked else set()
        memory = (*world.memory[:span], "whole", *world.memory[span + 1 :])
        return attrs.evolve(world, memory=memory, checked=world.checked | {span}, breaches=world.breaches | broken)

    # --- the devices ---

    def _land(self, world: World) -> World:
        span, *rest = world.flying
        world = attrs.evolve(world, flying=tuple(rest))
        if not world.is_receiving or span not in world.keys:
            return attrs.evolve(world, flying=(), has_failed=True)
        return attrs.evolve(self._write(world, span, "whole"), news=(*world.news, span))

    def _write(self, world: World, span: int, what: str) -> World:
        broken = ({CHECKED} if span in world.checked else set()) | ({APART} if world.asked is not None else set())
        memory = (*world.memory[:span], what, *world.memory[span + 1 :])
        return attrs.evolve(world, memory=memory, breaches=world.breaches | broken)

    def _faults(self, world: World) -> Iterator[Move[World]]:
        if self.is_hostile:
            for span in sorted(world.keys if world.is_receiving else ()):
                yield Move(f"span {span} is OVERWRITTEN", self._write(world, span, "other"), True)
        if not world.failures:
            return
        world = attrs.evolve(world, failures=world.failures - 1)
        if world.is_sending:
            for torn in (False, True)[: 1 + bool(world.flying)]:
                lands = torn and world.is_receiving and world.flying[0] in world.keys
                part = self._write(world, world.flying[0], "part") if lands else world
                down = attrs.evolve(part, is_sending=False, flying=(), has_failed=True)
                yield Move("the sender's device FAILS" + ", in the middle of a write" * torn, down, True)
        if world.is_receiving and not world.receiver_due and world.receiver.way is protocol.Way.WRITES:
            down = attrs.evolve(world, is_receiving=False, news=())
            yield Move("the receiver's device FAILS", self._step_receiver(down, protocol.Failed()), True)


def is_good(world: World) -> bool:
    """Both ends know that all is there, nothing is due, and no key is open."""
    ways = {world.sender.way, world.receiver.way}
    return (
        ways == {protocol.Way.OVER}
        and not (world.sender_due or world.receiver_due or world.keys or world.flying)
        and world.checked == frozenset(range(len(world.memory)))
    )


def run(pair: Pair, sometimes=()):
    return explore(
        [pair.start()],
        pair.moves,
        always={name: (lambda world, name=name: name not in world.breaches) for name in IDS},
        sometimes={each.__name__: each for each in sometimes},
        good=is_good,
        states_max=200_000,
    )
