"""YAML with places: every value knows its line and column, and every fault is kept, not only the first.

The text of a scalar is read by the field that wants it, so `no`, `1e3` or `08` never turn into something else unseen.
Anchors and aliases are refused: without them a document cannot be cyclic or grow when it is read; `templates` and
ranges of names serve in their place.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

import ruamel.yaml
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLStreamError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from planner.errors import BadDescription, BadQuantity
from specs.codec import nearest
from specs.errors import MalformedDocument

DOCUMENT_BYTES_MAX = 2**20
_FAULTS_MAX = 100
_DEPTH_MAX = 20
_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null", "merge")
)

T = TypeVar("T")
U = TypeVar("U")


class Faults:
    """The faults of one file, in the order in which they are found."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[tuple[int, int, str], None] = {}

    def add(self, line: int, column: int, sentence: str) -> None:
        """Keep a fault; line and column count from 1."""
        self._found[line, column, sentence] = None

    def check(self) -> None:
        """Raise BadDescription, in the order of the file, if there is any."""
        ordered = sorted(self._found)
        if ordered:
            shown = [f"{self._path}:{line}:{column}: {sentence}" for line, column, sentence in ordered[:_FAULTS_MAX]]
            raise BadDescription(tuple(shown))

    def fail(self, line: int, column: int, sentence: str) -> NoReturn:
        """Keep a fault after which nothing can be read, and raise BadDescription."""
        self.add(line, column, sentence)
        self.check()
        raise AssertionError("a fault was added")


class Item:
    """One value of a document with its place; readers record a fault and go on with a harmless value."""

    def __init__(self, node: Node, faults: Faults, key: Node | None = None) -> None:
        self._node = node
        self._faults = faults
        self._key = key  # whose value it is

    def fault(self, sentence: str) -> None:
        """Record a fault at this place; an absent value's place is its key's."""
        mark = (self._key if self._key is not None and self._is_absent else self._node).start_mark
        self._faults.add(mark.line + 1, mark.column + 1, sentence)

    @property
    def is_mapping(self) -> bool:
        """Whether it has keys; an absent value counts as a mapping without keys."""
        return isinstance(self._node, MappingNode) or self._is_absent

    @property
    def _is_absent(self) -> bool:
        return isinstance(self._node, ScalarNode) and str(self._node.tag).endswith(":null") and self._node.style is None

    def entries(self) -> list[tuple["Item", "Item"]]:
        """List keys and values of a mapping; repeated keys are faults and left out."""
        if not self.is_mapping:
            self.fault(f"{self._kind()} stands where keys with values are wanted")
            return []
        pairs = self._node.value if isinstance(self._node, MappingNode) else []
        seen: dict[str, int] = {}
        found = []
        for key_node, value_node in pairs:
            key = Item(key_node, self._faults)
            name = key.read(str, "")
            if not name:
                continue
            if name in seen:
                key.fault(f"the key {name!r:.80} is given twice; it stands in line {seen[name]} already")
                continue
            seen[name] = key_node.start_mark.line + 1
            found.append((key, Item(value_node, self._faults, key_node)))
        return found

    def fields(self, *, required: Sequence[str] = (), optional: Sequence[str] = ()) -> dict[str, "Item"]:
        """Give the values of a mapping whose keys are known; unknown and missing keys are faults."""
        known = (*required, *optional)
        found = {}
        for key, value in self.entries():
            name = key.text()
            if name in known:
                found[name] = value
            else:
                key.fault(f"unknown key {name!r:.80}; {nearest(name, known)}")
        missing = [name for name in required if name not in found]
        if missing and self.is_mapping:
            self.fault(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
        return found

    def members(self) -> list["Item"]:
        """List the members of a sequence; a single value counts as a sequence of one."""
        if isinstance(self._node, SequenceNode):
            return [Item(node, self._faults) for node in self._node.value]
        return [] if self._is_absent else [self]

    def text(self) -> str:
        """Give the text of a scalar as it is written."""
        if not isinstance(self._node, ScalarNode):
            self.fault(f"{self._kind()} stands where a single value is wanted")
            return ""
        if self._is_absent:
            self.fault("a value is missing here")
            return ""
        value: str = self._node.value
        return value.strip()

    def read(self, parse: Callable[[str], T], otherwise: U) -> T | U:
        """Read the text with a parser of quantities; a fault yields `otherwise`."""
        text = self.text()
        if not text:
            if isinstance(self._node, ScalarNode) and not self._is_absent:
                self.fault("an empty text stands where a value is wanted")
            return otherwise
        try:
            return parse(text)
        except (BadQuantity, MalformedDocument) as error:
            self.fault(str(error))
            return otherwise

    def _kind(self) -> str:
        kinds = {MappingNode: "a mapping", SequenceNode: "a list", ScalarNode: "a single value"}
        return kinds[type(self._node)]


def optional(fields: Mapping[str, Item], key: str, parse: Callable[[str], T]) -> T | None:
    """Read a field that may be absent."""
    return fields[key].read(parse, None) if key in fields else None


def read_document(path: Path) -> tuple[Item, Faults]:
    """Read a YAML file as one mapping.  Raises BadDescription."""
    faults = Faults(path)
    text = _read_text(path, faults)
    reader = ruamel.yaml.YAML(typ="safe", pure=True)
    try:
        depth = 0
        for event in reader.parse(text):
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if depth > _DEPTH_MAX:
                mark = event.start_mark
                faults.fail(mark.line + 1, mark.column + 1, f"this is nested deeper than {_DEPTH_MAX} levels")
            if isinstance(event, AliasEvent) or getattr(event, "anchor", None) is not None:
                mark = event.start_mark
                wanted = "anchors and aliases (& and *) are not read; describe what is shared under templates"
                faults.fail(mark.line + 1, mark.column + 1, wanted)
        root = ruamel.yaml.YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        faults.fail(line, column, f"this is not YAML: {_plain(error)}")
    except (YAMLError, YAMLStreamError) as error:
        faults.fail(1, 1, f"this is not YAML: {' '.join(str(error).split())[:150]}")
    if root is None:
        faults.fail(1, 1, "the file is empty; a description begins with `cluster:`")
    _refuse_tags(root, faults)
    faults.check()
    return Item(root, faults), faults


def _read_text(path: Path, faults: Faults) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(DOCUMENT_BYTES_MAX + 1)
    except OSError as error:
        faults.fail(1, 1, f"the file cannot be read: {error.strerror}")
    if len(data) > DOCUMENT_BYTES_MAX:
        faults.fail(1, 1, f"the file has more than {DOCUMENT_BYTES_MAX} bytes; a description with templates is shorter")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        faults.fail(line, column, f"the byte {data[error.start]:#04x} is not UTF-8")
    for index, character in enumerate(text):
        if character < " " and character not in "\n\r\t":
            line = text.count("\n", 0, index) + 1
            column = index - text.rfind("\n", 0, index)
            faults.fail(line, column, f"the control character {character!r} cannot stand in YAML")
    return text


def _plain(error: MarkedYAMLError) -> str:
    problem = str(error.problem or error.context)
    if problem.startswith("but "):
        problem = f"{error.context}, {problem}"
    if "'\\t'" in problem:
        return "a tab stands where spaces are wanted"
    return problem[:150]


def _refuse_tags(node: Node, faults: Faults) -> None:
    if node.tag not in _TAGS and not str(node.tag).endswith(":timestamp"):
        faults.add(node.start_mark.line + 1, node.start_mark.column + 1, f"the tag {node.tag!r:.60} is not read")
    children = node.value if isinstance(node, SequenceNode) else []
    if isinstance(node, MappingNode):
        children = [each for pair in node.value for each in pair]
    for child in children:
        _refuse_tags(child, faults)
