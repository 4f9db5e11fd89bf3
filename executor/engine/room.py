"""Who may have a slot of a pipeline: slots, and a budget of KV tokens that is reserved as requests join.

A request reserves the pages of the most tokens that it may come to, so that none is ever preempted for want of memory.
"""

from collections.abc import Callable

from executor.engine.errors import NoRoom
from executor.engine.pages import paged


class Room:
    """Slots [0, slots) of at most `context_tokens` each, and at most `kv_tokens` in all of them together.

    Raises NoRoom for a budget that is smaller than one context: a request as long as that would wait for ever.
    """

    def __init__(self, *, slots: int, context_tokens: int, kv_tokens: int) -> None:
        self.context_tokens = context_tokens
        self._free = set(range(slots))
        self._reserved: dict[int, int] = {}  # tokens, by slot taken
        self.resize(kv_tokens)

    @property
    def reserved_tokens(self) -> int:
        """Tokens of the pages that are reserved; for some time after the budget has shrunk more than the budget."""
        return sum(self._reserved.values())

    def resize(self, kv_tokens: int) -> None:
        """Change the budget.  What is reserved stays; nothing new is, until it fits.  Raises NoRoom."""
        if kv_tokens < self.context_tokens:
            raise NoRoom(f"{kv_tokens} KV tokens do not hold one request of {self.context_tokens} tokens")
        self.kv_tokens = kv_tokens

    def pages_of(self, tokens: int) -> int:
        """Tokens that a request reserves which may come to so many; no request comes to more than the context."""
        return paged(min(tokens, self.context_tokens), self.context_tokens)

    def take(self, tokens: int, fit: Callable[[int], bool] = lambda _: True) -> int | None:
        """Reserve for a request that may come to so many tokens; give the lowest free slot that is fit, or None.

        Slots close together are computed fastest.
        """
        needed = self.pages_of(tokens)
        fitting = [slot for slot in self._free if fit(slot)]
        if not fitting or self.reserved_tokens + needed > self.kv_tokens:
            return None
        slot = min(fitting)
        self._free.remove(slot)
        self._reserved[slot] = needed
        return slot

    def reserved(self, slot: int) -> int:
        """Tokens reserved in a slot that is taken."""
        return self._reserved[slot]

    def shrink(self, slot: int, needed: int) -> None:
        """Reserve less in a slot that is taken."""
        assert needed <= self._reserved[slot], (slot, needed)
        self._reserved[slot] = needed

    def give_back(self, slot: int) -> None:
        """Free a slot that is taken, and what is reserved in it."""
        del self._reserved[slot]
        self._free.add(slot)
