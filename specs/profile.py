"""Measured rates: what devices really do, as data with a source.  They come before the data sheet's figures."""

import attrs

from specs import fields
from specs.cluster import DeviceKindName
from specs.drafting import Drafting
from specs.units import BytesPerSecond, FlopsPerSecond, Nanos


@attrs.frozen(kw_only=True)
class DeviceRate:
    """What one kind of device reaches with weights of one dtype."""

    device: DeviceKindName = fields.name()
    dtype: str = fields.name()
    flops_per_second: FlopsPerSecond = fields.positive()
    memory_bytes_per_second: BytesPerSecond = fields.positive()
    overhead_ns_per_unit: Nanos = fields.natural()  # launching kernels, Python: paid for every unit of every iteration
    source: str  # machine, date and command


@attrs.frozen(kw_only=True)
class Profile:
    """All that was measured: at most one row per device kind and dtype, one drafting per LLM."""

    rates: tuple[DeviceRate, ...]
    draftings: tuple[Drafting, ...] = ()
