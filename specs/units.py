"""Units.  Every quantity is an integer; its unit is in its type and in its name.

Demand is rounded up and capacity down, so whatever a planner's rounding accepts the exact checker accepts.
"""

from typing import NewType

Bytes = NewType("Bytes", int)
BytesPerSecond = NewType("BytesPerSecond", int)
Nanos = NewType("Nanos", int)  # a duration, or an instant counted from the start of a plan
Tokens = NewType("Tokens", int)
Flops = NewType("Flops", int)  # floating-point operations; a multiply-add counts two
FlopsPerSecond = NewType("FlopsPerSecond", int)

NANOS_PER_SECOND = 1_000_000_000

# No document may hold a larger integer: sums of a million such values still fit every reader's 128-bit arithmetic.
INTEGER_MAX = 2**62


def ceil_div(dividend: int, divisor: int) -> int:
    """Round the quotient up; the divisor is positive."""
    return -(-dividend // divisor)


def duration_ns(amount: int, per_second: int) -> Nanos:
    """Time to move or compute `amount` at a rate of `per_second`, rounded up."""
    return Nanos(ceil_div(amount * NANOS_PER_SECOND, per_second))


def align_up(offset: int, alignment: int) -> int:
    """Round up to the next multiple of the alignment."""
    return ceil_div(offset, alignment) * alignment
