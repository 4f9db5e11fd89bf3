"""A second opinion on plans: act a plan out, instant by instant, and say what goes wrong.

Written for small plans and for reading, apart from `specs.invariants`: nothing is sorted, indexed or swept, everything
that could matter is looked at again at every instant.  Shared with the checker are only the nouns, the problem's
digest, the number-theoretic bounds of `specs.bounds` and those of `specs.decisions.flow`; their arguments are found
here.  What is promised beyond movement is read by `tests.properties.promises`.
"""

from collections.abc import Callable, Iterable, Iterator

from specs.cluster import Place
from specs.plan import Activate, Pipeline, Plan, Release, Resize, Stage, Step, Switch, Transfer
from specs.problem import Problem
from tests.properties.claims import Claims
from tests.properties.hand_overs import broken_hand_overs
from tests.properties.paper import paper_faults
from tests.properties.promises import broken_promises
from tests.properties.show import SECOND, Show


def faults(problem: Problem, plan: Plan) -> list[str]:
    """Everything that goes wrong, in words; none for a good plan."""
    try:
        found = list(paper_faults(problem, plan))
        if not found:
            acting = Acting(problem, plan)
            found = [*acting.acted_in_order(), *acting.acted_by_the_clock(), *acting.at_the_end()]
            found = found or [*broken_hand_overs(problem, plan), *broken_promises(problem, plan)]
            found = found or list(Claims(problem, plan).broken())
    except (KeyError, IndexError, StopIteration) as missing:
        return [f"something is not there: {missing!r}"]
    return found


class Acting(Show):
    """A plan acted out: by the order of its steps, by their times, and as it is left."""

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
