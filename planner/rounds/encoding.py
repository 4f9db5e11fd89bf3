"""The CP-SAT formulation: which chunk crosses which link in which step, and how many rounds each step lasts.

A kind of chunks with one target is a flow of `count` indistinguishable units through the fabric unrolled in time: one
integer per link and step.  A chunk with several targets is copied on its way: one Boolean per chunk, link and step, and
a node sends only what it has received in an earlier step.  Only sends that can matter have a variable: the source can
hold the chunk by then, and a target is near enough afterwards.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate

import attrs
from ortools.sat.python import cp_model

from planner.rounds.symmetry import Symmetry
from planner.rounds.useful import UsefulSends
from specs.decisions.rounds.answer import Answer, Send
from specs.decisions.rounds.question import Chunks, LinkEnds, Node, Question

_Var = cp_model.IntVar
_Hop = tuple[int, LinkEnds]  # a step and a link


@attrs.define
class _Flow:
    """The units of one kind with a single target."""

    kind: int
    offset: int  # the first of the kind
    chunks: Chunks
    starts: dict[Node, _Var]  # units that begin at each holder
    sends: dict[tuple[LinkEnds, int], _Var]


@attrs.define
class _Copies:
    """One chunk with several targets."""

    kind: int
    offset: int  # which of the kind
    chunks: Chunks
    sends: dict[tuple[LinkEnds, int], _Var]


class Encoding:
    """One question, encoded; `model` is what to solve, `decode` reads the answer."""

    def __init__(
        self,
        question: Question,
        group: Sequence[Symmetry],
        *,
        division: Sequence[int] | None = None,
        repeated: int = 0,
    ) -> None:
        """Encode schedules that are the same under a group of symmetries; the identity alone allows all schedules.

        `division` fixes the rounds of each step.  A pipeline needs that: the first chunks of each kind are `repeated`,
        that is, in every step before this schedule begins others have begun to take the same way.
        """
        self.question = question
        self._group = group
        self._repeated = repeated
        self.model = cp_model.CpModel()
        low, high = [1] * question.steps, [1 + question.rounds - question.steps] * question.steps
        if division is not None:
            low = high = list(division)
        self._rounds = [self.model.new_int_var(*ends, "rounds") for ends in zip(low, high, strict=True)]
        self.model.add(sum(self._rounds) <= question.rounds)
        self._load: defaultdict[tuple[LinkEnds, int], list[_Var]] = defaultdict(list)
        self._flows: list[_Flow] = []
        self._copies: list[_Copies] = []
        self._first_chunks = [0, *accumulate(chunks.count for chunks in question.chunks)]
        for kind, chunks in enumerate(question.chunks):
            if any(each.kinds[kind] < kind for each in group):
                continue  # the first kind of its orbit speaks for it
            if len(chunks.targets) == 1:
                self._add_flow(kind, range(repeated), chunks)
                self._add_flow(kind, range(repeated, chunks.count), chunks)
            elif chunks.targets:
                for offset in range(chunks.count):
                    self._add_copies(kind, offset, chunks)
        self._limit_load()

    def _loads(self, offset: int, ends: LinkEnds, step: int, sent: _Var) -> None:
        """Count a send, those of its images, and in earlier steps those of the chunks that began before."""
        for each in self._group:
            for at in range(0 if offset < self._repeated else step, step + 1):
                self._load[each.ends(ends), at].append(sent)

    def _add_flow(self, kind: int, offsets: range, chunks: Chunks) -> None:
        """Units are conserved at every moment: they come from a holder, and all end at the target."""
        useful = UsefulSends(self.question.fabric, chunks, self.question.steps)
        starts = {node: self._units(offsets, f"{kind}:{node}") for node in chunks.held_by}
        self.model.add(sum(starts.values()) == len(offsets))
        sends = {}
        at: defaultdict[tuple[Node, int], list[tuple[_Var, int]]] = defaultdict(list)
        for node, units in starts.items():
            at[node, 0].append((units, 1))
        for ends, step in useful:
            units = self._units(offsets, f"{kind}:{ends}@{step}")
            sends[ends, step] = units
            self._loads(offsets.start, ends, step, units)
            at[ends[0], step].append((units, -1))
            at[ends[1], step + 1].append((units, 1))
        for node in range(self.question.fabric.nodes):
            for step in range(self.question.steps):
                staying = self._units(offsets, f"{kind}:{node}@{step}")
                at[node, step].append((staying, -1))
                at[node, step + 1].append((staying, 1))
        for (node, step), terms in at.items():
            ends_here = step == self.question.steps
            wanted = len(offsets) if ends_here and node == chunks.targets[0] else 0
            self.model.add(sum(sign * units for units, sign in terms) == wanted)
        self._flows.append(_Flow(kind, offsets.start, chunks, starts, sends))

    def _units(self, offsets: range, name: str) -> _Var:
        return self.model.new_int_var(0, len(offsets), name)

    def _add_copies(self, kind: int, offset: int, chunks: Chunks) -> None:
        """A node receives the chunk at most once, a target exactly once, and sends it only after that."""
        sends = {}
        arrivals: defaultdict[Node, list[tuple[int, _Var]]] = defaultdict(list)
        for ends, step in UsefulSends(self.question.fabric, chunks, self.question.steps):
            sent = self.model.new_bool_var(f"{kind}+{offset}:{ends}@{step}")
            sends[ends, step] = sent
            self._loads(offset, ends, step, sent)
            arrivals[ends[1]].append((step, sent))
        for node, found in arrivals.items():
            if node in chunks.targets:
                self.model.add_exactly_one(sent for _, sent in found)
            else:
                self.model.add_at_most_one(sent for _, sent in found)
        for target in chunks.targets:
            if target not in arrivals:
                self.model.add_bool_or([])  # it is too far away: no schedule
        for (ends, step), sent in sends.items():
            if ends[0] not in chunks.held_by:
                self.model.add(sum(earlier for at, earlier in arrivals[ends[0]] if at < step) >= sent)
        self._copies.append(_Copies(kind, offset, chunks, sends))

    def _limit_load(self) -> None:
        """No carrier takes more than its chunks per round times the rounds of the step."""
        for step, rounds in enumerate(self._rounds):
            for carrier in self.question.fabric.carriers:
                load = [sent for ends in carrier.links for sent in self._load.get((ends, step), ())]
                if load:
                    self.model.add(sum(load) <= carrier.chunks_per_round * rounds)

    def decode(self, solver: cp_model.CpSolver) -> Answer:
        """Read the schedule; sends that serve nobody are left out."""
        sends: list[Send] = []
        for flow in self._flows:
            for offset, way in enumerate(_ways(flow, solver), start=flow.offset):
                sends += self._images(flow.kind, offset, way)
        for copies in self._copies:
            sends += self._images(copies.kind, copies.offset, _needed(copies, solver))
        return Answer(rounds=tuple(solver.value(rounds) for rounds in self._rounds), sends=tuple(sorted(sends)))

    def _images(self, kind: int, offset: int, hops: Sequence[_Hop]) -> Iterator[Send]:
        """The sends of one chunk and of those that do the same elsewhere."""
        for each in self._group:
            chunk = self._first_chunks[each.kinds[kind]] + offset
            for step, ends in hops:
                source, destination = each.ends(ends)
                yield Send(step=step, source=source, destination=destination, chunk=chunk)


def _ways(flow: _Flow, solver: cp_model.CpSolver) -> Iterator[list[_Hop]]:
    """Follow each unit through the flow; which of the equal units moves is a free choice."""
    at: defaultdict[Node, list[list[_Hop]]] = defaultdict(list)  # the way of each unit that is there
    for node, units in flow.starts.items():
        at[node] = [[] for _ in range(solver.value(units))]
    for step in range(1 + max((step for _, step in flow.sends), default=-1)):
        leaving = [(ends, solver.value(units)) for (ends, at_step), units in flow.sends.items() if at_step == step]
        moved = [(ends, [at[ends[0]].pop() for _ in range(units)]) for ends, units in leaving]
        for ends, ways in moved:
            at[ends[1]] += [[*way, (step, ends)] for way in ways]
    for way in at[flow.chunks.targets[0]]:
        yield _direct(way, flow.chunks)


def _direct(way: list[_Hop], chunks: Chunks) -> list[_Hop]:
    """Leave out loops: whatever lies before a holder, or between two visits to a node."""
    kept: list[_Hop] = []
    for hop in way:
        kept.append(hop)
        here = hop[1][1]
        if here in chunks.held_by:
            kept.clear()
        for index, (_, (source, _)) in enumerate(kept):
            if source == here:
                del kept[index:]
                break
    return kept


def _needed(copies: _Copies, solver: cp_model.CpSolver) -> list[_Hop]:
    """Keep the sends that lead to a target, last first."""
    needed = set(copies.chunks.targets)
    hops = []
    sent = [(step, ends) for (ends, step), variable in copies.sends.items() if solver.boolean_value(variable)]
    for step, (source, destination) in sorted(sent, reverse=True):
        if destination in needed:
            needed.add(source)
            hops.append((step, (source, destination)))
    return hops
