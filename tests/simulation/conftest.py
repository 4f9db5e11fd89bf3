"""Fixtures for simulated clusters."""

from pathlib import Path

import pytest

from tests.checkpoints import make_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a checkpoint for all; nothing writes to it."""
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), "llama")
