"""Quantities and names as people say them; every rounding is marked with ≈, and nothing is read back from these."""

import re
from collections.abc import Iterable

from specs.units import NANOS_PER_SECOND

_DECIMAL = tuple((10 ** (3 * power), prefix) for power, prefix in ((5, "P"), (4, "T"), (3, "G"), (2, "M"), (1, "k")))
_BINARY = tuple(
    (2 ** (10 * power), f"{prefix}i") for power, prefix in ((5, "P"), (4, "T"), (3, "G"), (2, "M"), (1, "K"))
)
_DURATIONS = ((NANOS_PER_SECOND, "s"), (10**6, "ms"), (10**3, "us"), (1, "ns"))
_NUMBERS = re.compile(r"([0-9]+)")


def say_size(size_bytes: int) -> str:
    """Say a size: exactly in GB or GiB and their like where two decimals suffice, else rounded."""
    exact = _exactly(size_bytes, _DECIMAL, "B") or _exactly(size_bytes, _BINARY, "B")
    return exact or _rounded(size_bytes, _DECIMAL if size_bytes % 10**6 == 0 else _BINARY, "B")


def say_rate(bytes_per_second: int) -> str:
    """Say a rate in bytes per second, such as 53 GB/s."""
    return _exactly(bytes_per_second, _DECIMAL, "B/s") or _rounded(bytes_per_second, _DECIMAL, "B/s")


def say_network_rate(bytes_per_second: int) -> str:
    """Say a rate in bits per second, such as 400 Gb/s, as network links are sold."""
    bits = bytes_per_second * 8
    return _exactly(bits, _DECIMAL, "b/s") or _rounded(bits, _DECIMAL, "b/s")


def say_operations(flops: int, unit: str = "flop") -> str:
    """Say a number of operations, or with the unit flop/s a rate of them."""
    return _exactly(flops, _DECIMAL, unit) or _rounded(flops, _DECIMAL, unit)


def say_duration(nanos: int) -> str:
    """Say a duration, such as 200 us."""
    for factor, unit in _DURATIONS:
        if nanos >= factor:
            mark = "" if nanos * 100 % factor == 0 else "≈ "
            return f"{mark}{_trimmed(nanos, factor)} {unit}"
    return "0"


def say_names(names: Iterable[str]) -> str:
    """Say names in order, with runs of numbers as ranges: gpu[0-7], node[1-4]/gpu[0-1]."""
    return ", ".join(_in_runs(_in_runs(names, only_last=True), only_last=False))


def _in_runs(names: Iterable[str], *, only_last: bool) -> list[str]:
    """Join names that follow one another in one number; with `only_last`, in their last."""
    runs: list[_Run] = []
    for name in names:
        parts = _NUMBERS.split(name)
        if not (runs and runs[-1].take(parts, only_last=only_last)):
            runs.append(_Run(parts))
    return [run.say() for run in runs]


class _Run:
    """Names that differ in one number, which counts up.  Odd parts of a name are its numbers."""

    def __init__(self, parts: list[str]) -> None:
        self._first = self._last = parts
        self._counted: int | None = None  # the part that counts; absent while the run has one name

    def take(self, parts: list[str], *, only_last: bool) -> bool:
        """Take the next name if it continues the run."""
        if len(parts) != len(self._last):
            return False
        changed = [index for index, part in enumerate(parts) if part != self._last[index]]
        if len(changed) != 1 or changed[0] % 2 == 0 or self._counted not in (None, changed[0]):
            return False
        if only_last and changed[0] != len(parts) - 2:
            return False
        if parts[changed[0] - 1].endswith("[") or parts[changed[0] + 1].startswith("]"):
            return False  # the end of a range that is said already
        before, after = self._last[changed[0]], parts[changed[0]]
        width = len(before) if before.startswith("0") else 0
        if after != f"{int(before) + 1:0{width}}":
            return False
        self._counted = changed[0]
        self._last = parts
        return True

    def say(self) -> str:
        """Say the run as one name with a range."""
        if self._counted is None:
            return "".join(self._first)
        spoken = list(self._first)
        spoken[self._counted] = f"[{self._first[self._counted]}-{self._last[self._counted]}]"
        return "".join(spoken)


def _exactly(amount: int, steps: tuple[tuple[int, str], ...], unit: str) -> str | None:
    """Say an amount if at most two decimals are needed."""
    for factor, prefix in steps:
        if amount >= factor:
            return f"{_trimmed(amount, factor)} {prefix}{unit}" if amount * 100 % factor == 0 else None
    return f"{amount} {unit}"


def _rounded(amount: int, steps: tuple[tuple[int, str], ...], unit: str) -> str:
    factor, prefix = next((step for step in steps if amount >= step[0]), (1, ""))
    # Tenths, rounded half up, in integers.
    tenths = (amount * 10 + factor // 2) // factor
    return f"≈ {tenths // 10}.{tenths % 10} {prefix}{unit}" if tenths % 10 else f"≈ {tenths // 10} {prefix}{unit}"


def _trimmed(amount: int, factor: int) -> str:
    whole, rest = divmod(amount * 100 // factor, 100)
    return f"{whole}.{rest:02}".rstrip("0").rstrip(".")
