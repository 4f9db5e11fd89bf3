"""The table of known device kinds."""

import functools
import tomllib
from importlib import resources

from planner.description.quantities import parse_flops, parse_rate, parse_size
from specs.cluster import DeviceKind, DeviceKindName


@functools.cache
def known_kinds() -> dict[DeviceKindName, DeviceKind]:
    """All kinds of devices.toml, by name."""
    table = tomllib.loads(resources.files(__package__).joinpath("devices.toml").read_text("utf-8"))
    return {
        DeviceKindName(name): DeviceKind(
            name=DeviceKindName(name),
            memory_bytes=parse_size(row["memory"]),
            memory_bytes_per_second=parse_rate(row["memory-rate"]),
            flops_per_second_fp32=parse_flops(row["fp32"]),
            flops_per_second_bf16=parse_flops(row["bf16"]),
            source=row["source"],
        )
        for name, row in table.items()
    }
