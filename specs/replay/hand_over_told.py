"""What nodes have told each other of KV hand-overs so far, by their replays.

Names of attempts, pipelines and hand-overs never come again, so what was told stays told.  Not all that is heard is in
a journal: of words that say how far things are, a later one says no less.
"""

from collections import defaultdict
from collections.abc import Iterable

import attrs

from specs.journal import CopyOrdered, Moved
from specs.plan import PipelineId
from specs.protocols.kv_hand_over_events import Claim, Copy, CopyRow
from specs.protocols.kv_hand_over_nouns import Chunk, HandOverId, Held, Hosting, Invitation, OpenSeat, Row, Seats

_Guest = tuple[HandOverId, str]
_Stage = tuple[PipelineId, int]


@attrs.define
class HandOverTold:
    """Everything that was told."""

    moves: dict[str, Moved] = attrs.field(factory=dict)  # by fronts, of attempts
    handed_out: dict[str, HandOverId] = attrs.field(factory=dict)  # by source leaders, of requests
    _invitations: set[Invitation] = attrs.field(factory=set)
    _copies: set[tuple[HandOverId, tuple[CopyRow, ...]]] = attrs.field(factory=set)
    _ordered: dict[OpenSeat, int] = attrs.field(factory=dict)  # up to which token
    _rows: dict[_Guest, list[Row]] = attrs.field(factory=lambda: defaultdict(list))
    _whole: set[HandOverId] = attrs.field(factory=set)
    _seats: set[Seats] = attrs.field(factory=set)
    _editions: dict[_Stage, int] = attrs.field(factory=dict)
    _written: dict[tuple[_Stage, _Guest, int], int] = attrs.field(factory=dict)  # by old stage: tokens

    # --- what source leaders tell --------------------------------------------------------------------------------

    def invite(self, invitation: Invitation) -> None:
        """Take what a source leader tells its target leader."""
        self._invitations.add(_lasting(invitation))

    def was_invited(self, invitation: Invitation) -> bool:
        """Tell whether a source leader has told this; whom it counts as fresh changes without a word."""
        return _lasting(invitation) in self._invitations

    def copy(self, copy: Copy) -> None:
        """Take what a source leader tells its stages."""
        self._copies.add((copy.id, copy.rows))
        for row in copy.rows:
            seat = OpenSeat(id=copy.id, request=row.request, seat=row.seat)
            self._ordered[seat] = max(row.end, self._ordered.get(seat, 0))

    def was_ordered(self, order: CopyOrdered) -> bool:
        """Tell whether a source leader has told a stage this."""
        return (order.id, order.rows) in self._copies

    def was_to_be_copied(self, chunk: Chunk) -> bool:
        """Tell whether a source leader has had this copied to this seat, as a part or whole."""
        return chunk.end <= self._ordered.get(OpenSeat(id=chunk.id, request=chunk.request, seat=chunk.seat), 0)

    def were_handed_out(self, id_: HandOverId, requests: Iterable[str]) -> bool:
        """Tell whether a source leader has handed out these requests in this hand-over."""
        return all(self.handed_out.get(request) == id_ for request in requests)

    # --- what target leaders tell --------------------------------------------------------------------------------

    def host(self, hosting: Hosting) -> None:
        """Take what a target leader tells a source leader."""
        for row in hosting.rows:
            known = self._rows[hosting.id, row.request]
            if row not in known:
                known.append(row)
        if hosting.is_whole:
            self._whole.add(hosting.id)

    def was_hosted(self, hosting: Hosting) -> bool:
        """Tell whether a target leader has told this or more; that it is over is believed, and does no harm."""
        if hosting.is_over:
            return True
        return (not hosting.is_whole or hosting.id in self._whole) and all(
            any(
                (known.seat == row.seat or row.seat is None)
                and known.held >= row.held
                and known.is_refused == row.is_refused
                for known in self._rows[hosting.id, row.request]
            )
            for row in hosting.rows
        )

    def seat(self, seats: Seats) -> None:
        """Take what a target leader tells a stage."""
        self._seats.add(seats)

    def was_seated(self, seats: Seats) -> bool:
        """Tell whether a target leader has told this."""
        return seats in self._seats

    # --- what stages and fronts tell -----------------------------------------------------------------------------

    def hold(self, held: Held) -> None:
        """Take what a stage tells its leader."""
        stage = held.pipeline, held.stage
        self._editions[stage] = max(held.edition, self._editions.get(stage, 0))
        for count in held.counts:
            key = stage, (count.id, count.request), count.old_stage
            self._written[key] = max(count.tokens, self._written.get(key, 0))

    def was_held(self, held: Held) -> bool:
        """Tell whether a stage has told this or more."""
        stage = held.pipeline, held.stage
        return held.edition <= self._editions.get(stage, 0) and all(
            count.tokens <= self._written.get((stage, (count.id, count.request), count.old_stage), 0)
            for count in held.counts
        )

    def was_claimed(self, id_: HandOverId, claim: Claim) -> bool:
        """Tell whether a front has said that this request goes on under this name, with so many tokens."""
        move = self.moves.get(claim.attempt)
        return move is not None and (move.before, move.resumes, move.tokens) == (claim.request, id_, claim.tokens)


def _lasting(invitation: Invitation) -> Invitation:
    return attrs.evolve(invitation, fresh=())
