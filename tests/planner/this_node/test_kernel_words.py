"""Texts of the kernel: what is taken, and that everything else is one sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import BadQuantity
from planner.this_node import kernel_words

GOOD = {
    "parse_port_rate": {
        "400 Gb/sec (4X NDR)": 50 * 10**9,
        "2.5 Gb/sec (1X SDR)": 312_500_000,
        "800 Gb/sec (8X)": 10**11,
    },
    "parse_net_rate": {"100000": 12_500_000_000, "-1": None, "4294967295": None, "10": 1_250_000},
    "parse_pcie_generation": {
        "32.0 GT/s PCIe": 5,
        "8 GT/s": 3,
        "2.5 GT/s PCIe": 1,
        "64.0 GT/s PCIe": 6,
        "Unknown": None,
    },
    "parse_pcie_lanes": {"16": 16, "0": None, "63": None},
    "parse_numa_node": {"-1": None, "3": 3},
    "parse_memory": {"MemTotal:   10 kB\nx": 10240, "Node 1 MemTotal:   1 kB": 1024},
    "parse_processors": {"": "", "0-55,112-167": "0-55,112-167", "3": "3"},
    "parse_model": {"Model: \t\t NVIDIA L4\nIRQ: 1": "NVIDIA L4"},
    "parse_hexadecimal": {"0x10de": 0x10DE},
}
BAD = {
    "parse_port_rate": ["0 Gb/sec", "400 GB/sec", "-1 Gb/sec", "400", "999999 Gb/sec", "4 Gb/sec (4X NDR)\n5 Gb/sec"],
    "parse_net_rate": ["-2", "1e5", "010", "999999999"],
    "parse_pcie_generation": ["33 GT/s", "GT/s", ""],
    "parse_pcie_lanes": ["3", "x16", ""],
    "parse_numa_node": ["-2", "", "99999"],
    "parse_memory": ["", "MemTotal: many kB", "MemTotal: 1 MB"],
    "parse_processors": ["a", "1-", ",", "1," * 400 + "1"],
    "parse_model": ["", "Model:   \n"],
    "parse_pci_address": ["0000:00:00", "0000:00:00.8", "../0000:00:00.0"],
    "parse_device_name": ["", ".", "..", "a/b", "a" * 65, "a\nb"],
    "parse_mtu": ["", "-1"],
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_taken(name):
    for text, value in GOOD[name].items():
        assert getattr(kernel_words, name)(text) == value


@pytest.mark.parametrize("name", BAD)
def test_what_is_not(name):
    for text in BAD[name]:
        with pytest.raises(BadQuantity):
            getattr(kernel_words, name)(text)


@given(
    name=st.sampled_from([name for name in vars(kernel_words) if name.startswith("parse_")]), text=st.text(max_size=40)
)
def test_any_text_is_a_value_or_one_sentence(name, text):
    sentence = ""
    try:
        getattr(kernel_words, name)(text)
    except BadQuantity as error:
        sentence = str(error)
    assert "\n" not in sentence
