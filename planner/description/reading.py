"""A description file becomes a `Problem` or a `Cluster`.

name: chat-on-eight                 # optional; the cluster's name by default
cluster:
  name: eight
  switches:                         # optional: without them, one switch that is never the bottleneck
    leaf[0-1]: {uplinks: {to: spine, rate: 4 x 400 Gb/s, latency: 1 us}}
    spine:
  templates:
    hgx: {gpus: 8 x H100, nvlink: NVLink 4, pcie: PCIe 5 x16, nics: 8 x 400 Gb/s, memory: 1 TiB}
  nodes:
    a[0-3]: {like: hgx, rack: a, switch: leaf0, address: "10.0.0.[1-4]:23100"}
    b[0-3]: {like: hgx, rack: b, switch: leaf1}
llms:                               # optional
  chat:
    checkpoint: ../llm              # relative to this file
    workload: {requests: 2 / s, prompt: 512, output: 128, longest: 4096, live: 32}
    slo: {percentile: 90, ttft: 500 ms, tpot: 40 ms, pause: 10 ms}  # pause: optional, while KV is handed over
    held: [a0/gpu0]                 # now
    wanted: ["b[0-3]/gpu0"]         # at the end: each of them holds all and serves alone
  code:
    checkpoint: ../code
    workload: {requests: 9 / s, prompt: 2000, output: 400, longest: 8192, live: 64}
    slo: {percentile: 95, ttft: 2 s, tpot: 50 ms}
    held: [a1/gpu0]
    drafting:                       # measured with a draft model; the planner makes the table of lengths
      longest: 2
      loads:
        - {batch: 8, draft: 600 us, overhead: 100 us, verify: [21 ms, 21.5 ms, 22 ms]}   # of 1, 2, 3 tokens at once
        - {batch: 64, draft: 900 us, overhead: 100 us, verify: [26 ms, 30 ms, 35 ms]}
      acceptance: [0 %, 60 %, 80 %]
      source: where and when
    serve: {on: [a2, a3], objective: devices}       # the planner forms pipelines; goodput, latency, devices or cost
                                    # optional: depth: 4 (stages), moves: 0 (units that may be loaded)
  rare:
    checkpoint: ../rare
    workload: {requests: 3 / hour, prompt: 512, output: 128, longest: 4096, live: 4}
    held: [a1/gpu1]
    standby: {on: ["a[0-3]/host"], start: 4 s}      # the planner chooses where copies rest
profile:                            # optional: measured rates come before the data sheets'
  - {device: H100, dtype: BF16, compute: 600 Tflop/s, memory: 2.8 TB/s, overhead: 8 us, source: where and when}
device kinds:                       # optional: kinds beyond the table
  H800: {memory: 80 GB, memory rate: 3.35 TB/s, fp32: 67 Tflop/s, bf16: 989 Tflop/s, source: data sheet}
prices:                             # optional: rents, for the objective `cost`
  H100: 2.49 USD / h
"""

from pathlib import Path

import attrs

from planner.description.cluster_reading import read_cluster_section, read_device_kinds, with_prices
from planner.description.demand_reading import ProgressOf, read_llm_entry, read_profile
from planner.description.document import optional, read_document
from planner.description.hardware import parse_name
from specs.cluster import Cluster
from specs.errors import InvalidProblem
from specs.problem import Problem

_SECTIONS = ("name", "llms", "profile", "device kinds", "prices")


def read_cluster(path: Path) -> Cluster:
    """Read the cluster of a description; its LLMs are not opened.  Raises BadDescription."""
    root, faults = read_document(path)
    fields = root.fields(required=("cluster",), optional=_SECTIONS)
    faults.check()
    return read_cluster_section(fields["cluster"], read_device_kinds(fields.get("device kinds")), faults)


def read_problem(path: Path, progress_of: ProgressOf = lambda _: None) -> Problem:
    """Read a whole description, its LLMs' checkpoints included.

    `progress_of` is asked, for each LLM, who wants to be told how many bytes of its checkpoint are hashed.
    Raises BadDescription with every fault that was found.
    """
    root, faults = read_document(path)
    fields = root.fields(required=("cluster",), optional=_SECTIONS)
    if "cluster" not in fields:
        faults.check()
    kinds = with_prices(read_device_kinds(fields.get("device kinds")), fields.get("prices"))
    profile = read_profile(fields.get("profile"), tuple(kinds))
    cluster = read_cluster_section(fields["cluster"], kinds, faults)
    entries = fields["llms"].entries() if "llms" in fields else []
    read = [read_llm_entry(entry, cluster, path.parent, progress_of) for entry in entries]
    demands = [demand for demand in read if demand is not None]
    wishes = [demand.wishes for demand in demands]
    draftings = tuple(demand.drafting for demand in demands if demand.drafting is not None)
    name = optional(fields, "name", parse_name) or cluster.name
    faults.check()
    try:
        return Problem(
            name=name,
            cluster=cluster,
            llms=tuple(demand.llm for demand in demands),
            workloads=tuple(demand.workload for demand in demands),
            slos=tuple(demand.slo for demand in demands if demand.slo is not None),
            profile=attrs.evolve(profile, draftings=draftings),
            holdings=tuple(holding for demand in demands for holding in demand.holdings),
            targets=tuple(target for wish in wishes for target in wish.targets),
            services=tuple(wish.service for wish in wishes if wish.service is not None),
            standbys=tuple(wish.standby for wish in wishes if wish.standby is not None),
        )
    except InvalidProblem as error:
        root.fault(str(error))
        faults.check()
        raise
