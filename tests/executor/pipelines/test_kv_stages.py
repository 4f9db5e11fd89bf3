"""What an old stage copies when: never what it has not computed, and at once what it has."""

import asyncio
from types import SimpleNamespace

from executor.kv_traffic import CopyKv, KvRow
from executor.pipelines import kv_stages
from executor.pipelines.kv_stages import KvStages
from specs.protocols.kv_hand_over_nouns import HandOverId, Path

ID = HandOverId(old="old", new="new", number=1)
PATH = Path(old_stage=0, new_stage=0)


def row(slot, start, end):
    return KvRow(request=f"n0:{slot}", slot=slot, seat=slot, start=start, end=end)


def copied(ends, rows, then=(), tokens_max=10):
    """Copy rows from a stage that has computed so much, and computes more each time that it has been looked at."""
    stage, stages = SimpleNamespace(ends=list(ends)), KvStages(None, None, lambda _: None)
    order = CopyKv(id=ID, path=PATH, rows=rows)
    stages._orders[ID.old, PATH] = order
    later = iter(then)

    async def look(_seconds):
        stage.ends[:] = next(later)

    async def copy():
        return [found async for found in stages._computed(order, stage, tokens_max)]

    sleep, kv_stages.asyncio.sleep = asyncio.sleep, look
    try:
        return asyncio.run(copy())
    finally:
        kv_stages.asyncio.sleep = sleep


def test_what_is_computed_is_copied_at_once_and_the_rest_as_it_comes():
    rows = (row(0, 3, 9), row(1, 4, 6))
    found = copied([8, 4], rows, then=([8, 4], [8, 6], [9, 6]))
    assert found == [([row(0, 3, 8)], False), ([row(1, 4, 6)], False), ([row(0, 8, 9)], True)]


def test_no_more_is_copied_than_was_ordered():
    assert copied([99], (row(0, 3, 9),)) == [([row(0, 3, 9)], True)]
    assert copied([99], (row(0, 0, 9),), tokens_max=4) == [
        ([row(0, 0, 4)], False),
        ([row(0, 4, 8)], False),
        ([row(0, 8, 9)], True),
    ]


def test_what_never_comes_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(kv_stages, "_PATIENCE_SECONDS", 0.01)
    assert copied([5], (row(0, 3, 9),), then=([5] for _ in iter(int, 1))) == [([row(0, 3, 5)], False)]
