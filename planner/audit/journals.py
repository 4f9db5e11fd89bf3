"""Journals from files: read strictly, one node per file."""

from collections.abc import Iterable
from pathlib import Path

import attrs

from planner.errors import BadJournal
from specs import journal
from specs.cluster import NodeId
from specs.errors import MalformedDocument
from specs.journal import Record


@attrs.frozen(kw_only=True)
class NodeJournal:
    """One life of one node's daemon, in the order in which it wrote."""

    file: str
    node: NodeId
    records: tuple[Record, ...]  # at least one


def read_journals(paths: Iterable[Path]) -> tuple[NodeJournal, ...]:
    """Read journal files, and every *.jsonl under directories; an empty file is of a daemon that did nothing.

    Raises BadJournal for a file that cannot be read, a line that is no record, or a file that two nodes wrote.
    """
    return tuple(each for file in _files(paths) if (each := _read(file)) is not None)


def _files(paths: Iterable[Path]) -> list[Path]:
    found: dict[Path, Path] = {}  # by where it really lies, so that a file given twice counts once
    for path in paths:
        inside = sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]
        if not inside:
            raise BadJournal(f"{path}: no journal (*.jsonl) in this directory")
        found |= {file.resolve(): file for file in reversed(inside) if file.resolve() not in found}
    return sorted(found.values())


def _read(file: Path) -> NodeJournal | None:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise BadJournal(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadJournal(f"{file}: byte {error.start} is not UTF-8; journals are JSON lines") from error
    records: list[Record] = []
    for number, line in enumerate(lines, start=1):
        try:
            records += journal.read_lines(line)
        except MalformedDocument as error:
            raise BadJournal(f"{file}:{number}: {error}") from error
        if records and records[-1].node != records[0].node:
            found, wanted = records[-1].node, records[0].node
            raise BadJournal(f"{file}:{number}: a record of {found} in the journal of {wanted}")
    return NodeJournal(file=str(file), node=records[0].node, records=tuple(records)) if records else None
