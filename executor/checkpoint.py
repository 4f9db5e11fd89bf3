"""A checkpoint on this node's disk: the bytes with which a source starts.  Every one is checked against the plan."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import blake3
import safetensors
import torch

from executor.errors import BadCheckpoint
from executor.store import packed
from specs.blobs import Blob
from specs.llm import File, Llm, Tensor


def fill(directory: Path, llm: Llm, blob: Blob, destination: memoryview) -> None:
    """Read a blob's tensors into its memory and check their digests.  Raises BadCheckpoint."""
    index = _index(directory)
    for tensor, offset in packed(llm, blob):
        raw = _raw(_checked(directory, index, tensor))
        destination[offset : offset + tensor.bytes] = raw


def mapped(directory: Path, llm: Llm, blob: Blob) -> dict[str, torch.Tensor]:
    """View a blob's tensors in the checkpoint's files, by name, their digests checked; they take no memory of ours.

    The files are mapped: the system reads what is used and drops it where memory is scarce.  Raises BadCheckpoint.
    """
    index = _index(directory)
    return {tensor.name: _checked(directory, index, tensor) for tensor, _ in packed(llm, blob)}


def first_lacking(directory: Path, llm: Llm) -> str | None:
    """Name the first tensor of an LLM that no file of a checkpoint holds; None when all are there.

    Raises BadCheckpoint for a file that is damaged.
    """
    index = _index(directory)
    return next((tensor.name for tensor in llm.tensors if tensor.name not in index), None)


def read_file(directory: Path, file: File) -> bytes:
    """Read one of the checkpoint's small files and check its digest.  Raises BadCheckpoint."""
    try:
        content = (directory / file.name).read_bytes()
    except OSError as error:
        raise BadCheckpoint(f"{directory / file.name}: cannot be read: {error.strerror}") from error
    check_file(content, file, str(directory / file.name))
    return content


def check_file(content: bytes, file: File, where: str) -> None:
    """Raise BadCheckpoint unless the content is the file's that was planned."""
    if blake3.blake3(content).hexdigest() != file.digest:
        raise BadCheckpoint(f"{where}: its content is not the one that was planned: its digest differs")
    if len(content) != file.bytes:
        raise BadCheckpoint(f"{where}: it has {len(content):,} bytes; {file.bytes:,} were planned")


def _checked(directory: Path, index: Mapping[str, Path], tensor: Tensor) -> torch.Tensor:
    path = index.get(tensor.name)
    if path is None:
        raise BadCheckpoint(f"{directory}: no safetensors file holds the tensor {tensor.name} that the plan expects")
    found = _read(path, tensor.name)
    if found.nbytes != tensor.bytes:
        raise BadCheckpoint(f"{path}: tensor {tensor.name} has {found.nbytes} bytes; the plan expects {tensor.bytes}")
    if blake3.blake3(_raw(found)).hexdigest() != tensor.digest:
        raise BadCheckpoint(f"{path}: tensor {tensor.name} is not the one that was planned: its digest differs")
    return found


def _raw(tensor: torch.Tensor) -> memoryview:
    view: memoryview = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data
    return view


def _index(directory: Path) -> dict[str, Path]:
    """Map every tensor name to the file that holds it."""
    index: dict[str, Path] = {}
    for path in sorted(directory.glob("*.safetensors")):
        for name in _names(path):
            index[name] = path
    return index


def _names(path: Path) -> Sequence[str]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return list(file.keys())
    except (safetensors.SafetensorError, OSError) as error:
        raise BadCheckpoint(f"{path}: not a whole safetensors file: {error}") from error


def _read(path: Path, name: str) -> torch.Tensor:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
            return tensor
    except (safetensors.SafetensorError, OSError) as error:
        raise BadCheckpoint(f"{path}: tensor {name} cannot be read: {error}") from error
