"""What is read of whole machines."""

import os
from ipaddress import IPv4Address

import pytest

from planner.this_node.distance import Distance, distance
from planner.this_node.inventory import GidType, LinkLayer, PcieLink, PortState
from planner.this_node.reading import read_this_node
from tests.planner.this_node.fake_machine import FakeMachine, dgx, link_local, mapped, roce, two_ports


def distances(node, place):
    return " ".join(distance(place, gpu.pci) or "?" for gpu in node.gpus)


def test_eight_gpus_and_nics_on_four_switches(tmp_path):
    node = read_this_node(dgx(tmp_path).root)
    assert node.unknown == ()
    assert (node.name, node.memory_bytes) == ("dgx1", 2 * 2**40)
    assert [(each.number, each.memory_bytes, each.processors) for each in node.numa_nodes] == [
        (0, 2**40, "0-7"),
        (1, 2**40, "8-15"),
    ]
    assert [gpu.name for gpu in node.gpus] == [f"gpu{index}" for index in range(8)]
    assert {(gpu.kind, gpu.pci_id, gpu.model) for gpu in node.gpus} == {("H100", "10de:2330", "NVIDIA H100 80GB HBM3")}
    assert [gpu.pci.numa_node for gpu in node.gpus] == [0, 0, 0, 0, 1, 1, 1, 1]
    # What the idle GPU has lowered its link to does not count.
    assert {gpu.pcie for gpu in node.gpus} == {PcieLink(generation=5, lanes=16)}
    assert len(node.rdma_devices) == 8
    assert distances(node, node.rdma_devices[0].pci) == "PIX PIX NODE NODE SYS SYS SYS SYS"
    assert distances(node, node.rdma_devices[7].pci) == "SYS SYS SYS SYS NODE NODE PIX PIX"
    assert distances(node, node.gpus[2].pci) == "NODE NODE PIX PIX SYS SYS SYS SYS"
    assert [device.name for device in node.net_devices] == ["eno1"], "loopback has no hardware and no RDMA"


def test_an_infiniband_port_has_a_lid_and_no_roce(tmp_path):
    (port,) = read_this_node(dgx(tmp_path).root).rdma_devices[3].ports
    assert (port.state, port.physical_state, port.link_layer) == (PortState.ACTIVE, "LinkUp", LinkLayer.INFINIBAND)
    assert (port.lid, port.bytes_per_second, port.net_devices) == (19, 50 * 10**9, ())
    (gid,) = port.gids
    assert (gid.index, gid.type, gid.net_device, gid.ipv4) == (0, GidType.INFINIBAND, None, None)


def test_two_roce_ports_of_which_one_is_down(tmp_path):
    node = read_this_node(two_ports(tmp_path).root)
    assert node.unknown == ()
    up, down = node.rdma_devices
    assert (up.ports[0].state, down.ports[0].state) == (PortState.ACTIVE, PortState.DOWN)
    assert down.ports[0].physical_state == "Disabled"
    assert up.ports[0].lid is None
    assert [(gid.index, gid.type, gid.net_device, gid.ipv4) for gid in up.ports[0].gids] == [
        (0, GidType.ROCE_V1, "ens1f0np0", None),
        (1, GidType.ROCE_V2, "ens1f0np0", None),
        (2, GidType.ROCE_V1, "ens1f0np0", IPv4Address("10.0.0.5")),
        (3, GidType.ROCE_V2, "ens1f0np0", IPv4Address("10.0.0.5")),
    ]
    assert [(each.name, each.state, each.bytes_per_second) for each in node.net_devices] == [
        ("ens1f0np0", "up", 12_500_000_000),
        ("ens1f1np1", "down", None),
    ]
    # Firmware says -1, but there is only one NUMA node.
    assert distances(node, up.pci) == "NODE NODE"
    assert distance(node.gpus[0].pci, node.gpus[1].pci) is Distance.PHB


def test_soft_roce_has_no_place_in_the_pci_tree(tmp_path):
    machine = FakeMachine(tmp_path)
    machine.gpu("pci0000:00/0000:00:01.0/0000:01:00.0")
    for index in (10, 2):
        device = machine.rdma(f"rxe{index}")
        machine.port(device, rate="10 Gb/sec (1X FDR10)", gids=[(mapped(f"10.77.0.{index}"), "RoCE v2", f"r{index}")])
        machine.net(f"r{index}", speed="10000")
    machine.net("br0", speed="10000")
    node = read_this_node(tmp_path)
    assert [device.name for device in node.rdma_devices] == ["rxe2", "rxe10"]
    assert {device.pci for device in node.rdma_devices} == {None}
    assert {device.ports[0].bytes_per_second for device in node.rdma_devices} == {1_250_000_000}
    assert distances(node, None) == "?"
    assert [device.name for device in node.net_devices] == ["r2", "r10"], "those that RDMA uses, and not the bridge"
    assert node.unknown == ()


def test_a_machine_with_nothing(tmp_path):
    node = read_this_node(FakeMachine(tmp_path).root)
    assert (node.gpus, node.rdma_devices, node.net_devices, node.unknown) == ((), (), (), ())


def test_no_files_at_all(tmp_path):
    node = read_this_node(tmp_path / "absent")
    assert (node.name, node.memory_bytes, node.numa_nodes) == ("this-node", None, ())
    assert [(each.path, each.sentence) for each in node.unknown] == [
        ("/proc/sys/kernel/hostname", "it cannot be read: No such file or directory"),
        ("/proc/meminfo", "it cannot be read: No such file or directory"),
    ]


BREAKS = {
    "rate": ("fast", "'fast' is not a rate such as '400 Gb/sec (4X NDR)'"),
    "state": ("4: DOWN", "'4: DOWN' is not a state such as '4: ACTIVE'"),
    "phys_state": ("LinkUp", "'LinkUp' is not a physical state such as '5: LinkUp'"),
    "link_layer": ("Wi-Fi", "'Wi-Fi' is not a link layer: InfiniBand or Ethernet"),
    "gids/0": ("fe80::1", "'fe80::1' is not a GID: eight groups of four hexadecimal digits"),
    "gid_attrs/types/1": ("RoCE v3", "'RoCE v3' is not a type of GIDs: IB/RoCE v1 or RoCE v2"),
    "gid_attrs/ndevs/1": ("../r0", "'../r0' is not the name of a device"),
    "gids/2": (b"\xff\xfe", "the byte 0xff is not ASCII"),
    "gids/3": ("a\0b", "the control character '\\x00' stands in it"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_malformed_file_is_one_sentence_and_the_device_is_listed(tmp_path, name):
    machine = FakeMachine(tmp_path)
    port = machine.port(machine.rdma("rxe0"), gids=roce("r0", "10.77.0.1"))
    text, sentence = BREAKS[name]
    machine.write(f"{port}/{name}", text)
    node = read_this_node(tmp_path)
    assert [(each.path, each.sentence) for each in node.unknown] == [
        (f"/sys/class/infiniband/rxe0/ports/1/{name}", sentence)
    ]
    (device,) = node.rdma_devices
    assert len(device.ports) == 1
    assert len(device.ports[0].gids) >= 3


def test_what_cannot_be_read_is_one_sentence(tmp_path):
    machine = FakeMachine(tmp_path)
    port = machine.port(machine.rdma("rxe0"), gids=roce("r0", "10.77.0.1"))
    (tmp_path / port / "rate").unlink()
    (tmp_path / port / "rate").mkdir()
    (tmp_path / port / "state").unlink()
    node = read_this_node(tmp_path)
    assert [each.sentence for each in node.unknown] == [
        "it cannot be read: No such file or directory",
        "it cannot be read: Is a directory",
    ]
    assert (node.rdma_devices[0].ports[0].bytes_per_second, node.rdma_devices[0].ports[0].state) == (None, None)


def test_odd_names_and_links_are_sentences(tmp_path):
    machine = FakeMachine(tmp_path)
    machine.gpu("pci0000:00/0000:00:01.0/0000:01:00.0")
    machine.write("sys/class/infiniband/a b/node_type", "1: CA")
    machine.write("sys/class/infiniband/mlx5_0/ports/one/state", "4: ACTIVE")
    machine.link("sys/class/infiniband/mlx5_0/device", "sys/devices/absent")
    machine.write("sys/class/infiniband/mlx5_1/ports/1/state", "4: ACTIVE")
    (tmp_path / "sys/class/infiniband/mlx5_1/device").symlink_to("/")
    (tmp_path / "sys/class/infiniband" / "m\udcff").mkdir()
    machine.write("sys/bus/pci/devices/0000:02:00.0/vendor", "0x10de")
    machine.write("sys/bus/pci/devices/0000:02:00.0/class", "0x030000")
    node = read_this_node(tmp_path)
    said = {each.path.removeprefix("/sys/"): each.sentence for each in node.unknown}
    assert said["class/infiniband/a b"] == "'a b' is not the name of a device"
    assert said["class/infiniband/mlx5_0/ports/one"] == "'one' is not a number such as 1"
    assert said["class/infiniband/mlx5_0/device"] == "it leads nowhere: No such file or directory"
    assert said["class/infiniband/mlx5_1/device"] == "it leads out of the files that are read"
    assert said["class/infiniband"] == "the name 'm\\udcff' in it is not understood"
    assert said["bus/pci/devices/0000:02:00.0"] == "its place in the PCI tree is not known"
    assert [(gpu.name, gpu.pci is None, gpu.pci_id) for gpu in node.gpus] == [
        ("gpu0", False, "10de:2330"),
        ("gpu1", True, "10de:????"),
    ]
    assert [device.name for device in node.rdma_devices] == ["mlx5_0", "mlx5_1"]
    assert distance(node.gpus[1].pci, node.gpus[0].pci) is None


def test_a_virtual_function_and_a_virtio_device(tmp_path):
    machine = FakeMachine(tmp_path)
    physical = machine.pci("pci0000:00/0000:00:01.0/0000:01:00.0")
    virtual = machine.pci("pci0000:00/0000:00:01.0/0000:01:00.1")
    machine.link(f"{virtual}/physfn", physical)
    machine.port(machine.rdma("mlx5_0", physical), gids=[(link_local(1), "RoCE v2", "eth0")])
    machine.port(machine.rdma("mlx5_1", virtual), gids=[(link_local(2), "RoCE v2", "eth1")])
    machine.net("eth2", machine.pci("pci0000:00/0000:00:05.0", vendor="0x1af4", lanes=None, speed=None) + "/virtio0")
    node = read_this_node(tmp_path)
    assert [device.virtual for device in node.rdma_devices] == [False, True]
    (net,) = node.net_devices
    assert (net.pci.address, net.pci.bridges, net.pcie) == ("0000:00:05.0", (), None)
    assert node.unknown == ()


def test_nothing_waits_for_a_pipe(tmp_path):
    machine = FakeMachine(tmp_path)
    (tmp_path / "proc/meminfo").unlink()
    os.mkfifo(tmp_path / "proc/meminfo")
    node = read_this_node(machine.root)
    assert [each.sentence for each in node.unknown] == ["there is no line such as 'MemTotal:  4009152 kB'"]
