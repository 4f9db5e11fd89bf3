"""In which waves pipelines open and close, so that memories suffice at every step of the order.

All at once where the union of old and new fits.  Else a rolling change: what fits opens first, what it replaces closes
and gives its memory up, and so on.  Where nothing fits, pipelines close early into others of their LLM that are open,
one after another, until something does; and where nothing does even so, what is open and what opens goes on with fewer
slots meanwhile.  Rule MEM itself says what fits: each trial is laid out and judged by it.
"""

from collections.abc import Iterator, Sequence

import attrs

from planner.reconfiguring.slots import slots, together
from planner.reconfiguring.succession import Succession
from planner.reconfiguring.waves import Laid, Layer, Wave
from planner.reconfiguring.whole import draft
from specs.invariants.facts import Facts
from specs.invariants.memory import memories_suffice
from specs.invariants.rule import Violation
from specs.plan import Pipeline, PipelineId
from specs.problem import Running
from specs.units import Tokens


@attrs.frozen(kw_only=True)
class Stuck:
    """No order was found: what does not fit, whatever closes early and however few slots pipelines have."""

    violations: tuple[Violation, ...]
    waiting: tuple[Pipeline, ...]  # that could not open
    closing: tuple[Running, ...]  # that would have closed, in this wave or another
    fixed_slots: bool  # fewer slots were not tried


def waves(layer: Layer, following: Succession) -> tuple[Wave, ...] | Stuck:
    """Find waves.  Raises NoPlan."""
    return _Rolling(layer=layer, following=following).run()


@attrs.define(kw_only=True)
class _Rolling:
    """Waves that have been found, and what is left to open and to close."""

    layer: Layer
    following: Succession
    waves: list[Wave] = attrs.field(factory=list, init=False)
    laid: Laid = attrs.field(init=False)  # those waves
    opening: list[Pipeline] = attrs.field(factory=list, init=False)
    open_now: dict[PipelineId, Pipeline] = attrs.field(factory=dict, init=False)
    closing: dict[PipelineId, Running] = attrs.field(factory=dict, init=False)
    refused: set[PipelineId] = attrs.field(factory=set, init=False)  # in whose places nothing has changed since
    faults: tuple[Violation, ...] = attrs.field(default=(), init=False)

    def run(self) -> tuple[Wave, ...] | Stuck:
        """All at once, or step by step."""
        following, problem = self.following, self.layer.problem
        self.laid = self.layer.begun(following)
        self.opening = list(following.opened)
        self.open_now = {each.pipeline.id: each.pipeline for each in problem.running}
        self.closing = {each.pipeline.id: each for each in problem.running if each.pipeline.id in following.successors}
        everything = self._wave(self.opening, last=True)
        if self._fits([everything]):
            return (everything,)
        if self._idle_copies():
            self._take(Wave())
            if self._fits([everything]):
                return (*self.waves, everything)
        while self.opening or self.closing:
            found = self._next() or self._early() or self._fewer()
            if found is None:
                return self._stuck()
            for wave in found:
                self._take(wave)
        if not self._fits([Wave(last=True)]):
            return self._stuck()
        return (*self.waves, Wave(last=True))

    def _idle_copies(self) -> bool:
        """Whether devices hold what nothing there needs already, so that it may go before anything comes."""
        return bool(self.layer.further(self.laid, [Wave()]).steps)

    def _stuck(self) -> Stuck:
        running = self.layer.problem.running
        return Stuck(
            violations=self.faults,
            waiting=tuple(self.opening),
            closing=tuple(each for each in running if each.pipeline.id in self.following.successors),
            fixed_slots=self.layer.fixed_slots,
        )

    def _next(self) -> list[Wave] | None:
        """Open as many as fit, in order; None where none does and none can close."""
        opens: list[Pipeline] = []
        for pipeline in self.opening:
            if pipeline.id in self.refused:
                continue
            if self._fits([self._wave([*opens, pipeline])]):
                opens.append(pipeline)
            else:
                self.refused.add(pipeline.id)
        wave = self._wave(opens)
        if not wave.opens and not wave.closes:
            return None
        return [wave] if opens or self._fits([wave]) else None

    def _early(self) -> list[Wave] | None:
        """Close pipelines early, one after another, until one that waits fits."""
        open_now = dict(self.open_now)
        closes: list[tuple[Running, Pipeline]] = []
        for old in self.closing.values():
            heir = self._heir(old.pipeline, open_now)
            if heir is None:
                continue
            del open_now[old.pipeline.id]
            closes = [(each, self._last_of(new, old.pipeline, heir)) for each, new in closes]
            closes.append((old, heir))
            before = Wave(closes=tuple(closes))
            gone = {each.pipeline.id for each, _ in closes}
            for pipeline in self.opening:
                if self._shares(pipeline, [each.pipeline for each, _ in closes]):  # others gain nothing
                    after = self._wave([pipeline], besides=gone)
                    if self._fits([before, after]):
                        return [before, after]
        return None

    def _fewer(self) -> list[Wave] | None:
        """Open all that waits, or one of it, with fewer slots, beside what is open with fewer; at worst with one."""
        if not self.opening or self.layer.fixed_slots:
            return None
        for opens in dict.fromkeys((tuple(self.opening), *((each,) for each in self.opening))):
            wave = self._wave(opens)
            asked = together(self.layer, self.laid, wave)
            least = {each.id: 1 for each in asked.pipelines}
            for chosen in (slots(asked, self.layer.problem.llms, self.layer.search), least):
                if chosen is not None and self._fits([attrs.evolve(wave, slots=chosen)]):
                    return [attrs.evolve(wave, slots=chosen)]
        return None

    def _heir(self, old: Pipeline, open_now: dict[PipelineId, Pipeline]) -> Pipeline | None:
        """Another open pipeline of its LLM for the requests: one that stays if there is one, with most slots."""
        others = [each for each in open_now.values() if each.llm == old.llm and each.id != old.id]
        return max(others, key=lambda each: (each.id not in self.closing, each.slots), default=None)

    def _last_of(self, heir: Pipeline, closes: Pipeline, then: Pipeline) -> Pipeline:
        return then if heir.id == closes.id else heir

    def _wave(self, opens: Sequence[Pipeline], *, besides: set[PipelineId] | None = None, last: bool = False) -> Wave:
        """Close into these and into what stays whatever they succeed."""
        heirs = {each.id for each in opens} | {
            each for each in self.open_now if each not in self.closing and each not in (besides or ())
        }
        closes = [
            (each, self.following.successors[name])
            for name, each in self.closing.items()
            if self.following.successors[name].id in heirs and name not in (besides or ())
        ]
        return Wave(opens=tuple(opens), closes=tuple(closes), last=last)

    def _shares(self, pipeline: Pipeline, others: Sequence[Pipeline]) -> bool:
        places = {stage.place for other in others for stage in other.stages}
        return any(stage.place in places for stage in pipeline.stages)

    def _take(self, wave: Wave) -> None:
        self.waves.append(wave)
        self.laid = self.layer.further(self.laid, [wave])
        changed = [*wave.opens, *(old.pipeline for old, _ in wave.closes)]
        self.refused = {each.id for each in self.opening if each.id in self.refused and not self._shares(each, changed)}
        self.opening = [each for each in self.opening if each not in wave.opens]
        self.open_now |= {each.id: each for each in wave.opens}
        for old, heir in wave.closes:
            gone = self.closing.pop(old.pipeline.id)
            del self.open_now[old.pipeline.id]
            if heir.id in self.closing:  # its requests go on with those of another that closes later
                self.closing[heir.id] = _joined(self.closing[heir.id], gone)

    def _fits(self, more: Sequence[Wave]) -> bool:
        laid = self.layer.further(self.laid, more)
        found = tuple(_too_little(self.layer, self.following, laid))
        self.faults = found or self.faults
        return not found


def _too_little(layer: Layer, following: Succession, laid: Laid) -> Iterator[Violation]:
    plan = draft(layer, following, laid)
    yield from memories_suffice(Facts(layer.problem, plan))


def _joined(one: Running, other: Running) -> Running:
    requests = min(one.live_requests + other.live_requests, one.pipeline.slots)
    return attrs.evolve(one, live_requests=requests, live_tokens=Tokens(one.live_tokens + other.live_tokens))
