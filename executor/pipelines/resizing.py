"""How many slots a pipeline has, and how it comes to have fewer or more while it serves.

The batcher never counts on more than every stage has room for.  To grow, the stages are told first, and the batcher
goes on with more slots once each has said that it has the room.  To shrink, the batcher lets nobody join until what the
stages may have fits, and then they are told, so that their room is free when the last of them has answered.
"""

import asyncio
from collections.abc import Callable

import attrs

from executor.pipelines.led import Led
from executor.traffic import ResizeStage, StageResized

# A stage may have no room yet, and messages get lost with connections: what is not answered is said again.
_AGAIN_SECONDS = 0.2


@attrs.define(eq=False)
class _Resize:
    """A change that is under way."""

    number: int
    slots: int
    on_resized: Callable[[], None] | None
    is_told: bool = False
    answered: set[int] = attrs.field(factory=set)  # stages that have resized


class Resizing:
    """Changes the slots of one pipeline; `slots` says how many it has, as of the last change that was done."""

    def __init__(self, led: Led, slots: int) -> None:
        self._led = led
        self.slots = slots
        self._least = slots  # for which every stage has room
        self._number = 0  # of the latest change: stages take no earlier one any more
        self._current: _Resize | None = None
        led.batcher.resize(slots)

    @property
    def is_under_way(self) -> bool:
        """Whether a change is not done yet."""
        return self._current is not None

    def begin(self, slots: int, on_resized: Callable[[], None] | None = None) -> None:
        """Go on with so many slots; call back once the pipeline has them, and no stage has more KV.

        A change that is under way is given up for this one.
        """
        self._number += 1
        current = self._current = _Resize(self._number, slots, on_resized)
        self._led.batcher.resize(min(slots, self._least))
        self._led.spawn(self._go_on(current))

    def abort(self) -> None:
        """Have as many slots as before the change that is under way; harmless when there is none."""
        if self._current is not None:
            self.begin(self.slots)

    def close(self) -> None:
        """Change nothing any more."""
        self._current = None

    def boundary(self) -> None:
        """Learn that an iteration or a request has ended."""
        current = self._current
        if current is not None and not current.is_told and (current.slots > self._least or self._led.batcher.fits):
            current.is_told = True
            self._least = min(self._least, current.slots)
            self._tell(current)

    def heard(self, answer: StageResized) -> None:
        """Learn that a stage has room for as many slots as it was told."""
        current = self._current
        if current is None or answer.number != current.number:
            return
        current.answered.add(answer.stage)
        if len(current.answered) < len(self._led.pipeline.stages):
            return
        self._current = None
        self.slots = self._least = current.slots
        self._led.batcher.resize(current.slots)
        self._led.pump()
        if current.on_resized is not None:
            current.on_resized()

    async def _go_on(self, current: _Resize) -> None:
        while self._current is current:
            if current.is_told:
                self._tell(current)
            self._led.pump()  # stages learn from iterations which slots are free
            self.boundary()
            await asyncio.sleep(_AGAIN_SECONDS)

    def _tell(self, current: _Resize) -> None:
        pipeline = self._led.pipeline.id
        for stage in range(len(self._led.pipeline.stages)):
            if stage not in current.answered:
                order = ResizeStage(pipeline=pipeline, stage=stage, number=current.number, slots=current.slots)
                self._led.post.send(self._led.host.node_of_stage(pipeline, stage), order)
