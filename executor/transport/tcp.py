"""The transport over TCP: one listening port per node, a connection per direction for messages, one per blob."""

import asyncio
import functools
import logging
import socket
from collections.abc import Coroutine, Sequence

import attrs

from executor.errors import FrameTooLarge, MalformedFrame, TransportClosed, UnknownPeer
from executor.transport import handshake
from executor.transport.blob_desk import BlobDesk
from executor.transport.carrier import Carrier, OutgoingMessages, StreamCarrier
from executor.transport.framing import Hello, Offer, Verdict
from executor.transport.interface import (
    Buffer,
    Event,
    ExpectedBlob,
    MessageReceived,
    OnEvent,
    OutgoingBlob,
    Peer,
    PeerLost,
)
from executor.transport.message_link import MessageLimits, SendingLink, receive_messages
from specs.units import Nanos

_log = logging.getLogger(__name__)

ACCEPT_PAUSE_SECONDS = 0.1  # when the system has no more file descriptors to give


@attrs.frozen(kw_only=True)
class TcpLimits:
    """What a node bears."""

    messages: MessageLimits = MessageLimits()
    hello_ns: Nanos = Nanos(5_000_000_000)  # for either side to connect and say who it is
    blobs_each_way: int = (
        32  # that move at once, a thread each; more wait, and their senders' patience is the progress deadline
    )


class TcpTransport:
    """One node's end; see `interface.Transport`.  Made by `listen_tcp`."""

    def __init__(
        self,
        *,
        node: str,
        realm: str,
        listener: socket.socket,
        on_event: OnEvent,
        limits: TcpLimits,
        carrier: Carrier,
    ) -> None:
        self._node = node
        self._realm = realm
        self._listener = listener
        self._on_event = on_event
        self._limits = limits
        self._closed = False
        self._peers: dict[str, Peer] = {}
        self._links: dict[str, SendingLink] = {}
        self._paths: dict[str, set[socket.socket]] = {}  # of messages, both ways; what is not here is given up
        self._callers: dict[str, socket.socket] = {}  # the path on which a peer sends its messages
        self._tasks: set[asyncio.Task[None]] = set()  # all but those of blobs on the move
        self._told: dict[str, str] = {}  # why a peer was turned away last: it calls again, and one line is enough
        self._carrier = carrier
        self._desk = BlobDesk(
            emit=self._emit, hello=self._hello, carrier=carrier, threads_each_way=limits.blobs_each_way
        )
        self._start(self._accept())

    @property
    def port(self) -> int:
        """Where this node listens."""
        port = self._listener.getsockname()[1]
        assert isinstance(port, int)
        return port

    def meet(self, peers: Sequence[Peer]) -> None:
        """As `Transport.meet`."""
        self._peers |= {peer.name: peer for peer in peers}

    def send_message(self, peer: str, payload: Sequence[Buffer]) -> None:
        """As `Transport.send_message`."""
        known = self._known(peer)
        size_bytes = sum(memoryview(buffer).nbytes for buffer in payload)
        limit_bytes = self._limits.messages.frame_bytes
        if size_bytes > limit_bytes:
            raise FrameTooLarge(f"a message of {size_bytes} bytes to {peer!r}, wanted at most {limit_bytes}.")
        link = self._links.get(peer)
        if link is None:
            link = self._links[peer] = SendingLink(self._limits.messages)
            self._start(self._run_link(known, link))
        link.send(payload)

    def send_blob(self, blob: OutgoingBlob) -> None:
        """As `Transport.send_blob`."""
        self._desk.send(self._known(blob.peer), blob)

    def expect_blob(self, blob: ExpectedBlob) -> None:
        """As `Transport.expect_blob`."""
        self._known(blob.peer)
        self._desk.expect(blob)

    def abandon_blob(self, peer: str, transfer_id: str) -> None:
        """As `Transport.abandon_blob`."""
        self._desk.abandon(peer, transfer_id)

    async def close(self) -> None:
        """As `Transport.close`."""
        if self._closed:
            return
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._desk.close()
        finally:
            self._listener.close()
            self._carrier.close()

    def _known(self, name: str) -> Peer:
        if self._closed:
            raise TransportClosed(f"the transport of {self._node!r} is closed.")
        peer = self._peers.get(name)
        if peer is None:
            raise UnknownPeer(f"{name!r} was not introduced to {self._node!r}; known are {sorted(self._peers)}.")
        return peer

    def _hello(self, peer: str, offer: Offer | None) -> Hello:
        return Hello(sender=self._node, receiver=peer, realm=self._realm, offer=offer)

    def _emit(self, event: Event) -> None:
        if not self._closed:
            self._on_event(event)

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A bug, here or in the receiver of events: the loop's owner decides what becomes of the process.
            task.get_loop().call_exception_handler({"message": "transport", "exception": error, "task": task})

    # Messages out.

    async def _run_link(self, peer: Peer, link: SendingLink) -> None:
        with self._carrier.outgoing_messages(peer.name) as outgoing:
            await self._call(peer, link, outgoing)

    async def _call(self, peer: Peer, link: SendingLink, outgoing: OutgoingMessages) -> None:
        where = f"{peer.name!r} at {peer.host}:{peer.port}"
        hello = attrs.evolve(self._hello(peer.name, None), contact=outgoing.contact)
        try:
            sock, verdict, sentence = await handshake.call(peer, hello, self._limits.hello_ns)
        except TimeoutError:
            self._give_up(link, peer.name, f"{where} did not answer for {self._limits.hello_ns} ns.")
            return
        except (OSError, MalformedFrame) as error:
            self._give_up(link, peer.name, f"{where} cannot be reached: {error}")
            return
        with sock:
            if verdict is not Verdict.WELCOME:
                self._give_up(link, peer.name, f"{where} turned us away: {sentence}")
            elif self._links.get(peer.name) is link:
                self._paths.setdefault(peer.name, set()).add(sock)
                try:
                    async with outgoing.path(sock, sentence) as path:
                        why = await link.run(path)
                except OSError as error:
                    why = f"there is no path for messages: {error}"
                self._path_ended(peer.name, sock, why)

    def _give_up(self, link: SendingLink, name: str, sentence: str) -> None:
        if self._links.get(name) is link:
            self._lose(name, sentence)

    def _path_ended(self, name: str, sock: socket.socket, why: str) -> None:
        if sock in self._paths.get(name, ()):
            self._lose(name, f"{name!r}: {why}.")

    def _lose(self, name: str, sentence: str) -> None:
        """Close every path of messages to and from a peer, and say so."""
        self._links.pop(name, None)
        self._callers.pop(name, None)
        for sock in self._paths.pop(name, set()):
            handshake.hang_up(sock)
        self._emit(PeerLost(peer=name, sentence=sentence))

    # What comes in.

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(self._listener)
            except OSError as error:
                _log.warning("%s: cannot take a connection: %s", self._node, error)
                await asyncio.sleep(ACCEPT_PAUSE_SECONDS)
            else:
                greeting = self._start(self._greet(sock, f"{address[0]}:{address[1]}"))
                # Not within the task: it may be cancelled before it begins.
                greeting.add_done_callback(functools.partial(_close, sock))

    async def _greet(self, sock: socket.socket, address: str) -> None:
        sock.setblocking(False)
        handshake.prepare(sock)
        try:
            hello = await handshake.hear_hello(sock, self._limits.hello_ns)
        except TimeoutError:
            _log.warning("%s: hung up on %s, which did not say who it is", self._node, address)
            return
        except (OSError, MalformedFrame) as error:
            _log.warning("%s: hung up on %s: %s", self._node, address, error)
            return
        stranger = self._why_stranger(hello)
        if stranger:
            self._turn_stranger_away(sock, address, hello.sender, stranger)
        elif hello.offer is not None:
            await self._take_blob(sock, address, hello.sender, hello.offer)
        else:
            await self._take_messages(sock, hello)

    def _turn_stranger_away(self, sock: socket.socket, address: str, sender: str, sentence: str) -> None:
        if self._told.get(sender) == sentence:
            handshake.answer(sock, Verdict.STRANGER, sentence)
            return
        if sender in self._peers:  # anybody else could say any name, and fill this memory
            self._told[sender] = sentence
        self._turn_away(sock, address, Verdict.STRANGER, sentence)

    def _turn_away(self, sock: socket.socket, address: str, verdict: Verdict, sentence: str) -> None:
        _log.warning("%s: refused %s: %s", self._node, address, sentence)
        handshake.answer(sock, verdict, sentence)

    async def _take_blob(self, sock: socket.socket, address: str, name: str, offer: Offer) -> None:
        async with self._desk.may_receive:
            verdict, sentence = self._desk.judge(name, offer)
            if verdict is Verdict.REFUSE:
                self._turn_away(sock, address, verdict, sentence)
                return
            if verdict is Verdict.HAVE:
                handshake.answer(sock, verdict)
                return
            task = asyncio.current_task()
            assert task is not None
            self._tasks.discard(task)  # from here on the desk ends it
            await self._desk.receive(sock, name, offer)

    def _why_stranger(self, hello: Hello) -> str | None:
        if hello.realm != self._realm:
            return f"{hello.sender!r} is of realm {hello.realm!r}, this is {self._realm!r}."
        if hello.receiver != self._node:
            return f"{hello.sender!r} wants {hello.receiver!r}, this is {self._node!r}."
        if hello.sender not in self._peers:
            return f"{hello.sender!r} was not introduced to {self._node!r}."
        return None

    async def _take_messages(self, sock: socket.socket, hello: Hello) -> None:
        name = hello.sender
        if name in self._callers:
            self._lose(name, f"{name!r}: it called again, so the messages of its last call are over.")
        self._callers[name] = sock
        self._paths.setdefault(name, set()).add(sock)

        def deliver(payload: memoryview) -> None:
            # What was read before the path was given up is late, and lost with it.
            if sock in self._paths.get(name, ()):
                self._emit(MessageReceived(peer=name, payload=payload))

        async with self._carrier.incoming_messages(sock, name, hello.contact) as path:
            why = await receive_messages(path, self._limits.messages, deliver)
        self._path_ended(name, sock, why)


def _close(sock: socket.socket, _: asyncio.Task[None]) -> None:
    sock.close()


async def listen_tcp(
    address: Peer,
    *,
    realm: str,
    on_event: OnEvent,
    limits: TcpLimits | None = None,
    carrier: Carrier | None = None,
) -> TcpTransport:
    """Open a node's transport at its own address, on the running loop; port 0 lets the system choose.

    The realm is what all nodes of a cluster must agree on.  Without a carrier blobs are streams.  Raises OSError when
    the address cannot be had.
    """
    listener = handshake.listening_socket(address.host, address.port)
    return TcpTransport(
        node=address.name,
        realm=realm,
        listener=listener,
        on_event=on_event,
        limits=limits or TcpLimits(),
        carrier=carrier or StreamCarrier(),
    )
