"""What real verbs devices do with what `verbs` asks of them: bytes, refusals, ends, and nothing left behind."""

import contextlib
import gc
import itertools
import logging
import mmap
import os
import random
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import numpy as np
import pytest

from executor.errors import DeviceFailed, Failure
from executor.transport.rdma import verbs
from executor.transport.rdma.verbs import Completion, Device, QueuePair, Region

pytestmark = pytest.mark.rdma

ROOT = Path(__file__).parents[2]
SIZE = 1 << 20


@pytest.fixture
def source(near):
    memory = bytearray(random.Random(1).randbytes(SIZE))
    return memory, near.register(memoryview(memory), is_remote=False)


@pytest.fixture
def target(far):
    memory = bytearray(SIZE)
    return memory, far.register(memoryview(memory), is_remote=True)


def connected(near: Device, far: Device, **options: int) -> tuple[QueuePair, QueuePair]:
    ends = tuple(device.queue_pair(writes_max=16, receives_max=16) for device in (near, far))
    ends[0].connect(ends[1].contact, **options)
    ends[1].connect(ends[0].contact, **options)
    return ends


def write(pair: QueuePair, source: Region, target: Region, size_bytes: int = 4096, **changed: int | None) -> None:
    where = {"address": target.address, "key": target.remote_key, "immediate": None, "id": 0}
    pair.write(source, 0, size_bytes, **where | changed)


def ended(pair: QueuePair, count: int = 1) -> list[Completion]:
    """Wait as the transport does: for the fd, and only then for more."""
    found = pair.completions()
    until = time.monotonic() + 30
    while len(found) < count:
        assert time.monotonic() < until, f"{len(found)} of {count} came"
        select.select([pair.fd], [], [], 1)
        found += pair.completions()
    return found


def failures(pair: QueuePair, count: int = 1) -> list[Failure | None]:
    return [completion.failure for completion in ended(pair, count)]


def done(number: int, immediate: int | None = None) -> Completion:
    return Completion(id=number, immediate=immediate, failure=None)


# What goes well.


def test_a_write_brings_its_bytes_and_only_these(near, far, source, target):
    one, _ = connected(near, far)
    one.write(source[1], 100, 5000, address=target[1].address + 7, key=target[1].remote_key, immediate=None, id=2**62)
    assert ended(one) == [done(2**62)]
    assert target[0] == bytes(7) + source[0][100:5100] + bytes(SIZE - 5007)


@pytest.mark.parametrize("immediate", [0, 1, 0xDEADBEEF, 2**32 - 1])
def test_an_immediate_comes_with_the_bytes_that_were_written_before_it(near, far, source, target, immediate):
    one, other = connected(near, far)
    other.expect(7)
    for part in range(15):
        one.write(
            source[1],
            part << 16,
            1 << 16,
            address=target[1].address + (part << 16),
            key=target[1].remote_key,
            immediate=None,
            id=part,
        )
    last = 15 << 16
    one.write(
        source[1],
        last,
        1 << 16,
        address=target[1].address + last,
        key=target[1].remote_key,
        immediate=immediate,
        id=15,
    )
    assert ended(other) == [done(7, immediate)]
    assert target[0] == source[0]
    assert ended(one, 16) == [done(part) for part in range(16)]


def test_an_immediate_needs_no_bytes(near, far, source, target):
    one, other = connected(near, far)
    other.expect(1)
    write(one, source[1], target[1], size_bytes=0, immediate=5)
    assert ended(other) == [done(1, 5)]
    assert ended(one) == [done(0)]


def test_memory_of_every_kind_can_be_sent(near, far, target, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"f" * 8192)
    one, _ = connected(near, far)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as mapped:
        for memory in (memoryview(b"b" * 8192), memoryview(mapped), memoryview(np.full(1024, 7, dtype=np.int64))):
            region = near.register(memory, is_remote=False)
            write(one, region, target[1], size_bytes=8192)
            assert failures(one) == [None]
            assert target[0][:8192] == memory.cast("B")
            region.close()
            memory.release()


def test_memory_lives_as_long_as_its_region(near):
    memory = bytearray(100)
    held = near.register(memoryview(memory), is_remote=False)
    with pytest.raises(BufferError):
        memory.append(0)
    held.close()
    held.close()
    memory.append(0)


def test_the_fd_wakes_for_every_completion(near, far, source, target):
    """Completions are taken right after the fd woke, one at a time, by a thread that otherwise sleeps in select."""
    one, other = connected(near, far)
    woken: list[int] = []

    def take() -> None:
        while len(woken) < 300:
            if not select.select([other.fd], [], [], 30)[0]:
                return
            for completion in other.completions():
                woken.append(completion.immediate)
                other.expect(completion.id)

    for index in range(16):
        other.expect(index)
    other.completions()
    taker = threading.Thread(target=take)
    taker.start()
    for number in range(300):
        while not one.room:
            select.select([one.fd], [], [], 1)
            one.completions()
        write(one, source[1], target[1], size_bytes=64, immediate=number)
        if number % 16 == 15:
            time.sleep(0.002)
    taker.join(60)
    assert woken == list(range(300))


# What is refused.


@pytest.mark.parametrize("wrong", ["key", "before", "past", "across", "local"])
def test_writing_elsewhere_is_refused_by_the_device(near, far, source, target, wrong):
    one, other = connected(near, far)
    other.expect(3)
    region = target[1]
    local = far.register(memoryview(bytearray(SIZE)), is_remote=False)
    where = {
        "key": {"key": region.remote_key ^ 0xFF00},
        "before": {"address": region.address - 1},
        "past": {"address": region.address + SIZE},
        "across": {"address": region.address + SIZE - 4095},
        "local": {"address": local.address, "key": local.local_key},
    }[wrong]
    write(one, source[1], region, **where)
    write(one, source[1], region, id=1)
    assert failures(one, 2) == [Failure.ACCESS_REFUSED, Failure.FLUSHED]
    assert failures(other) == [Failure.FLUSHED]
    assert target[0] == bytes(SIZE)
    assert near.failed() is None
    assert far.failed() is None


def test_the_key_of_a_closed_region_is_refused(near, far, source, target):
    one, _ = connected(near, far)
    target[1].close()
    write(one, source[1], target[1])
    assert failures(one) == [Failure.ACCESS_REFUSED]
    assert target[0] == bytes(SIZE)


def test_a_closed_source_is_refused_here(near, far, source, target):
    one, _ = connected(near, far)
    source[1].close()
    write(one, source[1], target[1])
    assert failures(one) == [Failure.LOCAL]


def test_a_write_with_an_immediate_needs_a_receive(near, far, source, target):
    one, _ = connected(near, far)
    write(one, source[1], target[1], immediate=1)
    assert failures(one) == [Failure.NOT_READY]


def test_registering_more_than_may_be_locked_is_refused(two_ports):
    program = (
        "import resource, os, sys\n"
        "from executor.errors import DeviceFailed\n"
        "from executor.transport.rdma import verbs\n"
        "device = verbs.Device(next(p for p in verbs.ports() if p.device == sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))\n"
        "os.setresuid(65534, 65534, 65534)\n"
        "try:\n    device.register(memoryview(bytearray(1 << 20)), is_remote=True)\n"
        "except DeviceFailed as error:\n    print(error.failure.name, error)\n"
    )
    command = [sys.executable, "-c", program, two_ports[0].device]
    if os.geteuid() != 0:
        pytest.skip("root may lock as much as it likes, others cannot become somebody else")
    said = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout
    assert said.startswith("REGISTRATION ")
    assert "limit of locked memory" in said


def test_no_more_is_posted_than_was_asked_for(near, far, source, target):
    one, _ = connected(near, far)
    for number in range(16):
        assert one.room == 16 - number
        one.expect(number)
        write(one, source[1], target[1], size_bytes=SIZE, id=number)
    with pytest.raises(DeviceFailed, match="16 writes are under way") as caught:
        write(one, source[1], target[1])
    assert caught.value.failure is Failure.LOCAL
    with pytest.raises(DeviceFailed, match="16 receives are posted"):
        one.expect(16)
    assert ended(one, 16) == [done(number) for number in range(16)]
    assert one.room == 16


# How it ends.


def test_a_peer_that_has_closed_is_silent(near, far, source, target):
    one, other = connected(near, far, retries=3, timeout_exponent=12)
    other.close()
    started = time.monotonic()
    write(one, source[1], target[1])
    assert failures(one) == [Failure.PEER_SILENT]
    assert time.monotonic() - started < 5
    assert target[0] == bytes(SIZE)


def test_what_is_under_way_is_flushed_when_it_is_broken_off_here(near, far, source, target):
    one, other = connected(near, far)
    one.expect(99)
    for number in range(16):
        write(one, source[1], target[1], size_bytes=SIZE, id=number)
    one.abort()
    found = ended(one, 17)
    assert found[-1].failure is Failure.FLUSHED
    assert {completion.failure for completion in found} <= {None, Failure.FLUSHED}
    assert sorted(completion.id for completion in found) == [*range(16), 99]
    other.expect(1)
    other.abort()
    assert failures(other) == [Failure.FLUSHED]


def test_after_close_nothing_is_written_any_more(near, far, source, target):
    for who_closes in (0, 1):
        ends = connected(near, far, retries=3, timeout_exponent=12)
        target[0][:] = bytes(SIZE)
        for number in range(16):
            write(ends[0], source[1], target[1], size_bytes=SIZE, id=number)
        ends[who_closes].close()
        frozen = bytes(target[0])
        time.sleep(0.3)
        assert bytes(target[0]) == frozen
        if who_closes == 1:
            assert failures(ends[0], 16)[-1] in (None, Failure.PEER_SILENT, Failure.FLUSHED)


def test_what_is_closed_says_so(near, far, source, target):
    one, _ = connected(near, far)
    one.close()
    one.close()
    one.abort()
    assert one.completions() == []
    for use in (lambda: write(one, source[1], target[1]), lambda: one.expect(1), lambda: one.connect(one.contact)):
        with pytest.raises(DeviceFailed, match="was closed here") as caught:
            use()
        assert caught.value.failure is Failure.FLUSHED


def test_a_device_closes_all_that_was_made_on_it(two_ports):
    device = Device(two_ports[0])
    region = device.register(memoryview(bytearray(SIZE)), is_remote=True)
    one, _ = connected(device, device)
    device.close()
    device.close()
    region.close()
    assert one.completions() == []
    assert device.failed() is None
    for use in (
        lambda: device.register(memoryview(bytearray(8)), is_remote=True),
        lambda: device.queue_pair(writes_max=1, receives_max=1),
    ):
        with pytest.raises(DeviceFailed, match="was closed here"):
            use()


def test_another_thread_may_close_what_is_in_use(near, far, source, target):
    """Without a lock, pyverbs would crash the process."""
    for _ in range(30):
        one, other = connected(near, far)
        errors: list[Failure] = []

        def use(one=one, errors=errors) -> None:
            try:
                while not errors:
                    if one.room:
                        write(one, source[1], target[1], size_bytes=64)
                    one.completions()
            except DeviceFailed as error:
                errors.append(error.failure)

        users = [threading.Thread(target=use) for _ in range(2)]
        for user in users:
            user.start()
        time.sleep(0.01)
        one.close()
        for user in users:
            user.join(10)
        assert errors[0] in (Failure.FLUSHED, Failure.LOCAL)
        other.close()


# What waits, waits without the GIL.


@contextlib.contextmanager
def the_process_goes_on(still_ms: int) -> Iterator[None]:
    """Fail if the threads of this process stand still for longer than that."""
    gaps_ns: list[int] = []
    stop = threading.Event()

    def tick() -> None:
        last_ns = time.monotonic_ns()
        while not stop.is_set():
            time.sleep(0.001)
            now_ns = time.monotonic_ns()
            gaps_ns.append(now_ns - last_ns)
            last_ns = now_ns

    ticker = threading.Thread(target=tick)
    ticker.start()
    try:
        yield
    finally:
        stop.set()
        ticker.join()
    assert max(gaps_ns) < still_ms * 1_000_000, f"{max(gaps_ns)} ns"


def test_a_peer_that_was_never_heard_of_is_found_soon(lab, near, far):
    run(f"ip neigh flush dev r{near.port.device.removeprefix('rxe')}")
    started = time.monotonic()
    with the_process_goes_on(500):
        connected(near, far)
    assert time.monotonic() - started < 0.9


def test_a_peer_that_is_not_there_is_silent(lab, near):
    one = near.queue_pair(writes_max=1, receives_max=1)
    nobody = attrs.evolve(one.contact, gid="0000:0000:0000:0000:0000:ffff:0a4d:00fe")
    started = time.monotonic()
    with the_process_goes_on(500), pytest.raises(DeviceFailed, match="nobody answers") as caught:
        one.connect(nobody)
    assert caught.value.failure is Failure.PEER_SILENT
    assert time.monotonic() - started < 2


def test_registering_memory_that_was_never_touched(near):
    memory = mmap.mmap(-1, 64 << 20)
    with the_process_goes_on(300):
        region = near.register(memoryview(memory), is_remote=True)
    region.close()


# What happens to the device.


def run(command: str) -> None:
    subprocess.run(command.split(), check=True)


def test_a_port_that_goes_down_is_noticed_and_so_is_its_return(lab, near, far, source, target):
    one, _ = connected(near, far, retries=3, timeout_exponent=12)
    far_index = int(far.port.device.removeprefix("rxe"))
    assert far.failed() is None
    run(f"ip link set p{far_index} down")
    try:
        assert select.select([far.events_fd], [], [], 10)[0]
        assert far.failed() is Failure.DEVICE
        assert far.failed() is Failure.DEVICE
        assert near.failed() is None
        assert far.port not in verbs.ports()
        write(one, source[1], target[1])
        assert failures(one) == [Failure.PEER_SILENT]
    finally:
        run(f"ip link set p{far_index} up")
    assert select.select([far.events_fd], [], [], 10)[0]
    assert far.failed() is None


def test_a_peer_cut_off_is_silent_and_closing_does_not_wait_for_it(lab, near, far, source, target):
    one, other = connected(near, far)
    far_index = int(far.port.device.removeprefix("rxe"))
    run(f"tc qdisc add dev p{far_index} root netem loss 100%")
    try:
        for number in range(16):
            write(one, source[1], target[1], size_bytes=SIZE, id=number)
        started = time.monotonic()
        assert failures(one, 16) == [Failure.PEER_SILENT] + 15 * [Failure.FLUSHED]
        silent_s, started = time.monotonic() - started, time.monotonic()
        one.close()
        other.close()
        closing_s = time.monotonic() - started
    finally:
        run(f"tc qdisc del dev p{far_index} root")
    assert silent_s < 10
    assert closing_s < 5


# What is left behind.


def usage() -> tuple[int, int]:
    """Open file descriptors, and resident KiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return len(list(Path("/proc/self/fd").iterdir())), pages * mmap.PAGESIZE >> 10


def leaves_nothing_behind(what: str, a_quarter_of_it: Callable[[], None], capsys) -> None:
    """Do it four times.  What leaks grows nearly every time; what Python and the C library keep, they take once."""
    used = [usage()]
    started = time.monotonic()
    for _ in range(4):
        a_quarter_of_it()
        used.append(usage())
    with capsys.disabled():
        residents = ", ".join(f"{resident_kib:,}" for _, resident_kib in used)
        print(f"\n{what}: {time.monotonic() - started:.1f} s, descriptors {used[0][0]} -> {used[-1][0]}, ", end="")
        print(f"resident KiB {residents}")
    assert {descriptors for descriptors, _ in used} == {used[0][0]}
    assert sorted(after[1] - before[1] for before, after in itertools.pairwise(used))[1] < 64


@pytest.mark.timeout(600)
def test_two_thousand_queue_pairs_leave_nothing_behind(near, far, source, target, capsys):
    def lives(count: int = 250) -> None:
        for _ in range(count):
            one, other = connected(near, far)
            other.expect(1)
            write(one, source[1], target[1], size_bytes=64, immediate=1)
            assert ended(one) == [done(0)]
            assert ended(other) == [done(1, 1)]
            one.close()
            other.close()

    lives(50)
    leaves_nothing_behind("2,000 queue pairs", lives, capsys)


@pytest.mark.timeout(600)
def test_twenty_thousand_writes_leave_nothing_behind(near, far, source, target, capsys):
    one, other = connected(near, far)
    for number in range(16):
        other.expect(number)

    def send(count: int = 5000) -> None:
        sent = ended_here = ended_there = 0
        while ended_here < count or ended_there < count:
            while sent < count and one.room and sent - ended_there < 16:
                write(one, source[1], target[1], size_bytes=256, immediate=sent, id=sent)
                sent += 1
            ready = select.select([one.fd, other.fd], [], [], 10)[0]
            assert ready
            ended_here += len(one.completions()) if one.fd in ready else 0
            for completion in other.completions() if other.fd in ready else []:
                assert completion.immediate == ended_there
                other.expect(completion.id)
                ended_there += 1

    send(1000)
    leaves_nothing_behind("20,000 writes", send, capsys)


def test_devices_and_regions_leave_nothing_behind(two_ports, capsys):
    memory = bytearray(8192)

    def lives(count: int = 25) -> None:
        for _ in range(count):
            device = Device(two_ports[0])
            device.register(memoryview(memory), is_remote=True)
            device.queue_pair(writes_max=1, receives_max=1)
            device.close()

    lives()
    leaves_nothing_behind("100 devices", lives, capsys)
    memory.append(0)  # nobody holds it


# Manners.


def test_importing_pyverbs_leaves_the_root_logger_as_it_was(ports):
    program = (
        "import logging\n"
        "from executor.transport.rdma import verbs\n"
        "root = logging.getLogger()\n"
        "before = root.level, list(root.handlers)\n"
        "assert verbs.ports()\n"
        "assert (root.level, root.handlers) == before, root.handlers\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
    assert logging.getLogger("pyverbs").level == logging.NOTSET


def test_ports_are_found_by_their_addresses(ports):
    assert list(ports) == sorted(ports, key=lambda port: (port.device, port.number, port.gid_index))
    for port in ports:
        if port.address is not None:
            assert verbs.port_of(port.address, [port]) == port
        assert port.mtu_bytes in (256, 512, 1024, 2048, 4096)
        assert port.bytes_per_second is None or port.bytes_per_second > 0


def test_the_lab_has_its_addresses(lab, ports):
    found = {port.device: port.address for port in ports}
    names, addresses = (os.environ[name].split() for name in ("RDMA_LAB_NAMES", "RDMA_LAB_ADDRESSES"))
    assert found == dict(zip(names, addresses, strict=True))
