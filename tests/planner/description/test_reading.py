import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.description import reading
from planner.description.reading import read_cluster, read_problem
from planner.errors import BadDescription
from specs import codec
from specs.cluster import PlaceKind
from specs.problem import Problem
from specs.wishes import Objective
from tests.checkpoints import make_checkpoint

EXAMPLES = Path(__file__).parents[3] / "examples"
# As examples/demo.yaml, which may change; places below are of this text.
DEMO = """\
# The demo: one node holds the LLM, four want it, all on this machine.
# The links are slow on purpose: loading takes long enough to be watched, and serving begins before it ends.
name: demo

cluster:
  name: loopback
  templates:
    small: {cpu: 1 GiB, nics: {rate: 400 Mb/s, latency: 200 us}}
  nodes:
    source: {like: small, address: "127.0.0.1:23100"}
    node[1-4]: {like: small, address: "127.0.0.1:[23101-23104]"}

llms:
  demo-llm:
    checkpoint: ../demo-out/llm
    workload: {requests: 4 / s, prompt: 32, output: 32, longest: 256, live: 8}
    slo: {percentile: 90, ttft: 5 s, tpot: 500 ms}
    held: [source]
    wanted: ["node[1-4]"]

profile:
  - device: cpu
    dtype: F32
    compute: 20 Gflop/s
    memory: 5 GB/s
    overhead: 400 us
    source: two cores shared by five daemons, 2025; cautious
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo's description beside a small checkpoint."""
    directory = tmp_path_factory.mktemp("demo")
    make_checkpoint(directory / "demo-out" / "llm")
    (directory / "examples").mkdir()
    (directory / "examples" / "demo.yaml").write_text(DEMO)
    return directory / "examples" / "demo.yaml"


def faults_of(path, text):
    path.write_text(text)
    with pytest.raises(BadDescription) as caught:
        read_problem(path)
    for fault in caught.value.faults:
        assert fault.startswith(f"{path}:")
        line, column = fault.removeprefix(f"{path}:").split(":")[:2]
        assert 1 <= int(line) <= text.count("\n") + 1
        assert int(column) >= 1
        assert "\n" not in fault
    return "\n".join(fault.removeprefix(f"{path}:") for fault in caught.value.faults)


def test_the_demo_is_read(demo):
    problem = read_problem(demo)
    assert [node.id for node in problem.cluster.nodes] == ["source", "node1", "node2", "node3", "node4"]
    assert [node.address for node in problem.cluster.nodes] == [f"127.0.0.1:{23100 + index}" for index in range(5)]
    assert [held.place for held in problem.holdings] == ["source/cpu0"]
    assert [target.place for target in problem.targets] == [f"node{index}/cpu0" for index in range(1, 5)]
    assert problem.workloads[0].requests_per_hour == 4 * 3600
    assert problem.slos[0].percentile == 90
    assert problem.profile.rates[0].flops_per_second == 20 * 10**9


def test_the_demo_of_the_examples_is_read(demo):
    example = demo.with_name("example.yaml")
    example.write_text((EXAMPLES / "demo.yaml").read_text())
    problem = read_problem(example)
    assert len(problem.holdings) == 1
    assert len(problem.targets) == 4
    assert all(node.address for node in problem.cluster.nodes)


def test_the_example_in_the_documentation_is_read(demo):
    text = textwrap.dedent(reading.__doc__.partition("\n\n")[2])
    path = demo.parents[1] / "documented" / "eight.yaml"
    path.parent.mkdir()
    # Its checkpoint is not ours, and its context is longer.
    path.write_text(
        text.replace("../llm", "../demo-out/llm")
        .replace("../code", "../demo-out/llm")
        .replace("../rare", "../demo-out/llm")
        .replace("longest: 4096", "longest: 512")
        .replace("longest: 8192", "longest: 512")
        .replace("prompt: 512", "prompt: 256")
        .replace("prompt: 2000, output: 400", "prompt: 256, output: 128")
    )
    problem = read_problem(path)
    assert len(problem.cluster.nodes) == 8
    assert [target.place for target in problem.targets] == [f"b{index}/gpu0" for index in range(4)]
    (service,) = problem.services
    assert (service.llm, service.objective) == ("code", Objective.DEVICES)
    assert service.places == tuple(f"a{node}/gpu{index}" for node in (2, 3) for index in range(8))
    (standby,) = problem.standbys
    assert standby.places == tuple(f"a{node}/host" for node in range(4))
    assert standby.start_ns_max == 4 * 10**9
    assert [kind.microdollars_per_hour for kind in problem.cluster.device_kinds] == [2_490_000]


@pytest.mark.parametrize(("moves", "units"), [("", None), (", moves: 0", 0), (", moves: 12", 12)])
def test_a_service_may_load_nothing_something_or_anything(demo, moves, units):
    text = demo.read_text().replace('wanted: ["node[1-4]"]', f"serve: {{on: [source], objective: devices{moves}}}")
    path = demo.with_name("moves.yaml")
    path.write_text(text)
    (service,) = read_problem(path).services
    assert service.moves_max == units


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ("serve: {on: [node1], objective: cost, moves: -1}", "is negative"),
        ("serve: {on: [node1], objective: speed}", "the objective 'speed' is not known; known are cost, devices"),
        ("serve: {on: [node1]}", "objective"),
        ("serve: {on: [node9], objective: cost}", "there is no node or memory 'node9'"),
        ("serve: {on: [node1, node1], objective: cost}", "node1/cpu0 is named twice"),
        ("serve: {on: [], objective: cost}", "`serve` names no place that can be used"),
        ("serve: {on: [node1], objective: cost}", "may use node1/cpu0, which is a target of demo-llm"),
        ("standby: {on: [source]}", "start"),
        ("standby: {on: [source], start: 3}", "has no unit"),
    ],
)
def test_wishes_that_mean_nothing_are_refused(demo, wish, sentence):
    text = demo.read_text().replace("    held:", f"    {wish}\n    held:")
    assert sentence in faults_of(demo.with_name("bad.yaml"), text)


DRAFTING = """    drafting:
      longest: 2
      loads:
        - {batch: 8, draft: 600 us, overhead: 100 us, verify: [21 ms, 21.5 ms, 22 ms]}
        - {batch: 64, draft: 900 us, overhead: 0 us, verify: [26 ms, 30 ms, 35 ms]}
      acceptance: [0 %, 62.5 %]
      source: here
"""


def test_measured_drafting_is_read(demo):
    path = demo.with_name("drafting.yaml")
    path.write_text(DEMO.replace("    held:", f"{DRAFTING}    held:"))
    (drafting,) = read_problem(path).profile.draftings
    assert [load.batch_max for load in drafting.loads] == [8, 64]
    assert drafting.loads[0].verify_ns == (21_000_000, 21_500_000, 22_000_000)
    assert [bucket.positions_ppm for bucket in drafting.acceptances] == [(0, 0), (625_000, 625_000)]


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("longest: 2", "longest: 3", "3 times of verification are given; drafts of 0 to 3 tokens need one each"),
        ("longest: 2", "longest: 99", "drafts of 99 tokens are longer than any that are planned, 64"),
        ("62.5 %", "162.5 %", "larger than any share"),
        ("[0 %, ", "[", "the buckets of acceptance must ascend from 0 %"),
        ("batch: 64", "batch: 8", "loads must ascend by their batch"),
        ("draft: 600 us, ", "", "draft is missing"),
        ("      source: here\n", "", "source is missing"),
    ],
)
def test_drafting_that_means_nothing_is_refused(demo, before, after, sentence):
    text = DEMO.replace("    held:", f"{DRAFTING.replace(before, after)}    held:")
    assert sentence in faults_of(demo.with_name("bad.yaml"), text)


@pytest.mark.parametrize(
    ("price", "sentence"),
    [("cpu: 3", "is not a price; write for example 2.49 USD / h"), ("H1000: 2 USD / h", "H1000' is not known")],
)
def test_prices_that_mean_nothing_are_refused(demo, price, sentence):
    assert sentence in faults_of(demo.with_name("bad.yaml"), f"{demo.read_text()}\nprices:\n  {price}\n")


def test_the_same_files_are_the_same_problem(demo):
    one, other = read_problem(demo), read_problem(demo)
    assert codec.digest(one) == codec.digest(other)
    assert codec.decode(Problem, codec.encode(one)) == one


def test_a_cluster_can_be_read_without_its_llms(tmp_path):
    (tmp_path / "demo.yaml").write_text(DEMO)
    assert len(read_cluster(tmp_path / "demo.yaml").nodes) == 5


@pytest.mark.parametrize("path", sorted((EXAMPLES / "clusters").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_example_clusters_are_read_without_llms(path):
    problem = read_problem(path)
    assert problem.llms == ()
    assert problem.cluster == read_cluster(path)


def test_a_thousand_nodes_are_a_short_description():
    path = EXAMPLES / "clusters" / "thousand.yaml"
    assert len(path.read_text().splitlines()) < 12
    assert len(read_cluster(path).nodes) == 1024


# What is changed in the demo, and where and what the first fault is.
CHANGES = [
    ("cpu: 1 GiB", "cpuz: 1 GiB", "8:13: unknown key 'cpuz'; did you mean cpu?"),
    ("cpu: 1 GiB", "cpu: 1 Gib", "8:18: '1 Gib' is not a size: did you mean 1 GiB?"),
    ("cpu: 1 GiB", "cpu: -1 GiB", "8:18: '-1 GiB' is negative"),
    ("cpu: 1 GiB", "gpus: 8 x H10O", "8:19: the GPU 'H10O' is not known; did you mean H100?"),
    ("cpu: 1 GiB", "gpus: 65 x H100", "8:19: '65 x H100': a node has 1 to 64 GPUs"),
    ("cpu: 1 GiB", "cpu: 1 GiB, gpus: L4", "10:13: a node has either gpus"),
    ("cpu: 1 GiB, ", "", "10:13: a node has either gpus"),
    ("rate: 400 Mb/s", "rate: 400 Mbps", "8:38: '400 Mbps' is not a rate: write 400 Mb/s"),
    ("rate: 400 Mb/s", "rate: 999999 PB/s", "8:38: '999999 PB/s' is larger than any rate that is read"),
    ("latency: 200 us", "latency: 200", "8:57: '200' has no unit"),
    ('like: small, address: "127.0.0.1:23100', 'like: smal, address: "127.0.0.1:23100', "did you mean small?"),
    ("23100", "23101", "the address 127.0.0.1:23101 of node1 is that of source already"),
    ("[23101-23104]", "[23101-23103]", "4 nodes need as many addresses; this stands for 3"),
    ("[23101-23104]", "99999", "is not an address; write host:port"),
    ("node[1-4]:", "node[4-1]:", "the range [4-1] is empty; write [1-4]"),
    ("node[1-4]:", "source:", "the key 'source' is given twice"),
    ("node[1-4]:", "[source]:", "a list stands where a single value is wanted"),
    ("node[1-4]:", "switch:", "switch is the name of a switch already"),
    ("held: [source]", "held: [sourse]", "there is no node or memory 'sourse'; did you mean source?"),
    ("held: [source]", "held: [source/gpu0]", "there is no node or memory 'source/gpu0'; did you mean source/cpu0?"),
    ("held: [source]", "held: [source/nic0]", "source/nic0 is a switch, which has no memory"),
    ("held: [source]", "held: [source, source/cpu0]", "source/cpu0 is named twice"),
    ("held: [source]", "held: []", "is wanted but held nowhere"),
    ("wanted:", "wants:", "unknown key 'wants'; did you mean wanted?"),
    ("longest: 256", "longest: 2560", "requests have up to 2560 tokens, but the context of demo-llm holds 512"),
    ("longest: 256", "longest: 40", "fewer than the 64 of a mean request"),
    ("live: 8", "live: 0", "too small"),
    ("live: 8", "live: .nan", "is not a whole number"),
    ("percentile: 90", "percentile: 100", "write one from 50 to 99"),
    ("../demo-out/llm", "../demo-out/lm", "is not a directory; a Hugging Face checkpoint directory is wanted"),
    ("device: cpu", "device: cpus", "the device kind 'cpus' is not known; did you mean cpu?"),
    ("dtype: F32", "dtype: fp32", "write one of F32, BF16, F16"),
    ("llms:", "llm:", "unknown key 'llm'; did you mean llms?"),
    ("  nodes:", "  nodse:", "unknown key 'nodse'; did you mean nodes?"),
    ("cluster:", "clusters:", "unknown key 'clusters'; did you mean cluster?"),
    ("requests: 4 / s", "requests: 4", "write for example 2 / s"),
]


@pytest.mark.parametrize(("before", "after", "says"), CHANGES, ids=[change[1][:40] for change in CHANGES])
def test_each_fault_is_told_with_its_place(demo, before, after, says):
    assert DEMO.count(before) >= 1
    assert says in faults_of(demo.with_name("bad.yaml"), DEMO.replace(before, after))


@pytest.mark.parametrize(
    ("before", "after"),
    [("longest: 256", "longest: 99999999999"), ("prompt: 32", "prompt: -32"), ("node[1-4]:", "node[4-1]:")],
)
def test_no_fault_is_told_that_only_follows_from_another(demo, before, after):
    text = DEMO.replace('wanted: ["node[1-4]"]', "wanted: []")
    assert len(faults_of(demo.with_name("bad.yaml"), text.replace(before, after)).splitlines()) == 1


def test_many_faults_are_told_at_once(demo):
    text = DEMO.replace("400 Mb/s", "400 Mb").replace("live: 8", "live: many").replace("[source]", "[nowhere]")
    text = text.replace("5 GB/s", "5 GB").replace("percentile: 90", "percentile: 9")
    said = faults_of(demo.with_name("bad.yaml"), text)
    # The cluster's faults and the profile's come first: places cannot be looked up in a cluster that is not known.
    assert said.count("\n") + 1 == 2
    said = faults_of(demo.with_name("bad.yaml"), text.replace("400 Mb,", "400 Mb/s,").replace("5 GB\n", "5 GB/s\n"))
    assert said.count("\n") + 1 == 3


FABRIC = """
cluster:
  name: fabric
  switches:
    leaf[0-1]: {{uplinks: {{to: {up}, rate: 400 Gb/s, latency: 1 us}}}}
    spine: {spine}
  nodes:
    n[0-3]: {{gpus: 2 x L4, nics: {nics}, memory: 32 GiB, pcie: {pcie}}}
"""


def fabric(tmp_path, *, up="spine", spine="", nics="{rate: 2 x 100 Gb/s, switch: 'leaf[0-1]'}", pcie="PCIe 4 x16"):
    path = tmp_path / "fabric.yaml"
    path.write_text(FABRIC.format(up=up, spine=spine, nics=nics, pcie=pcie))
    return path


def test_the_place_graph_of_a_node(tmp_path):
    cluster = read_cluster(fabric(tmp_path))
    links = {link.id: link for link in cluster.links}
    kinds = {place.id: place.kind for place in cluster.places}
    assert kinds["n0/gpu1"] is PlaceKind.DEVICE
    assert kinds["n0/host"] is PlaceKind.HOST
    assert [kinds[name] for name in ("leaf0", "spine", "n0/nic0", "n0/pcie0")] == [PlaceKind.SWITCH] * 4
    for name in (
        "n0/gpu0>n0/pcie0",
        "n0/pcie0>n0/nic1",
        "n0/nic0>leaf0",
        "n0/nic1>leaf1",
        "n0/host>n0/pcie0",
        "leaf0>spine",
    ):
        back = ">".join(reversed(name.split(">")))
        assert links[name].bytes_per_second == links[back].bytes_per_second
        assert (links[name].source, links[name].destination) == tuple(name.split(">"))
    assert "n0/nic0>leaf1" not in links
    assert links["n0/nic0>leaf0"].bytes_per_second == 12_500_000_000
    # Without PCIe switches every device has lanes of its own to the processor.
    assert links["n0/host>n0/pcie0"].bytes_per_second == 2 * links["n0/gpu0>n0/pcie0"].bytes_per_second


def test_a_pcie_switch_has_one_way_to_the_host(tmp_path):
    cluster = read_cluster(fabric(tmp_path, pcie="{rate: PCIe 4 x16, switches: 2}"))
    links = {link.id: link for link in cluster.links}
    assert "n0/gpu1>n0/pcie1" in links
    assert "n0/pcie1>n0/nic1" in links
    assert links["n0/host>n0/pcie1"].bytes_per_second == links["n0/gpu1>n0/pcie1"].bytes_per_second


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"up": "leaf1"}, "uplinks lead up, to a spine"),
        ({"up": "spien"}, "the switch spien is not described under `switches:`; did you mean spine?"),
        ({"up": "spine", "spine": "{uplinks: {to: leaf0, rate: 1 Gb/s}}"}, "lead back to"),
        ({"spine": "{uplinks: {to: leaf0}}"}, "rate is missing"),
        ({"spine": "{uplink: {}}"}, "unknown key 'uplink'; did you mean uplinks?"),
        ({"nics": "100 Gb/s"}, "say which of leaf0, leaf1, spine the NIC is on"),
        ({"nics": "{rate: 100 Gb/s, switch: leaf2}"}, "the switch leaf2 is not described"),
        ({"nics": "{rate: 100 Gb/s, switch: 'leaf[0-1]'}"}, "1 NICs cannot be on 2 switches"),
        ({"nics": "[1 GB/s, 2]", "pcie": "{switches: 3}"}, "rate is missing"),
        ({"pcie": "{rate: PCIe 4 x16, switches: 3}"}, "2 devices cannot be spread evenly over 3 PCIe switches"),
        ({"pcie": "16"}, "has no unit"),
    ],
)
def test_a_fabric_that_contradicts_itself_is_refused(tmp_path, changes, says):
    path = fabric(tmp_path, **changes)
    assert says in faults_of(path, path.read_text())


def test_two_uplinks_to_one_switch_are_refused(tmp_path):
    path = fabric(tmp_path)
    twice = "{to: spine, rate: 1 Gb/s}"
    text = path.read_text().replace("{to: spine, rate: 400 Gb/s, latency: 1 us}", f"[{twice}, {twice}]")
    assert "has two uplinks to spine" in faults_of(path, text)


def test_a_node_of_several_devices_must_be_more_precise(demo):
    text = DEMO.replace("cpu: 1 GiB", "gpus: 2 x L4")
    assert "source has 2 devices; say which, for example source/gpu0" in faults_of(demo.with_name("bad.yaml"), text)


def test_an_inline_device_kind(tmp_path):
    path = fabric(tmp_path)
    kinds = "device kinds:\n  L4: {memory: 1 GB, memory rate: 1 GB/s, fp32: 1 Gflop/s, bf16: 2 Gflop/s, source: mine}\n"
    path.write_text(path.read_text() + kinds)
    (kind,) = read_cluster(path).device_kinds
    assert (kind.memory_bytes, kind.source) == (10**9, "mine")
    bad = path.read_text().replace("bf16: 2 Gflop/s, ", "").replace("1 GB/s", "1 GHz")
    assert "bf16 is missing" in faults_of(path, bad)


TOKENS = [
    "",
    ":",
    "[",
    "]",
    "{",
    "}",
    "-",
    "&a",
    "*a",
    "<<",
    "'",
    "\n",
    "  ",
    "\t",
    "0",
    "null",
    "9e99",
    "[0-99]",
    "cluster",
    "x",
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(at=st.integers(0, len(DEMO)), length=st.integers(0, 12), token=st.sampled_from(TOKENS))
def test_any_slip_of_the_pen_is_a_problem_or_bad(tmp_path, at, length, token):
    """Without the checkpoint, whose absence is a fault of its own."""
    path = tmp_path / "slip.yaml"
    path.write_text(DEMO[:at] + token + DEMO[at + length :])
    try:
        faults = ("none",) if read_problem(path).llms == () else ()
    except BadDescription as error:
        faults = error.faults
    assert faults


def test_a_broken_checkpoint_is_a_fault_of_its_line(demo):
    weights = demo.parents[1] / "demo-out" / "llm" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-10])
    try:
        assert "is truncated" in faults_of(demo.with_name("bad.yaml"), DEMO)
    finally:
        weights.write_bytes(content)
