"""Machines to read: the files that sysfs and procfs have of them, written below a folder."""

import os
from pathlib import Path

NO_GID = "0000:0000:0000:0000:0000:0000:0000:0000"


def link_local(last):
    return f"fe80:0000:0000:0000:0000:0000:0000:{last:04x}"


def mapped(ipv4):
    one, two, three, four = (int(part) for part in ipv4.split("."))
    return f"0000:0000:0000:0000:0000:ffff:{one:02x}{two:02x}:{three:02x}{four:02x}"


class FakeMachine:
    """Writes the files of one machine; paths are below its root."""

    def __init__(self, root, *, name="node1", memory_kib=2**20, numa_nodes=1):
        self.root = Path(root)
        self.write("proc/sys/kernel/hostname", f"{name}\n")
        self.write("proc/meminfo", f"MemTotal:{memory_kib:>15} kB\nMemFree:               1 kB\n")
        (self.root / "sys/class").mkdir(parents=True)
        for number in range(numa_nodes):
            self.numa_node(number, memory_kib // numa_nodes, f"{8 * number}-{8 * number + 7}")
        self.write("sys/devices/system/node/online", "0\n")

    def write(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def link(self, path, target):
        """Make a relative link, as sysfs has them."""
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.path.relpath(self.root / target, path.parent))

    def numa_node(self, number, memory_kib, processors):
        folder = f"sys/devices/system/node/node{number}"
        self.write(f"{folder}/meminfo", f"Node {number} MemTotal:{memory_kib:>15} kB\nNode {number} MemFree: 1 kB\n")
        self.write(f"{folder}/cpulist", f"{processors}\n")

    def pci(self, way, *, vendor="0x15b3", device="0x1021", kind="0x020700", numa=0, speed="32.0 GT/s PCIe", lanes=16):
        """Add a PCI function; `way` is pci0000:10/0000:10:01.0/..., and the bridges on it are added as well."""
        parts = way.split("/")
        folder = f"sys/devices/{way}"
        for index, part in enumerate(parts[1:], 2):
            if not os.path.lexists(self.root / f"sys/bus/pci/devices/{part}"):
                bridge = "sys/devices/" + "/".join(parts[:index])
                self._function(bridge, "0x10b5", "0xc030", "0x060400", numa, speed, lanes)
        self._function(folder, vendor, device, kind, numa, speed, lanes)
        return folder

    def _function(self, folder, vendor, device, kind, numa, speed, lanes):
        values = {"vendor": vendor, "device": device, "class": kind, "numa_node": numa}
        values |= {"max_link_speed": speed, "current_link_speed": "2.5 GT/s PCIe", "current_link_width": lanes}
        for name, value in values.items():
            if value is not None:
                self.write(f"{folder}/{name}", f"{value}\n")
        name = folder.rpartition("/")[2]
        if not os.path.lexists(self.root / f"sys/bus/pci/devices/{name}"):
            self.link(f"sys/bus/pci/devices/{name}", folder)

    def gpu(self, way, *, device="0x2330", kind="0x030200", model=None, **more):
        folder = self.pci(way, vendor="0x10de", device=device, kind=kind, **more)
        if model:
            address = way.rpartition("/")[2]
            self.write(f"proc/driver/nvidia/gpus/{address}/information", f"Model: \t\t {model}\nIRQ:   \t\t 18\n")
        return folder

    def rdma(self, name, folder=None):
        """Add an RDMA device, on a PCI function or in software."""
        mine = f"{folder}/infiniband/{name}" if folder else f"sys/devices/virtual/infiniband/{name}"
        self.write(f"{mine}/node_type", "1: CA\n")
        (self.root / mine / "ports").mkdir()
        if folder:
            self.link(f"{mine}/device", folder)
        self.link(f"sys/class/infiniband/{name}", mine)
        return mine

    def port(self, device, number=1, *, layer="Ethernet", active=True, rate="400 Gb/sec (4X NDR)", lid="0x0", gids=()):
        """Add a port; its GIDs are (value, type, net device), and the table ends with one that is not set."""
        folder = f"{device}/ports/{number}"
        self.write(f"{folder}/state", "4: ACTIVE\n" if active else "1: DOWN\n")
        self.write(f"{folder}/phys_state", "5: LinkUp\n" if active else "3: Disabled\n")
        self.write(f"{folder}/rate", f"{rate}\n")
        self.write(f"{folder}/link_layer", f"{layer}\n")
        self.write(f"{folder}/lid", f"{lid}\n")
        for index, (value, kind, net_device) in enumerate((*gids, (NO_GID, None, None))):
            self.write(f"{folder}/gids/{index}", f"{value}\n")
            if kind:
                self.write(f"{folder}/gid_attrs/types/{index}", f"{kind}\n")
            if net_device:
                self.write(f"{folder}/gid_attrs/ndevs/{index}", f"{net_device}\n")
        return folder

    def net(self, name, folder=None, *, state="up", speed="100000", mtu=9000):
        """Add a net device, on a PCI function or in software; one that is down has no speed."""
        mine = f"{folder}/net/{name}" if folder else f"sys/devices/virtual/net/{name}"
        self.write(f"{mine}/operstate", f"{state}\n")
        self.write(f"{mine}/mtu", f"{mtu}\n")
        if speed is not None:
            self.write(f"{mine}/speed", f"{speed}\n")
        if folder:
            self.link(f"{mine}/device", folder)
        self.link(f"sys/class/net/{name}", mine)


def roce(net_device, ipv4, last=1):
    """GIDs as a RoCE port has them: link-local and IPv4, each for both versions."""
    found = []
    for value in (link_local(last), mapped(ipv4)):
        found += [(value, "IB/RoCE v1", net_device), (value, "RoCE v2", net_device)]
    return found


def dgx(root):
    """Eight H100, each with an InfiniBand NIC, two and two on a PCIe switch, two switches on each NUMA node."""
    machine = FakeMachine(root, name="dgx1", memory_kib=2 * 2**30, numa_nodes=2)
    for index in range(8):
        switch, numa = index // 2, index // 4
        bus = 0x10 + 0x20 * switch
        port = 2 * (index % 2)
        upstream = f"pci0000:{bus:02x}/0000:{bus:02x}:01.0/0000:{bus + 1:02x}:00.0"
        gpu = f"{upstream}/0000:{bus + 2:02x}:0{port}.0/0000:{bus + 3 + port:02x}:00.0"
        nic = f"{upstream}/0000:{bus + 2:02x}:0{port + 1}.0/0000:{bus + 4 + port:02x}:00.0"
        machine.gpu(gpu, numa=numa, model="NVIDIA H100 80GB HBM3")
        device = machine.rdma(f"mlx5_{index}", machine.pci(nic, numa=numa))
        gid = (link_local(index + 1), "IB/RoCE v1", None)
        machine.port(device, layer="InfiniBand", lid=f"0x{index + 16:x}", gids=[gid])
    onboard = machine.pci("pci0000:00/0000:00:1c.0/0000:01:00.0", kind="0x020000", speed="8.0 GT/s PCIe", lanes=4)
    machine.net("eno1", onboard, speed="10000", mtu=1500)
    machine.net("lo", speed=None, mtu=65536)
    return machine


def two_ports(root):
    """A RoCE card of two ports, of which one is down, and two L4 on root ports of their own."""
    machine = FakeMachine(root, name="edge", memory_kib=64 * 2**20, numa_nodes=1)
    for index in range(2):
        way = f"pci0000:00/0000:00:0{index + 1}.0/0000:0{index + 1}:00.0"
        machine.gpu(way, device="0x27b8", numa=-1, speed="16.0 GT/s PCIe")
        card = machine.pci(
            f"pci0000:80/0000:80:01.0/0000:81:00.{index}", kind="0x020000", numa=-1, speed="16.0 GT/s PCIe"
        )
        name = f"ens1f{index}np{index}"
        device = machine.rdma(f"mlx5_{index}", card)
        up = index == 0
        gids = roce(name, "10.0.0.5") if up else [(link_local(2), "IB/RoCE v1", name), (link_local(2), "RoCE v2", name)]
        machine.port(device, active=up, rate="100 Gb/sec (4X EDR)" if up else "40 Gb/sec (4X QDR)", gids=gids)
        machine.net(name, card, state="up" if up else "down", speed="100000" if up else None)
    return machine
