"""From shares to whole pieces: which piece takes which tree, so that no link is much busier than in steady state."""

import attrs
import numpy as np
from numpy.typing import NDArray

from planner.packing.network import Network
from planner.packing.steady import Steady, loads
from specs.decisions.flow.answer import Piece
from specs.decisions.flow.question import Item
from specs.units import Bytes

# How steeply a link's busy time beyond the steady state is disliked, per part of the steady state's time: gently at
# first, so that many links matter, and then only the busiest.
_STEEPNESS = (50.0, 200.0, 1000.0, 1000.0)


@attrs.frozen(kw_only=True)
class Planted:
    """A piece and the ways of its tree, each after the one that feeds it."""

    piece: Piece
    ways: tuple[int, ...]
    turn: int  # position among the pieces of its class, from 0: pieces of one turn of all classes belong together


def cut(item: Item, index: int, pieces: int) -> list[Piece]:
    """Cut an item into so many pieces, or as many as it allows, as even as bytes go."""
    count = max(1, min(pieces, item.pieces_max, item.bytes))
    edges = [item.bytes * edge // count for edge in range(count + 1)]
    return [Piece(item=index, bytes=Bytes(edges[edge + 1] - edges[edge])) for edge in range(count)]


def planted(net: Network, steady: Steady, pieces: int) -> list[Planted]:
    """Cut the items and give each piece a tree: by shares, then improved against the busiest links."""
    columns: list[list[int]] = [[] for _ in steady.classes]
    for number, column in enumerate(steady.columns):
        if steady.shares[number] > 1e-9:
            columns[column.of].append(number)
    use = {number: loads(net, steady.columns[number].ways) for group in columns for number in group}
    busy = np.zeros(len(net.movement.links))
    chosen: list[tuple[Piece, int, int, int]] = []  # piece, class, turn, column
    for number, each in enumerate(steady.classes):
        given = dict.fromkeys(columns[number], 0.0)
        done = 0
        mine = [piece for item in each.items for piece in cut(net.movement.items[item], item, pieces)]
        for turn, piece in enumerate(mine):
            done += piece.bytes
            best = max(given, key=lambda column: (steady.shares[column] * done - given[column], -column))
            given[best] += piece.bytes
            busy += piece.bytes * use[best]
            chosen.append((piece, number, turn, best))
    chosen = _improved(chosen, columns, use, busy, max(steady.time_ns, 1e-9))
    trees = [Planted(piece=piece, ways=steady.columns[column].ways, turn=turn) for piece, _, turn, column in chosen]
    return [*trees, *resting(net)]


def resting(net: Network) -> list[Planted]:
    """Give pieces that nobody lacks: they move nowhere."""
    return [
        Planted(piece=Piece(item=index, bytes=item.bytes), ways=(), turn=0)
        for index, item in enumerate(net.movement.items)
        if not item.receivers
    ]


def _improved(
    chosen: list[tuple[Piece, int, int, int]],
    columns: list[list[int]],
    use: dict[int, NDArray[np.float64]],
    busy: NDArray[np.float64],
    time_ns: float,
) -> list[tuple[Piece, int, int, int]]:
    """Move pieces to other trees of their class while that lowers the sum of exponentials of the links' busy times."""
    result = list(chosen)
    stacks = [np.array([use[column] for column in group]) for group in columns]
    for steepness in _STEEPNESS:
        for index, (piece, number, turn, column) in enumerate(result):
            if len(columns[number]) < 2:
                continue
            without = busy - piece.bytes * use[column]
            trial = without + piece.bytes * stacks[number]
            pain = np.exp(np.minimum(steepness * (trial / time_ns - 1.0), 500.0)).sum(axis=1)
            best = columns[number][int(pain.argmin())]
            here = columns[number].index(column)
            if best != column and pain.min() < pain[here] * (1 - 1e-9):
                busy = without + piece.bytes * use[best]
                result[index] = (piece, number, turn, best)
    return result
