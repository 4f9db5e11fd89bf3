"""A second opinion on plans: act a plan out, instant by instant, and say what goes wrong.

Written for small plans and for reading, apart from `specs.invariants`: nothing is sorted, indexed or swept, everything
that could matter is looked at again at every instant.  Shared with the checker are only the nouns, the problem's
digest, the number-theoretic bounds of `specs.bounds` and those of `specs.decisions.flow`; their arguments are found
here.  What is promised beyond movement is read by `tests.properties.promises`.
"""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from math import ceil, floor

import attrs

from specs import bounds, codec
from specs.cluster import Link, Place, PlaceKind
from specs.decisions.flow.bounds import cut_bound_ns, distance_bound_ns
from specs.decisions.flow.growth import growth_bound_ns
from specs.decisions.flow.prices import price_bound_ns
from specs.decisions.flow.question import Item, Movement
from specs.decisions.flow.values import Objective
from specs.plan import (
    Activate,
    Certificate,
    Claim,
    Continuity,
    Measure,
    Method,
    Pipeline,
    Plan,
    Release,
    Resize,
    Stage,
    Step,
    Switch,
    Transfer,
)
from specs.problem import Problem
from specs.timing import device_rate
from tests.properties.hand_overs import broken_hand_overs, decode_ns
from tests.properties.promises import broken_promises

SECOND = 10**9
# Of others: closed forms.
METHODS = {
    "cut-ns": Method.CUT,
    "cut-cover-ns": Method.CUT,
    "link-prices-ns": Method.DUAL,
    "makespan-cut-ns": Method.CUT,
    "makespan-link-prices-ns": Method.DUAL,
}


def faults(problem: Problem, plan: Plan) -> list[str]:
    """Everything that goes wrong, in words; none for a good plan."""
    try:
        found = list(_paper_faults(problem, plan))
        if not found:
            show = Show(problem, plan)
            found = [*show.acted_in_order(), *show.acted_by_the_clock(), *show.at_the_end()]
            found = found or [*broken_hand_overs(problem, plan), *broken_promises(problem, plan)]
            found = found or list(show.claims())
    except (KeyError, IndexError, StopIteration) as missing:
        return [f"something is not there: {missing!r}"]
    return found


def _paper_faults(problem: Problem, plan: Plan) -> Iterator[str]:
    """What can be seen without acting the plan out."""
    if plan.format != 1 or plan.problem != codec.digest(problem):
        yield "another format or problem"
    if plan.parent is not None and (len(plan.parent) != 64 or set(plan.parent) - set("0123456789abcdef")):
        yield "a parent that is no digest"
    pipelines = [*(each.pipeline for each in problem.running), *plan.pipelines]
    for ids in ([blob.id for blob in plan.blobs], [pipeline.id for pipeline in pipelines]):
        if len(ids) != len(set(ids)):
            yield "a name used twice"
    if any(plan.steps[index].id >= plan.steps[index + 1].id for index in range(len(plan.steps) - 1)):
        yield "ids out of order"
    llms = {llm.id: llm for llm in problem.llms}
    places = {place.id: place for place in problem.cluster.places}
    links = {link.id: link for link in problem.cluster.links}
    ends = [blob.end_tensor for blob in plan.blobs]
    ends += [stage.end_unit for pipeline in pipelines for stage in pipeline.stages]
    if max(ends, default=0) > 10_000:
        yield "runs longer than any LLM of these tests"
        return
    for blob in plan.blobs:
        end = 0
        for tensor in llms[blob.llm].tensors[blob.first_tensor : blob.end_tensor]:
            while end % 64:
                end += 1
            end += tensor.bytes
        if blob.bytes != end:
            yield f"{blob.id} has another size"
    touched = {wish.llm for wish in (*problem.holdings, *problem.targets, *plan.blobs, *pipelines)}
    for name in touched:
        covered = [
            index for blob in plan.blobs if blob.llm == name for index in range(blob.first_tensor, blob.end_tensor)
        ]
        empty = any(blob.llm == name and blob.first_tensor >= blob.end_tensor for blob in plan.blobs)
        if empty or sorted(covered) != list(range(len(llms[name].tensors))):
            yield f"the blobs of {name} are not a partition of its tensors"
    for route in plan.routes:
        walk = [links[route.links[0]].source]
        for link in route.links:
            if links[link].source != walk[-1]:
                yield "a broken route"
            walk.append(links[link].destination)
        kinds = [places[place].kind is PlaceKind.SWITCH for place in walk]
        if (
            kinds[0]
            or kinds[-1]
            or not all(kinds[1:-1])
            or walk[0] == walk[-1]
            or len(set(route.links)) < len(route.links)
        ):
            yield "a route that is no path from one memory over switches to another"
    for pipeline in pipelines:
        if pipeline.request_tokens_max > llms[pipeline.llm].context_tokens:
            yield "requests longer than the context"
        if pipeline.request_tokens_max < problem.workload(pipeline.llm).request_tokens_max:
            yield "requests that the workload has and the pipeline refuses"
        if [unit for stage in pipeline.stages for unit in range(stage.first_unit, stage.end_unit)] != list(
            range(len(llms[pipeline.llm].units))
        ) or any(stage.first_unit >= stage.end_unit for stage in pipeline.stages):
            yield "units not computed once and in order"
        yield from _reserve_faults(llms[pipeline.llm], pipeline)
        if any(places[stage.place].kind is not PlaceKind.DEVICE for stage in pipeline.stages):
            yield "a stage on something that is no device"
        if [row.pipeline for row in plan.routing].count(pipeline.id) != 1:
            yield f"{pipeline.id} has not one routing weight"
        times = [step.pipeline for step in plan.steps if isinstance(step, Activate)].count(pipeline.id)
        if times != (1 if pipeline in plan.pipelines else 0):
            yield f"{pipeline.id} is activated {times} times"
    for step in plan.steps:
        most = {pipeline.id: pipeline.slots for pipeline in pipelines}
        if isinstance(step, Activate | Resize) and (step.slots or 1) > most[step.pipeline]:
            yield f"step {step.id} gives {step.pipeline} more slots than it has room for"
        if isinstance(step, Switch) and (step.continuity is Continuity.COPY) == (step.hand_over is None):
            yield f"switch {step.id} copies without a hand-over, or hands over without copying"
    yield from _idle_resizes(problem, plan)
    known = {pipeline.id for pipeline in pipelines}
    if {row.pipeline for row in plan.routing} - known:
        yield "weights of nothing"


def _idle_resizes(problem: Problem, plan: Plan) -> Iterator[str]:
    slots = {row.pipeline.id: row.slots or row.pipeline.slots for row in problem.running}
    slots |= {each.id: each.slots for each in plan.pipelines}
    for step in plan.steps:
        if isinstance(step, Resize) and slots[step.pipeline] == step.slots:
            yield f"resize {step.id} changes nothing"
        if isinstance(step, Activate | Resize):
            slots[step.pipeline] = step.slots or slots[step.pipeline]


def _reserve_faults(llm, pipeline: Pipeline) -> Iterator[str]:
    for stage in pipeline.stages:
        tokens = pipeline.slots * pipeline.request_tokens_max
        kv = sum(unit.kv_bytes_per_token * tokens for unit in llm.units[stage.first_unit : stage.end_unit])
        workspace = 16 * llm.hidden_bytes_per_token * pipeline.iteration_tokens_max
        if stage.end_unit == len(llm.units):
            workspace += 4 * llm.vocabulary_size * pipeline.slots
        if stage.kv_bytes < kv or stage.workspace_bytes < workspace:
            yield f"a stage of {pipeline.id} reserves too little"


class Show:
    """One problem and one plan, in the forms that acting needs."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        self.problem, self.plan = problem, plan
        self.llms = {llm.id: llm for llm in problem.llms}
        self.links: dict[str, Link] = {link.id: link for link in problem.cluster.links}
        self.blobs = {blob.id: blob for blob in plan.blobs}
        self.running = [each.pipeline.id for each in problem.running]
        self.pipelines = {each.id: each for each in (*(row.pipeline for row in problem.running), *plan.pipelines)}
        self.transfers = [step for step in plan.steps if isinstance(step, Transfer)]
        self.activates = [step for step in plan.steps if isinstance(step, Activate)]
        self.switches = [step for step in plan.steps if isinstance(step, Switch)]
        self.releases = [step for step in plan.steps if isinstance(step, Release)]
        self.resizes = [step for step in plan.steps if isinstance(step, Resize)]
        self.first_slots = {row.pipeline.id: row.slots or row.pipeline.slots for row in problem.running}
        self.first_slots |= {
            step.pipeline: step.slots or self.pipelines[step.pipeline].slots for step in self.activates
        }
        self.initial = {
            (blob.id, held.place)
            for held in problem.holdings
            for blob in plan.blobs
            if blob.llm == held.llm
            and blob.first_tensor >= held.first_tensor
            and (held.end_tensor is None or blob.end_tensor <= held.end_tensor)
        }
        self.stages = [
            (pipeline, stage, self.needs(attrs.evolve(pipeline, stages=(stage,))))
            for pipeline in self.pipelines.values()
            for stage in pipeline.stages
        ]

    def path(self, step: Transfer) -> list[Link]:
        return [self.links[link] for link in self.plan.routes[step.route].links]

    def ends(self, step: Transfer) -> tuple[str, str]:
        return self.path(step)[0].source, self.path(step)[-1].destination

    def needs(self, pipeline: Pipeline) -> set[tuple[str, str]]:
        llm = self.llms[pipeline.llm]
        return {
            (blob.id, stage.place)
            for stage in pipeline.stages
            for unit in llm.units[stage.first_unit : stage.end_unit]
            for tensor in unit.tensors
            for blob in self.plan.blobs
            if blob.llm == llm.id and blob.first_tensor <= tensor < blob.end_tensor
        }

    def acted_in_order(self) -> Iterator[str]:
        """Act the steps in the plan's order without a clock: this is what daemons go by."""
        held, opened, closed = set(self.initial), set(self.running), set()
        yield from self._unserved("the start", held, opened, closed)
        yield from self._rooms(None, self.problem.cluster.places)
        for step in self.plan.steps:
            match step:
                case Transfer():
                    source, destination = self.ends(step)
                    if (step.blob, source) not in held:
                        yield f"step {step.id}: {source} has no {step.blob}"
                    if (step.blob, destination) in held:
                        yield f"step {step.id}: {destination} has {step.blob}"
                    held.add((step.blob, destination))
                case Activate():
                    if not self.needs(self.pipelines[step.pipeline]) <= held:
                        yield f"step {step.id}: {step.pipeline} lacks blobs"
                    opened.add(step.pipeline)
                case Switch():
                    if not {step.old, step.new} <= opened - closed:
                        yield f"step {step.id}: between pipelines that are not open after the steps before it"
                    closed.add(step.old)
                case Release():
                    if (step.blob, step.place) not in held:
                        yield f"step {step.id}: {step.place} has no {step.blob}"
                    for pipeline in self.pipelines.values():
                        if (step.blob, step.place) in self.needs(pipeline) and pipeline.id not in closed:
                            yield f"step {step.id}: {pipeline.id} still computes with {step.blob}"
                    held.discard((step.blob, step.place))
                case Resize():
                    if step.pipeline not in opened - closed:
                        yield f"step {step.id}: {step.pipeline} is not open"
            yield from self._rooms(step, [each for each in self.problem.cluster.places if self._fills(step, each.id)])
            yield from self._unserved(f"step {step.id}", held, opened, closed)
        received = [(step.blob, self.ends(step)[1]) for step in self.transfers]
        if len(received) != len(set(received)) or set(received) & self.initial:
            yield "something is received twice"

    def _unserved(self, when: str, held: set[tuple[str, str]], opened: set[str], closed: set[str]) -> Iterator[str]:
        """Every LLM that was served has an open pipeline whose blobs are all there."""
        left = [self.pipelines[name] for name in opened - closed]
        complete = {pipeline.llm for pipeline in left if self.needs(pipeline) <= held}
        for llm in {self.pipelines[name].llm for name in opened} - complete:
            yield f"after {when} nothing serves {llm}"

    def _slots(self, pipeline: Pipeline, done: Callable[[Resize], bool]) -> int:
        """How many slots a pipeline has once these resizes are done."""
        found = [step.slots for step in self.resizes if step.pipeline == pipeline.id and done(step)]
        return found[-1] if found else self.first_slots.get(pipeline.id, pipeline.slots)

    def _reserve(self, pipeline: Pipeline, stage: Stage, slots: int) -> int:
        """What a stage takes of its memory: as it says, or what fewer slots need."""
        if slots == pipeline.slots:
            return stage.kv_bytes + stage.workspace_bytes
        units = self.llms[pipeline.llm].units[stage.first_unit : stage.end_unit]
        per_slot = sum(unit.kv_bytes_per_token for unit in units) * pipeline.request_tokens_max
        return per_slot * slots + stage.workspace_bytes

    def _grows(self, step: Step) -> bool:
        if not isinstance(step, Resize):
            return False
        return step.slots > self._slots(self.pipelines[step.pipeline], lambda each: each.id < step.id)

    def _fills(self, step: Step, place: str) -> bool:
        """Whether a step needs room at a place."""
        if isinstance(step, Transfer):
            return self.ends(step)[1] == place
        if isinstance(step, Activate) or self._grows(step):
            return any(stage.place == place for stage in self.pipelines[step.pipeline].stages)
        return False

    def _rooms(self, now: Step | None, places: Iterable[Place]) -> Iterator[str]:
        """Add up what may be in memories when this step of the order takes its room, with all that stands before it.

        What a pipeline took is surely gone when a blob of its stage is; what grows has waited for its closing too.
        """
        until = -1 if now is None else now.id
        came = self.initial | {(step.blob, self.ends(step)[1]) for step in self.transfers if step.id <= until}
        gone = {(step.blob, step.place) for step in self.releases if step.id <= until}
        built = {*self.running, *(step.pipeline for step in self.activates if step.id <= until)}
        if now is not None and self._grows(now):
            built -= {step.old for step in self.switches if step.id <= until}
        for place in places:
            room = place.memory_bytes
            room -= sum(self.blobs[blob].bytes for blob, at in came - gone if at == place.id)
            for pipeline, stage, needs in self.stages:
                if stage.place == place.id and pipeline.id in built and not needs & gone:
                    slots = self._slots(pipeline, lambda each: each.id <= until)
                    room -= self._reserve(pipeline, stage, slots)
            if room < 0:
                yield f"{place.id} may lack {-room} bytes after step {until}"

    def acted_by_the_clock(self) -> Iterator[str]:
        """Act by the predicted instants; at one instant, arrivals come first and releases last."""
        for step in self.transfers:
            latency = sum(link.latency_ns for link in self.path(step))
            if (step.end_ns - step.start_ns - latency) * step.bytes_per_second < self.blobs[step.blob].bytes * SECOND:
                yield f"transfer {step.id} is faster than its rate"
        instants = {0, *(step.start_ns for step in self.transfers), *(step.end_ns for step in self.transfers)}
        instants |= {step.at_ns for step in (*self.activates, *self.switches, *self.releases, *self.resizes)}
        yield from self._sizes()
        instants |= {step.hand_over.start_ns for step in self.switches if step.hand_over is not None}
        held, opened, closed = set(self.initial), set(self.running), set()
        for now in sorted(instants):
            held |= {(step.blob, self.ends(step)[1]) for step in self.transfers if step.end_ns == now}
            yield from self._starts(now, held)
            for step in self.activates:
                if step.at_ns == now:
                    opened.add(step.pipeline)
                    if not self.needs(self.pipelines[step.pipeline]) <= held:
                        yield f"{step.pipeline} opens without all blobs"
            for switch in self.switches:
                if switch.at_ns == now:
                    if not {switch.old, switch.new} <= opened - closed or switch.old == switch.new:
                        yield f"switch {switch.id} between pipelines that are not open"
                    if self.pipelines[switch.old].llm != self.pipelines[switch.new].llm:
                        yield f"switch {switch.id} between two LLMs"
                    closed.add(switch.old)
            for switch in self.switches:
                begins = switch.hand_over is not None and switch.hand_over.start_ns == now
                if begins and not {switch.old, switch.new} <= opened:
                    yield f"switch {switch.id} copies KV between pipelines that are not open"
            yield from self._releases(now, held, opened - closed)
            yield from self._unserved(f"{now} ns", held, opened, closed)
            yield from self._loads(now)

    def _sizes(self) -> Iterator[str]:
        """Slots change one after another, while the pipeline serves and neither hands over nor takes over."""
        for index, step in enumerate(self.resizes):
            same = [each for each in self.resizes[:index] if each.pipeline == step.pipeline]
            if any(each.at_ns > step.at_ns for each in same):
                yield f"resize {step.id} before those before it"
            if any(each.pipeline == step.pipeline and each.at_ns > step.at_ns for each in self.activates):
                yield f"resize {step.id} before its pipeline opens"
            for switch in self.switches:
                begins = switch.at_ns if switch.hand_over is None else switch.hand_over.start_ns
                if step.pipeline in (switch.old, switch.new) and (
                    step.at_ns > begins if step.id < switch.id else step.at_ns < switch.at_ns
                ):
                    yield f"resize {step.id} goes with switch {switch.id}"

    def _starts(self, now: int, held: set[tuple[str, str]]) -> Iterator[str]:
        for index, step in enumerate(self.transfers):
            if step.start_ns == now:
                if (step.blob, self.ends(step)[0]) not in held:
                    yield f"transfer {step.id} starts without its blob"
                for before in self.transfers[:index]:
                    ours, theirs = self.path(step), self.path(before)
                    if (ours[0] is theirs[0] or ours[-1] is theirs[-1]) and before.end_ns > now:
                        yield f"transfer {step.id} starts before {before.id} has left its port"

    def _releases(self, now: int, held: set[tuple[str, str]], serving: set[str]) -> Iterator[str]:
        for step in self.releases:
            if step.at_ns == now:
                at = (step.blob, step.place)
                if at not in held:
                    yield f"release {step.id} of what is not there"
                held.discard(at)
                if not any(blob == step.blob for blob, _ in held):
                    yield f"release {step.id} of the last copy"
                if any(at in self.needs(self.pipelines[name]) for name in serving):
                    yield f"release {step.id} of what a pipeline needs"
                for other in self.transfers:
                    if (other.blob, self.ends(other)[0]) == at and other.start_ns <= now < other.end_ns:
                        yield f"release {step.id} of what transfer {other.id} sends"

    def _loads(self, now: int) -> Iterator[str]:
        running = [step for step in self.transfers if step.start_ns <= now < step.end_ns]
        for link in self.links.values():
            rates = [step.bytes_per_second for step in running if link in self.path(step)]
            for switch in self.switches:
                if switch.hand_over is not None and switch.hand_over.start_ns <= now < switch.at_ns:
                    over = [each for each in switch.hand_over.paths if link.id in self.plan.routes[each.route].links]
                    rates += [path.bytes_per_second for path in over]
            if sum(rates) > link.bytes_per_second:
                yield f"{link.id} is overloaded at {now}"
        for place in self.problem.cluster.places:
            room = place.memory_bytes
            for blob in self.plan.blobs:
                begun = any(
                    step.blob == blob.id and self.ends(step)[1] == place.id and step.start_ns <= now
                    for step in self.transfers
                )
                gone = any(
                    step.blob == blob.id and step.place == place.id and step.at_ns < now for step in self.releases
                )
                if (begun or (blob.id, place.id) in self.initial) and not gone:
                    room -= blob.bytes
            for pipeline in self.pipelines.values():
                begun = any(step.pipeline == pipeline.id and step.at_ns <= now for step in self.activates)
                begun = begun or pipeline.id in self.running
                gone = any(step.old == pipeline.id and step.at_ns < now for step in self.switches)
                before = self._slots(pipeline, lambda each: each.at_ns < now)  # at an instant old and new count both
                slots = max(before, self._slots(pipeline, lambda each: each.at_ns <= now))
                for stage in pipeline.stages:
                    if stage.place == place.id and begun and not gone:
                        room -= self._reserve(pipeline, stage, slots)
            if room < 0:
                yield f"{place.id} lacks {-room} bytes at {now}"

    def at_the_end(self) -> Iterator[str]:
        """Look at what is left when everything is over."""
        held = self.initial | {(step.blob, self.ends(step)[1]) for step in self.transfers}
        held -= {(step.blob, step.place) for step in self.releases}
        closed = {step.old for step in self.switches}
        for target in self.problem.targets:
            if not {(blob.id, target.place) for blob in self.plan.blobs if blob.llm == target.llm} <= held:
                yield f"{target.place} ends without all of {target.llm}"
            if not any(
                pipeline.llm == target.llm
                and pipeline.stages
                and all(stage.place == target.place for stage in pipeline.stages)
                and pipeline.id not in closed
                for pipeline in self.pipelines.values()
            ):
                yield f"{target.place} ends without a pipeline of its own"

    # --- claims ------------------------------------------------------------------------------------------------------

    def claims(self) -> Iterator[str]:
        """Compare every certificate with what was seen."""
        wanted = {target.llm for target in self.problem.targets}
        served = {service.llm for service in self.problem.services}
        for llm in wanted | served:
            for claim in (Claim.COMPLETION, Claim.FIRST_COVER) if llm in wanted else (Claim.COMPLETION,):
                if not any(each.claim is claim and each.subject == llm for each in self.plan.certificates):
                    yield f"no {claim} of {llm}"
        moved = {self.blobs[step.blob].llm for step in self.transfers}
        if len(moved) > 1 and all(each.claim is not Claim.MAKESPAN for each in self.plan.certificates):
            yield "no makespan of several LLMs"
        claims = [(each.claim, each.subject, each.measure, each.formula) for each in self.plan.certificates]
        if len(claims) != len(set(claims)):
            yield "a claim made twice"
        for each in self.plan.certificates:
            if each.claim is Claim.BOTTLENECK:
                yield from self._bottleneck(each)
            elif each.claim is Claim.MAKESPAN:
                yield from self._makespan(each)
            elif each.subject not in (wanted if each.claim is Claim.FIRST_COVER else wanted | served):
                yield "a claim about nothing"
            elif each.claim not in {Claim.COMPLETION, Claim.FIRST_COVER}:
                yield "a claim of which these tests know nothing"
            else:
                yield from self._multicast(each)

    def _judge(self, each: Certificate, value: int, formulas: dict[str, int]) -> Iterator[str]:
        if each.value != value or each.bound > value:
            yield f"{each} but the value is {value}"
        if each.method is Method.NONE:
            if each.bound or each.formula != "none":
                yield f"{each}: a bound by nothing"
        elif each.method is not METHODS.get(each.formula, Method.CLOSED_FORM) or each.formula not in formulas:
            yield f"{each}: unknown method or formula"
        elif [price.name for price in each.witness] != sorted({price.name for price in each.witness}):
            yield f"{each}: a witness out of order"
        elif each.witness and each.method is Method.CLOSED_FORM:
            yield f"{each}: a witness for nothing"
        elif each.bound > formulas[each.formula]:
            yield f"{each}: only {formulas[each.formula]} is proved"

    def _depths(self) -> dict[int, int]:
        depth: dict[int, int] = {}
        for index, step in enumerate(self.transfers):
            waits = [0]
            for before in self.transfers[:index]:
                ours, theirs = self.path(step), self.path(before)
                brings = (before.blob, self.ends(before)[1]) == (step.blob, self.ends(step)[0])
                if ours[0] is theirs[0] or ours[-1] is theirs[-1] or brings:
                    waits.append(depth[before.id])
            depth[step.id] = 1 + max(waits)
        return depth

    def _multicast(self, each: Certificate) -> Iterator[str]:
        blobs = [blob for blob in self.plan.blobs if blob.llm == each.subject]
        sources = {held.place for held in self.problem.holdings if held.llm == each.subject}
        targets = {target.place for target in self.problem.targets if target.llm == each.subject}
        depth = self._depths()
        end = {step.id: step.end_ns if each.measure is Measure.NANOS else depth[step.id] for step in self.transfers}
        mine = [step for step in self.transfers if self.blobs[step.blob].llm == each.subject]
        value = max([end[step.id] for step in mine], default=0)
        if each.claim is Claim.FIRST_COVER:
            value = 0
            for blob in blobs:
                if not any((blob.id, place) in self.initial for place in targets):
                    value = max(value, min(end[s.id] for s in mine if s.blob == blob.id and self.ends(s)[1] in targets))
        yield from self._judge(each, value, self._formulas(each, blobs, sources, targets))

    def _formulas(self, each: Certificate, blobs, sources: set[str], targets: set[str]) -> dict[str, int]:
        receivers, sizes = targets - sources, [blob.bytes for blob in blobs]
        cover = each.claim is Claim.FIRST_COVER
        if each.measure is Measure.TICKS:
            name = "one-port-cover-ticks" if cover else "one-port-multicast-ticks"
            bound = bounds.first_cover_ticks_bound if cover else bounds.multicast_ticks_bound
            return {
                name: 0
                if not receivers or (cover and targets & sources)
                else bound(len(receivers | sources), len(sources), len(blobs))
            }
        wanted = {(blob.id, place) for blob in blobs for place in targets} | (set() if cover else self._kept())
        moving = self._moving(each, self._movement(blobs, wanted))
        names = ("one-port-cover-ns", "port-bytes-cover-ns") if cover else ("one-port-multicast-ns", "port-bytes-ns")
        if not receivers or (cover and targets & sources):
            return {**dict.fromkeys(names, 0), **moving}
        widths = list(self._routes())
        widest = max(width for _, _, width in widths)
        send = {end: max([w for s, _, w in widths if s == end], default=0) for end in {s for s, _, _ in widths}}
        receive = {end: max([w for _, d, w in widths if d == end], default=0) for end in {d for _, d, _ in widths}}
        timed = bounds.first_cover_time_bound_ns if cover else bounds.multicast_time_bound_ns
        total = Fraction(sum(sizes) * SECOND)
        by_bytes = [total / sum(send[place] for place in sources), total / sum(receive[place] for place in receivers)]
        if not cover:
            by_bytes += [total / receive[place] for place in receivers]
            by_bytes.append(len(receivers) * total / sum(send.values()))
        return {
            names[0]: timed(len(receivers), len(sources), sizes, widest),
            names[1]: floor(max(by_bytes)),
            **moving,
        }

    def _makespan(self, each: Certificate) -> Iterator[str]:
        if (each.subject, each.measure) != (self.problem.name, Measure.NANOS):
            yield "a makespan of something else than the problem, in nanoseconds"
            return
        targets = [(target.llm, target.place) for target in self.problem.targets]
        wanted = {(blob.id, place) for blob in self.plan.blobs for llm, place in targets if llm == blob.llm}
        moving = self._moving(each, self._movement(self.plan.blobs, wanted | self._kept()))
        value = max((step.end_ns for step in self.transfers), default=0)
        yield from self._judge(each, value, {f"makespan-{name}": bound for name, bound in moving.items()})

    def _kept(self) -> set[tuple[str, str]]:
        """What open stages and standbys have to hold at the end."""
        left = [each for each in self.pipelines.values() if not any(step.old == each.id for step in self.switches)]
        resting = [(each.llm, each.place) for each in self.plan.residents]
        copies = {(blob.id, place) for blob in self.plan.blobs for llm, place in resting if llm == blob.llm}
        return copies.union(*map(self.needs, left))

    def _movement(self, blobs, wanted: set[tuple[str, str]]) -> Movement:
        """Move what of these blobs must be where at the end."""
        put, mine = {self.ends(step)[1] for step in self.transfers}, {each.id for each in blobs}
        used = put | {place for blob, place in wanted | self.initial if blob in mine}
        memories = [
            place.id for place in self.problem.cluster.places if place.kind is not PlaceKind.SWITCH and place.id in used
        ]
        apart = {
            place.id
            for place in self.problem.cluster.places
            if place.kind is not PlaceKind.SWITCH and place.id not in used
        }
        items = [
            Item(
                name=blob.id,
                bytes=blob.bytes,
                holders=tuple(place for place in memories if (blob.id, place) in self.initial),
                wanters=tuple(place for place in memories if (blob.id, place) in wanted),
            )
            for blob in blobs
        ]
        return Movement(
            memories=tuple(memories),
            links=tuple(link for link in self.problem.cluster.links if not {link.source, link.destination} & apart),
            items=tuple(items),
            relays=tuple(place for place in memories if place in put),
        )

    def _moving(self, each: Certificate, movement: Movement) -> dict[str, int]:
        if each.claim is Claim.FIRST_COVER:
            return {
                "cut-cover-ns": cut_bound_ns(movement, each.witness, Objective.COVER),
                "distance-cover-ns": distance_bound_ns(movement, Objective.COVER),
            }
        return {
            "cut-ns": cut_bound_ns(movement, each.witness),
            "link-prices-ns": price_bound_ns(movement, each.witness),
            "distance-ns": distance_bound_ns(movement),
            "growth-ns": growth_bound_ns(movement),
        }

    def _routes(self) -> Iterator[tuple[str, str, int]]:
        """Every path from memory over switches to another memory: its ends and its width.  For one port per memory."""
        memory = {place.id: place.kind is not PlaceKind.SWITCH for place in self.problem.cluster.places}
        paths = [[link] for link in self.links.values() if memory[link.source]]
        while paths:
            path = paths.pop()
            end = path[-1].destination
            if memory[end]:
                if end != path[0].source:
                    yield path[0].source, end, min(link.bytes_per_second for link in path)
            else:
                paths += [[*path, link] for link in self.links.values() if link.source == end and link not in path]

    def _bottleneck(self, each: Certificate) -> Iterator[str]:
        pipeline = self.pipelines[each.subject]
        llm = self.llms[pipeline.llm]
        (workload,) = [row for row in self.problem.workloads if row.llm == llm.id]
        context = pipeline.slots * (workload.prompt_tokens_mean + ceil(Fraction(workload.output_tokens_mean, 2)))
        devices = [place for place in self.problem.cluster.places if place.kind is PlaceKind.DEVICE]
        rates = [device_rate(self.problem, place, llm.dtype) for place in devices]

        def time_ns(units, flops_rate: int, bytes_rate: int, overhead: int) -> int:
            flops = sum(u.flops_per_token * pipeline.slots + u.flops_per_token_of_context * context for u in units)
            read = sum(llm.tensors[index].bytes for index in {index for u in units for index in u.tensors})
            read += sum(u.kv_bytes_per_token * context for u in units)
            longer = max(Fraction(flops * SECOND, flops_rate), Fraction(read * SECOND, bytes_rate))
            return ceil(longer) + overhead * len(units)

        value = max(decode_ns(self.problem, pipeline, stage, pipeline.slots) for stage in pipeline.stages)
        best = (
            max(rate.flops_per_second for rate in rates),
            max(rate.memory_bytes_per_second for rate in rates),
            min(rate.overhead_ns_per_unit for rate in rates),
        )
        mean = ceil(Fraction(time_ns(llm.units, *best), len(pipeline.stages)))
        bound = max(mean, *(time_ns([unit], *best) for unit in llm.units))
        formulas = {"pipeline-bottleneck": bound} if each.measure is Measure.NANOS else {}
        if each.measure is not Measure.NANOS:
            yield "a bottleneck in ticks"
        yield from self._judge(each, value, formulas)
