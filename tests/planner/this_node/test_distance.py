"""Every word of `nvidia-smi topo`, and both ways round."""

import pytest

from planner.this_node.distance import Distance, distance
from planner.this_node.inventory import PciPlace

ROOT = ("0000:10:01.0", "0000:11:00.0")  # a root port and a switch's upstream port


def place(*bridges, host="pci0000:10", numa=0):
    return PciPlace(address="0000:99:00.0", host_bridge=host, bridges=bridges, numa_node=numa)


CASES = {
    "functions of one card": (place(*ROOT, "0000:12:00.0"), place(*ROOT, "0000:12:00.0"), Distance.PIX),
    "ports of one switch": (place(*ROOT, "0000:12:00.0"), place(*ROOT, "0000:12:01.0"), Distance.PIX),
    "a switch behind a switch": (
        place(*ROOT, "0000:12:00.0"),
        place(*ROOT, "0000:12:01.0", "0000:13:00.0", "0000:14:00.0"),
        Distance.PXB,
    ),
    "root ports of one host bridge": (place("0000:10:01.0"), place("0000:10:02.0"), Distance.PHB),
    "one on the root itself": (place(), place(*ROOT, "0000:12:00.0"), Distance.PHB),
    "host bridges of one NUMA node": (place(), place(host="pci0000:20"), Distance.NODE),
    "other NUMA nodes": (place(), place(host="pci0000:20", numa=1), Distance.SYS),
    "NUMA node not known": (place(), place(host="pci0000:20", numa=None), None),
    "NUMA node not needed": (place(numa=None), place(numa=None), Distance.PHB),
    "no place": (place(), None, None),
}


@pytest.mark.parametrize("name", CASES)
def test_distances(name):
    one, other, expected = CASES[name]
    assert distance(one, other) is expected
    assert distance(other, one) is expected
