"""Bounds on what pipelines can achieve, by prices of devices.

PRICES.  Let every device of group g have a price p_g >= 0, let the price of a pipeline be the sum over its devices,
and let no pipeline that keeps the question's limits give more than R millitokens/s per unit of price. Then all
pipelines of an answer together give at most R x (price of the devices that they use) <= R x sum over g of devices_g
p_g: no device is used twice. The best prices are the dual of the choice of pipelines as a linear program.

STEEPEST.  `steepest` finds an R.  Take batches of b, from m1 to m2 of them in flight, and a time T0.  A pipeline with m
of them in flight and a time per output token of T <= T0 (at least 1 ns)

  - gives at most b m2 / T;
  - has no stage or hop longer than T / m <= T0 / m1, and room for the KV of b m1 requests: it is a row for `cheapest`;
  - takes no more than T for its stages, hops and round together.

Let D be the least of price + u x time over such rows, for some u >= 0 (`_Line`; time with the round). Then the
pipeline's price is at least D - u T (Lagrange), and it gives no more than R per unit of price wherever

    b m2 <= R T (D - u T).

The right side is concave in T, so this holds on an interval of T: where it holds at T0, one computation of rows
excludes all of [T1, T0], with T1 the smaller root, and the same is asked at T1 - 1, until no row is in time.  Where it
does not hold, fewer m are taken together.  For one m alone the least price P of a row that is in time at T0 is found
without u (`in_time`): rows that are in time at any T <= T0 are among these, so P takes the place of D - u T, and R is
raised to what that row gives where it must be.  So R is that of a row, not of a mixture of one that is cheap and late
with one that is quick and dear.  Any u and any first guess of R are right; good ones save work.  Nothing is left out
but what makes rows cheaper: see `rows`.
"""

from math import isqrt

import attrs

from specs.decisions.layout.in_time import Within, cheapest_in_time
from specs.decisions.layout.question import Question
from specs.decisions.layout.rows import FINE, Column, Row, Rows
from specs.decisions.layout.values import MILLI, Objective
from specs.units import NANOS_PER_SECOND, Nanos, ceil_div
from specs.witness import Witness

STEEP = 1 << 30  # rates per price are given in this fraction
_PART = 64  # of a time is excluded at once by rows one by one
_TRIES = 8  # prices of time that are tried for one limit
_OBJECTIVE = "objective"
_AT_LEAST = "steep"
_LATENCY = "latency_ns"


@attrs.frozen(kw_only=True)
class Found:
    """A row that the search for the steepest came by, and for which batch and number in flight it was cheap."""

    row: Row
    batch: int
    in_flight: int


class UnpricedPipeline(ValueError):
    """A pipeline of free devices keeps the limits, so these prices bound nothing."""


def steepest(question: Question, prices: dict[str, int], at_least: int = 0) -> tuple[int, tuple[Found, ...]]:
    """Bound the rate per price of every pipeline from above: STEEP x millitokens/s per unit of price; and rows met.

    Never less than `at_least`: a good guess of the answer saves most of the work.  0 when no pipeline keeps the
    limits.  Raises UnpricedPipeline.
    """
    pricing = _Pricing(question=question, prices=prices, steep=at_least)
    pricing.run()
    return pricing.steep, tuple(pricing.found)


@attrs.define(kw_only=True)
class _Pricing:
    question: Question
    prices: dict[str, int]
    steep: int  # of the steepest pipeline that could not be excluded
    found: list[Found] = attrs.field(factory=list, init=False)

    def run(self) -> None:
        """Exclude steeper pipelines of each batch; large ones first, they are steep as a rule."""
        limits = self.question.limits
        for batch in reversed(self.question.batches):
            most = limits.in_flight if limits.slots is None else min(limits.in_flight, limits.slots // batch)
            if most:
                rows = Rows(question=self.question, batch=batch)
                self._exclude(_Met(rows=rows, prices=self.prices), (1, most), limits.tpot_ns)

    def _exclude(self, met: "_Met", flying: tuple[int, int], slow: int) -> None:
        """Go down from time `slow` for all numbers in flight from one to another, until no row is in time.

        Where no line excludes the numbers together they are halved; where none excludes one alone, rows do.
        """
        least, most = flying
        columns = met.rows.columns(least)
        rate = met.rows.batch * most * MILLI * NANOS_PER_SECOND * STEEP * FINE
        while slow > 0:
            hope = met.line(least, slow)
            # A line that rows met so far show to be too low is not looked for where numbers can be halved.
            hopeless = least < most and hope is not None and hope.least(slow) * self.steep < rate
            line = hope if hopeless else self._highest(met, columns, (least, slow), ceil_div(rate, max(1, self.steep)))
            if line is None:
                return
            if line.least(slow) * self.steep < rate:
                if least < most:
                    middle = (least + most) // 2
                    self._exclude(met, (middle + 1, most), slow)
                    self._exclude(met, (least, middle), slow)
                    return
                slow = self._in_time(met, columns, (least, slow), line.time_price) - 1
                continue
            slow = line.down_to(ceil_div(rate, self.steep), slow) - 1

    def _in_time(self, met: "_Met", columns: list[Column], at: tuple[int, int], time_price: int) -> int:
        """Exclude row by row what no line excludes; say down to which time.

        At `reach`, a little below `slow`, rows of price `free` or more are not steeper than `steep`.  So only cheaper
        ones are looked for, in time at `slow`: without one, times are excluded for as long as `free` is enough; else
        the steepness of the cheapest is accepted, and times are excluded for as long as its price is enough.
        """
        in_flight, slow = at
        self.steep = max(1, self.steep)
        rate = met.rows.batch * in_flight * MILLI * NANOS_PER_SECOND * STEEP
        reach = slow - slow // _PART
        free = ceil_div(rate, self.steep * reach)
        within = Within(price=free - 1, stage_ns=Nanos(slow // in_flight), way_ns=Nanos(met.allowed_ns(slow)))
        row = cheapest_in_time(met.rows, columns, self.prices, within, time_price)
        if row is None:
            return ceil_div(rate, self.steep * free)
        self.found.append(met.add(row, in_flight, None))
        price, tpot = met.rows.price(row, self.prices), met.rows.tpot_ns(row, in_flight)
        if price == 0:
            raise UnpricedPipeline("a pipeline of devices without a price keeps the limits")
        self.steep = max(self.steep, ceil_div(rate, price * tpot))
        return ceil_div(rate, self.steep * price)

    def _highest(self, met: "_Met", columns: list[Column], at: tuple[int, int], enough: int) -> "_Line | None":
        """Find the line that is highest for so many in flight at a time, or enough; None when no row is in time.

        Each price of time that is tried is a valid bound, and the slope of the rows met so far is a good one to try.
        """
        in_flight, slow = at
        best: _Line | None = None
        for _ in range(_TRIES):
            hope = met.line(in_flight, slow)
            if hope is None:
                row = met.rows.cheapest(columns, slow // in_flight, {}, 1)
                if row is None or row.dual > met.allowed_ns(slow):
                    return None
                self.found.append(met.add(row, in_flight, row.dual))
                continue
            if best is not None and (best.least(slow) >= enough or hope.least(slow) <= best.least(slow)):
                break
            row = met.rows.cheapest(columns, slow // in_flight, self.prices, hope.time_price)
            assert row is not None  # one is known to be in time
            line = _Line(dual=row.dual + hope.time_price * self.question.round_ns, time_price=hope.time_price)
            best = line if best is None else max(line, best, key=lambda one: one.least(slow))
            spent = row.dual - FINE * met.rows.price(row, self.prices)
            self.found.append(met.add(row, in_flight, spent // hope.time_price if hope.time_price else None))
            self._raise(met.rows, row, in_flight)
        return best

    def _raise(self, rows: Rows, row: Row, in_flight: int) -> None:
        """Accept the steepness of a row at once: no line excludes it at its own time, so it would be in the end."""
        price, tpot = rows.price(row, self.prices), rows.tpot_ns(row, in_flight)
        if price and tpot <= self.question.limits.tpot_ns:
            rate = rows.batch * in_flight * MILLI * NANOS_PER_SECOND * STEEP
            self.steep = max(self.steep, rate // (price * tpot))


@attrs.frozen(kw_only=True)
class _Line:
    """Every row has FINE x price >= dual - time_price x (its time per output token)."""

    dual: int
    time_price: int

    def least(self, tpot_ns: int) -> int:
        """Bound FINE x price x time from below: what a rate is divided by."""
        return tpot_ns * (self.dual - self.time_price * tpot_ns)

    def down_to(self, wanted: int, slow: int) -> int:
        """Find the least time from which up to `slow` `least` gives what is wanted; at `slow` it does.

        The smaller root of the concave u T^2 - D T + wanted = 0, rounded up.
        """
        if self.time_price == 0:
            return min(slow, ceil_div(wanted, self.dual))
        square = self.dual**2 - 4 * self.time_price * wanted
        low = max(0, (self.dual - isqrt(max(0, square)) - 1) // (2 * self.time_price))
        while low < slow and self.least(low) < wanted:
            low += 1
        return low


@attrs.frozen(kw_only=True)
class _Point:
    """What a row costs and takes, and for whom it is a row."""

    cost: int  # FINE x price
    time_ns: int  # of stages and hops, as far as bounds can tell
    longest_ns: int  # of these
    in_flight: int  # fits into memory with so many

    def serves(self, other: "_Point") -> bool:
        """Whether it is as good as another wherever that one is a row."""
        return (
            self.cost <= other.cost
            and self.time_ns <= other.time_ns
            and self.longest_ns <= other.longest_ns
            and self.in_flight >= other.in_flight
        )


@attrs.define(kw_only=True)
class _Met:
    """Rows of one batch met so far.  They prove nothing; they say which price of time to try next."""

    rows: Rows
    prices: dict[str, int]
    points: list[_Point] = attrs.field(factory=list, init=False)

    def allowed_ns(self, slow: int) -> int:
        """Time for stages and hops."""
        return slow - self.rows.question.round_ns

    def add(self, row: Row, in_flight: int, time_ns: int | None) -> Found:
        """Keep a row, with the time that its bound counts, where that is known."""
        times = self.rows.times_ns(row)
        point = _Point(
            cost=FINE * self.rows.price(row, self.prices),
            time_ns=sum(times) if time_ns is None else time_ns,
            longest_ns=max(times),
            in_flight=in_flight,
        )
        if not any(known.serves(point) for known in self.points):
            self.points = [known for known in self.points if not point.serves(known)] + [point]
        return Found(row=row, batch=self.rows.batch, in_flight=in_flight)

    def line(self, in_flight: int, slow: int) -> _Line | None:
        """Find the highest line at `slow` below the rows met: below all rows none is higher.  None: none is in time.

        Its slope is that of the lower hull of cost over time, where the time allowed is: between the cheapest row,
        which is late, and the quickest, then between those that are cheaper still at that slope.
        """
        allowed = self.allowed_ns(slow)
        kept = [
            (point.cost, point.time_ns)
            for point in self.points
            if point.in_flight >= in_flight and point.longest_ns * in_flight <= slow
        ]
        quick_ns, quick = min(((time_ns, cost) for cost, time_ns in kept), default=(allowed + 1, 0))
        if quick_ns > allowed:
            return None
        cheap, cheap_ns = min(kept)
        time_price, dual = 0, cheap
        while cheap_ns > allowed:
            time_price = (quick - cheap) // (cheap_ns - quick_ns)
            dual, cost, time_ns = min((cost + time_price * time_ns, cost, time_ns) for cost, time_ns in kept)
            if dual in (quick + time_price * quick_ns, cheap + time_price * cheap_ns):
                break
            if time_ns > allowed:
                cheap, cheap_ns = cost, time_ns
            else:
                quick, quick_ns = cost, time_ns
        return _Line(dual=dual + time_price * self.rows.question.round_ns, time_price=time_price)


def prices_of(question: Question, witness: Witness) -> dict[str, int]:
    """Prices per group that a witness gives."""
    amounts = {price.name: price.amount for price in witness}
    return {group.name: amounts.get(f"group:{group.name}", 0) for group in question.groups}


def _amount(witness: Witness, name: str) -> int:
    return next((price.amount for price in witness if price.name == name), 0)


def goodput_bound(question: Question, witness: Witness) -> int:
    """Most millitokens/s that any answer gives.

    PRICES with the witness's price for each `group:NAME`; `steep` is a guess of R that saves work: no proof needs it.
    Raises UnpricedPipeline when the prices bound nothing.
    """
    prices = prices_of(question, witness)
    steep, _ = steepest(question, prices, _amount(witness, _AT_LEAST))
    return steep * sum(group.devices * prices[group.name] for group in question.groups) // STEEP


def spending_bound(question: Question, objective: Objective, witness: Witness) -> int:
    """Least cost per hour, or fewest devices, of any answer that meets the demand.

    With q the witness's price `objective` and s_g the price of `group:NAME`, let p_g = q c_g + s_g, where c_g is the
    cost of a device of g (or 1).  An answer of cost C gives at most R (q C + sum over g of s_g devices_g) by PRICES,
    and no less than the demand D.  So  C >= (D / R - sum s_g devices_g) / q.
    0 without a demand or a price of the objective.  Raises UnpricedPipeline when the prices bound nothing.
    """
    scale = _amount(witness, _OBJECTIVE)
    demand = question.limits.demand_millitokens_per_second
    if scale == 0 or demand == 0:
        return 0
    scarce = prices_of(question, witness)
    each = {g.name: g.cost_per_hour if objective is Objective.COST else 1 for g in question.groups}
    prices = {name: scale * each[name] + scarce[name] for name in scarce}
    steep, _ = steepest(question, prices, _amount(witness, _AT_LEAST))
    if steep == 0:
        raise UnpricedPipeline("no pipeline keeps the limits")
    rent = sum(group.devices * scarce[group.name] for group in question.groups)
    return max(0, ceil_div(ceil_div(demand * STEEP, steep) - rent, scale))


def latency_bound(question: Question, objective: Objective, witness: Witness) -> int:
    """Least TPOT or TTFT of the slowest pipeline in any answer that meets the demand.

    The witness's price `latency_ns` is the claim.  It holds when the same question, with this latency limited to one
    nanosecond less, has a goodput bound below the demand (or no pipeline at all): an answer that is quicker would be an
    answer to that question.  0 when that is not so, and for a claim of 1: no question has a limit of 0, and pipelines
    may take no time.
    """
    claim = _amount(witness, _LATENCY)
    if claim <= 1:
        return 0
    limits = question.limits
    if objective is Objective.TPOT:
        limits = attrs.evolve(limits, tpot_ns=Nanos(min(limits.tpot_ns, claim - 1)))
    else:
        known = claim if limits.ttft_ns is None else limits.ttft_ns
        limits = attrs.evolve(limits, ttft_ns=Nanos(min(known, claim - 1)))
    tighter = attrs.evolve(question, limits=limits)
    demand = max(1, question.limits.demand_millitokens_per_second)
    return claim if goodput_bound(tighter, witness) < demand else 0
