import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.description import quantities
from planner.description.quantities import (
    parse_count,
    parse_duration,
    parse_flops,
    parse_natural,
    parse_per_hour,
    parse_rate,
    parse_size,
)
from planner.errors import BadQuantity


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_size, "80 GiB", 80 * 2**30),
        (parse_size, "80GB", 80 * 10**9),
        (parse_size, "3.84 TB", 3_840_000_000_000),
        (parse_size, "0.0000000015 GB", 1),  # a byte and a half: capacity rounds down
        (parse_rate, "400 Gb/s", 50 * 10**9),
        (parse_rate, "400 Mb/s", 50 * 10**6),
        (parse_rate, "25 GB/s", 25 * 10**9),
        (parse_rate, "8 x 400 Gb/s", 400 * 10**9),
        (parse_rate, "NVLink 4", 450 * 10**9),
        (parse_rate, "nvlink 5.0", 900 * 10**9),
        (parse_rate, "2 x PCIe 3 x8", 2 * 8 * 10**9 * Fraction(128, 130) * Fraction(23, 25) * Fraction(256, 280)),
        (parse_duration, "200 us", 200_000),
        (parse_duration, "30 ms", 30_000_000),
        (parse_duration, "1.5 s", 1_500_000_000),
        (parse_duration, "0.1 ns", 1),  # waiting rounds up
        (parse_duration, "0 s", 0),
        (parse_flops, "989.5 Tflop/s", 989_500_000_000_000),
        (parse_count, "16", 16),
        (parse_natural, "16", 16),
        (parse_natural, "0", 0),
        (parse_per_hour, "2 / s", 7200),
        (parse_per_hour, "1/day", 1),
    ],
)
def test_a_quantity_is_exact(parse, text, value):
    assert parse(text) == value // 1


def test_pcie_is_what_is_measured():
    """Neugebauer et al. measure about 52.8 Gb/s of payload through PCIe 3 x8."""
    assert 52.5e9 / 8 < parse_rate("PCIe 3 x8") < 53.1e9 / 8
    rates = [parse_rate(f"PCIe {generation} x16") for generation in (3, 4, 5, 6)]
    assert all(later > 1.9 * earlier for earlier, later in itertools.pairwise(rates))


@pytest.mark.parametrize(
    ("parse", "text", "says"),
    [
        (parse_size, "80", "no unit"),
        (parse_size, "80 Gb", "did you mean 80 GB?"),
        (parse_size, "80 gib", "did you mean 80 GiB?"),
        (parse_size, "80 GB/s", "did you mean 80 GB?"),
        (parse_size, "-1 GB", "negative"),
        (parse_size, "0 B", "too small"),
        (parse_size, "999999 PB", "is the unit right?"),
        (parse_size, "NaN GB", "not a size"),
        (parse_size, "1e3 GB", "unknown"),
        (parse_size, "9" * 40 + " B", "has more digits than are read"),
        (parse_size, "0." + "1" * 13 + " GB", "has more digits than are read"),
        (parse_rate, "400 Gbps", "write 400 Gb/s"),
        (parse_rate, "400 Gb", "did you mean 400 Gb/s?"),
        (parse_rate, "400 Gbit/s", "did you mean 400 Gb/s?"),
        (parse_rate, "25 gb/s", "did you mean 25 GB/s or 25 Gb/s?"),
        (parse_rate, "PCIe 7 x16", "generations 3 to 6"),
        (parse_rate, "PCIe 5 x3", "1, 2, 4, 8 or 16 lanes"),
        (parse_rate, "NVLink 9", "NVLink 2 to 5"),
        (parse_rate, "0 x 400 Gb/s", "too small"),
        (parse_duration, "5 GB", "unknown"),
        (parse_duration, "100 h", "is the unit right?"),
        (parse_flops, "67 TFLOPS", "not a rate of arithmetic"),
        (parse_count, "1.5", "whole number"),
        (parse_count, "0", "too small"),
        (parse_natural, "-1", "is negative"),
        (parse_count, "-32", "is negative; write a whole number from 1"),
        (parse_per_hour, "5", "2 / s"),
    ],
)
def test_a_wrong_quantity_is_told_what_instead(parse, text, says):
    with pytest.raises(BadQuantity) as caught:
        parse(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


PARSERS = (parse_size, parse_rate, parse_duration, parse_flops, parse_count, parse_per_hour, quantities.parse_rate)


@given(st.sampled_from(PARSERS), st.text(max_size=40))
def test_any_text_is_a_positive_integer_or_refused(parse, text):
    try:
        assert type(parse(text)) is int
        assert parse(text) >= 0
    except BadQuantity:
        pass


@given(st.integers(1, 10**6), st.sampled_from(["kB", "MiB", "GB"]), st.sampled_from(["kB", "MiB", "GB"]))
def test_a_larger_amount_is_never_a_smaller_size(amount, unit, other):
    factor = {"kB": 10**3, "MiB": 2**20, "GB": 10**9}
    assert (parse_size(f"{amount} {unit}") >= parse_size(f"{amount} {other}")) == (factor[unit] >= factor[other])
