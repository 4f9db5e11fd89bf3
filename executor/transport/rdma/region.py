"""Pinned memory, which a device may read and a peer may write."""

import ctypes
import mmap
from collections.abc import Callable
from typing import Any

import numpy as np

from executor.errors import Failure
from executor.transport.rdma.opened import Opened
from specs.units import Bytes

_LIBC = ctypes.CDLL(None)
_MADV_POPULATE_READ = 22  # of Linux 5.14
_MADV_POPULATE_WRITE = 23


def fault_in(memory: memoryview, *, is_written: bool) -> None:
    """Have every page of it in memory, without the GIL.  Where that fails, the registration says why."""
    address = _bytes_of(memory).ctypes.data
    start = address - address % mmap.PAGESIZE
    length = ctypes.c_size_t(address + memory.nbytes - start)
    _LIBC.madvise(ctypes.c_void_p(start), length, _MADV_POPULATE_WRITE if is_written else _MADV_POPULATE_READ)


class Region:
    """Pinned memory.  Made by `Device.register`."""

    def __init__(self, opened: Opened, memory: memoryview, *, is_remote: bool, on_close: Callable[[], None]) -> None:
        assert memory.nbytes, "devices differ in what they make of no bytes"
        assert not (is_remote and memory.readonly), "a peer would write into it"
        verbs = opened.verbs
        flags = verbs.libibverbs_enums.ibv_access_flags
        access = flags.IBV_ACCESS_LOCAL_WRITE | flags.IBV_ACCESS_REMOTE_WRITE if is_remote else 0
        self._opened = opened
        self._on_close = on_close
        self._bytes: Any = _bytes_of(memory)  # keeps the memory alive
        self.address = int(self._bytes.ctypes.data)
        self.size_bytes = Bytes(memory.nbytes)
        self._where = f"{opened.port.device}: {self.size_bytes} bytes"
        with opened.refusing(f"{self._where} cannot be registered", Failure.REGISTRATION):
            self._handle: Any = verbs.mr.MR(opened.protection_domain, self.size_bytes, access, address=self.address)
        self.local_key = int(self._handle.lkey)
        self.remote_key = int(self._handle.rkey)

    def close(self) -> None:
        """Unpin it: its keys are worth nothing from here on.  May be called again.

        The device waits for a peer that is in the midst of a write into it, so close the queue pair before.
        """
        with self._opened.refusing(f"{self._where} cannot be unregistered", Failure.DEVICE):
            self._handle.close()
        self._bytes = None
        self._on_close()


def _bytes_of(memory: memoryview) -> Any:
    """See it as an array, which knows its address even where the memory is read-only."""
    return np.frombuffer(memory, dtype=np.uint8)
