"""Files that commands write: whole or not at all."""

import contextlib
import errno
import os
from pathlib import Path

from planner.errors import CannotWrite


def keep(*, read: Path, written: Path | None) -> None:
    """Raise CannotWrite if what is to be written is the file that is read."""
    if written is not None and written.exists() and read.exists() and written.samefile(read):
        raise CannotWrite(f"{written} cannot be written: it is what is read; name another file")


def write_whole(path: Path, data: bytes) -> int:
    """Write a file, or leave what was there; give the number of bytes.  Raises CannotWrite.

    A link is followed.  What is there and is no file, such as a pipe or /dev/null, is written to, never replaced.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if target.exists() and not target.is_file():
            target.write_bytes(data)
        else:
            _replace(target, data)
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written: {error.strerror}") from error
    return len(data)


def _replace(target: Path, data: bytes) -> None:
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.replace(target)
    except OSError:
        # Where a draft could not be made, there may be none to remove.
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
