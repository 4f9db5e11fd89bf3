"""Large questions: columns are pipelines, rows are groups of devices; prices say which pipeline comes next."""

import attrs

from planner.layouts.candidates import Pool, even
from planner.layouts.choice import Relaxed, relaxed, spend
from planner.layouts.keeping import near
from planner.layouts.layout import Layout, choose, told
from planner.search import Progress, Search
from specs.decisions.layout import bounds, values
from specs.decisions.layout.answer import Answer
from specs.decisions.layout.question import Question
from specs.decisions.layout.values import Objective
from specs.units import INTEGER_MAX, Nanos, ceil_div
from specs.witness import Price, Witness

_ROUNDS_MAX = 30
_SETTLED = 1003  # thousandths: a pricing that finds nothing steeper than this ends the rounds
_WORTH_ANOTHER = 2_000  # a round that improves by less than one part in so many is the last of its kind
_LEAST_PRICE = 200  # no price is less than the largest by more than this factor
_LATENCY_BITS = 8  # a latency is found to one part in 2 ** so many
_FINE = 1_000_000
_SHARE_OF_ROUNDS = 0.7  # of the time allowed; the rest is for the choice of whole pipelines


def by_columns(question: Question, objective: Objective, search: Search) -> Layout:
    """Find pipelines by pricing; bound them by the last good prices.

    Bounds are those of the question without a limit of moves, which allows more answers.
    """
    if objective in (Objective.TPOT, Objective.TTFT):
        return _quickest(question, objective, search)
    run = _Columns(question=_unmoved(question), objective=objective, search=search)
    infeasible = run.rounds()
    if infeasible:
        return Layout(answer=None, value=None, bound=None, witness=run.witness, method="dual", infeasible=True)
    answer = run.choose(question)
    return told(question, objective, answer, run.bound, run.witness, "none" if run.bound is None else "dual")


def _quickest(question: Question, objective: Objective, search: Search) -> Layout:
    """Least latency: the longest that prices exclude, then the shortest that a choice from the columns keeps."""
    run = _Columns(question=_unmoved(question), objective=Objective.GOODPUT, search=search)
    run.begin()
    answer = choose(question, near(question, objective, run.pool.options, search), objective, search, None)
    if answer is None:
        if run.rounds():
            return Layout(answer=None, value=None, bound=None, witness=run.witness, method="dual", infeasible=True)
        answer = choose(question, near(question, objective, run.pool.options, search), objective, search, None)
        if answer is None:
            return told(question, objective, None, None, (), "none")
    answer, witness = _excluded(question, objective, answer, search)
    bound = bounds.latency_bound(question, objective, witness)
    answer = _quicker(question, objective, answer, bound, search)
    return told(question, objective, answer, bound, witness, "dual" if bound else "none")


def _unmoved(question: Question) -> Question:
    """Ask without a limit of moves."""
    return attrs.evolve(question, limits=attrs.evolve(question.limits, moved_units=None))


def _within(question: Question, objective: Objective, limit_ns: int) -> Question:
    """Ask for pipelines that keep a shorter latency."""
    return attrs.evolve(question, limits=attrs.evolve(question.limits, **{objective.value + "_ns": Nanos(limit_ns)}))


def _excluded(question: Question, objective: Objective, answer: Answer, search: Search) -> tuple[Answer, Witness]:
    """Find the longest latency that prices exclude, by bisection, and the quickest answer met on the way."""
    best: Witness = ()
    low, high = 1, values.value(question, answer, objective)
    while high - low > max(1, high >> _LATENCY_BITS) and not search.over():
        middle = (low + high) // 2
        quick = _within(question, objective, middle)
        run = _Columns(question=_unmoved(quick), objective=Objective.GOODPUT, search=search, only_whether=True)
        if run.rounds():
            claim = Price(name="latency_ns", amount=middle + 1)
            low, best = middle, tuple(sorted((claim, *run.witness), key=lambda price: price.name))
            continue
        high = middle
        found = run.choose(quick)
        if found is not None:
            answer = found
            high = values.value(question, found, objective)
    return answer, best


def _quicker(question: Question, objective: Objective, answer: Answer, low: int, search: Search) -> Answer:
    """Find a quicker answer by bisection, down to a bound: columns for one latency are seldom those for another."""
    high = values.value(question, answer, objective)
    while high - low > max(1, high >> _LATENCY_BITS) and not search.over():
        middle = (low + high) // 2
        quick = _within(question, objective, middle)
        run = _Columns(question=_unmoved(quick), objective=Objective.GOODPUT, search=search)
        found = None if run.rounds() else run.choose(quick)
        if found is None:
            low = middle
        else:
            answer, high = found, values.value(question, found, objective)
    return answer


@attrs.define(kw_only=True)
class _Columns:
    question: Question
    objective: Objective
    search: Search
    only_whether: bool = False  # end as soon as fractions of pipelines meet the demand
    pool: Pool = attrs.field(init=False)
    bound: int | None = attrs.field(default=None, init=False)
    witness: Witness = attrs.field(default=(), init=False)

    def rounds(self) -> bool:
        """Price until nothing steeper is found; say whether that shows that no answer exists."""
        self.begin()
        if not self.pool.options and self._price(self.question, dict.fromkeys(self.question.group, _FINE), 0) == 0:
            self.witness = tuple(Price(name=f"group:{name}", amount=1) for name in sorted(self.question.group))
            return True
        if self.objective is not Objective.GOODPUT and self._linear() is None and self._too_much():
            return True
        demand = max(1, self.question.limits.demand_millitokens_per_second)
        before: float | None = None
        priced_all = False
        for _ in range(_ROUNDS_MAX):
            linear = self._linear()
            if linear is None or linear.demand <= 0:  # nothing need be spent, so nothing has a price
                break
            if self.only_whether and linear.value >= demand:
                break
            better = before is None or abs(linear.value - before) > abs(before) / _WORTH_ANOTHER
            before = linear.value
            if self._late():
                if self.bound is None:
                    self._full_round(linear)
                break
            if better and self._near_round(linear):
                priced_all = False
                continue
            if (priced_all and not better) or not self._full_round(linear):
                break
            priced_all = True
        return self.objective is Objective.GOODPUT and self.bound is not None and self.bound < demand

    def choose(self, question: Question) -> Answer | None:
        """Choose for a question that may limit moves."""
        options = near(question, self.objective, self.pool.options, self.search)
        return choose(question, options, self.objective, self.search, self.bound)

    def _linear(self) -> Relaxed | None:
        return relaxed(self.question, self.pool.options, self.objective, self.search)

    def _late(self) -> bool:
        left = self.search.left_s()
        return self.search.over() or (
            left is not None
            and self.search.within_s is not None
            and left < self.search.within_s * (1 - _SHARE_OF_ROUNDS)
        )

    def _too_much(self) -> bool:
        """Whether the demand is more than the goodput of all devices; the same pool serves both questions."""
        goodput = Objective.GOODPUT
        most = _Columns(question=self.question, objective=goodput, search=self.search, only_whether=True)
        infeasible = most.rounds()
        self.pool, self.witness = most.pool, most.witness
        return infeasible

    def begin(self) -> None:
        """Begin with pipelines of one shape, with more and more stages while that gives more per device."""
        self.pool = Pool(self.question)
        for name, batch in self.question.pace:
            shape = self.question.shape[name]
            alone = (shape.group, shape.group) not in self.question.hop
            if self.question.prompt is not None and name not in self.question.prompt_pace:
                continue
            most = min(self.question.limits.depth, self.question.group[shape.group].devices // shape.devices)
            best = 0
            for stages in range(1, min(1 if alone else most, self.question.units) + 1):
                rate = max(self._uniform(name, stages, batch, in_flight) for in_flight in (stages, stages + 1))
                if best * stages > rate * (stages - 1) > 0:
                    break
                best = rate

    def _uniform(self, shape: str, stages: int, batch: int, in_flight: int) -> int:
        """Keep a pipeline of stages of one shape; say what it gives, or 0."""
        replica = even(self.question, (shape,) * stages, batch, min(in_flight, self.question.limits.in_flight))
        return 0 if replica is None else self.pool.keep(replica)

    def _near_round(self, linear: Relaxed) -> bool:
        """Price only the batches that the choice uses, and their neighbours; say whether something steeper was met."""
        batches = self.question.batches
        used = {
            batches.index(option.replica.batch)
            for option, many in zip(self.pool.options, linear.chosen, strict=True)
            if many > 0
        }
        near = {batches[i] for each in used for i in range(max(0, each - 1), min(len(batches), each + 2))}
        if len(near) == len(batches):
            return False
        paces = tuple(pace for pace in self.question.paces if pace.batch in near)
        prices, target = self._prices(linear)
        return self._price(attrs.evolve(self.question, paces=paces), prices, target) * 1000 > target * _SETTLED

    def _full_round(self, linear: Relaxed) -> bool:
        """Price everything, which gives a bound; say whether another round may help."""
        prices, target = self._prices(linear)
        steep = self._price(self.question, prices, target)
        bound = self._shown(linear, steep)
        better = min if self.objective is Objective.GOODPUT else max
        if self.bound is None or better(bound, self.bound) != self.bound:
            self.bound, self.witness = bound, self._witness(linear)
        self.search.tell(Progress(decision="layout", value=int(linear.value), bound=self.bound))
        return steep * 1000 > target * _SETTLED

    def _prices(self, linear: Relaxed) -> tuple[dict[str, int], int]:
        """Whole prices for pricing, and the steepness that pipelines of the choice have at them."""
        if self.objective is Objective.GOODPUT:
            # Devices that are in plenty get a small price, or else rows full of them would weaken the bound.
            least = 1 + round(max(linear.device)) // _LEAST_PRICE
            priced = zip(self.question.groups, linear.device, strict=True)
            return {group.name: max(least, round(dual)) for group, dual in priced}, bounds.STEEP
        scarce = self._scarce(linear)
        each = spend(self.question, self.objective)
        prices = {g.name: _FINE * c + scarce[g.name] for g, c in zip(self.question.groups, each, strict=True)}
        return prices, min(INTEGER_MAX, int(bounds.STEEP / (linear.demand * _FINE)))

    def _scarce(self, linear: Relaxed) -> dict[str, int]:
        return {g.name: round(_FINE * d) for g, d in zip(self.question.groups, linear.device, strict=True)}

    def _price(self, question: Question, prices: dict[str, int], at_least: int) -> int:
        steep, found = bounds.steepest(question, prices, at_least)
        for each in found:
            self.pool.add(each)
        return steep

    def _shown(self, linear: Relaxed, steep: int) -> int:
        """What the specs make of the witness: they price as it was done here, from the same guess."""
        devices = {group.name: group.devices for group in self.question.groups}
        if self.objective is Objective.GOODPUT:
            prices = self._prices(linear)[0]
            return steep * sum(devices[name] * prices[name] for name in devices) // bounds.STEEP
        scarce = self._scarce(linear)
        rent = sum(devices[name] * scarce[name] for name in devices)
        worth = ceil_div(self.question.limits.demand_millitokens_per_second * bounds.STEEP, steep)
        return max(0, ceil_div(worth - rent, _FINE))

    def _witness(self, linear: Relaxed) -> Witness:
        prices, target = self._prices(linear)
        amounts = {"steep": target}
        if self.objective is Objective.GOODPUT:
            amounts |= {f"group:{name}": amount for name, amount in prices.items()}
        else:
            amounts |= {f"group:{name}": amount for name, amount in self._scarce(linear).items() if amount}
            amounts["objective"] = _FINE
        return tuple(Price(name=name, amount=amounts[name]) for name in sorted(amounts))
