"""The entry for a description: the real reader takes it, always, and a plan can be made for it."""

import json
import tomllib
from importlib import resources

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.__main__ import main
from planner.cli.this_node_tables import node_tables
from planner.description.devices import known_kinds
from planner.description.quantities import parse_rate
from planner.description.reading import read_cluster
from planner.this_node.fragment import fragment
from planner.this_node.inventory import (
    Gpu,
    LinkLayer,
    NetDevice,
    PcieLink,
    PciPlace,
    PortState,
    RdmaDevice,
    RdmaPort,
    ThisNode,
    Unknown,
)
from planner.this_node.reading import read_this_node
from planner.this_node.summary import summarise
from specs.cluster import PlaceKind
from tests.checkpoints import make_checkpoint
from tests.planner.this_node.fake_machine import FakeMachine, dgx, mapped, roce, two_ports

DEMAND = """
llms:
  chat:
    checkpoint: llm
    workload: {requests: 30 / min, prompt: 32, output: 32, longest: 256, live: 8}
    held: here
    wanted: there
profile:
  - {device: cpu, dtype: F32, compute: 20 Gflop/s, memory: 5 GB/s, overhead: 400 us, source: made up}
"""


def described(folder, *fragments):
    """Put entries into a whole description, and read it back."""
    path = folder / "cluster.yaml"
    path.write_text("cluster:\n  name: found\n  nodes:\n" + "".join(fragments))
    return read_cluster(path)


def entry(text):
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]


def comments(text):
    return [line.strip().removeprefix("# ") for line in text.splitlines() if line.lstrip().startswith("#")]


def test_a_dgx(tmp_path):
    written = fragment(read_this_node(dgx(tmp_path).root))
    assert entry(written) == [
        "    dgx1:",
        "      gpus: 8 x H100",
        "      pcie: {rate: PCIe 5 x16, switches: 4}",
        "      nics: 8 x 400 Gb/s",
        "      memory: 2048 GiB",
    ]
    said = comments(written)
    assert "NVLink is not seen in sysfs; if it joins these GPUs: nvlink: NVLink 4" in said
    assert "nic5: mlx5_5 port 1, InfiniBand, LID 21, 0000:56:00.0, NUMA node 1, PIX to gpu[4-5]" in said
    assert "not a NIC of this entry: eno1, 0000:01:00.0, NUMA node 0, NODE to gpu[0-3] (no RDMA)" in said
    cluster = described(tmp_path, written)
    assert sum(place.kind is PlaceKind.DEVICE for place in cluster.places) == 8
    links = {(link.source, link.destination): link.bytes_per_second for link in cluster.links}
    # GPU and NIC of the same number are on the same switch, as on the machine.
    assert all((f"dgx1/gpu{index}", f"dgx1/pcie{index // 2}") in links for index in range(8))
    assert all((f"dgx1/pcie{index // 2}", f"dgx1/nic{index}") in links for index in range(8))
    assert links["dgx1/nic0", "switch"] == 50 * 10**9


def test_only_the_port_that_is_up_is_a_nic(tmp_path):
    written = fragment(read_this_node(two_ports(tmp_path).root))
    assert entry(written)[1:] == [
        "      gpus: 2 x L4",
        "      pcie: PCIe 4 x16",
        "      nics: 100 Gb/s",
        "      memory: 64 GiB",
    ]
    said = comments(written)
    assert "not a NIC of this entry: mlx5_1 port 1 (state DOWN, Disabled)" in said
    assert 'If the other nodes reach holdfastd there: address: "10.0.0.5:23100"' in said
    nic = "nic0: mlx5_0 port 1, Ethernet, ens1f0np0, 10.0.0.5 (GID 3, RoCE v2), 0000:81:00.0, NUMA node 0"
    assert f"{nic}, NODE to gpu[0-1]" in said
    described(tmp_path, written)


def test_where_rdma_is_down_its_net_device_may_be_up(tmp_path):
    machine = FakeMachine(tmp_path)
    card = machine.pci("pci0000:00/0000:00:01.0/0000:01:00.0")
    machine.port(machine.rdma("mlx5_0", card), active=False, gids=roce("eth0", "10.0.0.1"))
    machine.net("eth0", card)
    written = fragment(read_this_node(tmp_path))
    assert entry(written)[2:] == ["      pcie: PCIe 5 x16", "      nics: 100 Gb/s"]
    assert "not a NIC of this entry: mlx5_0 port 1 (state DOWN, Disabled)" in comments(written)


def test_a_description_of_two_found_nodes_is_described_and_planned(tmp_path, capsys):
    fragments = []
    for index, name in enumerate(("here", "there")):
        machine = FakeMachine(tmp_path / name, name=name, memory_kib=4 * 2**20)
        gids = roce(f"r{index}", f"10.77.0.{index + 1}")
        machine.port(machine.rdma(f"rxe{index}"), rate="10 Gb/sec (1X FDR10)", gids=gids)
        fragments.append(fragment(read_this_node(machine.root)))
    make_checkpoint(tmp_path / "llm", "qwen3", tied=True)
    described(tmp_path, *fragments)
    path = tmp_path / "cluster.yaml"
    path.write_text(path.read_text() + DEMAND)
    assert main(["describe", str(path)]) == 0
    assert main(["plan", str(path), "--out", str(tmp_path / "plan.json")]) == 0
    assert main(["check", str(path), str(tmp_path / "plan.json")]) == 0
    capsys.readouterr()


def test_a_machine_with_nothing_is_a_processor(tmp_path):
    written = fragment(read_this_node(FakeMachine(tmp_path, memory_kib=2**20 - 2**10).root))
    assert entry(written) == ["    node1:", "      cpu: 1023 MiB"]
    described(tmp_path, written)
    written = fragment(read_this_node(tmp_path / "absent"))
    assert entry(written) == ["    this-node:", "      cpu: 1 GiB"]
    assert "The host's memory is not known; write it here." in comments(written)
    described(tmp_path, written)


def test_without_rdma_the_net_devices_that_are_up_are_nics(tmp_path):
    machine = FakeMachine(tmp_path)
    for index, (state, speed) in enumerate((("up", "25000"), ("up", "2500"), ("down", None), ("up", "-1"))):
        card = machine.pci(f"pci0000:00/0000:00:0{index + 1}.0/0000:0{index + 1}:00.0", kind="0x020000", lanes=8)
        machine.net(f"eth{index}", card, state=state, speed=speed)
    written = fragment(read_this_node(tmp_path))
    assert entry(written)[2:] == ["      pcie: PCIe 5 x8", "      nics: [25 Gb/s, 2.5 Gb/s]"]
    said = comments(written)
    assert "not a NIC of this entry: eth2 (state down)" in said
    assert "not a NIC of this entry: eth3 (its speed is not known)" in said
    described(tmp_path, written)


def test_gpus_that_no_description_knows(tmp_path):
    machine = FakeMachine(tmp_path)
    machine.gpu("pci0000:00/0000:00:01.0/0000:01:00.0", device="0x20b5", model="NVIDIA A100 80GB PCIe")
    written = fragment(read_this_node(tmp_path))
    assert entry(written) == ["    node1:", "      cpu: 1 GiB"]
    remedy = "write `gpus:` for `cpu:`, and the kind under `device kinds:`"
    assert f"not in this entry: gpu0, NVIDIA A100 80GB PCIe; {remedy}." in comments(written)
    described(tmp_path, written)
    for index in (2, 3):
        machine.gpu(f"pci0000:00/0000:00:0{index}.0/0000:0{index}:00.0", device="0x20b0")
    machine.gpu("pci0000:00/0000:00:04.0/0000:04:00.0", device="0x27b8")
    written = fragment(read_this_node(tmp_path))
    assert entry(written)[1] == "      gpus: 2 x A100-40G"
    said = comments(written)
    assert "not in this entry: gpu0, NVIDIA A100 80GB PCIe; an entry has one kind." in said
    assert "not in this entry: gpu3, 10de:27b8; an entry has one kind." in said
    described(tmp_path, written)


def test_uneven_switches_are_not_stated(tmp_path):
    machine = dgx(tmp_path)
    extra = machine.pci("pci0000:70/0000:70:01.0/0000:71:00.0/0000:72:08.0/0000:7b:00.0", numa=1)
    machine.port(machine.rdma("mlx5_8", extra), gids=[(mapped("10.1.1.1"), "RoCE v2", "eth9")])
    written = fragment(read_this_node(tmp_path))
    assert "      pcie: PCIe 5 x16" in entry(written)
    assert any(line.startswith("PCIe switches are left out") for line in comments(written))
    described(tmp_path, written)


def test_every_known_gpu_is_a_known_kind():
    table = tomllib.loads(resources.files("planner.this_node").joinpath("gpu_ids.toml").read_text())
    for row in table.values():
        assert row["kind"] in known_kinds()
        parse_rate(row.get("nvlink", "NVLink 4"))


def test_virtual_functions_share_a_wire(tmp_path):
    machine = FakeMachine(tmp_path)
    physical = machine.pci("pci0000:00/0000:00:01.0/0000:01:00.0")
    virtual = machine.pci("pci0000:00/0000:00:01.0/0000:01:00.1")
    machine.link(f"{virtual}/physfn", physical)
    for index, folder in enumerate((physical, virtual)):
        machine.port(machine.rdma(f"mlx5_{index}", folder))
    written = fragment(read_this_node(tmp_path))
    assert "      nics: 400 Gb/s" in entry(written)
    words = "not a NIC of this entry: mlx5_1 port 1 (a virtual function, on the wire of another port here)"
    assert words in comments(written)


def test_what_was_not_understood_is_said(tmp_path):
    machine = FakeMachine(tmp_path, name="my node")
    for index in range(12):
        machine.port(machine.rdma(f"rxe{index}"), rate="fast")
    said = comments(fragment(read_this_node(tmp_path)))
    assert said[-9].startswith("not known: /proc/sys/kernel/hostname: 'my node' is not a name")
    assert said[-2].startswith("not known: /sys/class/infiniband/rxe6/ports/1/rate: 'fast' is not a rate")
    assert said[-1] == "... and 5 more (--json has all)"


@pytest.mark.parametrize("text", [b"", b"\xff", b"-1\n", b"0x10de: 1\n", b"9" * 70000], ids=lambda text: repr(text[:9]))
def test_any_file_may_hold_anything(tmp_path, text):
    two_ports(tmp_path)
    machine = dgx(tmp_path / "other")
    machine.port("sys/class/infiniband/mlx5_0", 2, gids=roce("eth0", "10.0.0.1"))
    for root in (tmp_path, machine.root):
        before = read_this_node(root)
        files = sorted(
            path for path in root.rglob("*") if path.is_file() and "other" not in path.relative_to(root).parts
        )
        for path in files[::3]:  # there are many of each kind
            good = path.read_bytes()
            path.write_bytes(text)
            node = read_this_node(root)
            json.dumps(summarise(node))
            assert len(list(node_tables(node))) >= 5
            assert len(node.rdma_devices) == len(before.rdma_devices)
            described(tmp_path, fragment(node))
            path.write_bytes(good)


ADDRESSES = st.integers(0, 200).map(lambda number: f"0000:{number:02x}:00.0")
PLACES = st.none() | st.builds(
    PciPlace,
    address=ADDRESSES,
    host_bridge=st.sampled_from(["pci0000:00", "pci0000:80"]),
    bridges=st.lists(ADDRESSES, max_size=4).map(tuple),
    numa_node=st.none() | st.integers(0, 1),
)
LINKS = st.none() | st.builds(PcieLink, generation=st.integers(1, 6), lanes=st.sampled_from([1, 4, 8, 12, 16, 32]))
# As the kernel says rates: in tenths of Gb/s for RDMA, in Mb/s else.
TENTHS = st.none() | st.integers(1, 99999 * 10).map(lambda tenths: tenths * 12_500_000)
MEGABITS = st.none() | st.integers(1, 10**7).map(lambda number: number * 125_000)
GPUS = st.builds(
    Gpu,
    name=st.just("gpu"),
    address=ADDRESSES,
    pci=PLACES,
    pcie=LINKS,
    pci_id=st.just("10de:????"),
    kind=st.sampled_from([None, "H100", "L4"]),
    nvlink=st.sampled_from([None, "NVLink 4"]),
    model=st.sampled_from([None, "NVIDIA L4"]),
)
PORTS = st.builds(
    RdmaPort,
    number=st.integers(1, 2),
    state=st.sampled_from([None, *PortState, PortState.ACTIVE]),
    physical_state=st.sampled_from([None, "LinkUp"]),
    bytes_per_second=TENTHS,
    link_layer=st.sampled_from([None, *LinkLayer]),
    lid=st.none() | st.integers(0, 2**16),
    gids=st.just(()),
)
RDMA_DEVICES = st.builds(
    RdmaDevice,
    name=st.just("mlx5_0"),
    pci=PLACES,
    pcie=LINKS,
    virtual=st.booleans(),
    ports=st.lists(PORTS, max_size=3).map(tuple),
)
NET_DEVICES = st.builds(
    NetDevice,
    name=st.just("eth0"),
    state=st.sampled_from([None, "up", "down"]),
    bytes_per_second=MEGABITS,
    mtu_bytes=st.none(),
    pci=PLACES,
    pcie=LINKS,
    virtual=st.booleans(),
)


@settings(max_examples=200)
@given(
    node=st.builds(
        ThisNode,
        name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
        | st.sampled_from(["null", "1e3", "0x1"]),
        memory_bytes=st.none() | st.integers(0, 2**44),
        numa_nodes=st.just(()),
        gpus=st.lists(GPUS, max_size=9).map(tuple),
        rdma_devices=st.lists(RDMA_DEVICES, max_size=9).map(tuple),
        net_devices=st.lists(NET_DEVICES, max_size=4).map(tuple),
        unknown=st.just((Unknown(path="/sys/x", sentence="'#: {' is not a rate"),)),
    )
)
def test_any_node_is_taken_by_the_reader(node, tmp_path_factory):
    cluster = described(tmp_path_factory.getbasetemp(), fragment(node))
    assert [each.id for each in cluster.nodes] == [node.name]


@pytest.mark.parametrize("number", [64, 65])
def test_more_than_descriptions_count_to(tmp_path, number):
    node = read_this_node(two_ports(tmp_path).root)
    port = node.rdma_devices[0]
    many = attrs.evolve(node, gpus=node.gpus[:1] * number, rdma_devices=(port,) * number)
    written = fragment(many)
    gpus, nics = (
        ("gpus: 64 x L4", "nics: 64 x 100 Gb/s") if number == 64 else ("cpu:", "nics: [64 x 100 Gb/s, 100 Gb/s]")
    )
    assert f"      {gpus}" in written
    assert f"      {nics}" in written
    described(tmp_path, written)
