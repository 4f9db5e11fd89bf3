"""What is concluded from the kernel's words about a neighbour, in whatever order they come."""

import errno
import ipaddress
import socket
import struct

import pytest

from executor.transport.rdma import neighbours
from specs.units import Nanos

PEER, OTHER, HERE = (ipaddress.ip_address(f"10.0.0.{last}") for last in (2, 3, 1))
INTERFACE = 7
INCOMPLETE, REACHABLE, STALE, FAILED = 0x01, 0x02, 0x04, 0x20
LOCAL, UNICAST = 2, 1


def message(kind: int, body: bytes) -> bytes:
    padding = bytes(-len(body) % 4)
    return neighbours._HEAD.pack(neighbours._HEAD.size + len(body), kind, 0, 0, 0) + body + padding


def attribute(number: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), number) + value + bytes(-len(value) % 4)


def news(state: int, *, of=PEER, interface=INTERFACE) -> bytes:
    head = neighbours._NEIGHBOUR.pack(socket.AF_INET, interface, state, 0, 1)
    return message(neighbours._RTM_NEWNEIGH, head + attribute(2, b"abcdef") + attribute(1, of.packed))


def error(number: int) -> bytes:
    return message(neighbours._NLMSG_ERROR, struct.pack("=i", -number) + bytes(16))


NONE = error(errno.ENOENT)


@pytest.fixture
def knocks(monkeypatch):
    knocked: list[object] = []
    monkeypatch.setattr(neighbours, "_knock", lambda address, source, interface: knocked.append(address))
    monkeypatch.setattr(neighbours, "PATIENCE_NS", Nanos(50_000_000))
    return knocked


@pytest.fixture
def kernel():
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    yield ends
    for end in ends:
        end.close()


@pytest.mark.parametrize(
    ("said", "silent", "knocks_wanted"),
    [
        ([news(REACHABLE)], False, 0),
        ([news(STALE)], False, 0),
        ([NONE, news(REACHABLE)], False, 1),
        ([NONE + news(INCOMPLETE) + news(REACHABLE)], False, 1),
        ([NONE, news(INCOMPLETE), news(FAILED)], True, 1),
        ([news(FAILED), news(INCOMPLETE), news(REACHABLE)], False, 1),
        ([NONE], True, 1),
        ([NONE, news(REACHABLE, of=OTHER), news(REACHABLE, interface=8)], True, 1),
        ([error(errno.EOPNOTSUPP)], False, 0),
        ([], False, 0),
    ],
)
def test_whether_a_neighbour_is_silent(kernel, knocks, said, silent, knocks_wanted):
    for data in said:
        kernel[1].send(data)
    assert neighbours._is_neighbour_silent(kernel[0], PEER, HERE, INTERFACE) is silent
    assert knocks == [PEER] * knocks_wanted


def route(kind: int, *attributes: bytes) -> bytes:
    head = neighbours._ROUTE.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, kind, 0)
    return message(neighbours._RTM_NEWROUTE, head + b"".join(attributes))


@pytest.mark.parametrize(
    ("said", "hop"),
    [
        (route(UNICAST, attribute(1, PEER.packed)), PEER),
        (news(REACHABLE) + route(UNICAST, attribute(1, PEER.packed), attribute(5, OTHER.packed)), OTHER),
        (route(LOCAL, attribute(1, PEER.packed)), None),
        (error(errno.ENETUNREACH), None),
    ],
)
def test_the_next_hop_is_who_has_to_answer(kernel, knocks, said, hop):
    kernel[1].send(said)
    assert neighbours._next_hop(kernel[0], PEER, INTERFACE) == hop


def test_this_very_machine_is_not_silent():
    for address in ("127.0.0.1", "::1"):
        here = ipaddress.ip_address(address)
        assert not neighbours.is_silent(here, source=here, interface=socket.if_nametoindex("lo"))


def test_what_cannot_be_asked_is_not_silent():
    assert not neighbours.is_silent(PEER, source=HERE, interface=(1 << 31) - 1)
