"""Memory of places: counted exactly, shared by views, given back."""

import threading

import attrs
import pytest
import torch

from executor.checkpoint import fill
from executor.errors import BadCheckpoint, OutOfMemory
from executor.store import Store

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
        store.release(blobs[0].id, PLACE)
        assert store.used_bytes(PLACE) == 0
        assert not store.holds(blobs[0].id, PLACE)


def test_a_later_plan_shares_memory_and_counts_it_once(blobs):
    blob, renamed = blobs[1], attrs.evolve(blobs[1], id="tiny/renamed")
    store = a_store(blob.bytes)
    later = Store({PLACE: 2 * blob.bytes}, {PLACE: torch.device("cpu")}, store)
    store.reserve(blob, PLACE)
    store.hold(blob, PLACE)
    later.share(store, blob.id, renamed, PLACE)
    assert later.holds(renamed.id, PLACE)
    assert store.used_bytes(PLACE) == later.used_bytes(PLACE) == blob.bytes
    store.contents(blob.id, PLACE)[0] ^= 1
    assert later.contents(renamed.id, PLACE)[0] == store.contents(blob.id, PLACE)[0], "the memory is the same"
    with pytest.raises(OutOfMemory):
        store.take(PLACE, 1, "a stage")
    later.take(PLACE, blob.bytes, "a stage, under the plan that knows of more memory")
    later.give_back(PLACE, blob.bytes)
    store.clear()
    assert store.is_empty
    assert later.used_bytes(PLACE) == blob.bytes, "one of them needs it"
    later.release(renamed.id, PLACE)
    assert later.used_bytes(PLACE) == 0


def test_what_is_still_written_is_kept_when_the_rest_is_given_up(blobs):
    store = a_store(2**30)
    for blob in blobs[:2]:
        store.reserve(blob, PLACE)
    store.clear(kept={(blobs[0].id, PLACE)})
    assert store.used_bytes(PLACE) == blobs[0].bytes
    assert not store.is_empty


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
