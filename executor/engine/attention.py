"""Attention over packed rows of several requests, with their keys and values in slots.

`transformers` calls `slot_attention` from the attention module of every family, in place of its own implementations;
the `Packed` description of the batch comes to it through the keyword arguments of the LLM's forward.  Rows that decode
one token are computed together, as one call over the slots that they span, padded to the longest of them; a row of
more tokens (a prompt, or a part of it) has a call of its own.
"""

from collections.abc import Iterator

import attrs
import torch
from torch import nn
from transformers import AttentionInterface

from executor.engine.batch import Batch, Row
from executor.engine.kernel import Kernel
from executor.engine.kv_cache import SlotCache

NAME = "holdfast_slots"

# A call of the attention kernel costs about as much as attending to this many tokens (measured on one CPU core with
# eight heads of 64: 10 microseconds a call, 0.07 per token): padding that costs less than a call is worth its while.
CALL_COST_TOKENS = 128


@attrs.frozen(kw_only=True)
class _Decoding:
    """Rows of one token each, in ascending order of slots, that are computed in one call over a range of slots."""

    first_token: int  # of the packed batch
    slots: tuple[int, ...]
    ends: tuple[int, ...]  # length of the context of each row

    @property
    def first_slot(self) -> int:
        return self.slots[0]

    @property
    def end_slot(self) -> int:
        return self.slots[-1] + 1

    @property
    def has_holes(self) -> bool:
        """Whether slots of other requests, or of none, lie in between; they are computed and thrown away."""
        return self.end_slot - self.first_slot != len(self.slots)

    def takes(self, row: Row) -> bool:
        """Whether to compute the row with these costs less than a call of its own."""
        if row.slot < self.end_slot:
            return False
        apart = (self.end_slot - self.first_slot) * max(self.ends) + CALL_COST_TOKENS + row.end
        return (row.slot + 1 - self.first_slot) * max(*self.ends, row.end) <= apart


@attrs.frozen(kw_only=True)
class _Prefill:
    """A row of several tokens."""

    first_token: int  # of the packed batch
    row: Row


class Packed:
    """One batch on one stage: which tokens are whose, and the masks, which its layers share.

    `entry` is the hidden state [1, T, width] that the stage's first layer takes instead of the embedding's output.
    """

    def __init__(self, batch: Batch, cache: SlotCache, dtype: torch.dtype, entry: torch.Tensor | None) -> None:
        self.cache = cache
        self.entry = entry
        self.dtype = dtype
        self.items = tuple(_items(batch))
        self._masks: dict[tuple[int, int | None, bool], torch.Tensor | None] = {}
        self._holes: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        slots = [row.slot for row in batch.rows for _ in range(row.tokens)]
        positions = [position for row in batch.rows for position in range(row.start, row.end)]
        self.slots = torch.tensor(slots, dtype=torch.long, device=cache.device)
        self.positions = torch.tensor(positions, dtype=torch.long, device=cache.device)

    def mask(self, index: int, window: int | None, *, explicit: bool) -> torch.Tensor | None:
        """Give the additive mask of item `index` for a sliding window of this many tokens; None where none is needed.

        Of shape [slots or 1, 1, n or 1, s].  A kernel that cannot be told that it is causal asks for an explicit one.
        """
        key = (index, window, explicit)
        if key not in self._masks:
            item = self.items[index]
            allowed = (
                _prefill_allowed(item, window, explicit=explicit)
                if isinstance(item, _Prefill)
                else _decoding_allowed(item, window)
            )
            mask = None
            if allowed is not None:
                mask = torch.zeros(allowed.shape, dtype=self.dtype).masked_fill_(~allowed, -torch.inf)
                mask = mask.to(self.cache.device)
            self._masks[key] = mask
        return self._masks[key]

    def holes(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """For decoding rows with holes: the row that each slot of the range computes, and the slots that are wanted."""
        if index not in self._holes:
            item = self.items[index]
            assert isinstance(item, _Decoding)
            row_of = {slot: row for row, slot in enumerate(item.slots)}
            spread = [row_of.get(slot, 0) for slot in range(item.first_slot, item.end_slot)]
            wanted = [slot - item.first_slot for slot in item.slots]
            device = self.cache.device
            self._holes[index] = (torch.tensor(spread, device=device), torch.tensor(wanted, device=device))
        return self._holes[index]


def register() -> None:
    """Make `slot_attention` known to `transformers` under NAME; twice is as good as once."""
    AttentionInterface.register(NAME, slot_attention)


def slot_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **arguments: object,
) -> tuple[torch.Tensor, None]:
    """Attend from T packed tokens; called by `transformers` with its own names and shapes.

    `query` is [1, heads, T, head dimension], `key` and `value` [1, kv heads, T, head dimension].  Of the arguments,
    `packed` is ours; `scaling`, `sliding_window` and `softcap` are the family's.  Gives [1, T, heads, head dimension].
    """
    assert attention_mask is None, "transformers makes no mask for an attention that it does not know"
    packed = arguments["packed"]
    assert isinstance(packed, Packed)
    layer = module.layer_idx
    assert isinstance(layer, int)
    packed.cache.append(layer, packed.slots, packed.positions, (key, value))
    keys, values = packed.cache.keys[layer], packed.cache.values[layer]
    kernel = Kernel(scaling=arguments.get("scaling"), softcap=arguments.get("softcap"))  # type: ignore[arg-type]  # transformers'
    window: int | None = arguments.get("sliding_window")  # type: ignore[assignment]  # transformers' own types
    parts = []
    for index, item in enumerate(packed.items):
        mask = packed.mask(index, window, explicit=kernel.softcap is not None)
        if isinstance(item, _Prefill):
            parts.append(_prefill(kernel, item, query, (keys, values), mask, window))
        else:
            holes = packed.holes(index) if item.has_holes else None
            parts.append(_decode(kernel, item, query, (keys, values), mask, window, holes))
    output = parts[0] if len(parts) == 1 else torch.cat(parts)
    return output.unsqueeze(0), None


def _prefill(
    kernel: Kernel,
    item: _Prefill,
    query: torch.Tensor,
    cached: tuple[torch.Tensor, torch.Tensor],
    mask: torch.Tensor | None,
    window: int | None,
) -> torch.Tensor:
    """[n, heads, d] for the n tokens of one row."""
    row = item.row
    low = _low(row.start + 1, window)
    keys, values = (part[row.slot : row.slot + 1, :, low : row.end] for part in cached)
    queries = query[:, :, item.first_token : item.first_token + row.tokens]
    return kernel(queries, keys, values, mask, causal=mask is None)[0].transpose(0, 1)


def _decode(
    kernel: Kernel,
    item: _Decoding,
    query: torch.Tensor,
    cached: tuple[torch.Tensor, torch.Tensor],
    mask: torch.Tensor | None,
    window: int | None,
    holes: tuple[torch.Tensor, torch.Tensor] | None,
) -> torch.Tensor:
    """[rows, heads, d] for rows of one token.

    The heads that share keys and values take the place of the query's tokens, so that nothing is repeated.
    """
    low = min(_low(end, window) for end in item.ends)
    keys, values = (part[item.first_slot : item.end_slot, :, low : max(item.ends)] for part in cached)
    queries = query[0, :, item.first_token : item.first_token + len(item.slots)].transpose(0, 1)
    if holes is not None:
        queries = queries[holes[0]]
    grouped = queries.reshape(queries.shape[0], keys.shape[1], -1, queries.shape[-1])
    output = kernel(grouped, keys, values, mask).reshape(queries.shape)
    return output if holes is None else output[holes[1]]


def _items(batch: Batch) -> Iterator[_Decoding | _Prefill]:
    """Cut the batch, in its order, into what is computed in one call each."""
    token = 0
    group: _Decoding | None = None
    for row in batch.rows:
        if row.tokens == 1 and group is not None and group.takes(row):
            group = attrs.evolve(group, slots=(*group.slots, row.slot), ends=(*group.ends, row.end))
        else:
            if group is not None:
                yield group
                group = None
            if row.tokens == 1:
                group = _Decoding(first_token=token, slots=(row.slot,), ends=(row.end,))
            else:
                yield _Prefill(first_token=token, row=row)
        token += row.tokens
    if group is not None:
        yield group


def _low(end: int, window: int | None) -> int:
    """First position that a token attends to whose context is `end` tokens long, itself included."""
    return 0 if window is None else max(0, end - window)


def _prefill_allowed(item: _Prefill, window: int | None, *, explicit: bool) -> torch.Tensor | None:
    """[1, 1, n, s] of bools, or None where plain causal attention over the row's own tokens says the same."""
    row = item.row
    if not explicit and row.start == 0 and (window is None or row.tokens <= window):
        return None
    positions = torch.arange(row.start, row.end).unsqueeze(1)
    context = torch.arange(_low(row.start + 1, window), row.end)
    allowed = context <= positions
    if window is not None:
        allowed &= context > positions - window
    return allowed[None, None]


def _decoding_allowed(item: _Decoding, window: int | None) -> torch.Tensor | None:
    """[slots, 1, 1, s] of bools, or None where every row attends to all."""
    lows = {_low(end, window) for end in item.ends}
    if len(set(item.ends)) == 1:
        return None
    low, high = min(lows), max(item.ends)
    end_of = dict(zip(item.slots, item.ends, strict=True))
    ends = torch.tensor([end_of.get(slot, high) for slot in range(item.first_slot, item.end_slot)]).view(-1, 1, 1, 1)
    context = torch.arange(low, high)
    allowed = context < ends
    return allowed if window is None else allowed & (context >= ends - window)
