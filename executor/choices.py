"""Sampled tokens and how they are chosen, as daemons write them to each other."""

import base64
import binascii
import hashlib
import math
import sys
from array import array
from collections.abc import Sequence
from typing import Any

import attrs

from executor.engine.errors import RequestRefused
from executor.engine.request import SamplingParams
from executor.engine.sampler import Sampled
from specs import fields
from specs.errors import MalformedDocument

_SEED_MAX = 2**64 - 1


def tokens_field(least: int) -> Any:
    """Make a field for this many token ids or more."""

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: tuple[int, ...]) -> None:
        where = f"{type(instance).__name__}.{attribute.name}"
        if len(value) < least:
            raise MalformedDocument(f"{where} has {len(value)} tokens; at least {least} are wanted")
        if value and min(value) < 0:
            raise MalformedDocument(f"{where} has the token {min(value)}; tokens count from 0")

    return attrs.field(validator=check)


_TOKEN_BYTES = 4


def pack_tokens(tokens: Sequence[int]) -> str:
    """Write many tokens as text: 4 bytes each, little-endian, in base64.

    In JSON, 64 contexts of 4,096 tokens would keep their reader busy for 87 ms, packed for 8 (one core of an EPYC).
    """
    return base64.b64encode(_little_endian(array("I", tokens)).tobytes()).decode()


def unpack_tokens(text: str) -> tuple[int, ...]:
    """Read them back.  Raises MalformedDocument for anything that `pack_tokens` does not write."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if base64.b64encode(data).decode() != text or len(data) % _TOKEN_BYTES:
        raise MalformedDocument(f"{text!r:.40} is not whole tokens of {_TOKEN_BYTES} bytes in base64")
    tokens = array("I")
    tokens.frombytes(data)
    return tuple(_little_endian(tokens))


def tokens_digest(tokens: Sequence[int]) -> str:
    """Name many tokens by the SHA-256 of what `pack_tokens` packs, in hexadecimal."""
    return hashlib.sha256(_little_endian(array("I", tokens)).tobytes()).hexdigest()


def _little_endian(tokens: "array[int]") -> "array[int]":
    if sys.byteorder == "big":
        tokens.byteswap()
    return tokens


@attrs.frozen(kw_only=True)
class Choice:
    """How to choose a request's tokens.

    Floats travel as `float.hex` writes them, exact to the last bit; a seed, which may have 64 bits, in hexadecimal.
    """

    temperature: str
    top_p: str
    seed: str
    top_logprobs: int | None = None

    def __attrs_post_init__(self) -> None:
        self.params()

    @classmethod
    def of(cls, params: SamplingParams) -> "Choice":
        """Write sampling parameters for the wire."""
        return cls(
            temperature=params.temperature.hex(),
            top_p=params.top_p.hex(),
            seed=f"{params.seed:x}",
            top_logprobs=params.top_logprobs,
        )

    def params(self) -> SamplingParams:
        """Read them back."""
        temperature = _float(self.temperature)
        if not math.isfinite(temperature):
            raise MalformedDocument(f"Choice.temperature is {temperature}; a finite number is wanted")
        if self.top_logprobs is not None and self.top_logprobs < 0:
            raise MalformedDocument(f"Choice.top_logprobs is {self.top_logprobs}; none, or at least 0, is wanted")
        try:
            return SamplingParams(
                temperature=temperature,
                top_p=_float(self.top_p),
                seed=_seed(self.seed),
                top_logprobs=self.top_logprobs,
            )
        except RequestRefused as error:
            raise MalformedDocument(f"Choice: {error}") from None


@attrs.frozen(kw_only=True)
class Alternative:
    """A token with its log-probability."""

    token: int = fields.natural()
    logprob: str

    def __attrs_post_init__(self) -> None:
        _float(self.logprob)


@attrs.frozen(kw_only=True)
class Chosen:
    """A sampled token."""

    token: int = fields.natural()
    logprob: str | None = None
    top: tuple[Alternative, ...] = ()

    def __attrs_post_init__(self) -> None:
        if self.logprob is not None:
            _float(self.logprob)

    @classmethod
    def of(cls, sampled: Sampled) -> "Chosen":
        """Write a sampled token for the wire."""
        return cls(
            token=sampled.token,
            logprob=None if sampled.logprob is None else sampled.logprob.hex(),
            top=tuple(Alternative(token=token, logprob=value.hex()) for token, value in sampled.top),
        )

    def sampled(self) -> Sampled:
        """Read it back."""
        return Sampled(
            token=self.token,
            logprob=None if self.logprob is None else _float(self.logprob),
            top=tuple((each.token, _float(each.logprob)) for each in self.top),
        )


def _float(text: str) -> float:
    """Read a number as `float.hex` writes it, and in no other spelling: one value has one wire form."""
    try:
        value = float.fromhex(text)
    except (ValueError, OverflowError):
        value = None
    if value is None or value.hex() != text:
        raise MalformedDocument(f"{text!r:.40} is not a number as float.hex writes it")
    return value


def _seed(text: str) -> int:
    """Read a seed of at most 64 bits in hexadecimal, without sign, prefix or leading zeros."""
    try:
        value = int(text, 16) if len(text) <= len(f"{_SEED_MAX:x}") else -1
    except ValueError:
        value = -1
    if value < 0 or f"{value:x}" != text:
        raise MalformedDocument(f"{text!r:.40} is not a seed of 64 bits in hexadecimal")
    return value
