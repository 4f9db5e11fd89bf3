"""The one edge to the kernel's files: nothing read here is trusted, and nothing that is wrong with it is raised.

What cannot be read or understood is kept with its path and one sentence; the reader gets None and goes on.
"""

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from planner.errors import BadQuantity
from planner.this_node.inventory import Unknown

_BYTES_MAX = 2**16
_NAMES_MAX = 2**14
# What the kernel answers where there is nothing to tell: no such file, no GID in this row, no link on this wire.
_NOTHING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.EINVAL, errno.EOPNOTSUPP})

T = TypeVar("T")


class KernelFiles:
    """Files below a root, whose /sys and /proc are the kernel's or a copy of them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._unknown: dict[Unknown, None] = {}

    @property
    def unknown(self) -> tuple[Unknown, ...]:
        """What was not understood so far."""
        return tuple(self._unknown)

    def doubt(self, path: str, sentence: str) -> None:
        """Keep what is not known, and why."""
        self._unknown[Unknown(path=f"/{path}", sentence=sentence)] = None

    def read(self, path: str, parse: Callable[[str], T], *, may_lack: bool = False) -> T | None:
        """Read one file; None if that cannot be done, which is kept unless it may lack."""
        try:
            # Without waiting: a pipe would be waited for, and the kernel's files have no writer to wait for.
            with os.fdopen(os.open(self._root / path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                data = file.read(_BYTES_MAX + 1)
        except OSError as error:
            if not (may_lack and error.errno in _NOTHING):
                self.doubt(path, f"it cannot be read: {os.strerror(error.errno or 0)}")
            return None
        if len(data) > _BYTES_MAX:
            self.doubt(path, f"it has more than {_BYTES_MAX} bytes")
            return None
        try:
            text = data.decode("ascii")
        except UnicodeDecodeError as error:
            self.doubt(path, f"the byte {data[error.start]:#04x} is not ASCII")
            return None
        if found := re.search(r"[^\n\t -~]", text):
            self.doubt(path, f"the control character {found.group()!r} stands in it")
            return None
        return self.understood(path, text.strip(), parse)

    def understood(self, path: str, text: str, parse: Callable[[str], T]) -> T | None:
        """Parse a text of this path; None, and kept, if it is not understood."""
        try:
            return parse(text)
        except BadQuantity as error:
            self.doubt(path, str(error))
            return None

    def names(self, path: str, *, may_lack: bool = True) -> tuple[str, ...]:
        """List a directory, numbers in names in their order; none if it cannot be listed."""
        try:
            with os.scandir(self._root / path) as entries:
                found = [entry.name for entry, _ in zip(entries, range(_NAMES_MAX), strict=False)]
        except OSError as error:
            if not (may_lack and error.errno in _NOTHING):
                self.doubt(path, f"it cannot be listed: {os.strerror(error.errno or 0)}")
            return ()
        strange = [name for name in found if not (name.isascii() and name.isprintable())]
        for name in strange:
            self.doubt(path, f"the name {name!a:.80} in it is not understood")
        return tuple(sorted(set(found).difference(strange), key=_natural))

    def has(self, path: str) -> bool:
        """Whether there is such a file, directory or link."""
        return os.path.lexists(self._root / path)

    def target(self, path: str) -> tuple[str, ...] | None:
        """Follow all links of a path; give the parts of where it leads, below the root; None, and kept, if it fails."""
        try:
            found = Path(os.path.realpath(self._root / path, strict=True))
        except OSError as error:
            self.doubt(path, f"it leads nowhere: {os.strerror(error.errno or 0)}")
            return None
        root = Path(os.path.realpath(self._root))
        if not found.is_relative_to(root):
            self.doubt(path, "it leads out of the files that are read")
            return None
        return found.relative_to(root).parts


def _natural(name: str) -> tuple[list[str | int], str]:
    """Order mlx5_2 before mlx5_10; odd parts are numbers."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"([0-9]{1,18})", name))], name
