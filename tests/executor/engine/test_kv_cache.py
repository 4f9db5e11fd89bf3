"""Keys and values by ranges, to the bit; pages that really come and go."""

import gc
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig

from executor.engine.demand_paged import PAGE_BYTES, DemandPaged
from executor.engine.errors import NoRoom, OutOfRange
from executor.engine.kv_cache import SlotCache
from executor.engine.pages import PAGE_TOKENS, paged

HEADS, WIDTH = 2, 16
CPU = torch.device("cpu")


def cache_of(
    layers=range(2, 5), *, slots=3, context_tokens=40, dtype=torch.float32, heads=HEADS, width=WIDTH, device=CPU
):
    config = LlamaConfig(num_attention_heads=heads, num_key_value_heads=heads, hidden_size=width * heads)
    return SlotCache(config, layers=layers, slots=slots, context_tokens=context_tokens, dtype=dtype, device=device)


def fill(cache: SlotCache, seed: int) -> None:
    """With every pattern of bits that there is, numbers or none."""
    dice = torch.Generator().manual_seed(seed)
    for part in (*cache.keys.values(), *cache.values.values()):
        bits = torch.randint(0, 256, (*part.shape[:-1], part.shape[-1] * part.itemsize), generator=dice)
        part.copy_(bits.to(torch.uint8).view(part.dtype))


def bits(cache: SlotCache) -> dict[int, torch.Tensor]:
    return {
        layer: torch.stack([cache.keys[layer], cache.values[layer]]).view(torch.uint8).clone() for layer in cache.keys
    }


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn]),
    width=st.sampled_from([2, 6, 16]),
    writable=st.booleans(),
)
def test_a_range_that_is_copied_equals_to_the_bit_and_nothing_beside_it_changes(data, dtype, width, writable):
    """Between stages of other layers and slots."""
    one = cache_of(range(2, 5), dtype=dtype, width=width)
    other = cache_of(range(1, 4), slots=5, context_tokens=33, dtype=dtype, width=width)
    fill(one, 1)
    fill(other, 2)
    start = data.draw(st.integers(2, 3))
    layers = range(start, data.draw(st.integers(start + 1, 4)))
    first = data.draw(st.integers(0, 32))
    end = data.draw(st.integers(first + 1, 33))
    slot, seat = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 4))
    expected = bits(other)
    for layer in layers:
        expected[layer][:, seat, :, first:end] = bits(one)[layer][:, slot, :, first:end]
    chunk = one.read(layers, slot, first, end)
    assert len(chunk) == (end - first) * one.token_bytes(layers) == (end - first) * other.token_bytes(layers)
    other.write(layers, seat, first, bytearray(chunk) if writable else bytes(chunk))
    found = bits(other)
    assert all(torch.equal(found[layer], expected[layer]) for layer in expected)
    fill(one, 3)
    assert bytes(other.read(layers, seat, first, end)) == bytes(chunk), "what was read is a copy"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((range(1, 3), 0, 0, 4), r"layers \[2, 5\), not all of range\(1, 3\)"),
        ((range(4, 6), 0, 0, 4), "layers"),
        ((range(3, 3), 0, 0, 4), "layers"),
        ((range(2, 5, 2), 0, 0, 4), "layers"),
        ((range(2, 5), 3, 0, 4), r"slots \[0, 3\), not 3"),
        ((range(2, 5), -1, 0, 4), "slots"),
        ((range(2, 5), 0, 37, 41), r"positions \[0, 40\), not \[37, 41\)"),
        ((range(2, 5), 0, -1, 3), "positions"),
        ((range(2, 5), 0, 4, 4), "positions"),
    ],
)
def test_what_has_no_place_is_refused_and_nothing_is_written(arguments, said):
    cache = cache_of()
    layers, slot, first, end = arguments
    with pytest.raises(OutOfRange, match=said):
        cache.read(*arguments)
    with pytest.raises(OutOfRange, match=said if len(layers) else None):
        cache.write(layers, slot, first, b"x" * ((end - first) * cache.token_bytes(layers)))
    assert not any(part.any() for part in bits(cache).values())
    assert cache.written_tokens == 0


def test_bytes_that_are_no_whole_positions_are_refused():
    cache = cache_of()
    with pytest.raises(OutOfRange, match="769 bytes are no whole number of positions of 768 bytes"):
        cache.write(range(2, 5), 0, 0, b"x" * 769)


def resident_bytes(tensor: torch.Tensor) -> int:
    """What the operating system has committed of the mapping that a tensor lies in, as /proc tells it."""
    address, found, lines = tensor.data_ptr(), 0, Path("/proc/self/smaps").read_text().splitlines()
    for line in lines:
        if span := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(span[1], 16) <= address < int(span[2], 16)
        elif inside and line.startswith("Rss:"):
            found = int(line.split()[1]) * 1024
    return found


def test_memory_comes_with_positions_and_goes_with_requests():
    """Slots of 4 MiB, of which a page of tokens is 128 KiB: 2 layers, keys and values, 4 heads of 64 floats."""
    cache = cache_of(range(2), slots=8, context_tokens=32 * PAGE_TOKENS, heads=4, width=64, dtype=torch.bfloat16)
    token = cache.token_bytes(range(2))
    page = PAGE_TOKENS * token
    assert page % PAGE_BYTES == 0
    before = {layer: part.data_ptr() for layer, part in cache.keys.items()}
    assert resident_bytes(cache.keys[0]) == 0
    cache.keys[0].sum()  # what is only read takes no memory
    assert resident_bytes(cache.keys[0]) == 0
    cache.write(range(2), 1, 0, bytes(token))
    cache.write(range(2), 2, 0, b"x" * ((PAGE_TOKENS + 1) * token))
    cache.write(range(2), 5, 0, b"x" * (3 * PAGE_TOKENS * token))
    assert cache.written_tokens == (1 + 2 + 3) * PAGE_TOKENS
    assert PAGE_BYTES == PAGE_TOKENS // 4 * 64 * 2  # pages of the operating system hold 32 tokens
    taken = resident_bytes(cache.keys[0])
    assert taken == page * 6 - 2 * 3 * page // 4  # slots 1 and 2 have touched a quarter of their last pages
    cache.write(range(2), 5, PAGE_TOKENS, b"y" * token)
    assert resident_bytes(cache.keys[0]) == taken
    cache.release([5, 1])
    assert cache.written_tokens == 2 * PAGE_TOKENS
    assert resident_bytes(cache.keys[0]) == page + page // 4
    assert not cache.keys[1][5].any(), "zeros again"
    assert not cache.values[0][1].any()
    assert cache.keys[0][2, :, : PAGE_TOKENS + 1].any()
    cache.release(range(8))
    assert resident_bytes(cache.keys[0]) == 0
    assert {layer: part.data_ptr() for layer, part in cache.keys.items()} == before


def test_adjacent_slots_are_given_back_by_one_call(monkeypatch):
    cache = cache_of(range(1), slots=6)
    calls = []
    for slot in (0, 1, 2, 4, 5):
        cache.commit(slot, 1)
    monkeypatch.setattr(cache._memory, "give_back", lambda first, end: calls.append((first, end)))
    cache.release([5, 1, 0, 3, 4])
    size = cache._slot_bytes
    keys, values = 0, 6 * size
    assert calls == [
        (start + first * size, start + end * size) for first, end in ((0, 2), (4, 6)) for start in (keys, values)
    ], "slot 3 has nothing"
    assert cache.written_tokens == 40


def test_slots_and_heads_are_one_dimension_to_a_product():
    """Otherwise torch copies all keys and values at every token."""
    for part in (cache_of(context_tokens=37).keys[2], cache_of(context_tokens=37).values[2]):
        assert part[1:, :, 2:30].reshape(-1, 28, WIDTH).data_ptr() == part[1:, :, 2:30].data_ptr()


def test_memory_lives_as_long_as_it_is_seen():
    memory = DemandPaged(4 * PAGE_BYTES)
    tensor = memory.tensor((4, PAGE_BYTES), torch.uint8)
    tensor[1:3] = 7
    memory.give_back(PAGE_BYTES, 2 * PAGE_BYTES)
    del memory
    gc.collect()
    assert tensor.sum(dim=1).tolist() == [0, 0, 7 * PAGE_BYTES, 0]


def test_pages_are_counted_and_bounded_by_the_budget():
    cache = cache_of(slots=3, context_tokens=2 * PAGE_TOKENS + 9)
    whole = 2 * PAGE_TOKENS + 9
    for tokens, pages in ((0, 0), (1, 128), (128, 128), (129, 256), (256, 256), (257, whole), (whole, whole)):
        assert paged(tokens, whole) == pages
    cache.commit(0, 1)
    cache.commit(0, PAGE_TOKENS)
    assert cache.written_tokens == PAGE_TOKENS
    cache.commit(1, whole)
    assert cache.written_tokens == PAGE_TOKENS + whole
    with pytest.raises(NoRoom, match=f"pages of {PAGE_TOKENS + whole} KV tokens, more than the {2 * PAGE_TOKENS}"):
        cache.resize(2 * PAGE_TOKENS)
    cache.resize(PAGE_TOKENS + whole)
    cache.commit(1, 1)  # positions that it has
    with pytest.raises(NoRoom, match="slot 2 needs 128 tokens more"):
        cache.write(range(2, 5), 2, 0, bytes(cache.token_bytes(range(2, 5))))
    cache.release([0])
    cache.commit(2, 1)
    cache.resize(3 * whole)
    cache.commit(2, whole)
    assert cache.written_tokens == 2 * whole


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_and_takes_the_same_bytes_and_counts_pages():
    host, gpu = cache_of(dtype=torch.bfloat16), cache_of(dtype=torch.bfloat16, device=torch.device("cuda"))
    fill(host, 1)
    chunk = bytes(host.read(range(2, 5), 1, 3, 29))
    gpu.write(range(2, 5), 2, 3, chunk)
    assert bytes(gpu.read(range(2, 5), 2, 3, 29)) == chunk
    assert gpu.written_tokens == 40
    gpu.release([2])
    assert gpu.written_tokens == 0
    assert bytes(gpu.read(range(2, 5), 2, 3, 29)) == chunk, "no memory goes"
