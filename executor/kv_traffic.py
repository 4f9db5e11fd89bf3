"""What daemons say to each other when requests are handed over with their KV: see `specs.protocols.kv_hand_over`.

`Hosting`, `Seats` and `Held` of that protocol travel as they are.
"""

from functools import cached_property

import attrs

from executor.choices import Choice, tokens_field, unpack_tokens
from specs import fields
from specs.errors import MalformedDocument
from specs.protocols.kv_hand_over_nouns import Chunk, HandOverId, Invitation, Path


@attrs.frozen(kw_only=True)
class Card:
    """A guest as it is invited, with its tokens so far: packed, for those of all guests travel at once."""

    request: str = fields.name()
    packed: str
    prompt_tokens: int = fields.positive()
    max_tokens: int = fields.positive()
    end_tokens: tuple[int, ...] = tokens_field(0)
    choice: Choice

    def __attrs_post_init__(self) -> None:
        if not self.tokens:
            raise MalformedDocument(f"Card.packed of {self.request} has no tokens; at least 1 is wanted")

    @cached_property
    def tokens(self) -> tuple[int, ...]:
        """What is packed."""
        return unpack_tokens(self.packed)


@attrs.frozen(kw_only=True)
class Invited:
    """Source leader to target leader: who comes; a card for each who is fresh."""

    invitation: Invitation
    cards: tuple[Card, ...] = ()

    def __attrs_post_init__(self) -> None:
        fresh = [(each.request, each.tokens) for each in self.invitation.fresh]
        if fresh != [(card.request, len(card.tokens)) for card in self.cards]:
            raise MalformedDocument("Invited.cards must be those of the fresh guests, in their order")


@attrs.frozen(kw_only=True)
class KvRow:
    """KV of tokens [start, end) in a slot of the old pipeline is to go to a seat of the new one."""

    request: str = fields.name()
    slot: int = fields.natural()
    seat: int = fields.natural()
    start: int = fields.natural()
    end: int = fields.positive()

    def __attrs_post_init__(self) -> None:
        if self.start >= self.end:
            raise MalformedDocument(f"KvRow.end is {self.end}; more than the start, {self.start}, is wanted")


@attrs.frozen(kw_only=True)
class CopyKv:
    """Source leader to an old stage: copy these rows along this path, in this order, and nothing told before.

    Tokens that are not computed yet will be.
    """

    id: HandOverId
    path: Path
    bytes_per_second: int | None = None  # absent: both stages are on one device
    rows: tuple[KvRow, ...]

    def __attrs_post_init__(self) -> None:
        if self.bytes_per_second is not None and self.bytes_per_second <= 0:
            raise MalformedDocument(f"CopyKv.bytes_per_second is {self.bytes_per_second}; more than 0 is wanted")


@attrs.frozen(kw_only=True)
class Kv:
    """Old stage to target stage: chunks of one path; their bytes follow back to back, with this BLAKE3 digest."""

    chunks: tuple[Chunk, ...]
    digest: str = fields.digest()
    is_last: bool  # of its order

    def __attrs_post_init__(self) -> None:
        if len({(chunk.id, chunk.path) for chunk in self.chunks}) != 1:
            raise MalformedDocument("Kv.chunks must be of one hand-over and one path, and at least one")


@attrs.frozen(kw_only=True)
class Handed:
    """A request that was handed over."""

    request: str = fields.name()
    known: int = fields.positive()  # so many of its first tokens are on its card


@attrs.frozen(kw_only=True)
class HandedOver:
    """Source leader to front: these requests of yours are in the new pipeline; the old one serves none any more."""

    id: HandOverId
    guests: tuple[Handed, ...]


@attrs.frozen(kw_only=True)
class Guest:
    """A request that was handed over, under its new name, with its tokens that are not on its card."""

    request: str = fields.name()
    attempt: str = fields.name()
    tokens: int = fields.positive()  # all of them
    packed: str

    def __attrs_post_init__(self) -> None:
        if len(self.tail) > self.tokens:
            raise MalformedDocument(f"Guest.packed of {self.request} has more than all of its {self.tokens} tokens")

    @cached_property
    def tail(self) -> tuple[int, ...]:
        """What is packed."""
        return unpack_tokens(self.packed)


@attrs.frozen(kw_only=True)
class Resume:
    """Front to target leader: go on with these requests, or return them."""

    id: HandOverId
    guests: tuple[Guest, ...]
