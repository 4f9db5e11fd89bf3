"""Machines that each hold a run of layers, and tokens that flow wherever one run ends and the next begins.

The layers are a line of borders 0 .. L; a machine that holds layers [s, e) is an edge from border s to border e, and
tokens flow from 0 to L.  The flow of an answer is what it serves when nothing but machines and links limits it: depth
and KV are not part of this question.
"""

from collections import Counter
from collections.abc import Iterator
from functools import cached_property

import attrs

from specs import fields
from specs.errors import InvalidProblem
from specs.witness import Witness

ENTRY = "entry"  # where tokens come from
EXIT = "exit"  # where they go
WHOLE_MAX = 10_000  # of a witness, whose knapsack takes time in proportion


@attrs.frozen(kw_only=True)
class Machine:
    """A machine and what it computes, by the number of layers that it holds."""

    name: str = fields.name()
    millitokens_per_second: tuple[int, ...]  # [k - 1]: while it holds k layers; it cannot hold more than there are


@attrs.frozen(kw_only=True)
class Link:
    """What may flow from one machine to another, from ENTRY, or to EXIT."""

    source: str = fields.name()
    destination: str = fields.name()
    millitokens_per_second: int = fields.natural()


@attrs.frozen(kw_only=True)
class Question:
    """Which machine holds what?  Raises InvalidProblem when names are given twice or not known, or rates negative."""

    layers: int = fields.positive()
    machines: tuple[Machine, ...]
    links: tuple[Link, ...]  # at most one per pair; a pair without a link carries nothing

    def __attrs_post_init__(self) -> None:
        names = [machine.name for machine in self.machines]
        ends = [(link.source, link.destination) for link in self.links]
        if len({*names, ENTRY, EXIT}) != len(names) + 2:
            raise InvalidProblem(f"machines have different names, and none is called {ENTRY} or {EXIT}")
        if any(rate < 0 for machine in self.machines for rate in machine.millitokens_per_second):
            raise InvalidProblem("machines compute 0 or more")
        if len(set(ends)) != len(ends):
            raise InvalidProblem("there is at most one link per pair")
        for source, destination in ends:
            if source not in {*names, ENTRY} or destination not in {*names, EXIT}:
                raise InvalidProblem(f"link {source}>{destination}: its ends are not machines of the question")

    @cached_property
    def machine(self) -> dict[str, Machine]:
        """Each machine by its name."""
        return {machine.name: machine for machine in self.machines}

    @cached_property
    def link(self) -> dict[tuple[str, str], Link]:
        """Each link by its ends."""
        return {(link.source, link.destination): link for link in self.links}

    @cached_property
    def kinds(self) -> dict[tuple[int, ...], list[str]]:
        """Machines with the same rates, in the order of the question."""
        found: dict[tuple[int, ...], list[str]] = {}
        for machine in self.machines:
            found.setdefault(machine.millitokens_per_second, []).append(machine.name)
        return found


@attrs.frozen(kw_only=True)
class Span:
    """Layers [first, end) on a machine."""

    machine: str = fields.name()
    first_layer: int = fields.natural()
    end_layer: int = fields.positive()


@attrs.frozen(kw_only=True)
class Flow:
    """What flows over a link."""

    source: str = fields.name()
    destination: str = fields.name()
    millitokens_per_second: int = fields.natural()


@attrs.frozen(kw_only=True)
class Answer:
    """Who holds what, and what flows where.  Machines without a span hold nothing."""

    spans: tuple[Span, ...]
    flows: tuple[Flow, ...]


def faults(question: Question, answer: Answer) -> Iterator[str]:
    """Say what is wrong with an answer."""
    held: dict[str, Span] = {}
    for span in answer.spans:
        machine = question.machine.get(span.machine)
        if machine is None or span.machine in held:
            yield f"a span names machine {span.machine}, which is not there or has another span"
            return
        held[span.machine] = span
        size, room = span.end_layer - span.first_layer, len(machine.millitokens_per_second)
        if not 0 < size <= room or span.end_layer > question.layers:
            yield f"{span.machine} has layers {span.first_layer} to {span.end_layer} (exclusive); it holds 1 to {room}"
            return
    yield from _flow_faults(question, answer, held)


def _flow_faults(question: Question, answer: Answer, held: dict[str, Span]) -> Iterator[str]:
    into: Counter[str] = Counter()
    out: Counter[str] = Counter()
    for (source, destination), count in Counter((f.source, f.destination) for f in answer.flows).items():
        if count > 1:
            yield f"the flow from {source} to {destination} is given twice"
    for flow in answer.flows:
        where = f"flow from {flow.source} to {flow.destination}"
        link = question.link.get((flow.source, flow.destination))
        if link is None or flow.millitokens_per_second > link.millitokens_per_second:
            allows = 0 if link is None else link.millitokens_per_second
            yield f"{where} is {flow.millitokens_per_second} millitokens/s; its link carries {allows}"
        ends = 0 if flow.source == ENTRY else held[flow.source].end_layer if flow.source in held else None
        begins = (
            question.layers
            if flow.destination == EXIT
            else held[flow.destination].first_layer
            if flow.destination in held
            else None
        )
        if ends is None or ends != begins:
            yield f"{where}: the one ends at border {ends}, the other begins at {begins}"
        out[flow.source] += flow.millitokens_per_second
        into[flow.destination] += flow.millitokens_per_second
    for name, span in held.items():
        rate = question.machine[name].millitokens_per_second[span.end_layer - span.first_layer - 1]
        if into[name] != out[name]:
            yield f"{into[name]} millitokens/s flow into {name} and {out[name]} out of it"
        if into[name] > rate:
            yield f"{into[name]} millitokens/s flow into {name}, which computes {rate}"


def value(answer: Answer) -> int:
    """Millitokens/s from ENTRY on."""
    return sum(flow.millitokens_per_second for flow in answer.flows if flow.source == ENTRY)


def layers_bound(question: Question) -> int:
    """Most millitokens/s that any answer serves, at once and without a witness.

    Every token passes every layer on one machine, and a machine that holds k layers passes at most min(T(k), F) tokens
    through each when F flow in all.  So  L F <= sum over machines of max over k of k min(T(k), F);  the largest such F.
    """
    low, high = 0, sum(max(machine.millitokens_per_second, default=0) for machine in question.machines)
    while low < high:
        flow = (low + high + 1) // 2
        passes = sum(
            max((k * min(rate, flow) for k, rate in enumerate(machine.millitokens_per_second, 1)), default=0)
            for machine in question.machines
        )
        if question.layers * flow <= passes:
            low = flow
        else:
            high = flow - 1
    return low


def cover_bound(question: Question, witness: Witness) -> int:
    """Most millitokens/s that any answer serves: the witness's `flow`, or else `layers_bound`.

    The witness gives a worth v >= 0 to a layer on a machine of some kind while it holds k layers (`NAME:k`, NAME the
    first machine of the kind), and V (`whole`).  Suppose that more than F = `flow` is served.  The machines that hold a
    layer then compute more than F together.  If every set of machines that compute more than F together is worth at
    least V, then the L layers are worth at least L V; but a machine is worth at most max over k of k v(k).  So

        L V <= sum over machines of max over k of k v(k);

    where that fails, no more than F is served.  The condition on sets is seen by a knapsack: most that can be computed
    by a set worth V - 1, each machine as often as wanted, is at most F.  V is at most WHOLE_MAX.
    """
    amounts = {price.name: price.amount for price in witness}
    flow, whole = amounts.get("flow", 0), amounts.get("whole", 0)
    worth = [
        [(rate, amounts.get(f"{names[0]}:{k}", 0), k) for k, rate in enumerate(rates, 1)]
        for rates, names in question.kinds.items()
    ]
    count = [len(names) for names in question.kinds.values()]
    total = sum(n * max((k * v for _, v, k in modes), default=0) for n, modes in zip(count, worth, strict=True))
    modes = [(rate, v) for each in worth for rate, v, _ in each]
    if not 1 <= whole <= WHOLE_MAX or total >= question.layers * whole or most_computed(modes, whole - 1) > flow:
        return layers_bound(question)
    return min(flow, layers_bound(question))


def most_computed(modes: list[tuple[int, int]], worth: int) -> int:
    """Most that layers on machines worth so much together compute; `modes` are (rate, worth) of one.

    Modes without a worth must not compute anything: with one of them there is no limit, and the result is 2**62.
    """
    if any(v == 0 and rate > 0 for rate, v in modes):
        return 1 << 62
    best = [0] * (worth + 1)
    for room in range(1, worth + 1):
        best[room] = max((rate + best[room - v] for rate, v in modes if 0 < v <= room), default=0)
        best[room] = max(best[room], best[room - 1])
    return best[worth]
