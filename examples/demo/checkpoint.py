"""The demo's LLM: seeded random weights with a real tokenizer, made once and made again when it is not whole."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from examples.demo.settings import DemoFailed

_MANIFEST = "demo-manifest.json"


def is_whole(directory: Path, shape: Mapping[str, int]) -> bool:
    """Tell whether a checkpoint of this shape was made here and every file still has its size."""
    try:
        manifest = json.loads((directory / _MANIFEST).read_text())
    except (OSError, ValueError):
        return False
    return bool(manifest == _manifest(directory, shape))


def make(directory: Path, shape: Mapping[str, int]) -> None:
    """Make the checkpoint, whole or not at all.  Raises DemoFailed if the directory holds something else."""
    from transformers.utils import logging

    from tests.checkpoints import make_checkpoint

    if directory.exists() and not (directory / "config.json").exists() and any(directory.iterdir()):
        raise DemoFailed(f"{directory} holds something that is no checkpoint; move it away and try again.")
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped there
    draft = directory.with_name(f".{directory.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    entries: dict[str, Any] = dict(shape)
    make_checkpoint(draft, "llama", **entries)
    (draft / _MANIFEST).write_text(json.dumps(_manifest(draft, shape), indent=2))
    if directory.exists():
        shutil.rmtree(directory)
    draft.replace(directory)


def _manifest(directory: Path, shape: Mapping[str, int]) -> dict[str, object]:
    sizes = {path.name: path.stat().st_size for path in sorted(directory.iterdir()) if path.name != _MANIFEST}
    return {"shape": dict(shape), "file_bytes": sizes}
