import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.description.quantities import parse_duration, parse_flops, parse_rate, parse_size
from planner.description.wording import say_duration, say_network_rate, say_operations, say_rate, say_size


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (80 * 10**9, "80 GB"),
        (80 * 2**30, "80 GiB"),
        (3_840 * 10**9, "3.84 TB"),
        (690_432, "674.25 KiB"),
        (999, "999 B"),
        (1_000_001, "≈ 976.6 KiB"),
        (64 * 141 * 10**9, "≈ 9 TB"),
    ],
)
def test_sizes(size, said):
    assert say_size(size) == said


def test_rates_and_durations():
    assert say_network_rate(50 * 10**9) == "400 Gb/s"
    assert say_rate(53_004_940_659) == "≈ 53 GB/s"
    assert say_operations(67 * 10**12, "flop/s") == "67 Tflop/s"
    assert say_duration(1_500_000_000) == "1.5 s"
    assert say_duration(0) == "0"


@given(st.integers(1, 2**60))
def test_what_is_said_without_a_mark_is_exact(amount):
    for say, parse in ((say_size, parse_size), (say_operations, lambda text: parse_flops(f"{text}/s"))):
        said = say(amount)
        if "≈" not in said and amount < 10**18:
            assert parse(said) == amount
    for say, parse in ((say_rate, parse_rate), (say_network_rate, parse_rate)):
        said = say(amount)
        if "≈" not in said and amount < 10**15:
            assert parse(said) == amount


@given(st.integers(1, 10**13))
def test_a_said_duration_without_a_mark_is_exact(nanos):
    said = say_duration(nanos)
    if "≈" not in said:
        assert parse_duration(said) == nanos
