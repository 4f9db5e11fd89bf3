"""Memory of places: counted exactly, shared by views, given back."""

import threading

import attrs
import pytest
import torch

from executor.checkpoint import fill
from executor.errors import BadCheckpoint, OutOfMemory
from executor.store import Store, segments

PLACE = "n0/gpu0"


def a_store(size):
    return Store({PLACE: size}, {PLACE: torch.device("cpu")})


def test_a_blob_fits_to_the_byte(blobs):
    blob = blobs[0]
    store = a_store(blob.bytes)
    memory = store.reserve(blob, PLACE)
    assert (len(memory), store.used_bytes(PLACE)) == (blob.bytes, blob.bytes)
    memory[0] = 7
    assert store.reserve(blob, PLACE)[0] == 7, "asked again, it is the same memory"
    assert store.used_bytes(PLACE) == blob.bytes
    with pytest.raises(OutOfMemory, match=f"{PLACE}: blob tiny/0 needs .* bytes, .* are free"):
        a_store(blob.bytes - 1).reserve(blob, PLACE)


def test_nothing_is_taken_where_it_does_not_fit(blobs):
    store = a_store(blobs[0].bytes + blobs[1].bytes - 1)
    store.reserve(blobs[0], PLACE)
    with pytest.raises(OutOfMemory):
        store.reserve(blobs[1], PLACE)
    assert store.used_bytes(PLACE) == blobs[0].bytes
    assert not store.holds(blobs[1].id, PLACE)


def test_tensors_are_views_into_the_memory_in_which_the_blob_landed(checkpoint, llm, blobs):
    store = a_store(2**30)
    for blob in blobs:
        memory = store.reserve(blob, PLACE)
        first = torch.frombuffer(memory, dtype=torch.uint8).data_ptr()
        fill(checkpoint, llm, blob, memory)
        store.hold(blob, PLACE)
        views = store.tensors(llm, blob, PLACE)
        assert list(views) == [tensor.name for tensor in llm.tensors[blob.first_tensor : blob.end_tensor]]
        for view in views.values():
            assert first <= view.data_ptr() <= view.data_ptr() + view.nbytes <= first + blob.bytes
            assert view.data_ptr() % view.itemsize == 0


def test_a_dtype_without_a_view_is_named(checkpoint, llm, blobs):
    odd = attrs.evolve(llm, tensors=(attrs.evolve(llm.tensors[0], dtype="F4_STRANGE"), *llm.tensors[1:]))
    store = a_store(2**30)
    store.reserve(blobs[0], PLACE)
    store.hold(blobs[0], PLACE)
    with pytest.raises(BadCheckpoint, match="has dtype F4_STRANGE; known are F32"):
        store.tensors(odd, blobs[0], PLACE)


def test_release_gives_the_memory_back_once(blobs):
    store = a_store(blobs[0].bytes)
    store.reserve(blobs[0], PLACE)
    store.hold(blobs[0], PLACE)
    for _ in range(2):
        store.release(blobs[0], PLACE)
        assert store.used_bytes(PLACE) == 0
        assert not store.holds(blobs[0].id, PLACE)


def test_a_later_plan_shares_what_is_the_same_and_only_that(checkpoint, llm, blobs):
    blob = blobs[1]
    store, later = a_store(2**30), a_store(blob.bytes)
    wanted = segments(llm, blob)
    assert not store.has_bytes(blob, PLACE, wanted), "it is not here"
    fill(checkpoint, llm, blob, store.reserve(blob, PLACE))
    assert not store.has_bytes(blob, PLACE, wanted), "it is not whole"
    assert not later.inherit(store, blob, PLACE)
    store.hold(blob, PLACE)
    assert store.has_bytes(blob, PLACE, wanted)
    other = (attrs.evolve(wanted[0], blake3_hex="0" * 64), *wanted[1:])
    assert not store.has_bytes(blob, PLACE, other), "other bytes are planned"
    assert not store.has_bytes(attrs.evolve(blob, bytes=blob.bytes + 1), PLACE, wanted), "another size is planned"
    assert later.inherit(store, blob, PLACE)
    store.contents(blob.id, PLACE)[0] ^= 1
    assert later.contents(blob.id, PLACE)[0] == store.contents(blob.id, PLACE)[0], "the memory is the same"
    store.release(blob, PLACE)
    assert (store.used_bytes(PLACE), later.used_bytes(PLACE)) == (0, blob.bytes)
    assert len(later.contents(blob.id, PLACE)) == blob.bytes
    with pytest.raises(OutOfMemory):
        a_store(blob.bytes - 1).inherit(later, blob, PLACE)


def test_memory_that_the_machine_does_not_give_is_named_and_not_counted(blobs, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory\nand a trace")

    store = a_store(2**30)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "empty", refuse)
        with pytest.raises(
            OutOfMemory, match=f"{PLACE}: the machine has no memory for blob tiny/0 of .* allocate memory"
        ):
            store.reserve(blobs[0], PLACE)
    assert store.used_bytes(PLACE) == 0
    assert len(store.reserve(blobs[0], PLACE)) == blobs[0].bytes


def test_memory_is_counted_right_from_two_threads():
    store = a_store(10**9)

    def churn():
        for _ in range(20_000):
            store.take(PLACE, 3, "a stage")
            store.give_back(PLACE, 3)

    threads = [threading.Thread(target=churn) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.used_bytes(PLACE) == 0
