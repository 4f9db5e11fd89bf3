from planner.description.devices import known_kinds


def test_the_common_devices_are_known_with_a_source():
    wanted = {"A10", "L4", "L40S", "A100-40G", "A100-80G", "H100", "H100-PCIe", "H200", "B200", "MI300X", "cpu"}
    assert set(known_kinds()) == wanted
    assert all("20" in kind.source or kind.name == "cpu" for kind in known_kinds().values())


def test_units_are_plausible():
    """A slip of a unit would leave these ranges."""
    for kind in known_kinds().values():
        assert 10**10 <= kind.memory_bytes <= 3 * 10**11, kind.name
        assert 10**10 <= kind.memory_bytes_per_second <= 10**13, kind.name
        assert 10**10 < kind.flops_per_second_fp32 < 10**15, kind.name
        assert kind.name == "cpu" or 2 < kind.flops_per_second_bf16 / kind.flops_per_second_fp32 < 50, kind.name
