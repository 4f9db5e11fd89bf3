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


class Region:
    """Pinned memory.  Made by `Device.register`."""

    def __init__(self, opened: Opened, memory: memoryview, *, is_remote: bool, on_close: Callable[[], None]) -> None:
        assert not (is_remote and memory.readonly), "a peer would write into it"
        flags = opened.verbs.enums.ibv_access_flags
        self._bytes: Any = np.frombuffer(memory, dtype=np.uint8)  # has an address, and keeps the memory alive
        self._where = f"{opened.port.device}: {memory.nbytes} bytes"
        self._opened = opened
        self._on_close = on_close
        self.address = int(self._bytes.ctypes.data)
        self.size_bytes = Bytes(memory.nbytes)
        _fault_in(self.address, self.size_bytes, is_written=is_remote)
        with opened.refusing(f"{self._where} cannot be registered", Failure.REGISTRATION):
            self._handle: Any = opened.verbs.mr.MR(
                opened.protection_domain,
                self.size_bytes,
                flags.IBV_ACCESS_LOCAL_WRITE | flags.IBV_ACCESS_REMOTE_WRITE if is_remote else 0,
                address=self.address,
            )
        self.local_key = int(self._handle.lkey)
        self.remote_key = int(self._handle.rkey)

    def close(self) -> None:
        """Unpin it: its keys are worth nothing from here on.  May be called again.  Close its queue pairs before."""
        with self._opened.refusing(f"{self._where} cannot be unregistered", Failure.DEVICE):
            self._handle.close()
        self._bytes = None
        self._on_close()


def _fault_in(address: int, size_bytes: int, *, is_written: bool) -> None:
    """Have every page in memory, without the GIL.  Where that fails, the registration says why."""
    start = address - address % mmap.PAGESIZE
    length = ctypes.c_size_t(address + size_bytes - start)
    _LIBC.madvise(ctypes.c_void_p(start), length, _MADV_POPULATE_WRITE if is_written else _MADV_POPULATE_READ)
