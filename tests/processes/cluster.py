"""A cluster of real daemons on loopback: real processes, sockets and checkpoints.

Daemons are forked from a process that has imported the executor once, so that a cluster starts in a second; from then
on each is a process of its own that can be killed or stopped.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

import attrs
import httpx
import torch
import transformers

from planner.description.checkpoint import read_llm
from planner.outcome import Planned
from planner.solve import Request, solve
from specs import codec, journal
from specs.checker import VerifiedPlan
from specs.cluster import Cluster, DeviceKind, Link, Node, Place, PlaceId, PlaceKind
from specs.llm import LlmId
from specs.plan import Plan
from specs.problem import Holding, Problem, Target
from specs.profile import Profile
from specs.wishes import Objective, Service
from specs.workload import Workload
from tests.processes.snares import watch

LLM = LlmId("tiny")
_CPU = DeviceKind(
    name="cpu",
    memory_bytes=2**30,
    memory_bytes_per_second=5 * 10**9,
    flops_per_second_fp32=20 * 10**9,
    flops_per_second_bf16=20 * 10**9,
    source="a test machine",
)
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["executor.__main__", "transformers.models.llama.modeling_llama"])


def free_ports(count: int) -> list[int]:
    """Find ports that are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def weights_bytes(checkpoint: Path) -> int:
    """Size the weights of a checkpoint: divided by seconds it gives a rate at which loading lasts about so long."""
    return sum(path.stat().st_size for path in checkpoint.glob("*.safetensors"))


def make_problem(
    checkpoint: Path, nodes: int, *, rate: int, sources: int = 1, live: int = 4, context: int = 128
) -> Problem:
    """Describe nodes n0, n1, ... with one NIC each on one switch; the first hold the checkpoint, the others want it."""
    places = [Place(id="leaf", kind=PlaceKind.SWITCH, memory_bytes=0)]
    links = []
    for index in range(nodes):
        node, device, nic = f"n{index}", f"n{index}/cpu0", f"n{index}/nic0"
        places.append(Place(id=device, kind=PlaceKind.DEVICE, node=node, memory_bytes=2**30, device="cpu"))
        places.append(Place(id=nic, kind=PlaceKind.SWITCH, node=node, memory_bytes=0))
        for a, b in ((device, nic), (nic, "leaf"), ("leaf", nic), (nic, device)):
            links.append(Link(id=f"{a}>{b}", source=a, destination=b, bytes_per_second=rate, latency_ns=100_000))
    addresses = free_ports(nodes)
    return Problem(
        name="processes",
        cluster=Cluster(
            name="loopback",
            device_kinds=(_CPU,),
            nodes=tuple(Node(id=f"n{i}", address=f"127.0.0.1:{port}") for i, port in enumerate(addresses)),
            places=tuple(places),
            links=tuple(links),
        ),
        llms=(read_llm(checkpoint, LLM),),
        workloads=(
            Workload(
                llm=LLM,
                requests_per_hour=3600,
                prompt_tokens_mean=16,
                output_tokens_mean=16,
                request_tokens_max=context,
                live_requests_max=live,
            ),
        ),
        slos=(),
        profile=Profile(rates=()),
        holdings=tuple(Holding(llm=LLM, place=f"n{index}/cpu0") for index in range(sources)),
        targets=tuple(Target(llm=LLM, place=f"n{index}/cpu0") for index in range(sources, nodes)),
    )


def with_service(problem: Problem, places: tuple[PlaceId, ...], depth_max: int = 3) -> Problem:
    """Wish for a service on these devices, in place of all targets."""
    service = Service(llm=LLM, places=places, objective=Objective.GOODPUT, depth_max=depth_max)
    return attrs.evolve(problem, targets=(), services=(service,))


def draw_wish(problem: Problem, chance: Random) -> Problem:
    """Wish for a service on some of the devices."""
    devices = [place.id for place in problem.cluster.places if place.device is not None]
    some = tuple(sorted(chance.sample(devices, chance.randint(1, len(devices)))))
    return with_service(problem, some, chance.randint(1, 3))


def make_plan(problem: Problem, blocks: int | None = None, parent: Plan | None = None) -> VerifiedPlan:
    """Plan, or fail the test."""
    outcome = solve(problem, Request(blocks=blocks, parent=parent))
    assert isinstance(outcome, Planned), outcome
    return outcome.verified


def document(verified: VerifiedPlan) -> bytes:
    """Write what is PUT to /plan."""
    return b'{"plan":' + codec.encode(verified.plan) + b',"problem":' + codec.encode(verified.problem) + b"}"


def _daemon(name: str, arguments: Sequence[str], log: str, snares: str) -> None:
    """Be a daemon; runs in a process of its own."""
    watch(Path(snares), name)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    from executor.__main__ import main

    raise SystemExit(main(arguments))


@attrs.define(eq=False)
class Daemon:
    """One running daemon."""

    name: str
    url: str
    arguments: Sequence[str]
    log: Path
    state: Path
    process: multiprocessing.process.BaseProcess = attrs.field(init=False)

    def start(self) -> None:
        """Start the process; after one that was killed, its state directory is as that left it."""
        self.process = _processes.Process(
            target=_daemon, args=(self.name, self.arguments, str(self.log), str(self.state.parent))
        )
        self.process.start()

    def wait_until_it_answers(self) -> None:
        """Wait until its HTTP face is there."""
        wait_for(lambda: _answers(self), f"{self.name} answers", seconds=60)

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def is_stopped(self) -> bool:
        """Tell whether the process was sent SIGSTOP, and not SIGCONT since."""
        about = Path(f"/proc/{self.process.pid}/stat").read_text()
        return about.rsplit(")", 1)[1].split()[0] == "T"

    def get(self, path: str, within_s: float = 30) -> httpx.Response:
        """GET from its HTTP face."""
        return httpx.get(self.url + path, timeout=within_s)

    def status(self, within_s: float = 30) -> dict:
        """Read /status."""
        return self.get("/status", within_s).json()

    def put(self, body: bytes) -> httpx.Response:
        """PUT to /plan."""
        return httpx.put(self.url + "/plan", content=body, timeout=60)

    def records(self) -> tuple[journal.Record, ...]:
        """Read the journal from its files: this works for a dead daemon too."""
        text = "".join(path.read_text() for path in sorted((self.state / "journal").glob("*.jsonl")))
        return journal.read_lines(text)


@contextlib.contextmanager
def daemons(problem: Problem, checkpoint: Path | Mapping[str, Path], directory: Path) -> Iterator[list[Daemon]]:
    """Run a daemon for every node of the problem; all are gone afterwards, whatever happened.

    Every node that holds anything is given the checkpoint, or that which is named for it.
    """
    held = {holding.place.split("/")[0]: checkpoint for holding in problem.holdings}
    given = held if isinstance(checkpoint, Path) else checkpoint
    running: list[Daemon] = []
    try:
        for node, port in zip(problem.cluster.nodes, free_ports(len(problem.cluster.nodes)), strict=True):
            state, log = directory / node.id, directory / f"{node.id}.log"
            arguments = ["--node", node.id, "--http", f"127.0.0.1:{port}", "--state", str(state), "--log-level", "info"]
            if node.id in given:
                arguments += ["--checkpoint", f"{LLM}={given[node.id]}"]
            running.append(Daemon(node.id, f"http://127.0.0.1:{port}", arguments, log, state))
            running[-1].start()
        for daemon in running:
            daemon.wait_until_it_answers()
        yield running
    finally:
        for daemon in running:
            with contextlib.suppress(ProcessLookupError):
                daemon.signal(signal.SIGCONT)
            daemon.process.terminate()
        for daemon in running:
            daemon.process.join(20)
            if daemon.process.is_alive():
                daemon.process.kill()
                daemon.process.join()


def adopt(running: Sequence[Daemon], verified: VerifiedPlan) -> None:
    """Give every daemon the plan, and wait until all have adopted it."""
    for daemon in running:
        answer = daemon.put(document(verified))
        assert answer.status_code == 200, answer.text
    wait_until_adopted(running, verified)


def wait_until_adopted(running: Sequence[Daemon], verified: VerifiedPlan) -> None:
    """Wait until every daemon carries out the plan."""
    digest = codec.digest(verified.plan)
    for daemon in running:
        wait_for(lambda daemon=daemon: _carries_out(daemon, digest), f"{daemon.name} adopts the plan", seconds=60)


def _carries_out(daemon: Daemon, digest: str) -> bool:
    plan = daemon.status()["plan"]
    return plan is not None and plan["digest"] == digest


def wait_until_complete(running: Sequence[Daemon], seconds: float = 60) -> None:
    """Wait until every daemon has everything that its plan promised it."""
    for daemon in running:
        wait_for(lambda daemon=daemon: complete(daemon), f"{daemon.name} is complete", seconds=seconds)


def over_nodes(verified: VerifiedPlan) -> set[str]:
    """Name the pipelines of more than one stage: those that serve while the LLM is on its way."""
    return {pipeline.id for pipeline in verified.plan.pipelines if len(pipeline.stages) > 1}


def records_of(running: Sequence[Daemon], kind: type) -> list[journal.Record]:
    """Collect the journals' records of one kind, of all daemons, in order of time."""
    found = [record for daemon in running for record in daemon.records() if isinstance(record.what, kind)]
    return sorted(found, key=lambda record: record.at_unix_ns)


def _answers(daemon: Daemon) -> bool:
    assert daemon.process.is_alive(), daemon.log.read_text()
    try:
        daemon.status()
    except httpx.TransportError:
        return False
    return True


def wait_for(condition: Callable[[], object], what: str, *, seconds: float) -> None:
    """Poll until the condition holds; fail, saying what was awaited, when it does not in generous time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"gave up waiting until {what}"
        time.sleep(0.05)


def complete(daemon: Daemon) -> bool:
    """Tell whether a daemon has everything that its plan promised it."""
    return daemon.status().get("phase") == "complete"


class Oracle:
    """What `transformers` generates from the checkpoint, greedily, one prompt at a time."""

    def __init__(self, checkpoint: Path) -> None:
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
        self.llm = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
        torch.set_num_threads(1)

    def answer(self, prompt: str, max_tokens: int) -> str:
        """Give the text of the answer."""
        return self.text(self.greedy(prompt, max_tokens))

    def greedy(self, prompt: str, max_tokens: int) -> list[int]:
        """Give the tokens of the answer."""
        ids = torch.tensor([self.tokenizer(prompt)["input_ids"]])
        out = self.llm.generate(ids, max_new_tokens=max_tokens, do_sample=False, pad_token_id=0)
        return out[0][ids.shape[1] :].tolist()

    def text(self, tokens: Sequence[int]) -> str:
        """Give the text of tokens."""
        return self.tokenizer.decode(tokens, skip_special_tokens=True)


def completion(daemon: Daemon, prompt: str, max_tokens: int, **more: object) -> httpx.Response:
    """Ask for a completion, greedy unless told otherwise."""
    body = {"model": LLM, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0} | more
    return httpx.post(daemon.url + "/v1/completions", content=json.dumps(body), timeout=120)


def text_of(answer: httpx.Response) -> str:
    """Give the text of a completion that must have succeeded."""
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["text"]
