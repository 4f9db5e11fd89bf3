"""A second opinion on certificates: every value as it is seen in the plan, every bound as it is argued here."""

from collections.abc import Iterator
from fractions import Fraction
from math import ceil, floor

from specs import bounds
from specs.cluster import PlaceKind
from specs.decisions.flow.bounds import cut_bound_ns, distance_bound_ns
from specs.decisions.flow.growth import growth_bound_ns
from specs.decisions.flow.prices import price_bound_ns
from specs.decisions.flow.question import Item, Movement
from specs.decisions.flow.values import Objective
from specs.plan import Certificate, Claim, Measure, Method
from specs.timing import device_rate
from tests.properties.hand_overs import decode_ns
from tests.properties.show import SECOND, Show

# Of others: closed forms.
METHODS = {
    "cut-ns": Method.CUT,
    "cut-cover-ns": Method.CUT,
    "link-prices-ns": Method.DUAL,
    "makespan-cut-ns": Method.CUT,
    "makespan-link-prices-ns": Method.DUAL,
}


class Claims(Show):
    """The certificates of a plan."""

    def broken(self) -> Iterator[str]:
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
