"""Traffic between this node's parts and those of others: what goes where, and what is refused.

A message for this node itself is delivered on a later turn of the event loop, never from inside `send`, so that no
part is ever called while it is busy.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping

from executor import kv_traffic, traffic
from executor.errors import MalformedFrame, TransportClosed
from executor.files import Files
from executor.pipelines.front import Front
from executor.pipelines.host import Host
from executor.pipelines.kv_stages import KvStages
from executor.pipelines.leader import Canary, Leader
from executor.traffic import Message
from executor.transport.interface import Transport
from specs.cluster import NodeId
from specs.errors import MalformedDocument
from specs.plan import PipelineId
from specs.protocols.kv_hand_over_nouns import Held, Hosting, Seats

_log = logging.getLogger(__name__)

# The first byte of every message: a report under a plan, a word about plans, or traffic.
REPORT = b"R"
WORD = b"W"
TRAFFIC = b"T"

Spawn = Callable[[Coroutine[object, object, None]], None]


class Mail:
    """Sends and delivers `executor.traffic` for one node, under whichever plan.  See `executor.pipelines.post.Post`."""

    def __init__(self, node: NodeId, spawn: Spawn) -> None:
        self._node = node
        self._spawn = spawn
        self._transport: Transport | None = None
        self._peers: frozenset[NodeId] = frozenset()
        self._lost: frozenset[NodeId] = frozenset()
        self.files: Files
        self.host: Host
        self.kv_stages: KvStages
        self.front: Front
        self.leaders: Mapping[PipelineId, Leader]
        self.may_send: Callable[[NodeId, Message], bool]  # whether a peer is the rightful sender of a message
        self.on_missed: Callable[[NodeId], None]

    def adopt(self, peers: Iterable[NodeId]) -> None:
        """Know these other nodes from now on, and none of them as lost."""
        self._peers, self._lost = frozenset(peers), frozenset()

    def connect(self, transport: Transport) -> None:
        """Begin to send to other nodes; what was sent to them before is gone."""
        self._transport = transport

    def disconnect(self) -> None:
        """Send nothing more to other nodes."""
        self._transport = None

    def lose(self, lost: frozenset[NodeId]) -> None:
        """Send nothing more to these nodes, and take nothing from them."""
        self._lost = lost

    def send(self, node: NodeId, message: Message, body: memoryview | bytes = b"") -> None:
        """As `Post.send`."""
        if node == self._node:
            asyncio.get_running_loop().call_soon(self._deliver, node, message, memoryview(body))
        elif self._transport is not None and node in self._peers - self._lost:
            try:
                self._transport.send_message(node, [TRAFFIC, *traffic.write(message, body)])
            except TransportClosed:
                self._transport = None

    def receive(self, peer: NodeId, frame: memoryview) -> None:
        """Deliver a peer's message; one that makes no sense is dropped with a line in the log."""
        if peer not in self._peers - self._lost:
            return
        try:
            message, body = traffic.read(frame)
        except MalformedFrame as error:
            _log.warning("%s: %s", peer, error)
            return
        if self.may_send(peer, message):
            self._deliver(peer, message, body)
        else:  # late, or wrong: either way nothing may come of it
            _log.info("%s: a %s that is not its to send", peer, type(message).__name__)

    def _deliver(self, peer: NodeId, message: Message, body: memoryview) -> None:
        try:
            self._hand_over(peer, message, body)
        except (MalformedFrame, MalformedDocument) as error:
            _log.warning("%s: %s", peer, error)

    def _hand_over(self, peer: NodeId, message: Message, body: memoryview) -> None:  # noqa: C901, PLR0912, PLR0915 - one table
        match message:
            case traffic.Forward():
                self._spawn(self._guarded(peer, self.host.carry_on(message, body)))
            case traffic.SampledTokens():
                if (leader := self.leaders.get(message.pipeline)) is not None:
                    leader.sampled(message)
            case traffic.Interrupted():
                if (leader := self.leaders.get(message.pipeline)) is not None:
                    leader.give_back()
            case traffic.ResizeStage():
                self._spawn(self._guarded(peer, self.host.resize(message)))
            case traffic.StageResized():
                if (leader := self.leaders.get(message.pipeline)) is not None:
                    leader.resizing.heard(message)
            case traffic.Token():
                self.front.token(message)
            case traffic.Submit():
                if (leader := self.leaders.get(message.pipeline)) is not None:
                    leader.submit(peer, message)
                else:
                    self.send(peer, traffic.Returned(request=message.request, shut=True))
            case traffic.Cancel():
                if (leader := self.leaders.get(message.pipeline)) is not None:
                    leader.cancel(peer, message)
            case traffic.Returned():
                self.front.returned(message)
            case kv_traffic.Invited():
                if (leader := self.leaders.get(message.invitation.id.new)) is not None:
                    leader.arrival.invited(peer, message)
                else:
                    self.send(peer, Hosting(id=message.invitation.id, is_over=True))
            case Hosting():
                if (leader := self.leaders.get(message.id.old)) is not None:
                    leader.departure.hear(message)
            case Held():
                if (leader := self.leaders.get(message.pipeline)) is not None:
                    leader.arrival.held(message)
            case Seats():
                self._spawn(self._guarded(peer, self.kv_stages.seats(message)))
            case kv_traffic.CopyKv():
                self._spawn(self._guarded(peer, self.kv_stages.copy(message)))
            case kv_traffic.Kv():
                self._spawn(self._guarded(peer, self.kv_stages.take(message, body)))
            case kv_traffic.HandedOver():
                self.front.handed_over(message)
            case kv_traffic.Resume():
                self._resume(peer, message)
            case traffic.AskFile():
                self.files.answer_file(peer, message)
            case traffic.FileIs():
                self.files.put_answer(message, bytes(body))
            case traffic.AskCanary():
                self.files.answer_canary(peer, message)
            case traffic.Missed():
                self.on_missed(peer)
            case traffic.CanaryIs():
                self.files.set_canary(message.llm, Canary(prompt=message.prompt, tokens=message.tokens))

    def _resume(self, peer: NodeId, resume: kv_traffic.Resume) -> None:
        if (leader := self.leaders.get(resume.id.new)) is not None:
            leader.arrival.resume(peer, resume)
            return
        for guest in resume.guests:
            self.send(peer, traffic.Returned(request=guest.attempt, shut=True))

    async def _guarded(self, peer: NodeId, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except MalformedFrame as error:
            _log.warning("%s: %s", peer, error)
