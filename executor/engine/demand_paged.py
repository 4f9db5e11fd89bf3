"""Memory of the host that takes physical pages when they are first written, and gives them back on demand."""

import math
import mmap

import torch

PAGE_BYTES = mmap.PAGESIZE


class DemandPaged:
    """So many bytes, at an address that never changes; all read as zeros until they are written.

    An anonymous private mapping (Linux): a page is committed by the first write to it, and given back by
    madvise(MADV_DONTNEED), after which it reads as zeros again.  Huge pages are declined, since one of them would
    commit megabytes at a touch.  The memory lives as long as a tensor views it.
    """

    def __init__(self, size: int) -> None:
        # A mapping is of at least one page.
        self._mapping = mmap.mmap(-1, max(size, PAGE_BYTES), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._mapping.madvise(mmap.MADV_NOHUGEPAGE)
        self._size = size

    def tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """View the memory as a tensor, which takes all of it."""
        assert math.prod(shape) * dtype.itemsize == self._size, (shape, dtype, self._size)
        return torch.frombuffer(self._mapping, dtype=dtype)[: math.prod(shape)].view(shape)

    def give_back(self, first: int, end: int) -> None:
        """Give back bytes [first, end), which begin and end with a page; they read as zeros from now on."""
        assert first % PAGE_BYTES == end % PAGE_BYTES == 0, (first, end)
        self._mapping.madvise(mmap.MADV_DONTNEED, first, end - first)
