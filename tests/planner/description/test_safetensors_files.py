import json
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.description.safetensors_files import INDEX, SINGLE, find_tensors
from planner.errors import BadCheckpoint


def a_file(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def entry(begin, end, dtype="F32", shape=None):
    return {"dtype": dtype, "shape": shape if shape is not None else [(end - begin) // 4], "data_offsets": [begin, end]}


GOOD = {"b": entry(0, 8), "a": entry(8, 12), "__metadata__": {"format": "pt"}}


def test_a_good_file(tmp_path):
    a_file(tmp_path / SINGLE, GOOD, bytes(12))
    first, second = find_tensors(tmp_path)
    assert (first.name, second.name) == ("a", "b")
    assert first.begin == second.begin + 8
    assert (first.shape, first.bytes, first.parameters) == ((1,), 4, 1)


@pytest.mark.parametrize(
    ("header", "size", "says"),
    [
        (GOOD, 11, "is truncated"),
        (GOOD, 13, "belong to no tensor"),
        ({"a": entry(0, 4), "b": entry(8, 12)}, 12, "without holes or overlaps"),
        ({"a": entry(0, 8), "b": entry(4, 12)}, 12, "without holes or overlaps"),
        ({"a": entry(0, 8, shape=[3])}, 8, "12 bytes, but its offsets are [0, 8]"),
        ({"a": entry(0, 8, dtype="F31")}, 8, "dtype 'F31'"),
        ({"a": entry(0, 8, shape=[-2])}, 8, "lacks a dtype, a shape or data_offsets"),
        ({"a": entry(0, 8, shape=[2.0])}, 8, "lacks a dtype, a shape or data_offsets"),
        ({"a": [1, 2]}, 8, "lacks a dtype, a shape or data_offsets"),
        ({"a": entry(8, 0, shape=[0])}, 8, "0 bytes, but its offsets are [8, 0]"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path, header, size, says):
    a_file(tmp_path / SINGLE, header, bytes(size))
    with pytest.raises(BadCheckpoint) as caught:
        find_tensors(tmp_path)
    assert says in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"1234567", struct.pack("<Q", 2**63), struct.pack("<Q", 10_000) + b"{}"])
def test_a_file_without_a_header_is_refused(tmp_path, data):
    (tmp_path / SINGLE).write_bytes(data)
    with pytest.raises(BadCheckpoint, match=SINGLE):
        find_tensors(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_truncation_is_found(tmp_path, data):
    a_file(tmp_path / SINGLE, GOOD, bytes(12))
    content = (tmp_path / SINGLE).read_bytes()
    (tmp_path / SINGLE).write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(BadCheckpoint):
        find_tensors(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 150), flip=st.integers(1, 255))
def test_a_damaged_header_is_refused_or_still_covers_the_file(tmp_path, position, flip):
    a_file(tmp_path / SINGLE, GOOD, bytes(12))
    content = bytearray((tmp_path / SINGLE).read_bytes())
    content[position % (len(content) - 12)] ^= flip
    (tmp_path / SINGLE).write_bytes(content)
    try:
        covered = sum(tensor.bytes for tensor in find_tensors(tmp_path))
    except BadCheckpoint:
        covered = 12
    assert covered == 12


def shards(tmp_path, weight_map, files):
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    for name, header in files.items():
        a_file(tmp_path / name, header, bytes(4 * len(header)))


ONE, TWO = "model-1.safetensors", "model-2.safetensors"


def test_good_shards(tmp_path):
    shards(tmp_path, {"a": ONE, "b": TWO}, {ONE: {"a": entry(0, 4)}, TWO: {"b": entry(0, 4)}})
    assert [tensor.path.name for tensor in find_tensors(tmp_path)] == [ONE, TWO]


@pytest.mark.parametrize(
    ("weight_map", "files", "says"),
    [
        ({"a": ONE, "b": TWO}, {ONE: {"a": entry(0, 4)}}, f"lacks the shard {TWO}"),
        ({"a": ONE, "b": ONE}, {ONE: {"a": entry(0, 4)}}, f"puts b in {ONE}, which does not hold it"),
        ({"a": ONE}, {ONE: {"a": entry(0, 4), "b": entry(4, 8)}}, "puts it in nowhere"),
        ({"a": ONE, "b": TWO}, {ONE: {"a": entry(0, 4)}, TWO: {"a": entry(0, 4), "b": entry(4, 8)}}, "stored twice"),
        ({"a": "../x.safetensors"}, {}, "beside the index"),
        ({"a": 3}, {}, "beside the index"),
        ({}, {}, "no weight_map"),
        ([], {}, "no weight_map"),
    ],
)
def test_shards_that_contradict_their_index_are_refused(tmp_path, weight_map, files, says):
    shards(tmp_path, weight_map, files)
    with pytest.raises(BadCheckpoint) as caught:
        find_tensors(tmp_path)
    assert says in str(caught.value)


def test_a_pickle_is_named_and_not_opened(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(BadCheckpoint, match=r"pytorch_model\.bin is a pickle, which is never opened"):
        find_tensors(tmp_path)
