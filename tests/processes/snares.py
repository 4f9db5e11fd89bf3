"""Snares: a daemon kills or stops itself at what it does, however short that moment is.

A snare is a file that all daemons of a cluster watch.  Whoever does the deed often enough first is caught: it gives the
file its own name, so that nobody else is caught, and sends itself the signal.  Deeds are what a daemon writes or
keeps for its journal, by the names of the classes: of records, and of what the roles of KV hand-over learn and do.

Only daemons of tests have this in them; otherwise they are what they always are, and die as from outside.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs

from executor.journal import Journal
from executor.notes import AtSource, AtTarget, Later, Note
from specs.journal import What

_LAID, _SPRUNG = "snare", "caught-"


@attrs.frozen(kw_only=True)
class Snare:
    """Which deed, for which time since the snare was laid, is whose last."""

    deed: str
    time: int
    late_s: float | None  # after the deed; None: before anything comes of it
    signal: int

    def lay(self, folder: Path) -> None:
        """Lay it for all daemons that watch the folder."""
        take_away(folder)
        (folder / "being laid").write_text(json.dumps(attrs.asdict(self)))
        (folder / "being laid").rename(folder / _LAID)


def caught(folder: Path) -> str | None:
    """Name the daemon that was caught, if one was."""
    return next((path.name.removeprefix(_SPRUNG) for path in folder.glob(f"{_SPRUNG}*")), None)


def take_away(folder: Path) -> str | None:
    """Take the snare away, and name the daemon that was caught by it, if one was."""
    (folder / _LAID).unlink(missing_ok=True)
    name = caught(folder)
    if name is not None:
        (folder / f"{_SPRUNG}{name}").unlink()
    return name


def watch(folder: Path, name: str) -> None:
    """Let this process, a daemon, be caught from now on."""
    victim = _Victim(folder, name)
    write, note = Journal.write, Journal.note

    def watched_write(journal: Journal, generation: int, what: What) -> None:
        write(journal, generation, what)
        victim.does(what)

    def watched_note(journal: Journal, what: Note) -> None:
        note(journal, what)
        victim.does(what)

    Journal.write, Journal.note = watched_write, watched_note  # type: ignore[method-assign, assignment]


class _Victim:
    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._laid: tuple[int, int] | None = None  # which snare it is that deeds are counted for
        self._done: Counter[str] = Counter()

    def does(self, what: What | Note) -> None:
        path = self._folder / _LAID
        try:
            about, snare = path.stat(), Snare(**json.loads(path.read_text()))
        except FileNotFoundError:
            return
        if self._laid != (about.st_ino, about.st_mtime_ns):
            self._laid, self._done = (about.st_ino, about.st_mtime_ns), Counter()
        self._done.update(_deeds(what))
        if self._done[snare.deed] >= snare.time:
            with contextlib.suppress(FileNotFoundError):  # another one is caught
                path.rename(self._folder / f"{_SPRUNG}{self._name}")
                self._suffer(snare)

    def _suffer(self, snare: Snare) -> None:
        def last() -> None:
            os.kill(os.getpid(), signal.Signals(snare.signal))

        if snare.late_s is None:
            last()
        else:
            asyncio.get_running_loop().call_later(snare.late_s, last)


def _deeds(what: What | Note) -> Iterator[str]:
    match what:
        case AtSource() | AtTarget():
            yield type(what.event).__name__
            yield from (type(action).__name__ for action in what.actions)
        case Later(make):
            yield type(make()).__name__
        case _:
            yield type(what).__name__
