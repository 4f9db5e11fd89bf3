"""Devices that are none, with the interface of `executor.transport.rdma.verbs`, and the harm that can come to them.

A write is carried out at once, by the thread that posts it, under one lock for all devices: it lands if its key is that
of an open region which it lies in, as a real device sees to.  What real devices do is tested in `tests/rdma`.
"""

import itertools
import os
import threading

import attrs

from executor.errors import DeviceFailed, Failure
from executor.transport.rdma.verbs import Completion, Contact

GID = "0000:0000:0000:0000:0000:ffff:0a4d:0001"


class Fabric:
    """All devices, and what goes wrong."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.numbers = itertools.count(1)
        self.pairs: dict[int, FakePair] = {}
        self.regions: dict[int, FakeRegion] = {}
        self.writes = 0
        self.devices: list[FakeDevice] = []
        self.fail_write = None  # (number of the write, failure): it ends so, and its queue pairs break
        self.before_write = None  # called with the number of each write

    @property
    def left(self) -> tuple[int, int]:
        """Count queue pairs and regions that are open."""
        return len(self.pairs), len(self.regions)


class FakeRegion:
    def __init__(self, fabric: Fabric, memory: memoryview, *, is_remote: bool) -> None:
        self.fabric, self.memory, self.is_remote = fabric, memory, is_remote
        self.local_key = self.remote_key = next(fabric.numbers)
        self.address = self.remote_key << 32
        self.size_bytes = memory.nbytes
        fabric.regions[self.remote_key] = self

    def close(self) -> None:
        with self.fabric.lock:
            self.fabric.regions.pop(self.remote_key, None)


class FakePair:
    def __init__(self, device: "FakeDevice", writes_max: int, receives_max: int) -> None:
        self.device, self.fabric = device, device.fabric
        self.writes_max, self.receives_max = writes_max, receives_max
        number = next(self.fabric.numbers)
        self.contact = Contact(queue_pair=number, psn=0, gid=GID, mtu_bytes=4096)
        self.fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.peer = None
        self.receives: list[int] = []
        self.ended: list[tuple[bool, Completion]] = []  # whether it was a write
        self.is_broken = False
        self.is_open = True
        self.under_way = 0
        self.fabric.pairs[number] = self

    @property
    def room(self) -> int:
        return self.writes_max - self.under_way

    def connect(self, peer: Contact) -> None:
        self.device.check()
        self.peer = peer.queue_pair

    def expect(self, id: int) -> None:  # noqa: A002
        assert len(self.receives) < self.receives_max
        with self.fabric.lock:
            self.device.check()
            self.receives.append(id)

    def write(self, source, offset_bytes, size_bytes, *, address, key, immediate, id) -> None:  # noqa: A002
        fabric = self.fabric
        with fabric.lock:
            self.device.check()
            assert self.room
            assert fabric.regions[source.local_key] is source
            self.under_way += 1
            number = fabric.writes
            fabric.writes += 1
            if fabric.before_write is not None:
                fabric.before_write(number)
            failure = self._failure(number, address, key, size_bytes, immediate)
            if failure is not None:
                self._end(True, Completion(id=id, immediate=None, failure=failure))
                self.break_off()
                return
            place = fabric.regions[key]
            at = address - place.address
            place.memory[at : at + size_bytes] = source.memory[offset_bytes : offset_bytes + size_bytes]
            if immediate is not None:
                peer = fabric.pairs[self.peer]
                peer._end(False, Completion(id=peer.receives.pop(0), immediate=immediate, failure=None))
            self._end(True, Completion(id=id, immediate=None, failure=None))

    def _failure(self, number, address, key, size_bytes, immediate) -> Failure | None:
        fabric = self.fabric
        if fabric.fail_write is not None and fabric.fail_write[0] == number:
            return fabric.fail_write[1]
        peer = fabric.pairs.get(self.peer)
        if self.is_broken:
            return Failure.FLUSHED
        if peer is None or peer.is_broken or peer.device.is_lost:
            return Failure.PEER_SILENT
        place = fabric.regions.get(key)
        if place is None or not place.is_remote or not 0 <= address - place.address <= place.size_bytes - size_bytes:
            peer.break_off()
            return Failure.ACCESS_REFUSED
        return None if peer.receives or immediate is None else Failure.NOT_READY

    def _end(self, is_write: bool, completion: Completion) -> None:
        self.ended.append((is_write, completion))
        if self.is_open:
            os.eventfd_write(self.fd, 1)

    def break_off(self) -> None:
        with self.fabric.lock:
            self.is_broken = True
            for receive in self.receives:
                self._end(False, Completion(id=receive, immediate=None, failure=Failure.FLUSHED))
            self.receives.clear()

    def completions(self) -> list[Completion]:
        with self.fabric.lock:
            if not self.is_open:
                return []
            self.device.check()
            try:
                os.eventfd_read(self.fd)
            except BlockingIOError:
                return []
            taken, self.ended = self.ended, []
            self.under_way -= sum(is_write for is_write, _ in taken)
            return [completion for _, completion in taken]

    def close(self) -> None:
        with self.fabric.lock:
            if self.is_open:
                self.is_open = False
                self.is_broken = True
                del self.fabric.pairs[self.contact.queue_pair]
                os.close(self.fd)


@attrs.define(eq=False)
class FakeDevice:
    fabric: Fabric
    is_lost: bool = False
    registrations_max: int | None = None  # more are refused

    def __attrs_post_init__(self) -> None:
        self.fabric.devices.append(self)

    def check(self) -> None:
        if self.is_lost:
            raise DeviceFailed(Failure.DEVICE, "fake0: it was taken away.")

    def register(self, memory: memoryview, *, is_remote: bool) -> FakeRegion:
        with self.fabric.lock:
            self.check()
            if self.registrations_max == 0:
                raise DeviceFailed(Failure.REGISTRATION, f"fake0: {memory.nbytes} bytes cannot be registered.")
            if self.registrations_max is not None:
                self.registrations_max -= 1
            return FakeRegion(self.fabric, memory, is_remote=is_remote)

    def queue_pair(self, *, writes_max: int, receives_max: int) -> FakePair:
        with self.fabric.lock:
            self.check()
            return FakePair(self, writes_max, receives_max)

    def failed(self) -> Failure | None:
        return Failure.DEVICE if self.is_lost else None

    def close(self) -> None:
        pass
