"""Work that goes on beside the turns of the event loop."""

import asyncio
from collections.abc import Coroutine


class Tasks:
    """Work that goes on beside the event loop's turns; all of it ends with the daemon."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Begin some work.  What it raises is a bug: the daemon decides what becomes of the process."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            task.get_loop().call_exception_handler({"message": "run", "exception": error, "task": task})

    async def close(self) -> None:
        """End all work."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
