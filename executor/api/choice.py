"""One choice: the events of one generation become pieces of text, cut before a stop string."""

from collections import deque
from collections.abc import Iterable

import attrs

from executor.api.serving import Reason, TokenEvent
from executor.text.detokenizer import make_detokenizer
from executor.text.stops import StopScanner
from executor.text.tokenizer import Tokenizer


@attrs.frozen
class WrittenToken:
    """A token of the answer, and at which character of the choice's text it begins."""

    event: TokenEvent
    offset: int


@attrs.frozen
class Piece:
    """What one event adds to the answer; the last piece of a choice has the reason."""

    text: str
    tokens: tuple[WrittenToken, ...]  # those whose first character is out now; empty where no logprobs are wanted
    reason: Reason | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it to send."""
        return not self.text and not self.tokens and self.reason is None


class ChoiceWriter:
    """The state of one choice.  Tokens of the stop string and after it are in no piece."""

    def __init__(self, tokenizer: Tokenizer, stops: Iterable[str], *, with_tokens: bool) -> None:
        self._detokenizer = make_detokenizer(tokenizer.decoding)
        self._scanner = StopScanner(stops)
        self._with_tokens = with_tokens
        self._waiting: deque[WrittenToken] = deque()
        self._decoded_characters = 0
        self._shown_characters = 0
        self.generated_tokens = 0

    def push(self, event: TokenEvent) -> Piece:
        """Take a token.  A piece with a reason is the last: a stop string is complete."""
        self.generated_tokens += 1
        if self._with_tokens:
            self._waiting.append(WrittenToken(event, self._decoded_characters))
        decoded = self._detokenizer.push(event.token)
        if not decoded:
            return _NOTHING
        self._decoded_characters += len(decoded)
        text = self._show(self._scanner.push(decoded))
        return Piece(text, self._shown_tokens(), Reason.STOP if self._scanner.stopped else None)

    def finish(self, reason: Reason) -> Piece:
        """Take the end of the generation; what was held back comes out."""
        text = self._scanner.push(self._detokenizer.finish())
        if self._scanner.stopped:
            return Piece(self._show(text), self._shown_tokens(), Reason.STOP)
        text = self._show(text + self._scanner.finish())
        return Piece(text, tuple(self._waiting), reason)

    def _show(self, text: str) -> str:
        self._shown_characters += len(text)
        return text

    def _shown_tokens(self) -> tuple[WrittenToken, ...]:
        shown = []
        while self._waiting and self._waiting[0].offset < self._shown_characters:
            shown.append(self._waiting.popleft())
        return tuple(shown)


_NOTHING = Piece("", ())
