"""What nodes have told each other of KV hand-overs so far, by their replays.

Names of attempts, pipelines and hand-overs never come again, so what was told stays told.  Not all that is heard is in
a journal: of words that say how far things are, a later one says no less.
"""

from collections.abc import Iterable

import attrs

from specs.journal import CopyOrdered, Moved
from specs.plan import PipelineId
from specs.protocols.kv_hand_over_events import Claim, Copy, CopyRow
from specs.protocols.kv_hand_over_nouns import (
    Chunk,
    Final,
    HandOverId,
    Held,
    Hosting,
    Invitation,
    OpenSeat,
    Row,
    Seated,
    Seats,
    Stay,
)

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
    _guests: dict[_Guest, tuple[Seated, int, Stay]] = attrs.field(factory=dict)  # with the new pipeline's stages
    _refused: set[_Guest] = attrs.field(factory=set)
    _rests: set[tuple[HandOverId, tuple[Final, ...]]] = attrs.field(factory=set)
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

    def host(self, stay: Stay, stages: int) -> None:
        """Take what a target leader knows of a hand-over to a pipeline of so many stages."""
        for guest in stay.guests:
            self._guests[stay.id, guest.request] = guest, stages, stay
        self._refused |= {(stay.id, request) for request in stay.refused}
        finals = tuple(guest.final for guest in stay.guests if guest.final is not None)
        if stay.is_rest and len(finals) == len(stay.guests):
            self._rests.add((stay.id, finals))

    def was_hosted(self, hosting: Hosting) -> bool:
        """Tell whether a target leader could say this, by whom it has seated and what its stages hold.

        Not by what it has heard of them, of which a journal has the latest only.  That a hand-over is over is believed:
        it does no harm.
        """
        if hosting.is_over:
            return True
        is_whole = not hosting.is_whole or any(
            all(self._is_there((id_, final.request), final.computed) for final in finals)
            for id_, finals in self._rests
            if id_ == hosting.id
        )
        return is_whole and all(self._is_so(hosting.id, row) for row in hosting.rows)

    def _is_so(self, id_: HandOverId, row: Row) -> bool:
        guest = id_, row.request
        if row.is_refused:
            return guest in self._refused
        if guest not in self._guests:
            return False
        seated, stages, _ = self._guests[guest]
        is_open = row.seat == seated.seat and all(
            self._editions.get((id_.new, stage), 0) >= seated.since for stage in range(stages)
        )
        return (row.seat is None or is_open) and self._is_there(guest, row.held)

    def _is_there(self, guest: _Guest, tokens: int) -> bool:
        if guest not in self._guests:
            return False
        _, _, stay = self._guests[guest]
        return all(
            self._written.get(((stay.id.new, path.new_stage), guest, path.old_stage), 0) >= tokens
            for path in stay.paths
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
