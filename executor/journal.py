"""The journal on disk: appended, flushed line by line, and followed by whoever asks.

What belongs to a hand-over is not written while requests wait for it: it is kept in memory (`executor.notes`), with
all that happens after it, until nothing of the kind has come for a while, and is then written a line in each turn of
the event loop.  A daemon that is killed loses the last seconds of such a journal, never something before them.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

from executor.notes import Line, Note, condense
from specs.cluster import NodeId
from specs.journal import Record, What, write_line
from specs.units import NANOS_PER_SECOND, Nanos

# From when a hand-over stops iterations until all its requests go on, something comes of it more often than that.
_QUIET_SECONDS = 0.25
_KEPT_SECONDS = 2.0  # at most, and then as long as writing takes


class Journal:
    """Writes one file per life of a daemon; an older file is never touched.  Close it in the end."""

    def __init__(self, directory: Path, node: NodeId) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / f"{time.time_ns()}.jsonl"
        self._node = node
        self._file = self.path.open("x", encoding="utf-8")
        self._count = 0
        self._generation = 0  # of the latest record
        self._kept: deque[Line] = deque()
        self._condensed: Iterator[Line] = iter(())  # what is being written of what was kept
        self._is_writing = False
        self._timer: asyncio.TimerHandle | None = None
        self._more = asyncio.Event()

    def write(self, generation: int, what: What) -> None:
        """Append what happened, now."""
        self._generation = generation
        line = Line(Nanos(time.time_ns()), generation, what)
        if self._kept or self._is_writing:
            self._kept.append(line)
        else:
            self._append(line)

    def note(self, note: Note) -> None:
        """Keep what happened in a hand-over, under the plan of the latest record, and write it down later."""
        self._kept.append(Line(Nanos(time.time_ns()), self._generation, note))
        if self._timer is None and not self._is_writing:
            self._look_later()

    def flush(self) -> None:
        """Write down all that is kept."""
        while self._is_writing or self._kept:
            self._condensed = self._condensed if self._is_writing else self._take_kept()
            for line in self._condensed:
                self._append(line)
            self._is_writing = False

    async def follow(self, *, since: int, follow: bool) -> AsyncGenerator[str]:
        """Give the lines from number `since` on; with `follow`, wait for new ones for ever.

        They are read from the file: a node that answers for months keeps no line of it in memory.
        """
        self.flush()
        with self.path.open(encoding="utf-8") as file:
            position = 0
            while True:
                while position < self._count:
                    line = file.readline()
                    position += 1
                    if position > since:
                        yield line.rstrip("\n")
                if not follow:
                    return
                self._more.clear()
                await self._more.wait()

    def close(self) -> None:
        """Write down what is kept and close the file."""
        self.flush()
        if self._timer is not None:
            self._timer.cancel()
        self._file.close()

    def _append(self, line: Line) -> None:
        assert not isinstance(line.content, Note)
        record = Record(
            sequence=self._count,
            at_unix_ns=line.at_unix_ns,
            node=self._node,
            generation=line.generation,
            what=line.content,
        )
        self._file.write(write_line(record) + "\n")
        self._file.flush()
        self._count += 1
        self._more.set()

    # --- what is kept --------------------------------------------------------------------------------------------

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_QUIET_SECONDS, self._look)

    def _look(self) -> None:
        """Begin to write when nothing has come for a while, or for long enough."""
        self._timer = None
        if not self._kept:
            return
        now, first, last = time.time_ns(), self._kept[0].at_unix_ns, self._kept[-1].at_unix_ns
        if now - last < _QUIET_SECONDS * NANOS_PER_SECOND and now - first < _KEPT_SECONDS * NANOS_PER_SECOND:
            self._look_later()
            return
        self._condensed, self._is_writing = self._take_kept(), True
        asyncio.get_running_loop().call_soon(self._write_one)

    def _take_kept(self) -> Iterator[Line]:
        kept, self._kept = self._kept, deque()
        return condense(kept)

    def _write_one(self) -> None:
        if not self._is_writing:  # all was flushed meanwhile
            return
        line = next(self._condensed, None)
        if line is not None:
            self._append(line)
            asyncio.get_running_loop().call_soon(self._write_one)
            return
        self._is_writing = False
        if self._kept:
            self._look_later()
