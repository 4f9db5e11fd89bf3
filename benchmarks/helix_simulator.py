"""Layouts of our planner in Helix's own simulator, against the layouts that Helix publishes.

    python -m benchmarks.helix_simulator CHECKOUT --python PYTHON [--case NAME ...] [--seconds 600]

CHECKOUT is a work tree of github.com/Thesys-lab/Helix-ASPLOS25, of which nothing is copied.  PYTHON has what its
simulator imports: networkx 3.2, and matplotlib and gurobipy or empty modules of these names, for it neither draws nor
solves here; PyPy is several times quicker than CPython.  What is compared is its offline mode (`step3_simulation.py`):
decoded tokens/s in so many simulated seconds after 60 s of warming up, with its own scheduler, requests and prompts.

The question that the planner gets is one of requests, not of tokens: see `question`.  Both layouts are simulated alike;
of requests that are done only the first and last times are kept, and no log, or memory would run out.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from bisect import bisect_left
from collections.abc import Sequence
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import attrs

from planner.layouts.spans import place_spans
from planner.search import Search
from specs.decisions.layout import spans
from specs.decisions.layout.spans import ENTRY, EXIT, Answer, Link, Machine, Question

OFFSET = 2  # machine i of a cluster file is compute_node_(i + OFFSET) in the files of the simulator
MILLI = 1000
FULL = 0.8  # of the KV of a layer, all machines together: beyond it the simulator lets no request in
DEPTHS = range(4, 17)  # stages at most that are tried
IN_FLIGHT = 2  # batches, see `token_s`
HOP_S = 0.002  # latency of a link, and activations

PROFILE = """
import json, sys
from simulator.model_manager.model_manager import ModelManager, ModelName
from simulator.trace_generator.length_sampler import Dataset, LengthSampler
model, counts = sys.argv[1], json.loads(sys.argv[2])
manager = ModelManager(model_name=ModelName[model], machine_num_dict=counts)
lengths = LengthSampler(dataset=Dataset.AzureConversation, seed=0)
kinds = {}
for kind in counts:
    held = range(1, manager.get_max_num_layers(kind) + 1)
    times = manager.get_profiling_results(kind)
    kinds[kind] = {
        "kv": [manager.get_kv_cache_capacity(kind, k) for k in held],
        "rates": [manager.get_typical_token_throughput(kind, k) for k in held],
        "prompt": sorted(times.prompt_bs2time.items()),
        "decode": sorted(times.decode_bs2time.items()),
    }
print(json.dumps({"layers": len(manager.get_model_params()), "prompt": lengths.average_input_length,
                  "output": lengths.average_output_length, "kinds": kinds}))
"""

SIMULATE = """
import json, sys, types
from simulator.event_simulator.cluster_simulator import ClusterSimulator
from simulator.event_simulator.logger import Logger
folder, seconds, model, solution, complete, cluster, counts = sys.argv[1:]
gather = ClusterSimulator.handle_gather_finished
def forgetful(self, event):
    done = list(self.sink_node.inbound_request_queue)
    gather(self, event)
    for request in done:
        request.routing_history, request.inference_history = [], []
        request.location_history = [request.location_history[0], request.location_history[-1]]
ClusterSimulator.handle_gather_finished = forgetful
Logger.add_log = lambda self, *given, **named: None
source = open(folder + "/step3_simulation.py").read()
assert "warm_up, duration = 60, 600" in source
module = types.ModuleType("step3")
exec(source.replace("warm_up, duration = 60, 600", "warm_up, duration = 60, " + seconds), module.__dict__)
print("decoded", module.simulate_maxflow_offline(
    model_name=module.ModelName[model], solution_file_name=solution, complete_cluster_file_name=complete,
    simulator_cluster_file_name=cluster, machine_num_dict=json.loads(counts)))
"""


@attrs.frozen(kw_only=True)
class Cluster:
    """What a cluster file of Helix says: kinds of machines in order, and links by their ends."""

    kinds: tuple[str, ...]
    links: dict[tuple[str, str], dict[str, str]]  # ends are numbers, "source" or "sink"; fields as they stand there


def read_cluster(text: str) -> Cluster:
    """Read a cluster file."""
    parser = ConfigParser()
    parser.read_string(text)
    kinds = tuple(parser[f"ComputeNode-{i}"]["type"] for i in range(int(parser["NodeNames"]["total_compute_nodes"])))
    ends = [name.split("-")[1:] for name in parser.sections() if name.startswith("Link-")]
    return Cluster(kinds=kinds, links={(one, other): dict(parser[f"Link-{one}-{other}"]) for one, other in ends})


def solution_text(cluster: Cluster, answer: Answer) -> str:
    """Say which layers each machine holds, as the simulator reads it; machines that hold nothing are left out."""
    lines = ["[Settings]", f"offset={OFFSET}", "", "[Solution]"]
    held = {span.machine: list(range(span.first_layer, span.end_layer)) for span in answer.spans}
    lines += [f"compute_node_{i + OFFSET}={held[str(i)]}" for i in range(len(cluster.kinds)) if str(i) in held]
    return "\n".join(lines) + "\n"


def cluster_text(cluster: Cluster, machines: ConfigParser, capacity: dict[str, list[int]], answer: Answer) -> str:
    """Describe the machines that hold layers, and every link from the end of one's layers to the first of another's.

    `machines` is the file of machine profiles, `capacity` is per kind and layers held what the KV of a machine has
    room for, in tokens times layers.
    """
    parts: list[tuple[str, dict[str, object]]] = [
        ("Coordinator", {f"{way}_nic_speed": machines[node][f"{way}_nic_speed"] for way, node in _COORDINATOR}),
        ("MachineTypes", {"types": sorted(set(machines.sections()) - {"SourceNode", "SinkNode"})}),
        ("ComputeNodes", {"names": [f"compute_node_{int(span.machine) + OFFSET}" for span in answer.spans]}),
    ]
    for span in answer.spans:
        kind = cluster.kinds[int(span.machine)]
        held = span.end_layer - span.first_layer
        own: dict[str, object] = {
            **machines[kind],
            "machine_type": f'"{kind}"',
            "kv_cache_capacity": capacity[kind][held - 1],
            "activation_backup_capacity": 0,
        }
        parts.append((f"compute_node_{int(span.machine) + OFFSET}", own))
    linked = {f"link_{_end(one)}_{_end(other)}": (one, other) for one, other in adjacent(cluster, answer)}
    parts.append(("Links", {"names": list(linked)}))
    for name, (one, other) in linked.items():
        link = cluster.links.get((one, other)) or cluster.links[other, one]
        parts.append((name, {"in": _end(one), "out": _end(other), **link}))
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in fields.items()) for name, fields in parts
    )


_COORDINATOR = (("inbound", "SinkNode"), ("outbound", "SourceNode"))


def _end(name: str) -> str:
    return f"compute_node_{int(name) + OFFSET}" if name.isdigit() else name


def adjacent(cluster: Cluster, answer: Answer) -> list[tuple[str, str]]:
    """Links between machines of which one begins where the other ends; links are listed one way and go both ways."""
    last = max(span.end_layer for span in answer.spans)
    pairs = [("source", span.machine) for span in answer.spans if span.first_layer == 0]
    pairs += [
        (one.machine, other.machine)
        for one in answer.spans
        for other in answer.spans
        if one.end_layer == other.first_layer
    ]
    pairs += [(span.machine, "sink") for span in answer.spans if span.end_layer == last]
    return [(one, other) for one, other in pairs if (one, other) in cluster.links or (other, one) in cluster.links]


@attrs.frozen(kw_only=True)
class Profile:
    """What the simulator knows of a model on its machines."""

    layers: int
    prompt: float  # mean tokens of a prompt
    output: float  # mean tokens of an answer
    kv: dict[str, list[int]]  # per kind and layers held, room for KV in tokens times layers
    rates: dict[str, list[float]]  # per kind and layers held, tokens/s by which the scheduler divides requests
    times: dict[str, dict[str, list[tuple[int, float]]]]  # per kind and phase, seconds per layer at some tokens

    def with_kv(self, kind: str) -> list[float]:
        """Requests for which a machine has KV, by the layers that it holds.

        The simulator lets requests in while no layer's KV is reserved to more than FULL, for mean answers.
        """
        each = self.prompt + self.output
        return [FULL * room / held / each for held, room in enumerate(self.kv[kind], 1)]

    def requests(self, kind: str) -> tuple[int, ...]:
        """Thousandths of requests that a machine takes, by the layers that it holds: those that have KV, and are sent.

        The scheduler divides requests by a maximum flow of its own rates, so a stage with much more of these than it
        needs would have machines to which nothing is sent, whatever their KV.  A machine is sent its rate times a time
        that is the same for all: the least in which KV limits every kind that is full of layers.
        """
        full_s = max(self.with_kv(each)[-1] / rates[-1] for each, rates in self.rates.items())
        both = zip(self.with_kv(kind), self.rates[kind], strict=True)
        return tuple(int(min(room, rate * full_s) * MILLI) for room, rate in both)

    def layer_s(self, kind: str, batch: float) -> float:
        """Time of a layer for one token of each of a batch, with the prompts that this makes room for.

        The first to arrive is computed alone and the others wait for it: hence two passes.
        """
        times = self.times[kind]
        share = batch / self.output  # of the requests of a batch, so many end and make room for prompts
        own = _between(times["decode"], 2) + _between(times["decode"], max(2, batch))
        return own + share * _between(times["prompt"], self.prompt)


def _between(points: Sequence[tuple[int, float]], at: float) -> float:
    """Interpolate; beyond the last point in proportion."""
    place = bisect_left(points, at, key=lambda point: point[0])
    if place == len(points):
        return points[-1][1] * at / points[-1][0]
    if place == 0 or points[place][0] == at:
        return points[place][1]
    (x, y), (right, top) = points[place - 1], points[place]
    return y + (top - y) * (at - x) / (right - x)


def question(cluster: Cluster, profile: Profile) -> Question:
    """Ask who holds what so that as many requests as possible are in flight.

    A token of a request comes only after the one before, so N requests with a time of T per token give N / T tokens/s.
    What limits N is KV: a request takes room on each machine that computes it, and rooms of machines with the same
    layers add up.  So requests take the place of tokens/s: what flows through a machine is the requests that it takes,
    see `Profile.requests`.  T grows with the number of stages, which `lay_out` limits.
    """
    plenty = sum(max(profile.requests(kind)) for kind in cluster.kinds)
    ends = {"source": ENTRY, "sink": EXIT}
    pairs = [pair for one, other in cluster.links for pair in ((one, other), (other, one))]
    return Question(
        layers=profile.layers,
        machines=tuple(
            Machine(name=str(i), millitokens_per_second=profile.requests(kind)) for i, kind in enumerate(cluster.kinds)
        ),
        links=tuple(
            Link(source=ends.get(one, one), destination=ends.get(other, other), millitokens_per_second=plenty)
            for one, other in pairs
            if one != "sink" and other != "source"
        ),
    )


def token_s(cluster: Cluster, profile: Profile, answer: Answer) -> float:
    """Time of a token: its stages, each as slow as its slowest machine, and HOP_S between them.

    Requests that wait for a machine are computed together, so all that are in flight gather into few batches:
    IN_FLIGHT are assumed, one that is computed and one that waits.
    """
    flows: dict[str, int] = {}
    for flow in answer.flows:
        flows[flow.destination] = flows.get(flow.destination, 0) + flow.millitokens_per_second
    stages: dict[tuple[int, int], float] = {}
    for span in answer.spans:
        batch = flows.get(span.machine, 0) / MILLI / IN_FLIGHT
        held = span.end_layer - span.first_layer
        own = held * profile.layer_s(cluster.kinds[int(span.machine)], batch)
        run = (span.first_layer, span.end_layer)
        stages[run] = max(stages.get(run, 0.0), own)
    return sum(stages.values()) + HOP_S * (len(stages) + 1)


def lay_out(cluster: Cluster, profile: Profile, depths: Sequence[int]) -> tuple[Answer, float]:
    """Find the layout with most requests in flight for each limit of stages; take the most tokens/s by `token_s`."""
    asked = question(cluster, profile)
    best, rate = Answer(spans=(), flows=()), 0.0
    for depth in depths:
        answer = place_spans(asked, Search(), depth=depth).answer
        assert not any(spans.faults(asked, answer))
        found = spans.value(answer) / MILLI / token_s(cluster, profile, answer) if answer.spans else 0.0
        if found > rate:
            best, rate = answer, found
    return best, rate


@attrs.frozen(kw_only=True)
class Case:
    """One of Helix's experiments."""

    folder: str  # under artifact_evaluation/
    cluster: str  # its cluster file
    layout: str  # where Helix's layout lies
    model: str
    published: str  # tokens/s of Helix, of Swarm and of separate pipelines


CASES = {
    "24": Case(
        folder="single_cluster",
        cluster="config/cluster24.ini",
        layout="layout_llama70b/ilp",
        model="LLaMa70B",
        published="252.1, 124.7, 124.3",
    ),
    "42": Case(
        folder="high_heterogeneity",
        cluster="config/cluster42.ini",
        layout="layout_llama70b/ilp",
        model="LLaMa70B",
        published="645.6, 473.2, 219.3",
    ),
}


@attrs.frozen(kw_only=True)
class Simulator:
    """A checkout, and the interpreter that runs it."""

    checkout: Path
    python: Path

    def run(self, script: str, *given: str, folder: str = "") -> str:
        """Run a script of ours with the simulator to import; return what it prints."""
        path = os.pathsep.join(filter(None, [str(self.checkout), os.environ.get("PYTHONPATH", "")]))
        done = subprocess.run(
            [self.python, "-c", script, *given],
            cwd=self.checkout / "artifact_evaluation" / folder,
            env=os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "0"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout

    def profile(self, model: str, counts: dict[str, int]) -> Profile:
        """Ask for rooms and times of a model."""
        told: dict[str, Any] = json.loads(self.run(PROFILE, model, json.dumps(counts)))
        kinds = told["kinds"]
        return Profile(
            layers=told["layers"],
            prompt=told["prompt"],
            output=told["output"],
            kv={kind: own["kv"] for kind, own in kinds.items()},
            rates={kind: own["rates"] for kind, own in kinds.items()},
            times={kind: {phase: own[phase] for phase in ("prompt", "decode")} for kind, own in kinds.items()},
        )

    def decoded(self, case: Case, solution: Path, cluster: Path, counts: dict[str, int], seconds: int) -> float:
        """Simulate a layout; return tokens/s."""
        printed = self.run(
            SIMULATE,
            *(".", str(seconds), case.model, str(solution), case.cluster, str(cluster), json.dumps(counts)),
            folder=case.folder,
        )
        return float(printed.rsplit("decoded", 1)[1])


def compare(simulator: Simulator, case: Case, seconds: int) -> str:
    """Simulate Helix's layout and ours, and make a row of the table."""
    folder = simulator.checkout / "artifact_evaluation" / case.folder
    cluster = read_cluster((folder / case.cluster).read_text())
    counts = {kind: cluster.kinds.count(kind) for kind in sorted(set(cluster.kinds))}
    machines = ConfigParser()
    machines.read(folder / "config" / "machine_profiles.ini")
    profile = simulator.profile(case.model, counts)
    began = time.process_time()
    answer, expected = lay_out(cluster, profile, DEPTHS)
    planned = time.process_time() - began
    layout = folder / case.layout
    theirs = simulator.decoded(case, layout / "ilp_sol.ini", layout / "simulator_cluster.ini", counts, seconds)
    with tempfile.TemporaryDirectory() as into:
        solution, described = Path(into, "solution.ini"), Path(into, "cluster.ini")
        solution.write_text(solution_text(cluster, answer))
        described.write_text(cluster_text(cluster, machines, profile.kv, answer))
        ours = simulator.decoded(case, solution, described, counts, seconds)
    stages = len({(span.first_layer, span.end_layer) for span in answer.spans})
    return (
        f"| {case.published} | {theirs:.1f} | {ours:.1f} | {ours / theirs:.2f} | {stages} "
        f"| {spans.value(answer) / MILLI:.0f} | {expected:.0f} | {planned:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="a work tree of github.com/Thesys-lab/Helix-ASPLOS25")
    parser.add_argument("--python", type=Path, required=True, help="an interpreter with what the simulator imports")
    parser.add_argument("--case", choices=sorted(CASES), nargs="*", default=sorted(CASES))
    parser.add_argument("--seconds", type=int, default=600, help="simulated, after warming up")
    options = parser.parse_args()
    simulator = Simulator(checkout=options.checkout.resolve(), python=options.python.absolute())
    print("| machines | published: Helix, Swarm, separate | Helix's | ours | ratio ", end="")
    print("| stages | in flight | expected | plan CPU s |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in options.case:
        print(f"| {name} {compare(simulator, CASES[name], options.seconds)}", flush=True)


if __name__ == "__main__":
    main()
