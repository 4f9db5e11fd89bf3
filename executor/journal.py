"""The journal on disk: appended, flushed line by line, and followed by whoever asks."""

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from specs.cluster import NodeId
from specs.journal import Record, What, write_line
from specs.units import Nanos


class Journal:
    """Writes one file per life of a daemon; an older file is never touched.  Close it in the end."""

    def __init__(self, directory: Path, node: NodeId) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / f"{time.time_ns()}.jsonl"
        self._node = node
        self._file = self.path.open("x", encoding="utf-8")
        self._count = 0
        self._more = asyncio.Event()

    def write(self, generation: int, what: What) -> None:
        """Append what happened, now."""
        record = Record(
            sequence=self._count,
            at_unix_ns=Nanos(time.time_ns()),
            node=self._node,
            generation=generation,
            what=what,
        )
        self._file.write(write_line(record) + "\n")
        self._file.flush()
        self._count += 1
        self._more.set()

    async def follow(self, *, since: int, follow: bool) -> AsyncGenerator[str]:
        """Give the lines from number `since` on; with `follow`, wait for new ones for ever.

        They are read from the file: a node that answers for months keeps no line of it in memory.
        """
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
        """Close the file."""
        self._file.close()
