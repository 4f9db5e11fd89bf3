"""A Hugging Face checkpoint directory becomes an `Llm`: every figure is read or counted, none is typed by hand.

Operations per token count two per weight of every matrix (Kaplan et al., 2020, section 2.1); attention over the context
counts two for the scores and two for the values, per head dimension: 4 x heads x head_dim.  The KV cache keeps a key
and a value: 2 x kv_heads x head_dim numbers per layer.  Layers with a sliding window are counted as if they kept all.
"""

import mmap
import re
from collections.abc import Callable
from pathlib import Path

import attrs
import blake3

from planner.description.llm_config import LlmConfig, read_config
from planner.description.safetensors_files import StoredTensor, dtype_bytes, find_tensors
from planner.errors import BadCheckpoint
from specs.errors import MalformedDocument
from specs.llm import File, Llm, LlmId, Tensor, Unit
from specs.units import Bytes, Flops, Tokens

Progress = Callable[[int, int], None]  # bytes hashed so far, bytes in all

_FILES = (
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model"),
    *("chat_template.jinja", "chat_template.json"),
)
_FILE_BYTES_MAX = 256 * 2**20
_WEIGHT_DTYPES = ("F32", "BF16", "F16")
_PIECE_BYTES = 16 * 2**20  # hashed between two reports of progress

# Buffers that older versions of `transformers` stored and that newer ones compute.
_COMPUTED = re.compile(r"(^|\.)(rotary_emb\.inv_freq|masked_bias|attention\.bias|attn\.bias)$")
_EMBEDDING = re.compile(r"(^|\.)(embed(?!_out)\w*|wte|wpe|\w*_embeddings?(_\w*norm)?)\.")
_HEAD = re.compile(r"^(lm_head|embed_out)\.weight$")
_FIRST_NUMBER = re.compile(r"^(.*?)\.(\d+)\.")


def read_llm(directory: Path, llm_id: LlmId, progress: Progress | None = None) -> Llm:
    """Read the checkpoint in this directory.

    Every tensor is hashed, which takes about a second per gigabyte; `progress` is told after every piece.
    Raises BadCheckpoint, with one sentence, when the directory is not a complete checkpoint of a known kind.
    """
    if not directory.is_dir():
        raise BadCheckpoint(f"{directory} is not a directory; a Hugging Face checkpoint directory is wanted")
    config = read_config(directory)
    parts = _split(config, find_tensors(directory))
    packed = parts.packed
    try:
        digests = _hash_tensors((*packed, *parts.redundant), progress)
        _check_redundant(config, parts, digests)
        return _assemble(config, llm_id, parts, digests, _read_files(directory))
    except OSError as error:
        raise BadCheckpoint(f"{directory} cannot be read: {error.strerror}") from None
    except MalformedDocument as error:
        raise BadCheckpoint(f"{directory}: {error}") from None


@attrs.frozen(kw_only=True)
class _Parts:
    """The tensors of each unit, each list sorted by name."""

    embedding: tuple[StoredTensor, ...]
    layers: tuple[tuple[StoredTensor, ...], ...]
    head: tuple[StoredTensor, ...]  # its own; a tied head needs `shared` besides
    shared: StoredTensor | None  # the embedding that a tied head needs; absent: untied
    redundant: tuple[StoredTensor, ...]  # a copy of `shared` that the checkpoint stores although tied

    @property
    def packed(self) -> tuple[StoredTensor, ...]:
        """All tensors in pack order: what a tied head needs stands together, so that it is one run."""
        body = tuple(tensor for layer in self.layers for tensor in layer)
        if self.shared is None:
            return (*self.embedding, *body, *self.head)
        return (*self.embedding, *self.head, *body)


def _split(config: LlmConfig, stored: tuple[StoredTensor, ...]) -> _Parts:
    """Say which unit needs which tensor."""
    tensors = [tensor for tensor in stored if not _COMPUTED.search(tensor.name)]
    prefix = _layer_prefix(config, tensors)
    layers: list[list[StoredTensor]] = [[] for _ in range(config.layers)]
    embedding, head = [], []
    for tensor in tensors:
        numbered = _FIRST_NUMBER.match(tensor.name)
        if numbered and numbered.group(1) == prefix:
            layers[int(numbered.group(2))].append(tensor)
        elif _EMBEDDING.search(tensor.name):
            embedding.append(tensor)
        else:
            head.append(tensor)
    if not embedding:
        raise BadCheckpoint(f"{config.path.parent} has no tensor of an embedding, such as model.embed_tokens.weight")
    projections = [tensor for tensor in head if _HEAD.match(tensor.name)]
    tied = config.tied or not projections
    return _Parts(
        embedding=tuple(embedding),
        layers=tuple(tuple(layer) for layer in layers),
        head=tuple(tensor for tensor in head if not (tied and tensor in projections)),
        shared=_shared_embedding(config, embedding) if tied else None,
        redundant=tuple(projections) if tied else (),
    )


def _layer_prefix(config: LlmConfig, tensors: list[StoredTensor]) -> str:
    """Find the one numbered list of modules with as many members as the LLM has layers, for example model.layers."""
    members: dict[str, set[int]] = {}
    for tensor in tensors:
        numbered = _FIRST_NUMBER.match(tensor.name)
        if numbered:
            members.setdefault(numbered.group(1), set()).add(int(numbered.group(2)))
    fitting = [prefix for prefix, numbers in members.items() if numbers == set(range(config.layers))]
    if len(fitting) != 1:
        found = ", ".join(f"{prefix} ({len(numbers)})" for prefix, numbers in sorted(members.items())) or "none"
        wanted = f"exactly one numbered list of {config.layers} layers is wanted, as config.json says"
        raise BadCheckpoint(f"{config.path.parent}: {wanted}; its tensors have {found}")
    return fitting[0]


def _shared_embedding(config: LlmConfig, embedding: list[StoredTensor]) -> StoredTensor:
    shape = (config.vocabulary_size, config.hidden_size)
    matching = [tensor for tensor in embedding if tensor.shape == shape]
    if len(matching) != 1:
        found = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in embedding)
        raise BadCheckpoint(
            f"{config.path.parent}: the head is tied to an embedding of shape {list(shape)}; found {found}"
        )
    return matching[0]


def _check_redundant(config: LlmConfig, parts: _Parts, digests: dict[str, str]) -> None:
    """A stored copy of the shared embedding may be left out only if it is one: `transformers` unties it otherwise."""
    for tensor in parts.redundant:
        if parts.shared is None or digests[tensor.name] != digests[parts.shared.name]:
            fix = "set tie_word_embeddings to false"
            raise BadCheckpoint(
                f"{config.path} ties the head to the embedding, but {tensor.name} is another tensor; {fix}"
            )


def _hash_tensors(tensors: tuple[StoredTensor, ...], progress: Progress | None) -> dict[str, str]:
    """BLAKE3 of the bytes of each tensor, file after file."""
    report = progress or (lambda _done, _all: None)
    total = sum(tensor.bytes for tensor in tensors)
    done = 0
    digests = {}
    for path in sorted({tensor.path for tensor in tensors}):
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as content,
        ):
            for tensor in sorted((each for each in tensors if each.path == path), key=lambda each: each.begin):
                hasher = blake3.blake3(max_threads=blake3.blake3.AUTO)
                end = tensor.begin + tensor.bytes
                for begin in range(tensor.begin, end, _PIECE_BYTES):
                    with content[begin : min(end, begin + _PIECE_BYTES)] as piece:
                        hasher.update(piece)
                        done += len(piece)
                    report(done, total)
                digests[tensor.name] = hasher.hexdigest()
    return digests


def _read_files(directory: Path) -> tuple[File, ...]:
    found = []
    for name in sorted(_FILES):
        path = directory / name
        if not path.exists():
            continue
        size = path.stat().st_size
        if size > _FILE_BYTES_MAX:
            raise BadCheckpoint(f"{path} has {size} bytes; at most {_FILE_BYTES_MAX} are read")
        content = path.read_bytes()
        found.append(File(name=name, bytes=Bytes(len(content)), digest=blake3.blake3(content).hexdigest()))
    return tuple(found)


def _weights_dtype(config: LlmConfig, packed: tuple[StoredTensor, ...]) -> str:
    dtypes = {tensor.dtype: tensor.name for tensor in packed if len(tensor.shape) >= 2}
    if len(dtypes) != 1 or next(iter(dtypes)) not in _WEIGHT_DTYPES:
        found = ", ".join(f"{dtype} ({name})" for dtype, name in sorted(dtypes.items()))
        wanted = f"one dtype for all matrices, {' or '.join(_WEIGHT_DTYPES)}, is wanted"
        raise BadCheckpoint(f"{config.path.parent}: {wanted}; found {found}")
    return next(iter(dtypes))


def _assemble(config: LlmConfig, llm_id: LlmId, parts: _Parts, digests: dict[str, str], files: tuple[File, ...]) -> Llm:
    packed = parts.packed
    dtype = _weights_dtype(config, packed)
    index = {tensor.name: position for position, tensor in enumerate(packed)}

    def unit(own: tuple[StoredTensor, ...], flops: int, flops_of_context: int = 0, kv_bytes: int = 0) -> Unit:
        return Unit(
            tensors=tuple(sorted(index[tensor.name] for tensor in own)),
            flops_per_token=Flops(flops),
            flops_per_token_of_context=Flops(flops_of_context),
            kv_bytes_per_token=Bytes(kv_bytes),
        )

    attention = 4 * config.heads * config.head_dim
    kv_bytes = 2 * config.kv_heads * config.head_dim * dtype_bytes(dtype)
    head = parts.head if parts.shared is None else (parts.shared, *parts.head)
    return Llm(
        id=llm_id,
        architecture=config.architecture,
        dtype=dtype,
        hidden_bytes_per_token=Bytes(config.hidden_size * dtype_bytes(dtype)),
        vocabulary_size=config.vocabulary_size,
        context_tokens=Tokens(config.context_tokens),
        tensors=tuple(
            Tensor(
                name=tensor.name,
                dtype=tensor.dtype,
                shape=tensor.shape,
                bytes=Bytes(tensor.bytes),
                digest=digests[tensor.name],
            )
            for tensor in packed
        ),
        units=(
            unit(parts.embedding, 0),
            *(unit(layer, _matrix_flops(layer), attention, kv_bytes) for layer in parts.layers),
            unit(head, 2 * config.vocabulary_size * config.hidden_size),
        ),
        files=files,
    )


def _matrix_flops(tensors: tuple[StoredTensor, ...]) -> int:
    return sum(2 * tensor.parameters for tensor in tensors if len(tensor.shape) == 2)
