"""Who may have a slot of a pipeline, and how many pages its stages may have.

So many slots are in force: as many requests may have one, and so many contexts of pages may the stages have.  That
number may change at any time, below the number of slots that have addresses.  Whoever has a slot keeps it: when there
are fewer from now on, nobody joins until enough have left.  A request reserves the pages of the most tokens that it may
come to, so that none is ever preempted for want of memory.

Stages compute iterations in order, but late.  Which slots are free again they learn from the next iteration, before its
rows; so whoever joins with an iteration finds its pages.  Keys and values of guests are copied into a slot beside the
iterations.  So a guest gets only a slot that no iteration can still write to or free, and its tokens must fit beside
those of slots that stages may not know to be free.
"""

import attrs

from executor.engine.pages import paged


@attrs.frozen
class _Stale:
    """Pages of a slot that somebody has left and stages may still have."""

    tokens: int
    told: int | None  # the iteration that tells the stages to give them back; None: it is not formed yet


class Room:
    """Slots [0, slots) of at most `context_tokens` each; all are in force at first."""

    def __init__(self, *, slots: int, context_tokens: int) -> None:
        self.context_tokens = context_tokens
        self.slots = slots  # in force
        self._free = set(range(slots))
        self._reserved: dict[int, int] = {}  # tokens, by slot taken
        self._stale: dict[int, _Stale] = {}
        self._last_naming: dict[int, int] = {}  # by slot: the latest iteration that writes to it or frees it
        self._passed = -1  # this iteration and all before it have left every stage

    @property
    def occupied_tokens(self) -> int:
        """Tokens of the pages that are reserved, or that some stage may still have: no stage ever has more."""
        return self._occupied(beside=None)

    @property
    def fits(self) -> bool:
        """Whether what is occupied fits into the slots in force.

        Once it does, no stage ever has more pages than these until their number changes: whoever joins fits beside
        those that have a slot, and takes pages only after those that left have given up theirs.
        """
        return self.occupied_tokens <= self._kv_tokens

    @property
    def has_news(self) -> bool:
        """Whether some slot has been left of which the stages are not told yet."""
        return any(stale.told is None for stale in self._stale.values())

    def resize(self, slots: int) -> None:
        """Put so many slots in force; at least one, so that nobody waits for ever."""
        assert 0 < slots <= len(self._free) + len(self._reserved), slots
        self.slots = slots

    def pages_of(self, tokens: int) -> int:
        """Tokens that a request reserves which may come to so many; no request comes to more than the context."""
        return paged(min(tokens, self.context_tokens), self.context_tokens)

    def take(self, tokens: int) -> int | None:
        """Reserve for a request that may come to so many tokens; give the lowest free slot, or None.

        Slots close together are computed fastest.
        """
        if len(self._reserved) >= self.slots:
            return None
        return self._take(min(self._free), self.pages_of(tokens))

    def take_for_guest(self, tokens: int) -> int | None:
        """Reserve for a guest, whose slot is emptied before anything is copied into it; give the lowest, or None."""
        needed = self.pages_of(tokens)
        for slot in sorted(self._free) if len(self._reserved) < self.slots else ():
            untouched = self._last_naming.get(slot, -1) <= self._passed
            if untouched and self._occupied(beside=slot) + needed <= self._kv_tokens:
                self._stale.pop(slot, None)
                return self._take(slot, needed)
        return None

    def reserved(self, slot: int) -> int:
        """Tokens reserved in a slot that is taken."""
        return self._reserved[slot]

    def shrink(self, slot: int, needed: int) -> None:
        """Reserve less in a slot that is taken."""
        assert needed <= self._reserved[slot], (slot, needed)
        self._reserved[slot] = needed

    def give_back(self, slot: int) -> None:
        """Free a slot that is taken, and what is reserved in it."""
        tokens = self._reserved.pop(slot)
        self._free.add(slot)
        stale = self._stale.get(slot)
        self._stale[slot] = _Stale(tokens if stale is None else max(tokens, stale.tokens), None)

    def formed(self, iteration: int, slots: list[int]) -> tuple[int, ...]:
        """Know that this iteration writes to slots; give those that it shall free before."""
        freed = tuple(sorted(slot for slot, stale in self._stale.items() if stale.told is None))
        for slot in freed:
            self._stale[slot] = attrs.evolve(self._stale[slot], told=iteration)
        self._last_naming.update(dict.fromkeys((*slots, *freed), iteration))
        return freed

    def passed(self, iteration: int) -> None:
        """Know that an iteration has left every stage, and with it all before, because stages compute in order."""
        self._passed = max(self._passed, iteration)
        self._stale = {
            slot: stale for slot, stale in self._stale.items() if stale.told is None or stale.told > iteration
        }

    def forget_iterations(self) -> None:
        """Tell again what iterations under way tell: they may be lost.  They may still write, too."""
        self._stale = {slot: attrs.evolve(stale, told=None) for slot, stale in self._stale.items()}

    @property
    def _kv_tokens(self) -> int:
        return self.slots * self.context_tokens

    def _take(self, slot: int, needed: int) -> int:
        self._free.remove(slot)
        self._reserved[slot] = needed
        return slot

    def _occupied(self, beside: int | None) -> int:
        stale = {slot: stale.tokens for slot, stale in self._stale.items()}
        return sum(
            max(self._reserved.get(slot, 0), stale.get(slot, 0))
            for slot in sorted(self._reserved.keys() | stale.keys())
            if slot != beside
        )
