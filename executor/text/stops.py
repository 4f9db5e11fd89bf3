"""Stop strings over text that comes in pieces.

The text ends before the stop string that is complete first; of several complete at the same character, the longest.
That is a property of the text alone, so the cut is the same however the text was split.
"""

from collections.abc import Iterable


def _borders(stop: str) -> list[int]:
    """Give for each prefix its longest border (Knuth, Morris, Pratt 1977)."""
    borders = [0] * len(stop)
    matched = 0
    for index in range(1, len(stop)):
        while matched and stop[index] != stop[matched]:
            matched = borders[matched - 1]
        matched += stop[index] == stop[matched]
        borders[index] = matched
    return borders


class _Stop:
    """One stop string and how much of it the text so far ends with."""

    def __init__(self, stop: str) -> None:
        self.stop = stop
        self.matched = 0
        self._borders = _borders(stop)

    def advance(self, character: str) -> bool:
        """Take one character; tell whether the stop string is complete."""
        while self.matched and character != self.stop[self.matched]:
            self.matched = self._borders[self.matched - 1]
        self.matched += character == self.stop[self.matched]
        return self.matched == len(self.stop)


class StopScanner:
    """Passes text on up to the first stop string; holds back what may be the start of one."""

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = [_Stop(stop) for stop in stops]
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """Give the text that is certain to stand before any stop string.  Not called after `stopped`."""
        assert not self.stopped
        if not self._stops:
            return text
        text = self._held + text
        for index in range(len(self._held), len(text)):
            complete = [len(stop.stop) for stop in self._stops if stop.advance(text[index])]
            if complete:
                self.stopped = True
                self._held = ""
                return text[: index + 1 - max(complete)]
        certain = len(text) - max(stop.matched for stop in self._stops)
        self._held = text[certain:]
        return text[:certain]

    def finish(self) -> str:
        """Give what was held back; no text comes after."""
        held, self._held = self._held, ""
        return held
