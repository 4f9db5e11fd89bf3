"""Optimal multicast between nodes with equal ports: completion and first cover both meet their lower bounds.

Time runs in ticks.  In one tick a node sends at most one block and receives at most one (full duplex).  `sources` nodes
hold everything, the others nothing.  `specs.bounds` proves what no schedule can beat; here is why this one meets it.

Groups.  With R receivers, g = min(sources, R) sources get one group of receivers each, as even as possible.  The
largest group, source included, has n = 1 + ceil(R / g) nodes.  One source needs b - 1 + ceil(log2 n) ticks in a group
(below), and for every R, s this equals `multicast_ticks_bound`: both are b when R <= s, and otherwise
b - 1 + ceil(log2(N / s)).  Group i emits the blocks in chunks i, i + 1, .. (mod g), chunk c being the blocks
congruent to c mod g.  A source emits a new block in each of its first b ticks, and its own chunk has at most
ceil(b / g) blocks, so by then the groups together hold every block: that is `first_cover_ticks_bound`.

From here on: one group of n nodes, and a block means its place 0 .. b - 1 in the group's order.

Hypercube (n = 2^l).  Nodes are the corners of a hypercube and the source is corner 0.  In tick t every corner
exchanges with its neighbour across dimension t mod l, and offers the highest block it holds; the source offers
min(t, b - 1).  Pretend first that the source never runs out, and call t a *turn* of corner x when bit t mod l of x is
set.  Induction over t shows that a corner's newest block is u - l, with u its next turn at t or later (none when
u < l):
  - at its own turn t, x offers t - l to its neighbour and takes the neighbour's newest, which is u - l for the first
    turn u of x after t (the two corners differ in this dimension only; the source offers t, and then u = t + l);
  - at any other tick t the neighbour has its turn, so x takes t - l and keeps its newest.
So x takes block i at tick i + l when that is not its turn, and otherwise earlier, at the turn before i + l: every block
once, and all by tick i + l.  Now read every block above b - 1 as b - 1, which is what the source offers in the end, and
stop after tick b + l - 2, that is after b - 1 + l ticks.  By then blocks i <= b - 2 are everywhere, and so is b - 1:
every corner's newest is u - l with u >= b + l - 1.  Still nothing is taken twice: at its own turn t <= b + l - 2 a
corner's newest is t - l <= b - 2 and it takes a higher block; at another tick it takes t - l <= b - 2 as before.

Twins (2^l < n < 2^(l+1)).  The nodes left over join corners 1, 2, .. as twins: enough, as there are 2^l - 1 corners
besides the source.  A corner still offers and takes at most one block per tick, and one twin does each:
  - the twin that took the newest block is the *sender*.  It offers the newest block until a newer one arrives;
  - the other is the *receiver*.  It takes whatever arrives.  If it holds a block that the sender lacks, it sends that
    block to the sender in the same tick;
  - when what arrived is newer than all before, the twins change roles.
Ports: the sender sends out and receives from its twin, the receiver receives from outside and sends to its twin.
Debt: a twin never holds more than one block that the other lacks.  For the receiver pays what it owes before it takes
the next block, and the sender takes nothing from outside.  So when the hypercube has finished, after b - 1 + l ticks,
each twin owes the other at most one block, and one more tick, in which both pay, ends it: b + l = b - 1 + ceil(log2 n).

Example, n = 6, b = 3 (so l = 2); corners 0 = {0}, 1 = {1, 4}, 2 = {2, 5}, 3 = {3};
`0>1:a` moves block a from node 0 to node 1.

    tick  dimension  between corners     between twins
    0     0          0>1:a
    1     1          0>2:b 1>3:a
    2     0          0>4:c 2>3:b 3>5:a   (4 takes c for corner 1 and becomes its sender)
    3     1          0>5:c 3>1:b 4>3:c   1>4:a 5>2:a
    4     -                              1>4:b 4>1:c 2>5:b 5>2:c
"""

from collections.abc import Iterator, Sequence

import attrs

from specs.bounds import multicast_ticks_bound


@attrs.frozen(kw_only=True)
class Send:
    """One block that moves over one link during one tick."""

    tick: int  # from 0; the destination holds the block from tick + 1 on
    source: int
    destination: int
    block: int


def multicast_ticks(nodes: int, sources: int, blocks: int) -> tuple[Send, ...]:
    """The sends, by tick and source node, that bring `blocks` from nodes 0 .. `sources` - 1 to all other nodes.

    Completes in `specs.bounds.multicast_ticks_bound` ticks and first covers all blocks among the receivers in
    `specs.bounds.first_cover_ticks_bound` ticks: both are optimal, see the module's docstring.  Takes time in
    proportion to nodes * blocks.  Raises ValueError unless 1 <= sources <= nodes and blocks >= 1.
    """
    bound = multicast_ticks_bound(nodes, sources, blocks)
    receivers = nodes - sources
    groups = min(sources, receivers)
    sends: list[Send] = []
    for group in range(groups):
        first, end = (sources + edge * receivers // groups for edge in (group, group + 1))
        sends += _pipeline((group, *range(first, end)), _circular_order(group, groups, blocks))
    sends.sort(key=lambda send: (send.tick, send.source))
    assert not sends or sends[-1].tick + 1 == bound
    return tuple(sends)


def _circular_order(group: int, groups: int, blocks: int) -> tuple[int, ...]:
    """All blocks, chunk after chunk, beginning with the group's own; chunk c is the blocks i with i mod groups = c."""
    chunks = ((group + shift) % groups for shift in range(groups))
    return tuple(block for chunk in chunks for block in range(chunk, blocks, groups))


@attrs.define
class _Corner:
    """A corner of the hypercube: one node (sender and receiver at once) or two twins that take turns.

    `newest` is the highest place, in the group's order of blocks, that the corner holds.  A twin holds at most one
    place that the other lacks: `sender_only`, `receiver_only`.
    """

    sender: int  # holds `newest`, as soon as there is one
    receiver: int
    newest: int | None = None
    sender_only: int | None = None
    receiver_only: int | None = None

    def accept(self, place: int) -> None:
        """Let the receiver hold `place`; if it is the newest, the receiver is the sender from now on."""
        if self.sender != self.receiver:
            self.receiver_only = place
        if self.newest is None or place > self.newest:
            self.newest = place
            self.sender, self.receiver = self.receiver, self.sender
            self.sender_only, self.receiver_only = self.receiver_only, self.sender_only


def _corners(members: Sequence[int]) -> tuple[_Corner, ...]:
    """The largest hypercube that the members fill; those left over are twins at corners 1, 2, .. ."""
    size = 1 << (len(members).bit_length() - 1)
    twins = dict(enumerate(members[size:], start=1))  # by corner
    return tuple(_Corner(twins.get(index, members[index]), members[index]) for index in range(size))


def _pipeline(members: Sequence[int], order: Sequence[int]) -> Iterator[Send]:
    """The sends of one group: members[0] is its source and emits the blocks in the given order."""
    corners = _corners(members)
    dimensions = len(corners).bit_length() - 1
    last_tick = len(order) + dimensions - 1  # only twins use it
    for tick in range(last_tick):
        corners[0].newest = min(tick, len(order) - 1)
        across = 1 << tick % dimensions
        offers = tuple((corner.sender, corner.newest) for corner in corners)
        for index, corner in enumerate(corners[1:], start=1):
            if corner.receiver_only is not None:
                block = order[corner.receiver_only]
                yield Send(tick=tick, source=corner.receiver, destination=corner.sender, block=block)
                corner.receiver_only = None
            sender, place = offers[index ^ across]
            if place is not None:
                yield Send(tick=tick, source=sender, destination=corner.receiver, block=order[place])
                corner.accept(place)
    for corner in corners:
        for source, destination, place in (
            (corner.sender, corner.receiver, corner.sender_only),
            (corner.receiver, corner.sender, corner.receiver_only),
        ):
            if place is not None:
                yield Send(tick=last_tick, source=source, destination=destination, block=order[place])
