"""How this node's bytes move: through an RDMA device, where it has one, or as streams over TCP; it is said aloud."""

import ipaddress
import logging
import socket
from enum import StrEnum

from executor.errors import DeviceFailed, VerbsMissing
from executor.transport.carrier import Carrier, StreamCarrier
from executor.transport.rdma import verbs
from executor.transport.rdma.carrier import RdmaCarrier

_log = logging.getLogger(__name__)


class TransportKind(StrEnum):
    """What a node is asked to use."""

    AUTO = "auto"  # RDMA if a device has the node's address, else TCP
    TCP = "tcp"
    RDMA = "rdma"


def choose_carrier(kind: TransportKind, host: str) -> Carrier:
    """Choose for a node at this address or name.

    Raises VerbsMissing or DeviceFailed where RDMA is wanted and cannot be had, and OSError for a name nobody knows.
    """
    if kind is TransportKind.TCP:
        return StreamCarrier()
    try:
        carrier, port = _open(host)
    except (VerbsMissing, DeviceFailed) as error:
        if kind is TransportKind.RDMA:
            raise
        _log.info("blobs and messages go over TCP: %s", error)
        return StreamCarrier()
    rate = "unknown" if port.bytes_per_second is None else f"{8 * port.bytes_per_second / 10**9:g} Gb/s"
    _log.info(
        "blobs and messages are written through %s, port %d (%s, rate %s)", port.device, port.number, port.address, rate
    )
    return carrier


def _open(host: str) -> tuple[RdmaCarrier, verbs.Port]:
    ports = verbs.ports()
    port = verbs.port_of(_address_of(host), ports)
    if port is None:
        there = ", ".join(f"{each.device} {each.address or each.gid}" for each in ports) or "none"
        raise VerbsMissing(f"RDMA: no active port has the address of {host}; there are: {there}.")
    return RdmaCarrier(verbs.Device(port)), port


def _address_of(host: str) -> str:
    """Resolve a name as the listening socket does: its first address."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return str(found[0][4][0])
