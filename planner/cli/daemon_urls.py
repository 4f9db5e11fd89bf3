"""The URLs of daemons, as they are typed."""

from collections.abc import Sequence
from urllib.parse import urlsplit

import typer


def each_once(urls: Sequence[str], hint: str) -> tuple[str, ...]:
    """Give each URL once.  Raises typer.BadParameter for what is none: a slip must not look like a silent node."""
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise typer.BadParameter(f"{url!r:.80} is no URL of a daemon, such as http://n1:8000", param_hint=hint)
    return tuple(dict.fromkeys(urls))
