"""One checkpoint and one oracle for all tests with real processes."""

from pathlib import Path

import pytest

from tests.checkpoints import make_checkpoint
from tests.processes.cluster import Oracle


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 8 layers and about 2.6 MB."""
    return make_checkpoint(
        tmp_path_factory.mktemp("checkpoint"), "llama", num_hidden_layers=8, max_position_embeddings=256
    )


@pytest.fixture(scope="session")
def oracle(checkpoint: Path) -> Oracle:
    """The reference for that checkpoint."""
    return Oracle(checkpoint)
