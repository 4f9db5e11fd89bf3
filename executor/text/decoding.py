"""How a tokenizer turns tokens back into text, told apart by what one token can do to the text of another.

Bytes    byte-level decoders: each token is a run of bytes, and the text is their UTF-8.
Pieces   decoders whose tokens each add one piece of text, whatever stands before, with two exceptions: the first token
         (a leading space is dropped), and a run of byte tokens (`<0xE2>`), whose text is known when the run ends:
         one wrong byte turns every byte of the run into U+FFFD.
Whole    any other decoder: its text is known at the end only.  No causal LM in use has one.
"""

import enum
import functools
import json
import re
from typing import Any

import attrs

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Manner(enum.Enum):
    """What one token can do to the text of another; see the module."""

    BYTES = "bytes"
    PIECES = "pieces"
    WHOLE = "whole"


def _byte_of_character() -> dict[str, int]:
    """Give the byte that each character of a byte-level vocabulary stands for (OpenAI's GPT-2 encoder.py)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(others)}


_BYTE_OF = _byte_of_character()


@attrs.frozen(kw_only=True, eq=False)
class Decoding:
    """What each token writes.  Only `read_decoding` makes one."""

    manner: Manner
    written: frozenset[int]  # tokens that are text: neither special nor beyond the vocabulary (padded logits have such)
    byte_tokens: frozenset[int]  # of Pieces: tokens that stand for one byte
    _backend: Any
    _anchor: int | None  # of Pieces: an ordinary token, put first so that no token is treated as the first
    _cache: dict[int, bytes] = attrs.field(factory=dict)  # bounded by the vocabulary
    _pieces: dict[int, str] = attrs.field(factory=dict)  # bounded by the vocabulary

    def text(self, tokens: list[int]) -> str:
        """Give the text of a whole sequence, special tokens left out."""
        return str(self._backend.decode(tokens, skip_special_tokens=True))

    def text_after_first(self, tokens: list[int]) -> str:
        """Give the text that these tokens add after others; of Pieces only."""
        assert self._anchor is not None
        if len(tokens) > 1:
            return self.text([self._anchor, *tokens])[self._anchor_length :]
        (token,) = tokens
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self.text([self._anchor, token])[self._anchor_length :]
        return piece

    @functools.cached_property
    def _anchor_length(self) -> int:
        assert self._anchor is not None
        return len(self.text([self._anchor]))

    def token_bytes(self, token: int) -> bytes:
        """Give the bytes that a token writes; a special or unknown token writes its name."""
        found = self._cache.get(token)
        if found is None:
            found = self._cache[token] = self._read_bytes(token)
        return found

    def _read_bytes(self, token: int) -> bytes:
        name = str(self._backend.id_to_token(token) or "")
        if token not in self.written:
            return name.encode()
        if self.manner is Manner.BYTES:
            characters = [_BYTE_OF.get(character) for character in name]
            # As the Rust decoder does: a token with a character outside the table is its own UTF-8.
            if any(byte is None for byte in characters):
                return name.encode()
            return bytes(byte for byte in characters if byte is not None)
        if token in self.byte_tokens:
            return bytes([int(name[3:5], 16)])
        if self.manner is Manner.PIECES:
            return self.text_after_first([token]).encode()
        return self.text([token]).encode()


def read_decoding(backend: Any) -> Decoding:
    """Read from a Rust tokenizer how its tokens become text."""
    decoder = json.loads(backend.to_str())["decoder"]
    vocabulary: dict[str, int] = backend.get_vocab(with_added_tokens=True)
    special = frozenset(token for token, added in backend.get_added_tokens_decoder().items() if added.special)
    written = frozenset(vocabulary.values()) - special
    manner = _manner(decoder)
    byte_tokens: frozenset[int] = frozenset()
    anchor = None
    if manner is Manner.PIECES:
        if "ByteFallback" in _kinds(decoder):
            byte_tokens = frozenset(token for name, token in vocabulary.items() if _BYTE_TOKEN.fullmatch(name))
        anchor = _find_anchor(backend, vocabulary, written - byte_tokens)
        manner = manner if anchor is not None else Manner.WHOLE
    return Decoding(manner=manner, written=written, byte_tokens=byte_tokens, backend=backend, anchor=anchor)


def _steps(decoder: dict[str, Any] | None) -> list[dict[str, Any]]:
    if decoder is None:
        return []
    return list(decoder["decoders"]) if decoder["type"] == "Sequence" else [decoder]


def _kinds(decoder: dict[str, Any] | None) -> list[str]:
    return [str(step["type"]) for step in _steps(decoder)]


def _manner(decoder: dict[str, Any] | None) -> Manner:
    kinds = _kinds(decoder)
    if kinds == ["ByteLevel"]:
        return Manner.BYTES
    if kinds in ([], ["Metaspace"], ["WordPiece"]):
        return Manner.PIECES
    # After Fuse the text is one string, and only what touches its start leaves the later pieces alone.
    fused = kinds.index("Fuse") if "Fuse" in kinds else len(kinds)
    before, after = _steps(decoder)[:fused], _steps(decoder)[fused + 1 :]
    one_by_one = all(step["type"] in ("Replace", "ByteFallback", "Strip") for step in before)
    at_start = all(step["type"] == "Strip" and step["start"] <= 1 and step["stop"] == 0 for step in after)
    return Manner.PIECES if one_by_one and at_start else Manner.WHOLE


def _find_anchor(backend: Any, vocabulary: dict[str, int], allowed: frozenset[int]) -> int | None:
    """Find a token that writes one plain letter."""
    for letter in "abcdefghijklmnopqrstuvwxyz":
        token = vocabulary.get(letter)
        if token in allowed and backend.decode([token]) == letter:
            return token
    return None
