"""The stages of this node while requests are handed over: those that KV is copied from, and those that it comes to.

KV is read and written in the thread of its device, in turn with iterations.  What comes is written only when its digest
is right and `specs.protocols.kv_hand_over_target` takes it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence

import attrs
from blake3 import blake3

from executor.engine.stage import Stage
from executor.errors import MalformedFrame
from executor.kv_traffic import CopyKv, Kv, KvRow
from executor.notes import Later, TakeNote, Wrote
from executor.pipelines.host import Host
from executor.pipelines.post import Post
from specs import journal
from specs.llm import Llm
from specs.plan import Pipeline, PipelineId
from specs.protocols import kv_hand_over_target as target
from specs.protocols.kv_hand_over_events import ChunkCame, CopyRow, SeatsAre, TellHeld, Write
from specs.protocols.kv_hand_over_nouns import Chunk, HandOverId, Path, Seats, StageState

# One message: large enough that its header does not matter, small enough that tokens behind it do not wait for long.
_MESSAGE_BYTES_MAX = 256 * 2**10
_MESSAGES_PER_SECOND_MIN = 50  # at the rate of a slow path

_LOOK_SECONDS = 0.0005  # at what the last iteration computes
_PATIENCE_SECONDS = 1.0
_TELL_SECONDS = 0.05  # what is said of a message more costs as much as its KV


def shared_layers(llm: Llm, old: Pipeline, new: Pipeline, path: Path) -> range:
    """List the layers that an old and a new stage share, as the LLM numbers them."""
    if old.llm != new.llm or path.old_stage >= len(old.stages) or path.new_stage >= len(new.stages):
        return range(0)
    ours, theirs = old.stages[path.old_stage], new.stages[path.new_stage]
    first, end = max(ours.first_unit, theirs.first_unit), min(ours.end_unit, theirs.end_unit)
    return range(max(first - 1, 0), min(end - 1, llm.layers))


@attrs.frozen
class _Part:
    """Bytes for a run of positions of a slot."""

    slot: int
    first: int
    end: int
    data: memoryview


class KvStages:
    """Copies KV out of this node's stages, and takes what comes to them."""

    def __init__(self, host: Host, post: Post, note: TakeNote) -> None:
        self._host = host
        self._post = post
        self._note = note
        self._states: dict[tuple[PipelineId, int], StageState] = {}
        self._orders: dict[tuple[PipelineId, Path], CopyKv] = {}  # the latest of each path
        self._told: dict[tuple[PipelineId, int], float] = {}  # when each stage told its leader last

    # --- KV that comes -------------------------------------------------------------------------------------------

    async def seats(self, seats: Seats) -> None:
        """Open and close seats, and say so.  Raises MalformedFrame for a seat that the stage does not have."""
        key = seats.pipeline, seats.stage
        stage = self._host.stage(*key)
        if stage is None:
            return
        if any(each.seat >= stage.cache.slots for each in seats.seats):
            raise MalformedFrame(f"a seat of {seats.pipeline} lies outside its slots")
        self._states = {each: state for each, state in self._states.items() if self._host.stage(*each) is not None}
        self._told = {each: at for each, at in self._told.items() if each in self._states}
        before = self._states.get(key, StageState())
        after, actions = target.step_stage(*key, before, SeatsAre(seats))
        self._states[key] = after
        if after is not before:
            self._note(Later(lambda: journal.LearntAsStage(events=(SeatsAre(seats),))))
        opened = [each.seat for each in after.seats if each not in before.seats]
        if opened:
            await self._host.in_turn(*key, lambda stage: stage.cache.release(opened))
        if self._host.stage(*key) is not None:  # another plan may have been adopted meanwhile
            self._tell(key, actions[-1])

    async def take(self, kv: Kv, body: memoryview) -> None:
        """Write chunks whose digest is right; say what is there after the last of an order, and now and then before.

        Raises MalformedFrame for a wrong digest.
        """
        first = kv.chunks[0]
        key = first.id.new, first.path.new_stage
        stage = self._host.stage(*key)
        if stage is None:
            return
        if blake3(body).hexdigest() != kv.digest:
            raise MalformedFrame(f"KV for stage {key[1]} of {key[0]} came with a wrong digest")
        layers = self._layers(first.id, first.path)
        state = self._states.get(key, StageState())
        writes: list[tuple[Chunk, _Part]] = []
        for chunk, part in _cut(kv.chunks, body, stage, layers):
            state, actions = target.step_stage(*key, state, ChunkCame(chunk))
            writes += [(chunk, part) for action in actions if isinstance(action, Write)]
        self._states[key] = state
        for chunk, _ in writes:
            self._note(Wrote(chunk))

        def write(stage: Stage) -> bool:
            for _, part in writes:
                stage.cache.write(layers, part.slot, part.first, part.data)
                stage.ends[part.slot] = part.end
            return True

        is_written = await self._host.in_turn(*key, write)
        if is_written and (kv.is_last or time.monotonic() > self._told.get(key, 0) + _TELL_SECONDS):
            self._tell(key, actions[-1])

    def _tell(self, key: tuple[PipelineId, int], action: object) -> None:
        assert isinstance(action, TellHeld), "a stage always answers"
        self._told[key] = time.monotonic()
        self._post.send(self._host.leader_of(key[0]), action.held)

    # --- KV that goes --------------------------------------------------------------------------------------------

    async def copy(self, order: CopyKv) -> None:
        """Copy rows along a path, at its rate, until there is another order for it or the stage is freed.

        Raises MalformedFrame for a path or a row that there is not.
        """
        key = order.id.old, order.path.old_stage
        stage = self._host.stage(*key)
        if stage is None:
            return
        layers = self._layers(order.id, order.path)
        cache = stage.cache
        if any(row.slot >= cache.slots or row.end > cache.context_tokens for row in order.rows):
            raise MalformedFrame(f"a row to be copied is not of {order.id.old}")
        self._orders[order.id.old, order.path] = order
        self._note(Later(lambda: _record(order)))
        token_bytes = cache.token_bytes(layers)
        rate = order.bytes_per_second
        bytes_max = _MESSAGE_BYTES_MAX if rate is None else min(_MESSAGE_BYTES_MAX, rate // _MESSAGES_PER_SECOND_MIN)
        due = time.monotonic()
        async for rows, is_last in self._computed(order, stage, max(1, bytes_max // token_bytes)):
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            data = await self._read(key, layers, rows)
            if data is None or not self._is_latest(order) or self._host.planned(order.id.new) is None:
                break
            self._send(order, rows, data, is_last=is_last)
            if rate is not None:
                due = max(due, time.monotonic() - 1 / _MESSAGES_PER_SECOND_MIN) + len(data) / rate
        if self._is_latest(order):
            del self._orders[order.id.old, order.path]

    async def _computed(self, order: CopyKv, stage: Stage, tokens_max: int) -> AsyncIterator[tuple[list[KvRow], bool]]:
        """Cut an order into messages, each as soon as it is computed, or being computed: reading comes after that.

        With each goes whether it is the last.

        An iteration that is lost never comes.  What is not computed for long is left to the source leader, which orders
        again what is late.
        """
        left = order.rows
        until = time.monotonic() + _PATIENCE_SECONDS
        while left and self._is_latest(order) and time.monotonic() < until:
            ends = [min(row.end, stage.ends[row.slot]) for row in left]
            pairs = list(zip(left, ends, strict=True))
            left = tuple(attrs.evolve(row, start=max(row.start, end)) for row, end in pairs if end < row.end)
            ready = [attrs.evolve(row, end=end) for row, end in pairs if row.start < end]
            messages = list(_messages(ready, tokens_max))
            for number, rows in enumerate(messages, start=1):
                yield rows, not left and number == len(messages)
                until = time.monotonic() + _PATIENCE_SECONDS
            if left:
                await asyncio.sleep(_LOOK_SECONDS)

    def _is_latest(self, order: CopyKv) -> bool:
        return self._orders.get((order.id.old, order.path)) is order

    async def _read(self, key: tuple[PipelineId, int], layers: range, rows: Sequence[KvRow]) -> bytes | None:
        def read(stage: Stage) -> bytes:
            return b"".join(stage.cache.read(layers, row.slot, row.start, row.end) for row in rows)

        return await self._host.in_turn(*key, read)

    def _send(self, order: CopyKv, rows: Sequence[KvRow], data: bytes, *, is_last: bool) -> None:
        chunks = tuple(
            Chunk(id=order.id, path=order.path, request=row.request, seat=row.seat, start=row.start, end=row.end)
            for row in rows
        )
        receiver = self._host.node_of_stage(order.id.new, order.path.new_stage)
        self._post.send(receiver, Kv(chunks=chunks, digest=blake3(data).hexdigest(), is_last=is_last), data)

    def _layers(self, id_: HandOverId, path: Path) -> range:
        old, new = self._host.planned(id_.old), self._host.planned(id_.new)
        if old is not None and new is not None:
            layers = shared_layers(self._host.llm_of(id_.new), old, new, path)
            if layers:
                return layers
        raise MalformedFrame(f"stage {path.old_stage} of {id_.old} and {path.new_stage} of {id_.new} share no layers")


def _cut(chunks: Sequence[Chunk], body: memoryview, stage: Stage, layers: range) -> list[tuple[Chunk, _Part]]:
    """Cut bytes into the chunks that lie back to back in them.  Raises MalformedFrame when they do not fit."""
    cache = stage.cache
    token_bytes = cache.token_bytes(layers)
    if len(body) != sum(chunk.end - chunk.start for chunk in chunks) * token_bytes:
        raise MalformedFrame(f"{len(body)} bytes of KV came, which are not those of its chunks")
    found, at = [], 0
    for chunk in chunks:
        if chunk.seat >= cache.slots or not chunk.start < chunk.end <= cache.context_tokens:
            raise MalformedFrame(f"a chunk [{chunk.start}, {chunk.end}) of seat {chunk.seat} is not of its stage")
        end = at + (chunk.end - chunk.start) * token_bytes
        found.append((chunk, _Part(chunk.seat, chunk.start, chunk.end, body[at:end])))
        at = end
    return found


def _messages(rows: Sequence[KvRow], tokens_max: int) -> Iterator[list[KvRow]]:
    """Cut rows into messages of at most so many tokens, in their order."""
    message: list[KvRow] = []
    room = tokens_max
    for row in rows:
        start = row.start
        while start < row.end:
            end = min(row.end, start + room)
            message.append(attrs.evolve(row, start=start, end=end))
            room -= end - start
            start = end
            if room == 0:
                yield message
                message, room = [], tokens_max
    if message:
        yield message


def _record(order: CopyKv) -> journal.CopyOrdered:
    rows = tuple(CopyRow(row.request, row.slot, row.seat, row.start, row.end) for row in order.rows)
    return journal.CopyOrdered(id=order.id, path=order.path, rows=rows)
