"""Quantities as people write them, to exact integers.

What a cluster has (sizes and rates) rounds down; what takes time rounds up.  Every function raises BadQuantity with
what was written and what to write instead.

The effective rate of PCI Express is the signalling rate per lane times the lanes, times the line code (128/130 from
generation 3 to 5; 236/256 in the flits of generation 6), times 256/280 for 24 bytes of headers around a payload of 256,
and, below generation 6, times 23/25 for acknowledgements and flow control (Neugebauer et al., "Understanding PCIe
performance for end host networking", SIGCOMM 2018, section 3).  NVLink rates are NVIDIA's, per GPU and direction.
"""

import re
from fractions import Fraction

from planner.errors import BadQuantity
from specs.units import NANOS_PER_SECOND, Bytes, BytesPerSecond, FlopsPerSecond, Nanos

_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
_PREFIXES = _DECIMAL | _BINARY

_SIZE_UNITS = {f"{prefix}B": Fraction(factor) for prefix, factor in _PREFIXES.items()}
_RATE_UNITS = {f"{unit}/s": factor for unit, factor in _SIZE_UNITS.items()} | {
    f"{prefix}b/s": Fraction(factor, 8) for prefix, factor in _DECIMAL.items()
}
_FLOPS_UNITS = {f"{prefix}flop/s": Fraction(factor) for prefix, factor in _DECIMAL.items()}
_DURATION_UNITS = {
    "ns": Fraction(1),
    "us": Fraction(10**3),
    "µs": Fraction(10**3),
    "ms": Fraction(10**6),
    "s": Fraction(NANOS_PER_SECOND),
    "min": Fraction(60 * NANOS_PER_SECOND),
    "h": Fraction(3600 * NANOS_PER_SECOND),
}
_HOURS = {"s": Fraction(1, 3600), "min": Fraction(1, 60), "h": Fraction(1), "hour": Fraction(1), "day": Fraction(24)}

_PCIE_TRANSFERS_PER_SECOND = {3: 8 * 10**9, 4: 16 * 10**9, 5: 32 * 10**9, 6: 64 * 10**9}
_PCIE_PAYLOAD = Fraction(256, 280)
_PCIE_ACKNOWLEDGED = Fraction(23, 25)
# Data sheets: V100 (2017) 300 GB/s, A100 (2020) 600, H100 (2022) 900, GB200 (2024) 1800, both directions together.
_NVLINK_BYTES_PER_SECOND = {2: 150 * 10**9, 3: 300 * 10**9, 4: 450 * 10**9, 5: 900 * 10**9}

# Larger values are slips of a unit, not hardware.
_SIZE_MAX = 2**60
_RATE_MAX = 10**15
_FLOPS_MAX = 10**18
_DURATION_MAX = 24 * 3600 * NANOS_PER_SECOND
_COUNT_MAX = 10**9

_NUMBER = re.compile(r"(?P<number>[0-9]{1,18}(\.[0-9]{1,12})?)\s*(?P<unit>[^0-9\s].*)?")
_DIGITS = re.compile(r"[0-9]{19}|[0-9]+\.[0-9]{13}")
_TIMES = re.compile(r"([0-9]{1,6})\s*[x×]\s*(.*)")
_PCIE = re.compile(r"pcie\s*(?:gen\s*)?([0-9]+)(?:\.0)?\s*x\s*([0-9]+)", re.IGNORECASE)
_NVLINK = re.compile(r"nvlink\s*([0-9]+)(?:\.0)?", re.IGNORECASE)


def parse_size(text: str) -> Bytes:
    """Read a size, such as 80 GiB or 3.84 TB, in bytes, rounded down."""
    value = _measure(text, "size", _SIZE_UNITS, "80 GiB or 3.84 TB")
    return Bytes(_within(text, "size", value.__floor__(), 1, _SIZE_MAX))


def parse_rate(text: str) -> BytesPerSecond:
    """Read a rate, such as 400 Gb/s, 25 GB/s, PCIe 5 x16 or 8 x 400 Gb/s, in bytes per second, rounded down."""
    times = _TIMES.fullmatch(text.strip())
    count, one = (int(times.group(1)), times.group(2)) if times else (1, text)
    named = _pcie(one) or _nvlink(one)
    value = named or _measure(one, "rate", _RATE_UNITS, "400 Gb/s, 25 GB/s or PCIe 5 x16")
    return BytesPerSecond(_within(text, "rate", (count * value).__floor__(), 1, _RATE_MAX))


def parse_duration(text: str) -> Nanos:
    """Read a duration, such as 200 us, 30 ms or 1.5 s, in nanoseconds, rounded up."""
    value = _measure(text, "duration", _DURATION_UNITS, "200 us, 30 ms or 1.5 s")
    return Nanos(_within(text, "duration", value.__ceil__(), 0, _DURATION_MAX))


def parse_flops(text: str) -> FlopsPerSecond:
    """Read a rate of arithmetic, such as 67 Tflop/s, in operations per second, rounded down."""
    value = _measure(text, "rate of arithmetic", _FLOPS_UNITS, "67 Tflop/s")
    return FlopsPerSecond(_within(text, "rate of arithmetic", value.__floor__(), 1, _FLOPS_MAX))


def parse_count(text: str) -> int:
    """Read a whole number from 1."""
    if re.fullmatch(r"-[0-9]{1,18}", text):
        raise BadQuantity(f"{text!r:.60} is negative; write a whole number from 1, for example 16")
    if re.fullmatch(r"[0-9]{1,18}", text) is None:
        raise BadQuantity(f"{text!r:.60} is not a whole number; write for example 16")
    return _within(text, "number", int(text), 1, _COUNT_MAX)


def parse_natural(text: str) -> int:
    """Read a whole number from 0."""
    return 0 if text == "0" else parse_count(text)


def parse_per_hour(text: str) -> int:
    """Read a frequency, such as 2 / s or 500 / hour, in events per hour, rounded up."""
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*/\s*([a-z]+)", text)
    if found is None or found.group(2) not in _HOURS:
        raise BadQuantity(f"{text!r:.60} is not a frequency; write for example 2 / s, 30 / min or 500 / hour")
    value = Fraction(found.group(1)) / _HOURS[found.group(2)]
    return _within(text, "frequency", value.__ceil__(), 0, _COUNT_MAX)


def parse_share(text: str) -> int:
    """Read a share, such as 85 % or 62.5 %, in parts per million, rounded down."""
    found = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%", text.strip())
    if found is None:
        raise BadQuantity(f"{text!r:.60} is not a share; write for example 85 %")
    return _within(text, "share", (Fraction(found.group(1)) * 10**4).__floor__(), 0, 10**6)


def parse_price(text: str) -> int:
    """Read a rent, such as 2.49 USD / h, in millionths of a dollar per hour, rounded up."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*USD\s*/\s*(h|hour)", text.strip())
    if found is None:
        raise BadQuantity(f"{text!r:.60} is not a price; write for example 2.49 USD / h")
    return _within(text, "price", (Fraction(found.group(1)) * 10**6).__ceil__(), 0, 10**15)


def _measure(text: str, what: str, units: dict[str, Fraction], examples: str) -> Fraction:
    """Read a number with one of these units; the result is exact."""
    stripped = text.strip()
    if _DIGITS.match(stripped):
        raise BadQuantity(f"{text!r:.60} has more digits than are read; write for example {examples}")
    found = _NUMBER.fullmatch(stripped)
    if found is None:
        if stripped.startswith("-"):
            raise BadQuantity(f"{text!r:.60} is negative; a {what} never is; write for example {examples}")
        raise BadQuantity(f"{text!r:.60} is not a {what}; write for example {examples}")
    number, unit = found.group("number"), (found.group("unit") or "").strip()
    if not unit:
        raise BadQuantity(f"{text!r:.60} has no unit; write for example {examples}")
    if unit not in units:
        raise BadQuantity(f"{text!r:.60} is not a {what}: {_unit_hint(number, unit, units, examples)}")
    return Fraction(number) * units[unit]


def _unit_hint(number: str, unit: str, units: dict[str, Fraction], examples: str) -> str:
    """Say what the writer probably meant: another case, bits for bytes, a rate for a size or the reverse."""
    if unit.endswith(("bps", "Bps")):
        return f"write {number} {unit[:-2]}/s"
    tried = (f"{unit}/s", unit.removesuffix("/s"), unit.replace("bit", "b"), unit.replace("FLOPS", "flop/s"))
    for likely in tried:
        if likely in units:
            return f"did you mean {number} {likely}?"
    same = sorted(known for known in units if known.lower() == unit.lower())
    if same:
        return f"did you mean {' or '.join(f'{number} {known}' for known in same)}?"
    return f"the unit {unit!r:.20} is unknown; write for example {examples}"


def _within(text: str, what: str, value: int, low: int, high: int) -> int:
    if value < low:
        raise BadQuantity(f"{text!r:.60} is too small for a {what}")
    if value > high:
        raise BadQuantity(f"{text!r:.60} is larger than any {what} that is read; is the unit right?")
    return value


def _pcie(text: str) -> Fraction | None:
    found = _PCIE.fullmatch(text.strip())
    if found is None:
        return None
    generation, lanes = int(found.group(1)), int(found.group(2))
    if generation not in _PCIE_TRANSFERS_PER_SECOND or lanes not in (1, 2, 4, 8, 16):
        raise BadQuantity(f"{text!r:.60} is unknown; PCIe generations 3 to 6 with 1, 2, 4, 8 or 16 lanes are known")
    code = Fraction(236, 256) if generation == 6 else Fraction(128, 130) * _PCIE_ACKNOWLEDGED
    return Fraction(_PCIE_TRANSFERS_PER_SECOND[generation] * lanes, 8) * code * _PCIE_PAYLOAD


def _nvlink(text: str) -> Fraction | None:
    found = _NVLINK.fullmatch(text.strip())
    if found is None:
        return None
    if int(found.group(1)) not in _NVLINK_BYTES_PER_SECOND:
        raise BadQuantity(f"{text!r:.60} is unknown; NVLink 2 to 5 are known, or write a rate such as 448 GB/s")
    return Fraction(_NVLINK_BYTES_PER_SECOND[int(found.group(1))])
