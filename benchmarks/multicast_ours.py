"""One multicast as the daemons make it: a checked plan, one process per node, `executor.run.Run` in each.

Nothing is left out but the engine: the LLM's configuration file, which no node has, never comes, so no stage is built.
"""

import asyncio
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ClassVar

import attrs
import blake3
import numpy as np

import executor.run
import executor.shell
from benchmarks.ports import Port, enter
from executor.journal import Journal
from executor.loading import Loading
from executor.run import Run, Setting
from executor.store import packed
from executor.tasks import Tasks
from planner.outcome import Planned
from planner.solve import Request, solve
from specs import codec, journal
from specs.bounds import multicast_time_bound_ns
from specs.checker import VerifiedPlan
from specs.llm import File
from specs.protocols.nouns import Copy
from specs.units import NANOS_PER_SECOND, Bytes
from tests.builders import a_cluster, a_digest, a_problem, an_llm

TIMEOUT_S = 300


@attrs.frozen(kw_only=True)
class Job:
    """A multicast to make."""

    verified: VerifiedPlan
    data: np.ndarray  # what the source holds, layer after layer
    ports: Sequence[Port]  # of each node
    digests: bool = True  # checked on arrival, as the daemon does
    touched: bool = True  # the receivers' memory is reserved and written once before the clock starts


@attrs.frozen(kw_only=True)
class Result:
    """What one multicast took."""

    wall_ns: int  # from the word go, before any connection, to the last node's last block held
    cpu_ns: int  # of all processes, kernel included
    right: bool  # whether every receiver has every byte


def make_job(data: np.ndarray, ports: Sequence[Port], *, blocks: int, rate: int, planned: int | None) -> Job:
    """Plan a multicast of so many equal layers from node 0, in `planned` blobs or as many as the planner likes."""
    layer_bytes = len(data) // blocks
    llm = an_llm(blocks, layer_bytes=layer_bytes)
    tensors = tuple(
        attrs.evolve(tensor, digest=blake3.blake3(_content(tensor.name, tensor.bytes, data)).hexdigest())
        for tensor in llm.tensors
    )
    absent = File(name="config.json", bytes=Bytes(1), digest=a_digest("absent"))
    llm = attrs.evolve(llm, tensors=tensors, files=(absent,))
    cluster = a_cluster(len(ports), rate=rate, latency_ns=100_000)
    nodes = tuple(
        attrs.evolve(node, address=f"{port.host}:{port.number}")
        for node, port in zip(cluster.nodes, ports, strict=True)
    )
    outcome = solve(
        a_problem(llm=llm, cluster=attrs.evolve(cluster, nodes=nodes), nodes=len(ports)), Request(blocks=planned)
    )
    assert isinstance(outcome, Planned), outcome
    return Job(verified=outcome.verified, data=data, ports=ports)


def bound_ns(job: Job, rate: int) -> int:
    """Compute the least time for the plan's blobs through ports of this rate, and none faster."""
    sizes = [blob.bytes for blob in job.verified.plan.blobs]
    return multicast_time_bound_ns(len(job.ports) - 1, 1, sizes, rate)


def _content(name: str, size: int, data: np.ndarray) -> memoryview:
    """Give a tensor's bytes: the layers share out the data, all else is zeros."""
    if not name.startswith("layers."):
        return memoryview(bytes(size))
    first = int(name.removeprefix("layers.")) * size
    return memoryview(data)[first : first + size]


class _Counting(Journal):
    """The daemon's journal; it also knows when the last of the blobs was held."""

    def __init__(self, directory: Path, node: str, wanted: int) -> None:
        super().__init__(directory, node)
        self.left = wanted
        self.done = asyncio.Event()
        self.done_ns = 0

    def write(self, generation: int, what: journal.What) -> None:
        super().write(generation, what)
        if isinstance(what, journal.BlobHeld):
            self.left -= 1
            if self.left == 0:
                self.done_ns = time.monotonic_ns()
                self.done.set()


class _Given(Loading):
    """Loading at a node that is given what the plan says that it holds, in place of a checkpoint."""

    data: ClassVar[np.ndarray]  # what the source holds, layer after layer

    async def load(self, held: Sequence[Copy]) -> None:
        blobs = {blob.id: blob for blob in self.plan.blobs}
        (llm,) = self.problem.llms
        for copy in held:
            memory = self.store.reserve(blobs[copy.blob], copy.place)
            for tensor, offset in packed(llm, blobs[copy.blob]):
                memory[offset : offset + tensor.bytes] = _content(tensor.name, tensor.bytes, self.data)
            self.store.hold(blobs[copy.blob], copy.place)


async def _node(job: Job, index: int, pipe: Connection, directory: Path) -> None:
    plan, problem = job.verified.plan, job.verified.problem
    (llm,) = problem.llms
    node, place = problem.cluster.nodes[index].id, f"n{index}/gpu0"
    log = _Counting(directory / "journal", node, len(plan.blobs))
    tasks = Tasks()
    run = Run(Setting(node=node, checkpoints={}, state_directory=directory), log, tasks)
    run.on_tick, run.on_word = (lambda: None), (lambda _peer, _word: None)  # there is one plan: nothing to agree on
    loaded = await run.load(job.verified, codec.digest(plan))
    if job.touched:
        for blob in plan.blobs:
            view = loaded.store.reserve(blob, place)
            if index:
                view[:] = bytes(len(view))
    pipe.send("ready")
    await asyncio.to_thread(pipe.recv)
    before = _cpu_ns()
    run.adopt(loaded)
    await asyncio.wait_for(log.done.wait(), TIMEOUT_S)
    pipe.send(log.done_ns)
    await asyncio.to_thread(pipe.recv)
    spent = _cpu_ns() - before
    right = all(
        loaded.store.contents(blob.id, place)[offset : offset + tensor.bytes]
        == _content(tensor.name, tensor.bytes, job.data)
        for blob in plan.blobs
        for tensor, offset in packed(llm, blob)
    )
    pipe.send((spent, right))
    await run.stop()
    log.close()


def _cpu_ns() -> int:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int((usage.ru_utime + usage.ru_stime) * NANOS_PER_SECOND)


def _process(job: Job, index: int, pipe: Connection, directory: str) -> None:
    enter(job.ports[index])
    if not job.digests:
        executor.shell.segments = lambda *_: ()  # the daemon has no such option
    _Given.data = job.data
    executor.run.Loading = _Given
    asyncio.run(_node(job, index, pipe, Path(directory)))


def multicast(job: Job) -> Result:
    """Make the multicast once, in fresh processes and over fresh connections."""
    fork = multiprocessing.get_context("fork")  # the data is shared, and torch imported once
    with tempfile.TemporaryDirectory() as name:
        pipes, processes = [], []
        for index in range(len(job.ports)):
            here, there = fork.Pipe()
            process = fork.Process(target=_process, args=(job, index, there, f"{name}/{index}"))
            process.start()
            pipes.append(here)
            processes.append(process)
        for pipe in pipes:
            pipe.recv()
        began = time.monotonic_ns()
        for pipe in pipes:
            pipe.send("go")
        ended = max(pipe.recv() for pipe in pipes)
        for pipe in pipes:
            pipe.send("enough")
        spent = [pipe.recv() for pipe in pipes]
        for process in processes:
            process.join()
    return Result(wall_ns=ended - began, cpu_ns=sum(cpu for cpu, _ in spent), right=all(right for _, right in spent))
