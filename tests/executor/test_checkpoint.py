"""A source's checkpoint: every byte is the one that was planned, or one sentence says which is not."""

import shutil

import attrs
import blake3
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from executor.checkpoint import check_file, fill, first_lacking, mapped, read_file
from executor.errors import BadCheckpoint
from specs.blobs import tensor_offsets


@pytest.fixture
def damaged(checkpoint, tmp_path):
    return shutil.copytree(checkpoint, tmp_path / "copy")


def fill_all(directory, llm, blobs):
    filled = []
    for blob in blobs:
        filled.append(bytearray(blob.bytes))
        fill(directory, llm, blob, memoryview(filled[-1]))
    return filled


def refused(directory, llm, blobs, words):
    with pytest.raises(BadCheckpoint, match=words) as caught:
        fill_all(directory, llm, blobs)
    assert str(caught.value).startswith(str(directory))
    assert "\n" not in str(caught.value)


def test_every_tensor_lands_at_its_offset(checkpoint, llm, blobs):
    for blob, memory in zip(blobs, fill_all(checkpoint, llm, blobs), strict=True):
        offsets = tensor_offsets(llm, blob.first_tensor, blob.end_tensor)
        for tensor, offset in zip(llm.tensors[blob.first_tensor : blob.end_tensor], offsets[:-1], strict=True):
            assert blake3.blake3(memory[offset : offset + tensor.bytes]).hexdigest() == tensor.digest


def test_a_flipped_bit_names_its_tensor(damaged, llm, blobs):
    path = min(damaged.glob("*.safetensors"))
    with safe_open(path, framework="pt") as file:
        last = list(file.offset_keys())[-1]
    content = bytearray(path.read_bytes())
    content[-1] ^= 0x80
    path.write_bytes(content)
    refused(damaged, llm, blobs, f"tensor {last} is not the one that was planned: its digest differs")


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_truncated_file_is_named(kept, damaged, llm, blobs):
    path = max(damaged.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:kept])
    refused(damaged, llm, blobs, f"{path.name}: not a whole safetensors file")


def test_a_missing_tensor_is_named(damaged, llm, blobs):
    path = min(damaged.glob("*.safetensors"))
    tensors = load_file(path)
    name = min(tensors)
    del tensors[name]
    save_file(tensors, path)
    refused(damaged, llm, blobs, f"no safetensors file holds the tensor {name} that the plan expects")


def test_a_missing_directory_holds_no_tensor(llm, blobs, tmp_path):
    refused(tmp_path / "none", llm, blobs, "no safetensors file holds the tensor")


def test_a_tensor_of_another_size_is_named(damaged, llm, blobs):
    path = min(damaged.glob("*.safetensors"))
    tensors = load_file(path)
    name = min(tensors)
    tensors[name] = tensors[name][:-1].contiguous()
    save_file(tensors, path)
    refused(damaged, llm, blobs, f"tensor {name} has {tensors[name].nbytes} bytes; the plan expects")


def test_mapped_tensors_are_those_of_the_files_and_checked(checkpoint, damaged, llm, blobs):
    whole = {name: tensor for path in checkpoint.glob("*.safetensors") for name, tensor in load_file(path).items()}
    found = {name: view for blob in blobs for name, view in mapped(checkpoint, llm, blob).items()}
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[name], whole[name]) for name in whole)
    first = llm.tensors[0]
    wrong = attrs.evolve(llm, tensors=(attrs.evolve(first, digest="0" * 64), *llm.tensors[1:]))
    with pytest.raises(BadCheckpoint, match=f"tensor {first.name} is not the one that was planned"):
        mapped(checkpoint, wrong, blobs[0])
    assert first_lacking(checkpoint, llm) is None
    for path in damaged.glob("*.safetensors"):
        path.unlink()
    assert first_lacking(damaged, llm) == first.name


def test_small_files_are_read_and_checked(checkpoint, damaged, llm):
    for file in llm.files:
        content = read_file(checkpoint, file)
        assert content == (checkpoint / file.name).read_bytes()
        check_file(content, file, "here")
        with pytest.raises(BadCheckpoint, match="here: its content is not the one that was planned"):
            check_file(content + b" ", file, "here")
        with pytest.raises(BadCheckpoint, match=f"here: it has {file.bytes:,} bytes; {file.bytes + 1:,} were planned"):
            check_file(content, attrs.evolve(file, bytes=file.bytes + 1), "here")
    (damaged / llm.files[0].name).unlink()
    with pytest.raises(BadCheckpoint, match=f"{llm.files[0].name}: cannot be read: No such file"):
        read_file(damaged, attrs.evolve(llm.files[0]))
