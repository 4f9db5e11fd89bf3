"""What a witness prices in a placement question: bytes of pools, large parts in them, and bytes moved.

The second is the dual of cutting stock (Gilmore and Gomory, 1961): devices of 44 GB that take one part of 26 GB and
one of 14 are full, though bytes are left, and no price of bytes alone can say so.
"""

from functools import lru_cache
from itertools import accumulate

import attrs

from specs.decisions.placement.nouns import MOVED, Pool, Question
from specs.witness import Witness

SURCHARGED_BYTES = 2**30  # a surcharge is paid as for so many bytes at its own price
_SURCHARGES_MAX = 16  # of one pool
_STEPS = 4096  # into which a memory is cut to find its dearest content

Surcharges = tuple[tuple[int, int], ...]  # (from so many bytes on, amount), both ascending


def surcharge(pool: str, from_bytes: int) -> str:
    """Name the surcharge on each part in a pool that has so many bytes or more."""
    return f"{pool}@{from_bytes}"


@attrs.frozen(kw_only=True)
class Prices:
    """The prices of a witness.  Of several surcharges a part pays the largest."""

    of_bytes: dict[str, int]  # by pool
    surcharges: dict[str, Surcharges]  # by pool
    moved: int

    @classmethod
    def of(cls, question: Question, witness: Witness) -> "Prices":
        """Read a witness.  Raises ValueError where it names what has no price here, or a name twice."""
        prices = {price.name: price.amount for price in witness}
        pools = {pool.id: pool for pool in question.pools}
        moved = prices.pop(MOVED, 0) if question.moved_bytes_max is not None else 0
        of_bytes = {name: amount for name, amount in prices.items() if name in pools}
        surcharges: dict[str, dict[int, int]] = {}
        unknown = []
        for name in sorted(prices.keys() - of_bytes.keys()):
            pool, _, size = name.rpartition("@")
            if pool in pools and size.isdecimal() and int(size) and name == surcharge(pool, int(size)):
                surcharges.setdefault(pool, {})[int(size)] = prices[name]
            else:
                unknown.append(name)
        if unknown or len({price.name for price in witness}) != len(witness):
            raise ValueError(f"prices for {', '.join(unknown) or 'one name twice'}: each pool or limit has one price")
        for pool, of_pool in surcharges.items():
            _check(pools[pool], of_pool)
        return cls(
            of_bytes=of_bytes,
            surcharges={pool: _ascending(of_pool) for pool, of_pool in surcharges.items()},
            moved=moved,
        )

    def part(self, pool: Pool, size: int) -> int:
        """What a part of so many bytes pays in a memory of the pool."""
        extra = max((amount for least, amount in self.surcharges.get(pool.id, ()) if least <= size), default=0)
        return self.of_bytes.get(pool.id, 0) * size + SURCHARGED_BYTES * extra

    def room(self, pool: Pool) -> int:
        """The most that all parts pay which fit in the pool's memories, or more."""
        surcharges = self.surcharges.get(pool.id, ())
        return sum(
            self.of_bytes.get(pool.id, 0) * memory.bytes + SURCHARGED_BYTES * dearest(memory.bytes, surcharges)
            for memory in pool.memories
        )


@lru_cache(maxsize=1024)
def dearest(capacity: int, surcharges: Surcharges) -> int:
    """Return the most that parts which fit together in a memory pay in surcharges, or more.

    A part that pays a surcharge has at least the bytes from which on it is paid; so the most is an unbounded knapsack
    of such least parts.  Sizes are rounded down to 1 / 4096 of the memory: every set that fits, fits rounded.
    """
    sizes = [(least * _STEPS // capacity, amount) for least, amount in surcharges if least <= capacity]
    best = [0] * (_STEPS + 1)
    for room in range(1, _STEPS + 1 if sizes else 0):
        best[room] = max([best[room - 1], *(best[room - size] + amount for size, amount in sizes if size <= room)])
    return best[_STEPS]


def _check(pool: Pool, surcharges: dict[int, int]) -> None:
    if len(surcharges) > _SURCHARGES_MAX:
        raise ValueError(f"pool {pool.id}: {len(surcharges)} surcharges, at most {_SURCHARGES_MAX} may be")
    if any(memory.bytes > min(surcharges) * _STEPS for memory in pool.memories):
        raise ValueError(f"pool {pool.id}: a surcharge from {min(surcharges)} bytes on, too few to count in a memory")


def _ascending(surcharges: dict[int, int]) -> Surcharges:
    sizes = sorted(surcharges)
    return tuple(zip(sizes, accumulate((surcharges[size] for size in sizes), max), strict=True))
