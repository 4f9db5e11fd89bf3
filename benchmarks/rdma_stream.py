"""Blobs by RDMA writes between two devices: our transport beside `ib_write_bw`, with writes of the same size.

    python -m benchmarks.rdma_stream [--devices rxe0 rxe1] [--rounds N] [--mebibytes N] [--json]

Runs where there are verbs devices; `ib_write_bw` is Debian's package perftest.  For each size of write, 256 KiB and
1 MiB, these take turns in each round: `ib_write_bw`, ours without digests, ours with digests, and ours as a stream over
TCP.  Each has a receiver and a sender process of its own, whose memory was touched before.  Rates of ours are the
receiver's, from the offer to the last byte checked, connecting included; those of `ib_write_bw` are its averages.
Processor time is of both processes, kernel included.  TCP between two addresses of one machine never leaves it: it is
there for its processor time.
"""

import argparse
import asyncio
import json
import multiprocessing
import re
import resource
import statistics
import subprocess
import sys
import time
from multiprocessing.connection import Connection

import attrs
import blake3

from executor.transport import pacing
from executor.transport.carrier import Carrier, StreamCarrier
from executor.transport.interface import BlobArrived, BlobSent, Event, ExpectedBlob, OutgoingBlob, Peer, Segment
from executor.transport.rdma import verbs
from executor.transport.rdma.carrier import RdmaCarrier
from executor.transport.tcp import listen_tcp
from specs.units import NANOS_PER_SECOND, Bytes, Nanos

KIBI, MEBI = 1 << 10, 1 << 20
WRITE_BYTES = (256 * KIBI, MEBI)
PEER_TRIES = 5
DEADLINE_NS = Nanos(60 * NANOS_PER_SECOND)
PEER, OURS, DIGESTS, TCP = "ib_write_bw", "writes", "writes, with digests", "TCP stream"
KINDS = (PEER, OURS, DIGESTS, TCP)


@attrs.frozen(kw_only=True)
class Run:
    """One blob, or one run of the peer."""

    megabytes_per_second: float
    cpu_seconds_per_gibibyte: float


def cpu_seconds(who: int = resource.RUSAGE_SELF) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def peer_run(devices: list[str], write_bytes: int, size: int, port: int) -> Run:
    """Let `ib_write_bw` write as many bytes."""
    count = max(5, size // write_bytes)
    common = ["ib_write_bw", "-F", "-x", "1", "-s", str(write_bytes), "-n", str(count), "-p", str(port)]
    before = cpu_seconds(resource.RUSAGE_CHILDREN)
    server = subprocess.Popen([*common, "-d", devices[1]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(PEER_TRIES):  # until the server listens
        time.sleep(2)
        client = subprocess.run(
            [*common, "-d", devices[0], "127.0.0.1"], check=False, capture_output=True, text=True, timeout=300
        )
        if client.returncode == 0:
            break
    server.wait(60)
    found = re.search(rf"^ *{write_bytes} +{count} +\S+ +(\S+)", client.stdout, re.MULTILINE)
    assert found is not None, client.stdout + client.stderr
    cpu = cpu_seconds(resource.RUSAGE_CHILDREN) - before
    written = count * write_bytes
    return Run(megabytes_per_second=float(found[1]) * MEBI / 1e6, cpu_seconds_per_gibibyte=cpu * 1024 * MEBI / written)


def carrier_of(kind: str, device: str) -> Carrier:
    if kind == TCP:
        return StreamCarrier()
    return RdmaCarrier(verbs.Device(next(port for port in verbs.ports() if port.device == device)))


def contents(size: int) -> bytearray:
    return bytearray(bytes(range(256)) * (size // 256))


async def receive(kind: str, device: str, size: int, pipe: Connection) -> tuple[int, float]:
    ended: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
    address = Peer(name="b", host="127.0.0.1", port=0)
    node = await listen_tcp(address, realm="bench", on_event=ended.set_result, carrier=carrier_of(kind, device))
    node.meet([Peer(name="a", host="127.0.0.1", port=0)])
    place = memoryview(contents(size))
    whole = Segment(offset_bytes=Bytes(0), size_bytes=Bytes(size), blake3_hex=blake3.blake3(place).hexdigest())
    place[:] = bytes(size)
    segments = () if kind == OURS else (whole,)
    node.expect_blob(
        ExpectedBlob(peer="a", transfer_id="t", destination=place, segments=segments, progress_deadline_ns=DEADLINE_NS)
    )
    cpu = cpu_seconds()
    pipe.send(node.port)
    arrived = await ended
    assert isinstance(arrived, BlobArrived), arrived
    assert not arrived.detour, arrived.detour
    cpu = cpu_seconds() - cpu
    await node.close()
    return arrived.elapsed_ns, cpu


async def send(kind: str, device: str, size: int, pipe: Connection) -> tuple[int, float]:
    ended: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
    address = Peer(name="a", host="127.0.0.1", port=0)
    node = await listen_tcp(address, realm="bench", on_event=ended.set_result, carrier=carrier_of(kind, device))
    data = memoryview(contents(size))
    node.meet([Peer(name="b", host="127.0.0.1", port=pipe.recv())])
    cpu = cpu_seconds()
    node.send_blob(
        OutgoingBlob(peer="b", transfer_id="t", buffer=data, bytes_per_second=None, progress_deadline_ns=DEADLINE_NS)
    )
    sent = await ended
    assert isinstance(sent, BlobSent), sent
    cpu = cpu_seconds() - cpu
    await node.close()
    return sent.elapsed_ns, cpu


def work(end: object, kind: str, device: str, write_bytes: int, size: int, pipe: Connection, out: Connection) -> None:
    pacing.CHUNK_BYTES_MAX = Bytes(write_bytes)
    out.send(asyncio.run((receive if end == "receive" else send)(kind, device, size, pipe)))


def our_run(kind: str, devices: list[str], write_bytes: int, size: int) -> Run:
    context = multiprocessing.get_context("fork")
    pipes = context.Pipe()
    results, processes = [], []
    for end, device, pipe in (("receive", devices[1], pipes[0]), ("send", devices[0], pipes[1])):
        here, there = context.Pipe()
        process = context.Process(target=work, args=(end, kind, device, write_bytes, size, pipe, there))
        process.start()
        processes.append(process)
        results.append(here)
    (elapsed_ns, received_cpu), (_, sent_cpu) = results[0].recv(), results[1].recv()
    for process in processes:
        process.join()
    return Run(
        megabytes_per_second=size * 1000 / elapsed_ns,
        cpu_seconds_per_gibibyte=(received_cpu + sent_cpu) * 1024 * MEBI / size,
    )


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", nargs=2, default=["rxe0", "rxe1"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mebibytes", type=int, default=32)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    size = arguments.mebibytes * MEBI
    found: dict[tuple[int, str], list[Run]] = {(write, kind): [] for write in WRITE_BYTES for kind in KINDS}
    for number in range(arguments.rounds):
        for index, (write_bytes, kind) in enumerate(found):
            if kind == PEER:
                run = peer_run(arguments.devices, write_bytes, size, 18_600 + 10 * number + index)
            else:
                run = our_run(kind, arguments.devices, write_bytes, size)
            found[write_bytes, kind].append(run)
    rows = []
    for (write_bytes, kind), runs in found.items():
        peer = statistics.median(run.megabytes_per_second for run in found[write_bytes, PEER])
        rate = statistics.median(run.megabytes_per_second for run in runs)
        rows.append(
            {
                "write_kib": write_bytes // KIBI,
                "kind": kind,
                "median_megabytes_per_second": round(rate, 1),
                "share_of_peer": round(rate / peer, 2),
                "cpu_seconds_per_gibibyte": round(statistics.median(r.cpu_seconds_per_gibibyte for r in runs), 1),
            }
        )
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return 0
    print(f"blobs of {arguments.mebibytes} MiB, {arguments.rounds} rounds")
    print(f"{'KiB':>6}  {'':22}{'MB/s median':>13}{'of the peer':>13}{'CPU s/GiB':>11}")
    for row in rows:
        write, kind, rate, share, cpu = row.values()
        print(f"{write:>6}  {kind:22}{rate:>13}{share:>13}{cpu:>11}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
