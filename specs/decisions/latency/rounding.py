"""Exponentials, logarithms and Poisson sums in integers, rounded to a known side.

Numbers are scaled by ONE.  A result marked `up` is never below the true value, one marked `down` never above it.
"""

from specs.units import ceil_div

ONE = 10**30
EXPONENT_MAX = 60  # e^-60 is below 10^-26: still seen in units of 1 / ONE

_TERMS = 24


def mul_up(left: int, right: int) -> int:
    """Product of two scaled numbers."""
    return -(-left * right // ONE)


def _halvings(x: int) -> int:
    """How often to halve a scaled number until it is below 1/2."""
    return max(0, x.bit_length() - ONE.bit_length() + 2)


def exp_up(x: int) -> int:
    """e^x for scaled x >= 0.

    x is halved until it is below 1/2, the Taylor series is summed and its rest bounded by twice the
    last term (each term is at most half of the one before), and the sum is squared back; every step rounds up.
    """
    halvings = _halvings(x)
    small = -(-x >> halvings)
    total = term = ONE
    for index in range(1, _TERMS):
        term = ceil_div(term * small, ONE * index)
        total += term
    total += 2 * term
    for _ in range(halvings):
        total = mul_up(total, total)
    return total


def exp_down(x: int) -> int:
    """e^x for scaled x >= 0: the first terms of the series, every step rounded down."""
    halvings = _halvings(x)
    small = x >> halvings
    total = term = ONE
    for index in range(1, _TERMS):
        term = term * small // (ONE * index)
        total += term
    for _ in range(halvings):
        total = total * total // ONE
    return total


def decay_up(x: int) -> int:
    """e^-x for scaled x >= 0."""
    return ceil_div(ONE * ONE, exp_down(min(x, EXPONENT_MAX * ONE)))


def decay_down(x: int) -> int:
    """e^-x for scaled x >= 0; 0 beyond EXPONENT_MAX."""
    return 0 if x > EXPONENT_MAX * ONE else ONE * ONE // exp_up(x)


def excess_up(mean: int, taken: int) -> int:
    """E[max(0, K - J)] for independent Poisson numbers K, of scaled mean `mean`, and J, of scaled mean `taken`.

    Sums of K exponential sizes of mean 1 exceed a level `taken` by this much in the mean: J is the number of sizes that
    fit under the level, and by the lack of memory what sticks out of it is the sum of K - J sizes.
    With e(j) = E[max(0, K - j)]:  e(0) = mean,  e(j + 1) = e(j) - P(K > j),  and the result sums P(J = j) e(j);
    what is left out of the sum after j is at most P(J > j) e(j + 1).  A mean too large for the scale counts in full, a
    level too large for it as EXPONENT_MAX.
    """
    if mean > EXPONENT_MAX * ONE or taken == 0:
        return mean
    taken = min(taken, EXPONENT_MAX * ONE)
    arrive_up = decay_up(mean)
    fit_up, fit_down = decay_up(taken), decay_down(taken)
    above_down, left_up = max(0, ONE - arrive_up), ONE - fit_down  # P(K > j) and P(J > j)
    total, excess, index = mul_up(fit_up, mean), max(0, mean - above_down), 0
    while excess * left_up > ONE:
        index += 1
        arrive_up = ceil_div(arrive_up * mean, ONE * index)
        fit_up, fit_down = ceil_div(fit_up * taken, ONE * index), fit_down * taken // (ONE * index)
        above_down, left_up = max(0, above_down - arrive_up), left_up - fit_down
        if above_down == 0 and fit_down == 0:
            break
        total += mul_up(fit_up, excess)
        excess -= above_down
    return min(mean, total + mul_up(min(ONE, left_up), max(0, excess)))
