"""A checkpoint on this node's disk: the bytes with which a source starts.  Every one is checked against the plan."""

from collections.abc import Sequence
from pathlib import Path

import blake3
import safetensors
import torch

from executor.errors import BadCheckpoint
from executor.store import packed
from specs.blobs import Blob
from specs.llm import File, Llm


def fill(directory: Path, llm: Llm, blob: Blob, destination: memoryview) -> None:
    """Read a blob's tensors into its memory and check their digests.  Raises BadCheckpoint."""
    index = _index(directory)
    for tensor, offset in packed(llm, blob):
        path = index.get(tensor.name)
        if path is None:
            raise BadCheckpoint(
                f"{directory}: no safetensors file holds the tensor {tensor.name} that the plan expects"
            )
        found = _read(path, tensor.name)
        if found.nbytes != tensor.bytes:
            raise BadCheckpoint(
                f"{path}: tensor {tensor.name} has {found.nbytes} bytes; the plan expects {tensor.bytes}"
            )
        raw = found.contiguous().reshape(-1).view(torch.uint8).numpy().data
        if blake3.blake3(raw).hexdigest() != tensor.digest:
            raise BadCheckpoint(f"{path}: tensor {tensor.name} is not the one that was planned: its digest differs")
        destination[offset : offset + tensor.bytes] = raw


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
