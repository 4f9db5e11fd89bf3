"""The best schedule of a small movement: a time-indexed model in CP-SAT.

Time runs in ticks of the greatest length that divides what every hop takes.  One Boolean for each piece, way and start.
Exact among the schedules that start hops at ticks, each at its route's full width, on the routes that
`planner.packing.network` lists; that no schedule at all is better is for a bound to say.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import attrs

from planner.packing.network import Network
from planner.search import Search
from specs.decisions.flow.answer import Delivery, Hop, Piece
from specs.decisions.flow.values import Objective
from specs.units import BytesPerSecond, Nanos, duration_ns

if TYPE_CHECKING:
    from ortools.sat.python import cp_model  # half a second, where the model may well be too large to be built

# Booleans beyond which the model is not built: some seconds of one core.
_STARTS_MAX = 30_000


@attrs.frozen(kw_only=True)
class Best:
    """The best schedule that the solver found."""

    delivery: Delivery
    proven: bool  # the solver says that no schedule of the kind above is better


@attrs.frozen(kw_only=True)
class _Job:
    piece: int
    way: int
    takes_ns: int
    busy_ns: int


def exact(net: Network, pieces: Sequence[Piece], horizon_ns: int, objective: Objective, search: Search) -> Best | None:
    """Search for the best schedule of these pieces that ends within the horizon.

    None when the model would be too large, when no such schedule exists, or when limits ended the search before the
    first one.
    """
    jobs = list(itertools.islice(_jobs(net, pieces), _STARTS_MAX + 1))
    if not 0 < len(jobs) <= _STARTS_MAX:
        return None
    tick_ns = math.gcd(*(job.takes_ns for job in jobs), *(job.busy_ns for job in jobs))
    ticks = horizon_ns // tick_ns
    if ticks * len(jobs) > _STARTS_MAX or not search.spend(ticks * len(jobs)):
        return None
    from ortools.sat.python import cp_model

    model = _Model(net, pieces, jobs, tick_ns, ticks)
    model.aim(objective)
    solver, status = search.cp_sat(model.model)
    if status not in {cp_model.OPTIMAL, cp_model.FEASIBLE}:
        return None
    return Best(delivery=model.decode(solver), proven=status == cp_model.OPTIMAL)


def _jobs(net: Network, pieces: Sequence[Piece]) -> Iterator[_Job]:
    movement = net.movement
    relays = {net.memory[place] for place in movement.relays}
    for number, piece in enumerate(pieces):
        item = movement.items[piece.item]
        holders = {net.memory[place] for place in item.holders}
        takers = ({net.memory[place] for place in item.wanters} | relays) - holders
        if not item.receivers:
            continue
        for index, way in enumerate(net.ways):
            if way.destination in takers and way.source in takers | holders:
                moving = duration_ns(piece.bytes, way.width)
                takes = moving + way.latency_ns
                busy = takes if movement.latency_holds_ports else moving
                yield _Job(piece=number, way=index, takes_ns=takes, busy_ns=busy)


class _Model:
    """Variables and constraints; one method for each rule."""

    def __init__(self, net: Network, pieces: Sequence[Piece], jobs: list[_Job], tick_ns: int, ticks: int) -> None:
        from ortools.sat.python import cp_model

        self.model = cp_model.CpModel()
        self._net = net
        self._pieces = pieces
        self._jobs = jobs
        self._tick_ns = tick_ns
        self._ticks = ticks
        self._takes = [job.takes_ns // tick_ns for job in jobs]
        self._busy = [job.busy_ns // tick_ns for job in jobs]
        self._starts = [
            [self.model.new_bool_var(f"{index}@{tick}") for tick in range(ticks - self._takes[index] + 1)]
            for index in range(len(jobs))
        ]
        self._held: dict[tuple[int, int], list[cp_model.IntVar]] = {}
        self._hold_what_arrives()
        self._send_what_is_held()
        self._take_turns_at_ports()
        self._carry_inside()

    def _holders(self, piece: int) -> set[int]:
        return {self._net.memory[place] for place in self._net.movement.items[self._pieces[piece].item].holders}

    def _receivers(self, piece: int) -> list[int]:
        return [self._net.memory[place] for place in self._net.movement.items[self._pieces[piece].item].receivers]

    def _hold_what_arrives(self) -> None:
        """FULL: nobody receives a piece twice, and every wanter ends with it."""
        into: dict[tuple[int, int], list[int]] = {}
        for index, job in enumerate(self._jobs):
            into.setdefault((job.piece, self._net.ways[job.way].destination), []).append(index)
        for key, arriving in into.items():
            held = [self.model.new_bool_var(f"held{key}@{tick}") for tick in range(self._ticks + 1)]
            self._held[key] = held
            self.model.add(held[0] == 0)
            for tick in range(1, self._ticks + 1):
                now = [
                    self._starts[index][tick - self._takes[index]] for index in arriving if tick >= self._takes[index]
                ]
                self.model.add(held[tick] == held[tick - 1] + sum(now))
        for piece in range(len(self._pieces)):
            for place in self._receivers(piece):
                self.model.add(self._held[piece, place][self._ticks] == 1)

    def _send_what_is_held(self) -> None:
        """CAUSE: a hop starts when its source holds the piece."""
        for index, job in enumerate(self._jobs):
            source = self._net.ways[job.way].source
            if source in self._holders(job.piece):
                continue
            held = self._held.get((job.piece, source))
            for tick, start in enumerate(self._starts[index]):
                if held is None:
                    self.model.add(start == 0)
                else:
                    self.model.add_implication(start, held[tick])

    def _running(self, index: int, tick: int) -> "list[cp_model.IntVar]":
        return self._starts[index][max(0, tick - self._busy[index] + 1) : tick + 1]

    def _take_turns_at_ports(self) -> None:
        """PORT: one hop at a time."""
        users: dict[int, list[int]] = {}
        for index, job in enumerate(self._jobs):
            for port in self._net.ways[job.way].ports:
                users.setdefault(port, []).append(index)
        for jobs in users.values():
            for tick in range(self._ticks):
                self.model.add_at_most_one(start for index in jobs for start in self._running(index, tick))

    def _carry_inside(self) -> None:
        """LINK: rates on a link between switches sum to at most its capacity."""
        users: dict[int, list[int]] = {}
        for index, job in enumerate(self._jobs):
            for link in self._net.ways[job.way].inside:
                users.setdefault(link, []).append(index)
        for link, jobs in users.items():
            capacity = self._net.movement.links[link].bytes_per_second
            for tick in range(self._ticks):
                load = [
                    (start, self._net.ways[self._jobs[index].way].width)
                    for index in jobs
                    for start in self._running(index, tick)
                ]
                self.model.add(sum(width * start for start, width in load) <= capacity)

    def aim(self, objective: Objective) -> None:
        """Say what is to be small."""
        if objective is Objective.RAMP:
            cost = []
            for piece, each in enumerate(self._pieces):
                for place in self._receivers(piece):
                    cost += [each.bytes * (1 - held) for held in self._held[piece, place][:-1]]
            self.model.minimize(sum(cost))
            return
        over = [self.model.new_bool_var(f"over@{tick}") for tick in range(self._ticks + 1)]
        for tick, done in enumerate(over):
            for piece, each in enumerate(self._pieces):
                item = self._net.movement.items[each.item]
                held = [self._held[piece, place][tick] for place in self._receivers(piece)]
                if objective is Objective.ALL:
                    for one in held:
                        self.model.add_implication(done, one)
                elif held and set(item.holders).isdisjoint(item.wanters):
                    self.model.add_bool_or([*held, done.negated()])
        self.model.minimize(sum(1 - done for done in over))

    def decode(self, solver: "cp_model.CpSolver") -> Delivery:
        """Read the schedule off the solver's answer."""
        chosen = [
            (tick * self._tick_ns, index)
            for index, starts in enumerate(self._starts)
            for tick, start in enumerate(starts)
            if solver.value(start)
        ]
        used = sorted({self._jobs[index].way for _, index in chosen})
        number = {way: position for position, way in enumerate(used)}
        return Delivery(
            pieces=tuple(self._pieces),
            routes=tuple(self._net.route(way) for way in used),
            hops=tuple(
                Hop(
                    piece=self._jobs[index].piece,
                    route=number[self._jobs[index].way],
                    bytes_per_second=BytesPerSecond(self._net.ways[self._jobs[index].way].width),
                    start_ns=Nanos(start_ns),
                    end_ns=Nanos(start_ns + self._jobs[index].takes_ns),
                )
                for start_ns, index in sorted(chosen)
            ),
        )
