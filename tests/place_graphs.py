"""Place graphs of several shapes, small enough to know their routes by heart; both directions of a cable are alike."""

import attrs

from specs.cluster import Cluster, Link, Node, Place, PlaceKind
from tests.builders import GIGABYTE, TOY

MEMORY_BYTES = 80 * GIGABYTE


@attrs.define
class Wiring:
    """Collects places and links; a place's node is what stands before the slash in its name."""

    places: list[Place] = attrs.field(factory=list)
    links: list[Link] = attrs.field(factory=list)

    def device(self, name: str, memory_bytes: int = MEMORY_BYTES) -> str:
        node = name.partition("/")[0]
        self.places.append(Place(id=name, kind=PlaceKind.DEVICE, node=node, memory_bytes=memory_bytes, device=TOY.name))
        return name

    def store(self, name: str, kind: PlaceKind = PlaceKind.HOST) -> str:
        self.places.append(Place(id=name, kind=kind, node=name.partition("/")[0], memory_bytes=MEMORY_BYTES))
        return name

    def switch(self, name: str) -> str:
        node = name.partition("/")[0] if "/" in name else None
        self.places.append(Place(id=name, kind=PlaceKind.SWITCH, node=node, memory_bytes=0))
        return name

    def wire(self, near: str, far: str, rate: int = GIGABYTE, latency_ns: int = 1000) -> None:
        """Lay one link."""
        self.links.append(
            Link(id=f"{near}>{far}", source=near, destination=far, bytes_per_second=rate, latency_ns=latency_ns)
        )

    def cable(self, near: str, far: str, rate: int = GIGABYTE, latency_ns: int = 1000) -> None:
        """Lay one link each way."""
        self.wire(near, far, rate, latency_ns)
        self.wire(far, near, rate, latency_ns)

    def node(self, number: int, to: str, rate: int = GIGABYTE, memory_bytes: int = MEMORY_BYTES) -> str:
        """A node of one device behind one NIC; give the device."""
        device = self.device(f"n{number}/gpu0", memory_bytes)
        self.switch(f"n{number}/nic0")
        self.cable(device, f"n{number}/nic0", 4 * rate, 0)
        self.cable(f"n{number}/nic0", to, rate)
        return device

    def cluster(self) -> Cluster:
        names = dict.fromkeys(place.node for place in self.places if place.node is not None)
        nodes = tuple(
            Node(id=name, address=f"127.0.0.1:{20000 + index}", rack=None) for index, name in enumerate(names)
        )
        return Cluster(
            name="wired",
            device_kinds=(TOY,),
            nodes=nodes,
            places=tuple(self.places),
            links=tuple(self.links),
        )


def star(nodes: int, rates: tuple[int, ...] = (GIGABYTE,)) -> Cluster:
    """Nodes on one switch; their NICs take the rates in turn."""
    wiring = Wiring()
    wiring.switch("leaf")
    for number in range(nodes):
        wiring.node(number, "leaf", rates[number % len(rates)])
    return wiring.cluster()


def two_racks(per_rack: int, uplink: int = GIGABYTE, spines: int = 1) -> Cluster:
    """Two leaves of so many nodes each, joined over spines."""
    wiring = Wiring()
    for rack in range(2):
        wiring.switch(f"leaf{rack}")
        for number in range(per_rack):
            wiring.node(rack * per_rack + number, f"leaf{rack}")
    for spine in range(spines):
        wiring.switch(f"spine{spine}")
        for rack in range(2):
            wiring.cable(f"leaf{rack}", f"spine{spine}", uplink)
    return wiring.cluster()


def islands(nodes: int, devices: int = 2) -> Cluster:
    """Nodes whose devices share an NVLink switch, a PCIe switch and one NIC; host memory and an SSD beside them."""
    wiring = Wiring()
    wiring.switch("leaf")
    for number in range(nodes):
        nvlink, pcie, nic = (wiring.switch(f"n{number}/{name}") for name in ("nvlink", "pcie", "nic0"))
        wiring.cable(nic, "leaf", 5 * GIGABYTE)
        wiring.cable(nic, pcie, 20 * GIGABYTE)
        host, ssd = wiring.store(f"n{number}/host"), wiring.store(f"n{number}/ssd", PlaceKind.SSD)
        wiring.cable(host, pcie, 20 * GIGABYTE)
        wiring.cable(ssd, pcie, 2 * GIGABYTE)
        for index in range(devices):
            device = wiring.device(f"n{number}/gpu{index}")
            wiring.cable(device, nvlink, 100 * GIGABYTE)
            wiring.cable(device, pcie, 20 * GIGABYTE)
    return wiring.cluster()
