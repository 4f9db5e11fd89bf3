"""One TCP stream of 256 MiB between two processes: the transport with and without digests, and a plain socket.

    python -m benchmarks.transport_stream [--rounds N] [--mebibytes N] [--json]

The three take turns in each round, so that what else the machine does falls on all alike.  Each round has a receiver
and a sender process of its own kind, whose memory was touched before.  Rates are of the receiver, from the first
contact to the last byte checked; processor time is of both processes, kernel included.
"""

import argparse
import asyncio
import json
import multiprocessing
import resource
import socket
import statistics
import sys
import time
from multiprocessing.connection import Connection

import attrs
import blake3

from executor.transport.interface import BlobArrived, BlobSent, Event, ExpectedBlob, OutgoingBlob, Peer, Segment
from executor.transport.tcp import listen_tcp
from specs.units import NANOS_PER_SECOND, Bytes, Nanos

MEBI = 1 << 20
PLAIN_PIECE_BYTES = 4 * MEBI
SEGMENT_BYTES = 8 * MEBI  # a tensor
DEADLINE_NS = Nanos(20 * NANOS_PER_SECOND)
KINDS = ("plain socket", "without digest", "with digest")


@attrs.frozen(kw_only=True)
class End:
    """What one process measured."""

    elapsed_ns: int
    cpu_ns: int


def cpu_ns() -> int:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int((usage.ru_utime + usage.ru_stime) * NANOS_PER_SECOND)


def contents(size: int) -> bytearray:
    return bytearray(bytes(range(256)) * (size // 256))


def receive_plain(size: int, pipe: Connection) -> End:
    place = memoryview(contents(size))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pipe.send(listener.getsockname()[1])
        sock, _ = listener.accept()
    with sock:
        cpu, start = cpu_ns(), time.perf_counter_ns()
        received = 0
        while received < size:
            received += sock.recv_into(place[received : received + PLAIN_PIECE_BYTES])
        end = End(elapsed_ns=time.perf_counter_ns() - start, cpu_ns=cpu_ns() - cpu)
        sock.sendall(b"x")
    return end


def send_plain(size: int, pipe: Connection) -> End:
    data = memoryview(contents(size))
    with socket.create_connection(("127.0.0.1", pipe.recv())) as sock:
        cpu, start = cpu_ns(), time.perf_counter_ns()
        for offset in range(0, size, PLAIN_PIECE_BYTES):
            sock.sendall(data[offset : offset + PLAIN_PIECE_BYTES])
        sock.recv(1)
        return End(elapsed_ns=time.perf_counter_ns() - start, cpu_ns=cpu_ns() - cpu)


async def receive_blob(size: int, pipe: Connection, *, digest: bool) -> End:
    ended: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
    node = await listen_tcp(Peer(name="b", host="127.0.0.1", port=0), realm="bench", on_event=ended.set_result)
    node.meet([Peer(name="a", host="127.0.0.1", port=0)])
    place = memoryview(contents(size))
    segments = tuple(
        Segment(
            offset_bytes=Bytes(offset),
            size_bytes=Bytes(min(SEGMENT_BYTES, size - offset)),
            blake3_hex=blake3.blake3(place[offset : offset + SEGMENT_BYTES]).hexdigest(),
        )
        for offset in range(0, size, SEGMENT_BYTES)
    )
    place[:] = bytes(size)
    node.expect_blob(
        ExpectedBlob(
            peer="a",
            transfer_id="t",
            destination=place,
            segments=segments if digest else (),
            progress_deadline_ns=DEADLINE_NS,
        )
    )
    cpu = cpu_ns()
    pipe.send(node.port)
    arrived = await ended
    assert isinstance(arrived, BlobArrived), arrived
    end = End(elapsed_ns=arrived.elapsed_ns, cpu_ns=cpu_ns() - cpu)
    await node.close()
    return end


async def send_blob(size: int, pipe: Connection) -> End:
    ended: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
    node = await listen_tcp(Peer(name="a", host="127.0.0.1", port=0), realm="bench", on_event=ended.set_result)
    data = memoryview(contents(size))
    node.meet([Peer(name="b", host="127.0.0.1", port=pipe.recv())])
    cpu = cpu_ns()
    node.send_blob(
        OutgoingBlob(peer="b", transfer_id="t", buffer=data, bytes_per_second=None, progress_deadline_ns=DEADLINE_NS)
    )
    sent = await ended
    assert isinstance(sent, BlobSent), sent
    end = End(elapsed_ns=sent.elapsed_ns, cpu_ns=cpu_ns() - cpu)
    await node.close()
    return end


def run_sender(kind: str, size: int, pipe: Connection, results: Connection) -> None:
    end = send_plain(size, pipe) if kind == "plain socket" else asyncio.run(send_blob(size, pipe))
    results.send((end.elapsed_ns, end.cpu_ns))


def run_receiver(kind: str, size: int, pipe: Connection, results: Connection) -> None:
    if kind == "plain socket":
        end = receive_plain(size, pipe)
    else:
        end = asyncio.run(receive_blob(size, pipe, digest=kind == "with digest"))
    results.send((end.elapsed_ns, end.cpu_ns))


def measure(kind: str, size: int) -> End:
    """One stream; the receiver's time, both processes' processor time."""
    context = multiprocessing.get_context("fork")
    port_out, port_in = context.Pipe()
    ends = []
    processes = []
    for work, pipe in ((run_receiver, port_out), (run_sender, port_in)):
        here, there = context.Pipe()
        process = context.Process(target=work, args=(kind, size, pipe, there))
        process.start()
        processes.append(process)
        ends.append(here)
    received, sent = ends[0].recv(), ends[1].recv()
    for process in processes:
        process.join()
    return End(elapsed_ns=received[0], cpu_ns=received[1] + sent[1])


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mebibytes", type=int, default=256)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    size = arguments.mebibytes * MEBI
    found: dict[str, list[End]] = {kind: [] for kind in KINDS}
    for _ in range(arguments.rounds):
        for kind in KINDS:
            found[kind].append(measure(kind, size))
    rows = {
        kind: {
            "median_megabytes_per_second": round(statistics.median(size * 1000 / end.elapsed_ns for end in ends)),
            "slowest": round(min(size * 1000 / end.elapsed_ns for end in ends)),
            "fastest": round(max(size * 1000 / end.elapsed_ns for end in ends)),
            "cpu_seconds_per_gibibyte": round(
                statistics.median(end.cpu_ns / 1e9 * 1024 * MEBI / size for end in ends), 2
            ),
        }
        for kind, ends in found.items()
    }
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return 0
    print(f"one stream of {arguments.mebibytes} MiB over loopback, {arguments.rounds} rounds")
    print(f"{'':16}{'MB/s median':>13}{'slowest':>9}{'fastest':>9}{'CPU s/GiB':>11}")
    for kind, row in rows.items():
        rate, slowest, fastest, cpu = row.values()
        print(f"{kind:16}{rate:>13}{slowest:>9}{fastest:>9}{cpu:>11}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
