"""Which large parts fit in a memory together: the patterns of cutting stock, by a few sizes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import attrs

from specs.decisions.placement.nouns import Pool

_LARGE = 8  # parts of which fewer than so many fit in a memory are large
Pattern = tuple[int, ...]  # how many parts of each size


@attrs.frozen(kw_only=True)
class Cutting:
    """How memories of equal pools can be cut into large parts."""

    sizes: tuple[int, ...]  # ascending; a part counts as the largest size that it reaches
    kinds: tuple[tuple[int, tuple[Pattern, ...]], ...]  # for each different memory: how many there are, its patterns

    def reached(self, part_bytes: int) -> int:
        """How many of the sizes a part reaches."""
        return sum(1 for size in self.sizes if size <= part_bytes)


def cutting(pools: Iterable[Pool], parts_bytes: Iterable[int]) -> Cutting:
    """Cut memories into parts of these sizes; of many sizes, one for each number of parts that fill a memory."""
    memories = Counter(memory.bytes for pool in pools for memory in pool.memories)
    capacity = max(memories, default=0)
    bands: dict[int, list[int]] = {}
    for size in sorted(set(parts_bytes)):
        if size <= capacity < size * _LARGE:
            bands.setdefault(capacity // size, []).append(size)
    large = [size for sizes in bands.values() for size in sizes]
    if len(large) >= _LARGE:
        large = [sizes[0] for sizes in bands.values()]
    sizes = tuple(sorted(large))
    kinds = tuple((count, tuple(_maximal(room, sizes))) for room, count in sorted(memories.items()))
    return Cutting(sizes=sizes, kinds=kinds)


def _maximal(room: int, sizes: Sequence[int]) -> Iterator[Pattern]:
    """Every pattern to which no part can be added."""
    if not sizes:
        yield ()
        return
    *smaller, size = sizes
    for count in range(room // size, -1, -1):
        left = room - count * size
        for rest in _maximal(left, smaller):
            unused = left - sum(each * number for each, number in zip(smaller, rest, strict=True))
            if unused < size:
                yield *rest, count
