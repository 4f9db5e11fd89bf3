"""The safetensors files of a checkpoint, read strictly: which tensor lies where, and nothing is left over.

The format (github.com/huggingface/safetensors, README): 8 bytes, the length of the header, little-endian; the header,
a JSON object that maps tensor names to dtype, shape and data offsets, counted from the header's end; the data, without
holes.  A checkpoint is one file, or several *shards* with an index that says which tensor lies in which.
"""

import json
import math
import struct
from collections.abc import Iterable
from pathlib import Path

import attrs

from planner.errors import BadCheckpoint

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

_HEADER_BYTES_MAX = 100_000_000  # the format's own limit
_JSON_BYTES_MAX = 64 * 2**20
_DTYPES_OF_BYTES = {
    8: ("F64", "I64", "U64"),
    4: ("F32", "I32", "U32"),
    2: ("F16", "BF16", "I16", "U16"),
    1: ("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"),
}
_DTYPE_BYTES = {dtype: size for size, dtypes in _DTYPES_OF_BYTES.items() for dtype in dtypes}


@attrs.frozen(kw_only=True)
class StoredTensor:
    """A tensor and where its bytes lie."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    begin: int  # offset in the file
    bytes: int

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


def dtype_bytes(dtype: str) -> int:
    """Size of one number, in bytes."""
    return _DTYPE_BYTES[dtype]


def read_json(path: Path) -> dict[str, object]:
    """Read a JSON object, without repeated keys, from a file.  Raises BadCheckpoint."""
    try:
        size = path.stat().st_size
        if size > _JSON_BYTES_MAX:
            raise BadCheckpoint(f"{path} has {size} bytes; at most {_JSON_BYTES_MAX} are read")
        return _parse_json(path, path.read_bytes())
    except OSError as error:
        raise BadCheckpoint(f"{path} cannot be read: {error.strerror}") from None


def find_tensors(directory: Path) -> tuple[StoredTensor, ...]:
    """Find every tensor of the checkpoint, sorted by name.  Raises BadCheckpoint."""
    if (directory / SINGLE).exists():
        found: Iterable[StoredTensor] = _read_header(directory / SINGLE)
    elif (directory / INDEX).exists():
        found = _read_shards(directory)
    else:
        older = sorted(path.name for path in directory.glob("*.bin")) + sorted(p.name for p in directory.glob("*.pth"))
        hint = f"; {older[0]} is a pickle, which is never opened: save it again as safetensors" if older else ""
        raise BadCheckpoint(f"{directory} has neither {SINGLE} nor {INDEX}{hint}")
    return tuple(sorted(found, key=lambda tensor: tensor.name))


def _parse_json(path: Path, data: bytes) -> dict[str, object]:
    def unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise BadCheckpoint(f"{path}: {twice!r:.100} is given twice in one object")
        return found

    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=unrepeated)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BadCheckpoint(f"{path}: its JSON cannot be read ({str(error)[:100]})") from None
    if not isinstance(document, dict):
        raise BadCheckpoint(f"{path}: its JSON is not an object")
    return document


def _read_shards(directory: Path) -> Iterable[StoredTensor]:
    """Read all shards and compare them with the index: each tensor lies in exactly the shard that the index names."""
    index = directory / INDEX
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise BadCheckpoint(f"{index} has no weight_map from tensors to shards")
    for shard in places.values():
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise BadCheckpoint(
                f"{index} names the shard {shard!r:.100}; a shard is a .safetensors file beside the index"
            )
    found: dict[str, StoredTensor] = {}
    for shard in sorted(set(places.values())):
        if not (directory / shard).exists():
            count = sum(each == shard for each in places.values())
            raise BadCheckpoint(f"{directory} lacks the shard {shard}, in which {INDEX} puts {count} tensors")
        for tensor in _read_header(directory / shard):
            if tensor.name in found:
                raise BadCheckpoint(
                    f"{directory}: {tensor.name} is stored twice, in {found[tensor.name].path.name} and {shard}"
                )
            if places.get(tensor.name) != shard:
                stated = places.get(tensor.name, "nowhere")
                raise BadCheckpoint(f"{directory}: {tensor.name} is stored in {shard}, but {INDEX} puts it in {stated}")
            found[tensor.name] = tensor
    absent = sorted(places.keys() - found.keys())
    if absent:
        raise BadCheckpoint(f"{directory}: {INDEX} puts {absent[0]} in {places[absent[0]]}, which does not hold it")
    return found.values()


def _read_header(path: Path) -> list[StoredTensor]:
    """Read the header of one file and check that its tensors cover the data exactly, without holes or overlaps."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size < 8:
                raise BadCheckpoint(
                    f"{path} is truncated: it has {size} bytes, fewer than the 8 of the header's length"
                )
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _HEADER_BYTES_MAX:
                raise BadCheckpoint(f"{path} is not a safetensors file: its header would have {length} bytes")
            if 8 + length > size:
                raise BadCheckpoint(f"{path} is truncated: its header ends at byte {8 + length}, the file at {size}")
            header = _parse_json(path, file.read(length))
    except OSError as error:
        raise BadCheckpoint(f"{path} cannot be read: {error.strerror}") from None
    header.pop("__metadata__", None)
    found = sorted((_read_entry(path, 8 + length, *item) for item in header.items()), key=lambda t: (t.begin, t.bytes))
    end = 8 + length
    for tensor in found:
        if tensor.begin != end:
            raise BadCheckpoint(
                f"{path}: {tensor.name} begins at byte {tensor.begin}; {end} is wanted, without holes or overlaps"
            )
        end += tensor.bytes
    if end != size:
        what = "is truncated" if size < end else "has bytes that belong to no tensor"
        raise BadCheckpoint(f"{path} {what}: its tensors end at byte {end}, the file at {size}")
    return found


def _read_entry(path: Path, data_begin: int, name: str, entry: object) -> StoredTensor:
    def is_sizes(value: object) -> bool:
        return isinstance(value, list) and all(type(each) is int and 0 <= each < 2**62 for each in value)

    if not isinstance(entry, dict) or not is_sizes(entry.get("shape")) or not is_sizes(entry.get("data_offsets")):
        raise BadCheckpoint(f"{path}: the header's entry of {name:.100} lacks a dtype, a shape or data_offsets")
    dtype, shape, offsets = entry.get("dtype"), tuple(entry["shape"]), entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPE_BYTES:
        raise BadCheckpoint(f"{path}: {name:.100} has dtype {dtype!r:.40}; known are {', '.join(_DTYPE_BYTES)}")
    if len(offsets) != 2 or offsets[1] - offsets[0] != math.prod(shape) * _DTYPE_BYTES[dtype]:
        wanted = math.prod(shape) * _DTYPE_BYTES[dtype]
        raise BadCheckpoint(
            f"{path}: {name:.100} is {dtype} {list(shape)}, {wanted} bytes, but its offsets are {offsets}"
        )
    begin, end = offsets
    return StoredTensor(name=name, dtype=dtype, shape=shape, path=path, begin=data_begin + begin, bytes=end - begin)
