"""attrs fields that refuse values without a meaning, so that no noun can be built with them."""

import re
from typing import Any

import attrs

from specs.errors import MalformedDocument
from specs.units import INTEGER_MAX

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:>@+-]{0,199}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def _where(instance: object, attribute: "attrs.Attribute[Any]") -> str:
    return f"{type(instance).__name__}.{attribute.name}"


def _check_name(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, str) or _NAME.fullmatch(value) is None:
        wanted = "1 to 200 letters, digits and . _ / : > @ + - that begin with a letter or digit"
        raise MalformedDocument(f"{_where(instance, attribute)} is {value!r:.80}; a name is {wanted}")


def _check_digest(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, str) or _DIGEST.fullmatch(value) is None:
        raise MalformedDocument(f"{_where(instance, attribute)} is {value!r:.80}; a digest is 64 hexadecimal digits")


def _bounded(low: int) -> Any:
    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= INTEGER_MAX:
            wanted = f"a whole number from {low} to {INTEGER_MAX}"
            raise MalformedDocument(f"{_where(instance, attribute)} is {value!r:.80}; it must be {wanted}")

    return check


def name() -> Any:
    """Make a field for an identifier."""
    return attrs.field(validator=_check_name)


def optional_name() -> Any:
    """Make a field for an identifier that may be absent."""
    return attrs.field(default=None, validator=attrs.validators.optional(_check_name))


def digest() -> Any:
    """Make a field for a 256-bit digest in hexadecimal."""
    return attrs.field(validator=_check_digest)


def positive(default: Any = attrs.NOTHING) -> Any:
    """Make a field for an integer of at least one."""
    return attrs.field(default=default, validator=_bounded(1))


def optional_positive() -> Any:
    """Make a field for an integer of at least one that may be absent."""
    return attrs.field(default=None, validator=attrs.validators.optional(_bounded(1)))


def natural(default: Any = attrs.NOTHING) -> Any:
    """Make a field for an integer of at least zero."""
    return attrs.field(default=default, validator=_bounded(0))
