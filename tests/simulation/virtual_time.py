"""An event loop whose clock jumps to whatever is due next: a run of minutes takes as long as its work, and repeats."""

import asyncio
import math
import selectors
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextvars import Context
from typing import Any


class _Jump(selectors.BaseSelector):
    """Waits for nothing: the time that it is asked to wait passes at once."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: object = None) -> selectors.SelectorKey:
        """Remember a file that nobody will ever look at: the loop's own pipe."""
        key = selectors.SelectorKey(fileobj, fileobj if isinstance(fileobj, int) else fileobj.fileno(), events, data)
        self._keys[key.fd] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Forget a file."""
        return self._keys.pop(fileobj if isinstance(fileobj, int) else fileobj.fileno())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let the time pass."""
        assert timeout is not None, "nothing is due and nothing will ever be: the simulation hangs"
        self.now_s += max(timeout, 0.0)
        return []

    def get_map(self) -> Any:
        """Give what is registered."""
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    """Work given to threads is done at once, and its end is told `work_s` later."""

    def __init__(self, work_s: float) -> None:
        self._jump = _Jump()
        self._work_s = work_s
        self._latest: dict[float, float] = {}  # by the instant that was asked for
        super().__init__(self._jump)

    def time(self) -> float:
        """Give the virtual time in seconds."""
        return self._jump.now_s

    def time_ns(self) -> int:
        """Give it in nanoseconds."""
        return round(self._jump.now_s * 1e9)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Keep the order of what is due at one instant, which the loop's heap does not: a device computes in order."""
        self._latest[when] = math.nextafter(self._latest[when], math.inf) if when in self._latest else when
        return super().call_at(self._latest[when], callback, *args, context=context)

    def run_in_executor(self, executor: object, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        """Do the work now; who awaits it hears later."""
        future = self.create_future()
        try:
            result = func(*args)
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits it
            self.call_later(self._work_s, _tell, future, future.set_exception, error)
        else:
            self.call_later(self._work_s, _tell, future, future.set_result, result)
        return future


def _tell(future: "asyncio.Future[Any]", tell: Callable[[Any], None], outcome: object) -> None:
    if not future.done():
        tell(outcome)


class Inline(Executor):
    """In place of a pool of threads: work is done where it is given."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Do it."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - as a thread would
            future.set_exception(error)
        return future
