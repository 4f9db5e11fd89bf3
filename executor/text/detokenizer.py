"""Text from tokens as they come: the pieces joined are the text of the whole sequence, exactly.

A piece is given out once no later token can change it.  Each token costs the same however many came before; only a run
of byte tokens (see `decoding`) is read again, once, when it ends.
"""

import codecs
from collections.abc import Callable
from typing import Protocol

from executor.text.decoding import Decoding, Manner


class Detokenizer(Protocol):
    """Text from one sequence of tokens."""

    def push(self, token: int) -> str:
        """Give the text that is certain with this token and was not before."""

    def finish(self) -> str:
        """Give the rest; no token comes after."""


def make_detokenizer(decoding: Decoding) -> Detokenizer:
    """Give the detokenizer for a tokenizer's way of decoding."""
    kinds: dict[Manner, Callable[[Decoding], Detokenizer]] = {
        Manner.BYTES: _ByteDetokenizer,
        Manner.PIECES: _PieceDetokenizer,
        Manner.WHOLE: _WholeDetokenizer,
    }
    return kinds[decoding.manner](decoding)


class _ByteDetokenizer:
    """Of byte-level decoders: UTF-8 whose characters may be split over tokens."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        # Both Rust and Python write one U+FFFD per maximal subpart of an ill-formed sequence (Unicode 3.9, U+FFFD).
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        if token not in self._decoding.written:
            return ""
        return self._utf8.decode(self._decoding.token_bytes(token))

    def finish(self) -> str:
        return self._utf8.decode(b"", final=True)


class _PieceDetokenizer:
    """Of decoders whose tokens each add a piece of text; runs of byte tokens are held until they end."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._begun = False
        self._run: list[int] = []

    def push(self, token: int) -> str:
        if token not in self._decoding.written:
            return ""
        self._run.append(token)
        return "" if token in self._decoding.byte_tokens else self.finish()

    def finish(self) -> str:
        if not self._run:
            return ""
        decode = self._decoding.text_after_first if self._begun else self._decoding.text
        text = decode(self._run)
        self._begun = True
        self._run = []
        return text


class _WholeDetokenizer:
    """Of any other decoder: all the text at the end."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._tokens: list[int] = []

    def push(self, token: int) -> str:
        self._tokens.append(token)
        return ""

    def finish(self) -> str:
        text = self._decoding.text(self._tokens)
        self._tokens = []
        return text
