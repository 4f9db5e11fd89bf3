"""Having the kernel find out where a peer is, before it is asked to connect a queue pair to it.

Connecting to an address whose neighbour is not known yet takes Linux a full second, whenever the neighbour answers, and
pyverbs holds the GIL for it.  Here the same is waited for without the GIL, and only for as long as it takes.
"""

import contextlib
import errno
import ipaddress
import select
import socket
import struct
import time
from collections.abc import Iterator

from specs.units import Nanos, ceil_div

NANOS_PER_MILLISECOND = 1_000_000
PATIENCE_NS = Nanos(1_000_000_000)  # as the kernel's own when it connects
DISCARD_PORT = 9  # a datagram to it asks for nothing

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Of linux/netlink.h, rtnetlink.h and neighbour.h.
_HEAD = struct.Struct("=IHHII")  # length with this head, kind, flags, sequence, sender
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # family, interface, state, flags, kind
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, bits of the destination, ...
_ATTRIBUTE = struct.Struct("=HH")  # length with this head, kind
_ERROR = struct.Struct("=i")
_REQUEST = 1
_NLMSG_ERROR, _RTM_NEWROUTE, _RTM_GETROUTE, _RTM_NEWNEIGH, _RTM_GETNEIGH = 2, 24, 26, 28, 30
_NEIGHBOUR_CHANGES = 4  # the multicast group
_NDA_DST = 1
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_ROUTE_KIND = 7  # its place in _ROUTE
_LOCAL = 2
_KNOWN = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80  # reachable, stale, delay, probe, no ARP, permanent
_FAILED = 0x20


def is_silent(address: Address, *, source: Address, interface: int) -> bool:
    """Look for an address through an interface; say whether nobody answered to it in time.

    Waits for a second at most, in the calling thread alone.  Where the kernel does not say, the answer is no.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
            netlink.bind((0, _NEIGHBOUR_CHANGES))
            hop = _next_hop(netlink, address, interface)
            return hop is not None and _is_neighbour_silent(netlink, hop, source, interface)
    except OSError:
        return False


def _next_hop(netlink: socket.socket, address: Address, interface: int) -> Address | None:
    """Ask for the route: its gateway, or the address itself if there is none; None if it is this machine's own."""
    bits = 8 * len(address.packed)
    route = _ROUTE.pack(_family(address), bits, 0, 0, 0, 0, 0, 0, 0)
    _ask(netlink, _RTM_GETROUTE, route, {_RTA_DST: address.packed, _RTA_OIF: struct.pack("=i", interface)})
    for kind, body in _messages(netlink, time.monotonic_ns() + PATIENCE_NS):
        if kind == _NLMSG_ERROR:
            return None
        if kind == _RTM_NEWROUTE:
            gateway = _attributes(body[_ROUTE.size :]).get(_RTA_GATEWAY)
            is_local = _ROUTE.unpack_from(body)[_ROUTE_KIND] == _LOCAL
            return None if is_local else address if gateway is None else ipaddress.ip_address(gateway)
    return None


def _is_neighbour_silent(netlink: socket.socket, hop: Address, source: Address, interface: int) -> bool:
    neighbour = _NEIGHBOUR.pack(_family(hop), interface, 0, 0, 0)
    _ask(netlink, _RTM_GETNEIGH, neighbour, {_NDA_DST: hop.packed})
    has_knocked = False
    for kind, body in _messages(netlink, time.monotonic_ns() + PATIENCE_NS):
        state = 0
        if kind == _NLMSG_ERROR and _ERROR.unpack_from(body)[0] != -errno.ENOENT:
            return False
        if kind == _RTM_NEWNEIGH:
            _, where, state, _, _ = _NEIGHBOUR.unpack_from(body)
            if where != interface or _attributes(body[_NEIGHBOUR.size :]).get(_NDA_DST) != hop.packed:
                continue
        if state & _KNOWN:
            return False
        if has_knocked and state & _FAILED:
            return True
        if not has_knocked:
            _knock(hop, source, interface)
            has_knocked = True
    return has_knocked


def _knock(address: Address, source: Address, interface: int) -> None:
    """Send a datagram, so that the kernel looks for the address."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as sender, contextlib.suppress(OSError):
        sender.setblocking(False)
        # As RDMA does: through this interface, even where another one, or this very machine, has the address.
        name = socket.if_indextoname(interface)
        with contextlib.suppress(PermissionError):
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
        scope = (0, interface) if address.version == 6 and address.is_link_local else ()
        sender.bind((str(source), 0))
        sender.sendto(b"", (str(address), DISCARD_PORT, *scope))


def _ask(netlink: socket.socket, kind: int, body: bytes, attributes: dict[int, bytes]) -> None:
    for number, value in attributes.items():
        body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), number) + value  # addresses need no padding
    netlink.send(_HEAD.pack(_HEAD.size + len(body), kind, _REQUEST, 0, 0) + body)


def _messages(netlink: socket.socket, until_ns: int) -> Iterator[tuple[int, bytes]]:
    """Give each message that comes in time: its kind, and what follows its head."""
    while (left_ns := until_ns - time.monotonic_ns()) > 0:
        asked = select.poll()  # select takes no descriptor above 1023
        asked.register(netlink, select.POLLIN)
        if not asked.poll(ceil_div(left_ns, NANOS_PER_MILLISECOND)):
            return
        data = netlink.recv(1 << 16)
        while len(data) >= _HEAD.size:
            length, kind, *_ = _HEAD.unpack_from(data)
            yield kind, data[_HEAD.size : length]
            data = data[_aligned(length) :]


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        found[kind] = data[_ATTRIBUTE.size : length]
        data = data[_aligned(max(length, _ATTRIBUTE.size)) :]
    return found


def _aligned(length: int) -> int:
    return length + 3 & ~3


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6
