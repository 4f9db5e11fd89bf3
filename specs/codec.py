"""Canonical JSON for the nouns: one way to write a value, a strict way to read it, and its digest.

Written: keys sorted, no spaces, integers only, UTF-8.  A member of a union carries the key "kind" with its class name
in lower case.  Read: unknown, missing and repeated keys, wrong types, floats, out-of-range integers and too deep or
too long documents are refused with a MalformedDocument that says where and what instead.
"""

import difflib
import functools
import hashlib
import json
import types
import typing
from collections.abc import Callable
from enum import EnumType, StrEnum
from typing import Any, TypeVar

import attrs

from specs.errors import MalformedDocument
from specs.units import INTEGER_MAX

DOCUMENT_BYTES_MAX = 256 * 2**20
_DEPTH_MAX = 32
_STRING_MAX = 100_000

T = TypeVar("T")
_Read = Callable[[object, str], Any]
_Write = Callable[[Any], object]


def encode(value: object) -> bytes:
    """Write an attrs value as canonical JSON."""
    kind: Any = type(value)
    document = _writer(kind)(value)
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(value: object) -> str:
    """SHA-256 of the canonical JSON, in hexadecimal: the identity of a problem or plan."""
    return hashlib.sha256(encode(value)).hexdigest()


def decode(kind: type[T], data: bytes) -> T:
    """Read a value of this attrs class.  Raises MalformedDocument."""
    return read(kind, parse(data))


def parse(data: bytes) -> object:
    """Read bytes as strict JSON without floats or repeated keys.  Raises MalformedDocument."""
    if len(data) > DOCUMENT_BYTES_MAX:
        raise MalformedDocument(f"the document has {len(data)} bytes; at most {DOCUMENT_BYTES_MAX} are read")
    try:
        return json.loads(
            data.decode("utf-8", errors="strict"),
            object_pairs_hook=_unrepeated,
            parse_float=_no_float,
            parse_constant=_no_float,
            parse_int=_integer,
        )
    except UnicodeDecodeError as error:
        raise MalformedDocument(f"byte {error.start} of the document is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise MalformedDocument(f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from None
    except RecursionError:
        raise MalformedDocument(f"the document is nested deeper than {_DEPTH_MAX} levels") from None


def read(kind: type[T], document: object, where: str = "document") -> T:
    """Read a value of this attrs class from parsed JSON.  Raises MalformedDocument."""
    wanted: Any = kind
    value: T = _reader(wanted)(document, where)
    return value


def _integer(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > INTEGER_MAX:
        raise MalformedDocument(f"the number {text:.30} is out of range; whole numbers up to {INTEGER_MAX} are read")
    return int(text)


def _no_float(text: str) -> object:
    raise MalformedDocument(f"{text:.40} is not a whole number; quantities are integers in the unit of their name")


def _unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise MalformedDocument(f"the key {twice!r:.80} is given twice in one object")
    return document


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """Phrase the known name nearest to this one, or list them all when none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"


# --- reading ---------------------------------------------------------------------------------------------------------


@functools.cache
def _reader(kind: Any) -> _Read:
    """Make the reader of one type; cached, because plans hold tens of thousands of steps."""
    kind = getattr(kind, "__value__", kind)
    while isinstance(kind, typing.NewType):
        kind = kind.__supertype__
    origin = typing.get_origin(kind)
    if origin is tuple:
        arguments = typing.get_args(kind)
        return _tuple_reader(arguments[0]) if arguments[-1] is Ellipsis else _row_reader(arguments)
    if origin in (types.UnionType, typing.Union):
        return _union_reader(typing.get_args(kind))
    if isinstance(kind, EnumType):
        return _enum_reader(typing.cast("type[StrEnum]", kind))
    if attrs.has(kind):
        return _class_reader(kind)
    return _SCALARS[kind]


def _wrong(where: str, found: object, wanted: str) -> MalformedDocument:
    shown = {dict: "an object", list: "a list", type(None): "null"}.get(type(found), f"{found!r:.60}")
    return MalformedDocument(f"{where} is {shown}; {wanted} is wanted")


def _read_int(found: object, where: str) -> int:
    if type(found) is not int:
        raise _wrong(where, found, "a whole number")
    return found


def _read_bool(found: object, where: str) -> bool:
    if type(found) is not bool:
        raise _wrong(where, found, "true or false")
    return found


def _read_str(found: object, where: str) -> str:
    if type(found) is not str:
        raise _wrong(where, found, "a string")
    if len(found) > _STRING_MAX:
        raise MalformedDocument(f"{where} has {len(found)} characters; at most {_STRING_MAX} are read")
    if not found.isascii() and any("\ud800" <= character <= "\udfff" for character in found):
        raise MalformedDocument(f"{where} has half of a surrogate pair, which UTF-8 cannot hold: {found!r:.60}")
    return found


_SCALARS: dict[Any, _Read] = {int: _read_int, str: _read_str, bool: _read_bool}


def _enum_reader(kind: type[StrEnum]) -> _Read:
    members = {member.value: member for member in kind}

    def read_enum(found: object, where: str) -> StrEnum:
        if not isinstance(found, str) or found not in members:
            raise _wrong(where, found, f"one of {', '.join(members)}")
        return members[found]

    return read_enum


def _tuple_reader(item: Any) -> _Read:
    def read_tuple(found: object, where: str) -> tuple[Any, ...]:
        if type(found) is not list:
            raise _wrong(where, found, "a list")
        reader = _reader(item)
        return tuple([reader(each, f"{where}[{index}]") for index, each in enumerate(found)])

    return read_tuple


def _row_reader(items: tuple[Any, ...]) -> _Read:
    def read_row(found: object, where: str) -> tuple[Any, ...]:
        if type(found) is not list or len(found) != len(items):
            raise _wrong(where, found, f"a list of {len(items)}")
        return tuple([_reader(item)(each, where) for item, each in zip(items, found, strict=True)])

    return read_row


def _union_reader(members: tuple[Any, ...]) -> _Read:
    if type(None) in members:
        (inner,) = [member for member in members if member is not type(None)]
        return lambda found, where: None if found is None else _reader(inner)(found, where)
    by_kind = {member.__name__.lower(): member for member in members}

    def read_union(found: object, where: str) -> object:
        if type(found) is not dict:
            raise _wrong(where, found, "an object")
        kind = found.get("kind")
        if not isinstance(kind, str) or kind not in by_kind:
            raise _wrong(f"{where}.kind", kind, f"one of {', '.join(by_kind)}")
        return _reader(by_kind[kind])({key: value for key, value in found.items() if key != "kind"}, where)

    return read_union


def _class_reader(kind: Any) -> _Read:
    hints = typing.get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in attrs.fields(kind)}
    required = frozenset(field.name for field in attrs.fields(kind) if field.default is attrs.NOTHING)

    def read_class(found: object, where: str) -> object:
        if type(found) is not dict:
            raise _wrong(where, found, f"an object ({kind.__name__})")
        unknown = found.keys() - readers.keys()
        if unknown:
            name = min(unknown)
            raise MalformedDocument(f"{where} has the unknown key {name!r:.80}; {nearest(name, readers)}")
        missing = required - found.keys()
        if missing:
            raise MalformedDocument(f"{where} lacks {', '.join(sorted(missing))}")
        values = {name: readers[name](value, f"{where}.{name}") for name, value in found.items()}
        try:
            return kind(**values)
        except MalformedDocument as error:
            raise MalformedDocument(f"{where}: {error}") from None

    return read_class


# --- writing ---------------------------------------------------------------------------------------------------------


@functools.cache
def _writer(kind: Any) -> _Write:
    """Make the writer of one type, mirroring its reader."""
    while isinstance(kind, typing.NewType):
        kind = kind.__supertype__
    origin = typing.get_origin(kind)
    if origin is tuple:
        arguments = typing.get_args(kind)
        return _tuple_writer(arguments[0]) if arguments[-1] is Ellipsis else _row_writer(arguments)
    if origin in (types.UnionType, typing.Union):
        return _union_writer(typing.get_args(kind))
    if attrs.has(kind):
        return _class_writer(kind)
    return lambda value: value


def _tuple_writer(item: Any) -> _Write:
    return lambda values: [_writer(item)(value) for value in values]


def _row_writer(items: tuple[Any, ...]) -> _Write:
    return lambda values: [_writer(item)(value) for item, value in zip(items, values, strict=True)]


def _union_writer(members: tuple[Any, ...]) -> _Write:
    if type(None) in members:
        (inner,) = [member for member in members if member is not type(None)]
        return lambda value: None if value is None else _writer(inner)(value)
    by_class = {member: (member.__name__.lower(), _class_writer(member)) for member in members}

    def write_union(value: object) -> object:
        kind, writer = by_class[type(value)]
        return {"kind": kind, **typing.cast("dict[str, object]", writer(value))}

    return write_union


def _class_writer(kind: Any) -> _Write:
    hints = typing.get_type_hints(kind)
    writers = [(field.name, _writer(hints[field.name])) for field in attrs.fields(kind)]
    return lambda value: {name: writer(getattr(value, name)) for name, writer in writers}
