"""Keys and values of the requests of one stage: a fixed place per request, written in place, never moved.

Memory is paged as in vAttention (Prabhu et al., ASPLOS 2025): addresses are reserved for every slot's whole context,
and memory is committed as positions are written, so that attention reads plain tensors and has no table of pages.  In
the memory of the host this is real: see `DemandPaged`.  On a GPU the tensors are plain ones of torch, whose memory is
all taken when they are made; pages are counted there, and no memory comes or goes (it would take cuMemMap, which is
not used).

A cache is used by one thread at a time: that of its device.
"""

import math
from collections.abc import Iterable

import torch
import transformers

from executor.engine.demand_paged import PAGE_BYTES, DemandPaged
from executor.engine.errors import NoRoom, OutOfRange
from executor.engine.pages import paged
from specs.units import align_up

Bytes = bytes | bytearray | memoryview


class SlotCache:
    """For each layer of the stage, keys and values of shape [slots, kv heads, context tokens, head dimension].

    Zeros at first: attention over a padded length multiplies what it masks by zero, which must be finite.  Slots and
    heads lie evenly apart, so that products of matrices take them as one dimension without a copy.  The budget of
    pages begins with room for everything.
    """

    def __init__(
        self,
        config: transformers.PreTrainedConfig,
        *,
        layers: range,
        slots: int,
        context_tokens: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.device = device
        self.layers = layers
        self.slots = slots
        self.context_tokens = context_tokens
        self.kv_tokens = slots * context_tokens
        self._written = [0] * slots  # tokens of the pages that each slot has
        row_bytes = head_dimension(config) * dtype.itemsize
        # The positions of a head begin and end with pages of the operating system.
        strip_tokens = align_up(context_tokens, PAGE_BYTES // math.gcd(PAGE_BYTES, row_bytes))
        shape = (len(layers), 2, slots, kv_heads(config), strip_tokens, head_dimension(config))
        self._memory = DemandPaged(math.prod(shape) * dtype.itemsize) if device.type == "cpu" else None
        whole = (
            torch.zeros(shape, dtype=dtype, device=device)
            if self._memory is None
            else self._memory.tensor(shape, dtype)
        )[:, :, :, :, :context_tokens]
        self._slot_bytes = math.prod(shape[3:]) * dtype.itemsize  # of the keys, or the values, of one layer
        self._bytes = whole.view(torch.uint8)
        self.keys = {layer: whole[index, 0] for index, layer in enumerate(layers)}
        self.values = {layer: whole[index, 1] for index, layer in enumerate(layers)}

    def append(
        self, layer: int, slots: torch.Tensor, positions: torch.Tensor, kv: tuple[torch.Tensor, torch.Tensor]
    ) -> None:
        """Put keys and values [1, kv heads, T, head dimension] of T tokens into their slots [T] and positions [T]."""
        self.keys[layer][slots, :, positions] = kv[0][0].transpose(0, 1)
        self.values[layer][slots, :, positions] = kv[1][0].transpose(0, 1)

    def token_bytes(self, layers: range) -> int:
        """Bytes of one position in what `read` gives of these layers."""
        _, both, _, heads, _, row_bytes = self._bytes.shape
        return len(layers) * both * heads * row_bytes

    def read(self, layers: range, slot: int, first: int, end: int) -> memoryview:
        """Copy out positions [first, end) of a slot in these layers, numbered as in the LLM.

        The bytes are those of [layers, keys and values, kv heads, positions, head dimension].  Raises OutOfRange.
        """
        part = self._part(layers, slot, first, end).cpu()
        flat: memoryview = part.clone(memory_format=torch.contiguous_format).reshape(-1).numpy().data
        return flat

    def write(self, layers: range, slot: int, first: int, data: Bytes) -> None:
        """Write positions from `first` on, as many as `read` gave in these bytes.

        Raises OutOfRange, also when the bytes are no whole number of positions, and NoRoom as `commit` does; then
        nothing has been written.
        """
        tokens, rest = divmod(len(data), max(self.token_bytes(layers), 1))
        if rest:
            raise OutOfRange(f"{len(data)} bytes are no whole number of positions of {self.token_bytes(layers)} bytes")
        part = self._part(layers, slot, first, first + tokens)
        self.commit(slot, first + tokens)
        # torch warns when it is given bytes that cannot be written to.
        writable = bytearray(data) if memoryview(data).readonly else data
        part.copy_(torch.frombuffer(writable, dtype=torch.uint8).view(part.shape))

    def _part(self, layers: range, slot: int, first: int, end: int) -> torch.Tensor:
        own = self.layers
        if layers.step != 1 or not own.start <= layers.start < layers.stop <= own.stop:
            raise OutOfRange(f"this stage has the layers [{own.start}, {own.stop}), not all of {layers}")
        if not 0 <= slot < self.slots:
            raise OutOfRange(f"this stage has the slots [0, {self.slots}), not {slot}")
        if not 0 <= first < end <= self.context_tokens:
            raise OutOfRange(
                f"a slot has the positions [0, {self.context_tokens}), not [{first}, {end}), or it is empty"
            )
        return self._bytes[layers.start - own.start : layers.stop - own.start, :, slot, :, first:end]

    @property
    def written_tokens(self) -> int:
        """Tokens of all pages that slots have."""
        return sum(self._written)

    def commit(self, slot: int, end: int) -> None:
        """Give a slot the pages of its first `end` positions, before they are written.

        Raises NoRoom when these are more pages than the budget has.
        """
        wanted = max(self._written[slot], paged(end, self.context_tokens))
        more = wanted - self._written[slot]
        if more and self.written_tokens + more > self.kv_tokens:
            raise NoRoom(f"the pages of {self.kv_tokens} KV tokens are all taken; slot {slot} needs {more} tokens more")
        self._written[slot] = wanted

    def release(self, slots: Iterable[int]) -> None:
        """Take the pages of slots whose requests have left; those of adjacent slots go by one call."""
        leaving = sorted({slot for slot in slots if self._written[slot]})
        for slot in leaving:
            self._written[slot] = 0
        if self._memory is not None:
            for first, end in _runs(leaving):
                for part in range(2 * len(self.layers)):
                    before = part * self.slots
                    self._memory.give_back((before + first) * self._slot_bytes, (before + end) * self._slot_bytes)

    def resize(self, kv_tokens: int) -> None:
        """Change the budget of pages.  Raises NoRoom, and nothing has changed, when slots have more."""
        if self.written_tokens > kv_tokens:
            raise NoRoom(f"slots have the pages of {self.written_tokens} KV tokens, more than the {kv_tokens} wanted")
        self.kv_tokens = kv_tokens


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Ascending numbers as ranges [first, end), as few as can be."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number:
            runs[-1] = (runs[-1][0], number + 1)
        else:
            runs.append((number, number + 1))
    return runs


def kv_heads(config: transformers.PreTrainedConfig) -> int:
    """Heads of the keys and values of each layer."""
    return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)


def head_dimension(config: transformers.PreTrainedConfig) -> int:
    """Width of each head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
