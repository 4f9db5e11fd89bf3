"""Bounds on what pipelines can achieve, by prices of devices.

PRICES. Let every device of group g have a price p_g >= 0, let the price of a pipeline be the sum over its devices,
and let no pipeline that keeps the question's limits give more than R millitokens/s per unit of price. Then all
pipelines of an answer together give at most R x (price of the devices that they use) <= R x sum over g of devices_g
p_g: no device is used twice. The best prices are the dual of the choice of pipelines as a linear program.

`steepest` finds an R.  A pipeline of batch b with m batches in flight and a time per output token T gives less than
b m / T, has no stage or hop longer than T / m, no more than T of stages and hops together, and the KV of b m requests.
Let D be the least of price + u x time over rows that keep this for some T' >= T and some m' <= m (more time and fewer
in flight allow more rows), u >= 0 (Lagrange).  Then the pipeline's price is at least D - u T, and it is no steeper
than R wherever

    b m <= R T (D - u T),

which holds on an interval of T, for the right side is concave: one computation of rows excludes all of it.  Depth and
packing of shapes into nodes are left out: without them rows are cheaper.
"""

from math import isqrt

import attrs

from specs.decisions.layout.question import Question
from specs.decisions.layout.rows import FINE, Column, Row, Rows
from specs.decisions.layout.values import MILLI, Objective
from specs.units import NANOS_PER_SECOND, Nanos, ceil_div
from specs.witness import Witness

STEEP = 1 << 30  # rates per price are given in this fraction
NARROW = 1024  # a pipeline's time per token is told from another's when they differ by one part in so many
_TRIES = 4  # prices of time that are tried for one limit
_OBJECTIVE = "objective"
_AT_LEAST = "steep"
_LATENCY = "latency_ns"


@attrs.frozen(kw_only=True)
class Found:
    """A row that the search for the steepest came by, and for which batch, number in flight and time it was cheap."""

    row: Row
    batch: int
    in_flight: int
    time_ns: Nanos  # of its stages and hops
    allowed_ns: Nanos  # that was allowed; less than `time_ns`: only a mixture with quicker rows is in time
    tpot_ns: Nanos  # the time per output token for which this is allowed


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
            rows = Rows(question=self.question, batch=batch)
            # More in flight leave less room for units, so they are never quicker.
            quickest = rows.cheapest(rows.columns(1), limits.tpot_ns, {}, time_price=1)
            most = limits.in_flight if limits.slots is None else min(limits.in_flight, limits.slots // batch)
            if quickest is not None and most:
                fast = max(1, quickest.dual + self.question.round_ns)
                self._exclude(rows, (1, most), limits.tpot_ns, fast, 0)

    def _exclude(self, rows: Rows, flying: tuple[int, int], slow: int, fast: int, time_price: int) -> int:
        """Go down from time `slow` to `fast` for all numbers in flight from one to another; return the price of time.

        Where the numbers cannot be excluded together they are halved; where one alone cannot be, its steepness is
        accepted, together with that of times that are less by one part in NARROW.
        """
        least, most = flying
        columns = rows.columns(least)
        rate = rows.batch * most * MILLI * NANOS_PER_SECOND * STEEP
        while slow >= fast:
            row = rows.cheapest(columns, slow // least, self.prices, time_price)
            if row is None:
                return time_price
            self.found.append(_found(rows, row, least, slow))
            line = _Line(dual=row.dual + time_price * self.question.round_ns, time_price=time_price)
            if self.steep and line.least(slow) * self.steep >= rate * FINE:
                slow = line.down_to(ceil_div(rate * FINE, self.steep), slow) - 1
                late = rows.time_ns(row) > slow - self.question.round_ns
                time_price = self._guess(time_price, late, line.dual // FINE, slow)
                continue
            tight = _Tight(rows=rows, columns=columns, prices=self.prices, slow_ns=slow, in_flight=least)
            best = tight.line(row, line)
            if best is None:
                return time_price
            if least < most:
                time_price = best.time_price
                if self.steep and best.least(slow) * self.steep >= rate * FINE:
                    slow = best.down_to(ceil_div(rate * FINE, self.steep), slow) - 1
                    continue
                middle = (least + most) // 2
                time_price = self._exclude(rows, (middle + 1, most), slow, fast, time_price)
                return self._exclude(rows, (least, middle), slow, fast, time_price)
            self.found += [_found(rows, met, least, slow) for met in tight.met]
            line, time_price = best, best.time_price
            if line.least(slow) <= 0:
                raise UnpricedPipeline("a pipeline of devices without a price keeps the limits")
            accepted = max(fast, slow - slow // NARROW)
            shown = min(line.least(slow), line.least(accepted))
            self.steep = max(self.steep, ceil_div(rate * FINE, shown))
            slow = line.down_to(ceil_div(rate * FINE, self.steep), slow) - 1
        return time_price

    @staticmethod
    def _guess(time_price: int, late: bool, price: int, slow: int) -> int:
        """Move the price of time towards the one at which rows are just in time."""
        if late:
            return time_price * 5 // 4 + max(1, FINE * price // (16 * max(0, slow) + 1))
        return time_price * 7 // 8


def _found(rows: Rows, row: Row, in_flight: int, tpot_ns: int) -> Found:
    """Say what a row is for."""
    return Found(
        row=row,
        batch=rows.batch,
        in_flight=in_flight,
        time_ns=rows.time_ns(row),
        allowed_ns=Nanos(tpot_ns - rows.question.round_ns),
        tpot_ns=Nanos(tpot_ns),
    )


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


@attrs.define(kw_only=True)
class _Tight:
    """The cheapest row in time, from below, by prices of time."""

    rows: Rows
    columns: list[Column]
    prices: dict[str, int]
    slow_ns: int
    in_flight: int
    met: list[Row] = attrs.field(factory=list, init=False)

    @property
    def allowed_ns(self) -> int:
        """Time for stages and hops."""
        return self.slow_ns - self.rows.question.round_ns

    def line(self, row: Row, known: _Line) -> _Line | None:
        """Find the line that is highest at `slow_ns`; None when no row is in time.

        The price of time is the slope between a row that is late and one that is in time (secants of a concave
        function: each try is a valid bound).
        """
        quick = row if self.rows.time_ns(row) <= self.allowed_ns else self._at({}, 1)
        cheap = row if known.time_price == 0 else self._at(self.prices, 0)
        assert cheap is not None
        best = max(known, _Line(dual=cheap.dual, time_price=0), key=lambda line: line.least(self.slow_ns))
        if quick is None or self.rows.time_ns(quick) > self.allowed_ns:
            # The least time is a bound where runs have several tracks: rows that look late may yet be in time.
            return None if quick is None or quick.dual > self.allowed_ns else best
        self.met += [cheap, quick]
        for _ in range(_TRIES if self.rows.time_ns(cheap) > self.allowed_ns else 0):
            dearer = self._price(quick) - self._price(cheap)
            spread = self.rows.time_ns(cheap) - self.rows.time_ns(quick)
            if dearer <= 0:
                break
            slope = max(1, FINE * dearer // spread)
            between = self._at(self.prices, slope)
            assert between is not None
            line = _Line(dual=between.dual + slope * self.rows.question.round_ns, time_price=slope)
            best = max(best, line, key=lambda line: line.least(self.slow_ns))
            if between.stages in (cheap.stages, quick.stages):
                break
            self.met.append(between)
            if self.rows.time_ns(between) > self.allowed_ns:
                cheap = between
            else:
                quick = between
        return best

    def _at(self, prices: dict[str, int], time_price: int) -> Row | None:
        return self.rows.cheapest(self.columns, self.slow_ns // self.in_flight, prices, time_price)

    def _price(self, row: Row) -> int:
        shapes = [self.rows.question.shape[shape] for shape, _, _ in row.stages]
        return sum(self.prices.get(shape.group, 0) * shape.devices for shape in shapes)


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
    answer to that question.  0 when that is not so.
    """
    claim = _amount(witness, _LATENCY)
    if claim < 2:
        return claim
    limits = question.limits
    if objective is Objective.TPOT:
        limits = attrs.evolve(limits, tpot_ns=Nanos(min(limits.tpot_ns, claim - 1)))
    else:
        limits = attrs.evolve(limits, ttft_ns=Nanos(min(claim - 1, limits.ttft_ns or claim)))
    tighter = attrs.evolve(question, limits=limits)
    demand = max(1, question.limits.demand_millitokens_per_second)
    return claim if goodput_bound(tighter, witness) < demand else 0
