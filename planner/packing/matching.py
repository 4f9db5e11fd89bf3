"""Who sends what to whom at one instant: idle senders and receivers of a swarm, matched; `planner.packing.swarm`."""

import itertools
from collections.abc import Iterator, Sequence

import attrs

from planner.packing.ground import Ground, Way, members
from specs.cluster import LinkId

_EVERYBODY = -1  # as a set
# Racks that are tried for a blob's way into another; matches that are looked at, and changed, for one augmenting path.
_RACKS_TRIED = 4
_CHANGES_TRIED = 6
_MATCHES_SEEN = 48


@attrs.define(kw_only=True)
class State:
    """What holds between two instants: sets of places as integers, one for each blob or each number of lacks."""

    now: int = 0
    holders: list[int]
    wanting: list[int]  # and nothing is on its way yet
    coming: list[int]  # on its way
    lacks: list[int]  # blobs that each place has yet to ask for
    level: list[int]  # places by that number
    may_send: int
    may_receive: int
    room: dict[LinkId, int]  # of each link, bytes per second; ports of routes are not counted
    busy_until: dict[LinkId, int]
    partners: list[int]  # who has sent to each place


@attrs.frozen(kw_only=True)
class Match:
    """A transfer that starts at this instant."""

    source: int
    blob: int
    way: Way


@attrs.frozen(kw_only=True)
class Taste:
    """What one order prefers."""

    needy_first: bool
    rare_part: float
    picks: Iterator[int] | None  # numbers by chance that break ties; None: the first wins


class Matching:
    """One round: each place sends one blob and receives one at most.  Rates' classes take turns: `run`."""

    def __init__(self, ground: Ground, state: State, order: Sequence[int], taste: Taste) -> None:
        self.found: dict[int, Match] = {}  # by receiver
        self._ground = ground
        self._state = state
        self._order = order  # blobs, the most urgent first
        self._taste = taste
        self._senders = state.may_send
        self._takers = state.may_receive
        self._receiver: dict[int, int] = {}  # of each sender matched
        self._matched = 0  # those senders
        self._useful: dict[int, int] = {}

    def run(self) -> dict[int, Match]:
        """Match what can be matched; room of links is taken, blobs count as coming.

        Slow receivers need most time, so they come before fast ones; but before all, blobs that are still rare spread
        over fast receivers, from which all others have them.
        """
        classes = self._ground.classes
        if len(classes) > 1:
            fast = classes[0][1]
            few = fast.bit_count() * self._taste.rare_part
            rare = [blob for blob in self._order if self._copies(blob).bit_count() <= few]
            self._spread(rare, _EVERYBODY, fast)
        for sending, receiving in reversed(classes):
            self._spread(self._order, sending, receiving)
            self._fill(receiving)
        return self.found

    def _copies(self, blob: int) -> int:
        return self._state.holders[blob] | self._state.coming[blob]

    # --- the urgent first -------------------------------------------------------------------------------------------

    def _spread(self, blobs: Sequence[int], sending: int, receiving: int) -> None:
        """Send blobs, in this order, from all idle holders of a class to those of another that want them."""
        for index, blob in enumerate(blobs):
            if not self._senders & sending or not self._takers & receiving:
                return
            senders, takers = (
                self._state.holders[blob] & self._senders & sending,
                self._state.wanting[blob] & self._takers & receiving,
            )
            if not senders or not takers:
                continue
            copies = self._copies(blob)
            for rack in self._ground.racks:
                if takers & rack and not copies & rack and self._enter(blobs, index, senders, takers & rack):
                    senders &= self._senders
                    if not senders:
                        break
            takers &= self._takers
            for rack in self._ground.racks if senders else ():
                if senders & rack and takers & rack:
                    self._pair(blobs, index, senders & rack, takers & rack)

    def _enter(self, blobs: Sequence[int], index: int, senders: int, takers: int) -> bool:
        """Send a blob into a rack that lacks it."""
        taker = self._neediest(self._apart(blobs, index, 0, takers, 1))
        for _ in range(_RACKS_TRIED):
            if not senders:
                break
            source = self._nearest(self._apart(blobs, index, index + 1, senders, 1), taker)
            if (way := self._open(source, taker)) is not None:
                self._match(taker, Match(source=source, blob=blobs[index], way=way))
                return True
            senders &= ~self._ground.racks[self._ground.rack_of[source]]
        return False

    def _pair(self, blobs: Sequence[int], index: int, senders: int, takers: int) -> None:
        """Send a blob from as many members of a rack as there are to as many who want it."""
        count = min(senders.bit_count(), takers.bit_count())
        if takers.bit_count() > count and not self._taste.needy_first:
            takers = self._apart(blobs, index, 0, takers, count)
        if senders.bit_count() > count:
            senders = self._apart(blobs, index, index + 1, senders, count)
        for _ in range(count):
            taker = self._neediest(takers)
            takers &= ~(1 << taker)
            source = self._nearest(senders, taker)
            if (way := self._open(source, taker)) is not None:
                senders &= ~(1 << source)
                self._match(taker, Match(source=source, blob=blobs[index], way=way))

    def _apart(self, blobs: Sequence[int], index: int, start: int, candidates: int, count: int) -> int:
        """Leave out candidates that hold other urgent blobs, as long as so many are left."""
        for other in range(start, len(blobs)):
            if other != index:
                fewer = candidates & ~self._state.holders[blobs[other]]
                if fewer.bit_count() < count:
                    break
                candidates = fewer
        return candidates

    def _neediest(self, candidates: int) -> int:
        """Give one of those who lack most."""
        if candidates & (candidates - 1):
            candidates = next(level & candidates for level in reversed(self._state.level) if level & candidates)
            if self._taste.picks is not None:
                for _ in range(next(self._taste.picks) % candidates.bit_count()):
                    candidates &= candidates - 1
        return (candidates & -candidates).bit_length() - 1

    def _nearest(self, senders: int, taker: int) -> int:
        """Give one who has sent to the taker before, if there is one: plans name each route once."""
        senders = senders & self._state.partners[taker] or senders
        return (senders & -senders).bit_length() - 1

    # --- then everybody ---------------------------------------------------------------------------------------------

    def _fill(self, receiving: int) -> None:
        """Find something for everybody who is idle, those who lack most first."""
        lacks = self._state.lacks
        idle = [place for place in members(self._takers & receiving) if lacks[place]]
        for place in sorted(idle, key=lambda place: -lacks[place]):
            if not self._senders:
                return
            if not self._serve(place):
                self._change(place)

    def _helpers(self, place: int) -> int:
        """Give who holds something that a place wants, at this instant's start."""
        if place not in self._useful:
            found = 0
            for blob in self._order:
                if self._state.wanting[blob] >> place & 1:
                    found |= self._state.holders[blob]
            self._useful[place] = found
        return self._useful[place]

    def _serve(self, place: int) -> bool:
        """Let an idle holder send to a place, from its own rack if that can be."""
        ground = self._ground
        able = self._helpers(place) & self._senders
        own = ground.racks[ground.rack_of[place]]
        for pool, is_own in ((able & own, True), (able & ~own, False)):
            left = pool
            for _ in range(_RACKS_TRIED):
                if not left:
                    break
                source = self._nearest(left, place)
                if self._take(source, place):
                    return True
                left &= ~(1 << source) if is_own else ~ground.racks[ground.rack_of[source]]
        return False

    def _take(self, source: int, place: int) -> bool:
        """Let a place take the most urgent blob that it can from an idle holder."""
        way = self._open(source, place)
        if way is None:
            return False
        ground, state = self._ground, self._state
        near = ground.racks[ground.rack_of[place]]
        waits = way.rate < ground.receives[place] and not near >> source & 1
        for blob in self._order:
            if state.wanting[blob] >> place & 1 and state.holders[blob] >> source & 1:
                if waits and self._copies(blob) & near:
                    continue  # a neighbour will send it sooner than this narrow way
                self._match(place, Match(source=source, blob=blob, way=way))
                return True
        return False

    def _change(self, place: int) -> bool:
        """Take the sender of somebody who can have another."""
        own = self._ground.racks[self._ground.rack_of[place]]
        matched = self._helpers(place) & self._matched
        tried = 0
        for pool in (matched & own, matched & ~own):
            for source in itertools.islice(members(pool), _MATCHES_SEEN):
                other = self._receiver[source]
                if not self._helpers(other) & self._senders:
                    continue
                tried += 1
                if tried > _CHANGES_TRIED:
                    return False
                before = self._undo(other)
                if self._take(source, place):
                    if self._serve(other):
                        return True
                    self._undo(place)
                self._match(other, before)
        return False

    # --- one match --------------------------------------------------------------------------------------------------

    def _open(self, source: int, taker: int) -> Way | None:
        """Give the way between two idle places, if its links are free."""
        ground, state = self._ground, self._state
        if any(state.room[link] <= 0 for link in ground.doors(source, taker)):
            return None
        way = ground.way(source, taker)
        if way is None or any(state.room[link] < way.rate for link in way.inner):
            return None
        if not ground.one_port and any(state.busy_until.get(port, 0) > state.now for port in (way.first, way.last)):
            return None
        return way

    def _match(self, taker: int, match: Match) -> None:
        self.found[taker] = match
        self._receiver[match.source] = taker
        self._matched |= 1 << match.source
        self._senders &= ~(1 << match.source)
        self._takers &= ~(1 << taker)
        self._state.wanting[match.blob] &= ~(1 << taker)
        self._state.coming[match.blob] |= 1 << taker
        for link in match.way.inner:
            self._state.room[link] -= match.way.rate

    def _undo(self, taker: int) -> Match:
        match = self.found.pop(taker)
        del self._receiver[match.source]
        self._matched &= ~(1 << match.source)
        self._senders |= 1 << match.source
        self._takers |= 1 << taker
        self._state.wanting[match.blob] |= 1 << taker
        self._state.coming[match.blob] &= ~(1 << taker)
        for link in match.way.inner:
            self._state.room[link] += match.way.rate
        return match
