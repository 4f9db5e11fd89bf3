"""Files that commands write."""

from pathlib import Path

from planner.errors import CannotWrite


def write_text(path: Path, text: str) -> None:
    """Write a file whole, in UTF-8.  Raises CannotWrite."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written: {error.strerror}") from None
