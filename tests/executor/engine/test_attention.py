"""The packed attention against the formula, written out token by token."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig

from executor.engine.attention import Packed, slot_attention
from executor.engine.batch import Batch, Row
from executor.engine.kv_cache import SlotCache

SLOTS, CONTEXT, WIDTH = 12, 40, 8


class Module(torch.nn.Module):
    layer_idx = 3


@st.composite
def rounds(draw):
    """Two iterations: prompts of some slots in any order, then for each of them one more token or several."""
    slots = draw(st.lists(st.integers(0, SLOTS - 1), min_size=1, max_size=8, unique=True))
    first = tuple(Row(slot=slot, start=0, tokens=draw(st.integers(1, 20)), wants_logits=True) for slot in slots)
    chunk = st.one_of(st.just(1), st.integers(1, 12))
    second = [Row(slot=row.slot, start=row.end, tokens=draw(chunk), wants_logits=True) for row in first]
    if draw(st.booleans()):
        second.sort(key=lambda row: (row.tokens > 1, row.slot))
    return Batch(rows=first), Batch(rows=tuple(second))


def naive(queries, keys, values, position, scaling, window, softcap):
    """One token: queries [heads, d] against the keys and values [kv heads, position + 1, d] of its request."""
    groups = queries.shape[0] // keys.shape[0]
    low = 0 if window is None else max(0, position + 1 - window)
    output = []
    for head, query in enumerate(queries):
        scores = keys[head // groups, low : position + 1] @ query * scaling
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        output.append(torch.softmax(scores, dim=0) @ values[head // groups, low : position + 1])
    return torch.stack(output)


@settings(max_examples=150, deadline=None)
@given(
    rounds(),
    st.sampled_from([(4, 4), (4, 2), (6, 1)]),
    st.sampled_from([None, 1, 5, 64]),
    st.sampled_from([None, 2.0]),
    st.integers(0, 2**31),
)
def test_packed_rows_attend_to_their_own_request_only(batches, heads, window, softcap, seed):
    torch.manual_seed(seed)
    config = LlamaConfig(num_attention_heads=heads[0], num_key_value_heads=heads[1], hidden_size=WIDTH * heads[0])
    cache = SlotCache(
        config, layers=range(3, 4), slots=SLOTS, context_tokens=CONTEXT, dtype=torch.float32, device=torch.device("cpu")
    )
    kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for batch in batches:
        query = torch.randn(1, heads[0], batch.tokens, WIDTH)
        key, value = torch.randn(2, 1, heads[1], batch.tokens, WIDTH)
        packed = Packed(batch, cache, torch.float32, None)
        found, _ = slot_attention(
            Module(), query, key, value, None, packed=packed, scaling=0.3, sliding_window=window, softcap=softcap
        )
        assert found.shape == (1, batch.tokens, heads[0], WIDTH)
        token = 0
        for row in batch.rows:
            part = slice(token, token + row.tokens)
            old = kept.get(row.slot, (key[0, :, :0], value[0, :, :0]))
            keys, values = torch.cat([old[0], key[0, :, part]], 1), torch.cat([old[1], value[0, :, part]], 1)
            kept[row.slot] = (keys, values)
            for offset in range(row.tokens):
                expected = naive(query[0, :, token + offset], keys, values, row.start + offset, 0.3, window, softcap)
                assert torch.allclose(found[0, token + offset], expected, atol=1e-5), (row, offset)
            token += row.tokens


def calls(lengths, slots):
    rows = tuple(Row(slot=s, start=n - 1, tokens=1, wants_logits=True) for s, n in zip(slots, lengths, strict=True))
    config = LlamaConfig(num_attention_heads=1, num_key_value_heads=1, hidden_size=WIDTH)
    cache = SlotCache(
        config, layers=range(1), slots=64, context_tokens=1, dtype=torch.float32, device=torch.device("cpu")
    )
    return len(Packed(Batch(rows=rows), cache, torch.float32, None).items)


def test_decoding_rows_share_a_call_unless_padding_costs_more():
    assert calls([100] * 32, range(32)) == 1
    assert calls([100, 120, 90, 110], range(4)) == 1
    assert calls([100, 100], [0, 2]) == 1
    assert calls([100, 100], [0, 40]) == 2
    assert calls([10, 10, 4000, 4000], range(4)) == 2
