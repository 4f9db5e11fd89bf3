"""A transport within one process, on virtual time: the same run for the same calls, and faults on demand.

A `MemoryNetwork` is the world: it holds every node, the clock and what is under way.  Nothing happens until `step` or
`run` is called.  Its faults go further than a real network's where the protocols are meant to bear it: lost messages
leave no sign, and `duplicate_next_message` breaks the promise of "at most once".
"""

import collections
import itertools
from collections.abc import Sequence

import attrs

from executor.errors import FrameTooLarge, TransferInUse, TransportClosed, UnknownPeer
from executor.transport.framing import FRAME_BYTES_MAX
from executor.transport.interface import (
    BlobFailed,
    Buffer,
    ExpectedBlob,
    FailureKind,
    MessageReceived,
    OnEvent,
    OutgoingBlob,
    Peer,
    PeerLost,
    check_expected,
)
from executor.transport.memory_blobs import BlobTables, BlobTraffic
from executor.transport.memory_clock import Actor, Clock
from specs.units import Bytes, BytesPerSecond, Nanos


@attrs.frozen(kw_only=True)
class MemoryLimits:
    """What the network is like."""

    latency_ns: Nanos = Nanos(50_000)
    bytes_per_second: BytesPerSecond = BytesPerSecond(10_000_000_000)  # of a blob that is sent without a rate
    frame_bytes: Bytes = FRAME_BYTES_MAX
    silence_ns: Nanos = Nanos(10_000_000_000)  # of a stopped node, until those in contact with it call it lost


class _Drop:
    """A message that vanishes."""


class _Duplicate:
    """A message that comes twice."""


_Fault = _Drop | _Duplicate | int  # an int: nanoseconds of delay


class MemoryNetwork:
    """The world of the `MemoryTransport`s."""

    def __init__(self, limits: MemoryLimits | None = None) -> None:
        self.limits = limits or MemoryLimits()
        self.clock = Clock()
        self.blobs = BlobTraffic(
            self.clock, latency_ns=self.limits.latency_ns, bytes_per_second=self.limits.bytes_per_second
        )
        self._nodes: dict[str, MemoryTransport] = {}
        self._faults: dict[tuple[str, str], collections.deque[_Fault]] = collections.defaultdict(collections.deque)
        self._contacts: dict[frozenset[str], int] = {}  # the number of the contact, to tell it from an earlier one
        self._numbers = itertools.count()
        self._last_due_ns: dict[tuple[str, str], int] = {}

    def node(self, name: str, on_event: OnEvent) -> "MemoryTransport":
        """Start a node; one of that name that was killed or closed comes back with nothing remembered."""
        old = self._nodes.get(name)
        assert old is None or old.actor.ended, f"node {name!r} is running"
        self._nodes[name] = MemoryTransport(self, name, on_event)
        return self._nodes[name]

    def step(self) -> bool:
        """Do the next thing that is due, and move the clock there; False when there is none."""
        return self.clock.step()

    def run(self, until_ns: Nanos | None = None) -> None:
        """Step until nothing is left to do, or until that time, which it then is."""
        self.clock.run(until_ns)

    def drop_next_message(self, sender: str, receiver: str) -> None:
        """Lose the next message on this way that no other fault is meant for, without a sign."""
        self._faults[sender, receiver].append(_Drop())

    def duplicate_next_message(self, sender: str, receiver: str) -> None:
        """Deliver the next message on this way twice."""
        self._faults[sender, receiver].append(_Duplicate())

    def delay_next_message(self, sender: str, receiver: str, delay_ns: Nanos) -> None:
        """Deliver the next message on this way later, and those behind it not before it."""
        self._faults[sender, receiver].append(delay_ns)

    def corrupt_blob(self, transfer_id: str, offset_bytes: Bytes) -> None:
        """Flip every bit of one byte when this transfer next lands it."""
        self.blobs.flip(transfer_id, offset_bytes)

    def kill(self, name: str) -> None:
        """End a node at once, as SIGKILL does."""
        actor = self._nodes[name].actor
        actor.ended = True
        actor.held = None
        self.blobs.end_all(actor)
        for contact in [pair for pair in self._contacts if name in pair]:
            del self._contacts[contact]
            (other,) = contact - {name}
            self.lose(self._nodes[other].actor, name, "it closed the connection")

    def stop(self, name: str) -> None:
        """Let a node do nothing until `resume`, as SIGSTOP does."""
        actor = self._nodes[name].actor
        actor.held = actor.held or []
        self.blobs.watch(actor)
        for contact in [pair for pair in self._contacts if name in pair]:
            self._watch_silence(contact, actor)

    def resume(self, name: str) -> None:
        """Let a stopped node go on."""
        actor = self._nodes[name].actor
        self.clock.resume(actor)
        self.blobs.resume(actor)

    def tables_of(self, name: str, caller: str) -> BlobTables | None:
        """Find a node that runs and knows the caller."""
        node = self._nodes.get(name)
        return None if node is None or node.actor.ended or not node.knows(caller) else node.tables

    def carry(self, sender: Actor, receiver_name: str, payload: bytes) -> None:
        """Bring a message to its receiver."""
        tables = self.tables_of(receiver_name, sender.name)
        if tables is None:
            self.lose(sender, receiver_name, "it cannot be reached, or turned us away")
            return
        receiver = tables.actor
        contact = frozenset((sender.name, receiver.name))
        if contact not in self._contacts:
            self._contacts[contact] = next(self._numbers)
            if receiver.stopped:
                self._watch_silence(contact, receiver)
        number = self._contacts[contact]
        faults = self._faults[sender.name, receiver.name]
        fault = faults.popleft() if faults else 0
        if isinstance(fault, _Drop):
            return
        delay_ns = fault if isinstance(fault, int) else 0
        way = (sender.name, receiver.name)
        due_ns = max(self._last_due_ns.get(way, 0), self.clock.now_ns + self.limits.latency_ns + delay_ns)
        self._last_due_ns[way] = due_ns

        def deliver() -> None:
            if self._contacts.get(contact) == number:
                receiver.on_event(MessageReceived(peer=sender.name, payload=memoryview(bytearray(payload))))

        for _ in range(2 if isinstance(fault, _Duplicate) else 1):
            self.clock.at(due_ns - self.clock.now_ns, receiver, deliver)

    def lose(self, actor: Actor, peer: str, why: str) -> None:
        """Tell a node that a peer is lost."""
        lost = PeerLost(peer=peer, sentence=f"{peer!r}: {why}.")
        self.clock.at(self.limits.latency_ns, actor, lambda: actor.on_event(lost))

    def _watch_silence(self, contact: frozenset[str], actor: Actor) -> None:
        number = self._contacts[contact]

        def look() -> None:
            if actor.stopped and self._contacts.get(contact) == number:
                del self._contacts[contact]
                (other,) = contact - {actor.name}
                why = f"it has answered nothing for {self.limits.silence_ns} ns"
                self.lose(self._nodes[other].actor, actor.name, why)
                self.lose(actor, other, "it closed the connection")

        self.clock.at(self.limits.silence_ns, None, look)


class MemoryTransport:
    """One node's end; see `interface.Transport`.  Made by `MemoryNetwork.node`."""

    def __init__(self, network: MemoryNetwork, name: str, on_event: OnEvent) -> None:
        self.actor = Actor(name, on_event)
        self.tables = BlobTables(actor=self.actor)
        self._network = network
        self._peers: set[str] = set()

    def knows(self, name: str) -> bool:
        """Whether that peer was introduced."""
        return name in self._peers

    def meet(self, peers: Sequence[Peer]) -> None:
        """As `Transport.meet`; hosts and ports mean nothing here."""
        self._peers.update(peer.name for peer in peers)

    def send_message(self, peer: str, payload: Sequence[Buffer]) -> None:
        """As `Transport.send_message`."""
        self._require_known(peer)
        whole = b"".join(payload)
        limit_bytes = self._network.limits.frame_bytes
        if len(whole) > limit_bytes:
            raise FrameTooLarge(f"a message of {len(whole)} bytes to {peer!r}, wanted at most {limit_bytes}.")
        self._network.carry(self.actor, peer, whole)

    def send_blob(self, blob: OutgoingBlob) -> None:
        """As `Transport.send_blob`."""
        self._require_known(blob.peer)
        key = (blob.peer, blob.transfer_id)
        if key in self.tables.outgoing:
            raise TransferInUse(f"transfer {blob.transfer_id!r} to {blob.peer!r} is under way.")
        self.tables.outgoing.add(key)
        self._network.blobs.offer(self.tables, self._network.tables_of(blob.peer, self.actor.name), blob)

    def expect_blob(self, blob: ExpectedBlob) -> None:
        """As `Transport.expect_blob`."""
        self._require_known(blob.peer)
        key = (blob.peer, blob.transfer_id)
        if key in self.tables.expected or key in self.tables.incoming:
            raise TransferInUse(f"transfer {blob.transfer_id!r} from {blob.peer!r} is expected or under way.")
        check_expected(blob)
        self.tables.arrived.pop(key, None)
        self.tables.expected[key] = blob

    def abandon_blob(self, peer: str, transfer_id: str) -> None:
        """As `Transport.abandon_blob`."""
        self._network.blobs.abandon(self.actor, peer, transfer_id)
        if self.tables.expected.pop((peer, transfer_id), None) is not None:
            failed = BlobFailed(
                transfer_id=transfer_id,
                peer=peer,
                kind=FailureKind.ABANDONED,
                segment=None,
                moved_bytes=Bytes(0),
                sentence=f"transfer {transfer_id!r} from {peer!r}: it was abandoned on this side, before its offer.",
            )
            self._network.clock.at(0, self.actor, lambda: self.actor.on_event(failed))

    async def close(self) -> None:
        """As `Transport.close`."""
        if not self.actor.ended:
            self._network.kill(self.actor.name)

    def _require_known(self, name: str) -> None:
        if self.actor.ended:
            raise TransportClosed(f"the transport of {self.actor.name!r} is closed.")
        if name not in self._peers:
            raise UnknownPeer(f"{name!r} was not introduced to {self.actor.name!r}; known are {sorted(self._peers)}.")
