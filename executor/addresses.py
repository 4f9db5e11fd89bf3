"""Where nodes take their peers: the addresses of a plan, read and tried."""

import socket

from executor.errors import CannotListen
from executor.transport.interface import Peer
from specs.cluster import Node, NodeId
from specs.errors import InvalidProblem
from specs.problem import Problem


def peers_of(problem: Problem) -> dict[NodeId, Peer]:
    """Read the address of every node that has one.  Raises InvalidProblem."""
    return {node.id: _peer(node, node.address) for node in problem.cluster.nodes if node.address is not None}


def check_free(address: Peer) -> None:
    """Raise CannotListen when this process cannot take peers at an address."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        shown = f"{address.host}:{address.port}"
        raise CannotListen(f"{address.name} cannot listen at {shown}, its address in the plan: {error}") from None


def _peer(node: Node, address: str) -> Peer:
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
        raise InvalidProblem(f"the address of {node.id} is {address!r:.80}; host:port is wanted")
    return Peer(name=node.id, host=host.strip("[]"), port=int(port))
