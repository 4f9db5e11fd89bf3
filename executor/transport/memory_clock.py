"""Virtual time for the transport within one process: who does what when."""

import heapq
import itertools
from collections.abc import Callable

from executor.transport.interface import OnEvent
from specs.units import Nanos

Action = Callable[[], None]


class Actor:
    """One life of a node: what is due after its end is not done, and while it is stopped it is held."""

    def __init__(self, name: str, on_event: OnEvent) -> None:
        self.name = name
        self.on_event = on_event
        self.ended = False
        self.held: list[Action] | None = None  # not None: stopped

    @property
    def stopped(self) -> bool:
        """Whether it does nothing until it is resumed."""
        return self.held is not None


class Clock:
    """Does what is due in order of time and, at the same time, in the order in which it was planned."""

    def __init__(self) -> None:
        self.now_ns = Nanos(0)
        self._due: list[tuple[int, int, Actor | None, Action]] = []
        self._order = itertools.count()

    def at(self, delay_ns: int, actor: Actor | None, action: Action) -> None:
        """Let an actor do something later; None: it happens whoever is stopped."""
        heapq.heappush(self._due, (self.now_ns + delay_ns, next(self._order), actor, action))

    def step(self) -> bool:
        """Do the next thing that is due, and move the clock there; False when there is none."""
        if not self._due:
            return False
        due_ns, _, actor, action = heapq.heappop(self._due)
        self.now_ns = Nanos(due_ns)
        if actor is not None and actor.held is not None:
            actor.held.append(action)
        elif actor is None or not actor.ended:
            action()
        return True

    def run(self, until_ns: Nanos | None = None) -> None:
        """Step until nothing is left to do, or until that time, which it then is."""
        while self._due and (until_ns is None or self._due[0][0] <= until_ns):
            self.step()
        if until_ns is not None:
            self.now_ns = Nanos(max(self.now_ns, until_ns))

    def resume(self, actor: Actor) -> None:
        """Let a stopped actor do now what it was held from."""
        held, actor.held = actor.held or [], None
        for action in held:
            self.at(0, actor, action)
