"""A small real checkpoint, read and planned, for the tests of a daemon's parts."""

import pytest

from planner.description.checkpoint import read_llm
from tests.checkpoints import make_checkpoint
from tests.plans import blobs_of


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("small"), "llama", num_hidden_layers=2, sharded=True)


@pytest.fixture(scope="session")
def llm(checkpoint):
    return read_llm(checkpoint, "tiny")


@pytest.fixture(scope="session")
def blobs(llm):
    return blobs_of(llm, 3)
