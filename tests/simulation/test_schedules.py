"""Random schedules over a simulated cluster: whatever dies, hangs, breaks or is lost, no client gets a wrong token."""

from pathlib import Path

import attrs
import pytest

from executor.pipelines.front import Front
from executor.traffic import Token
from tests.simulation.schedule import carry_out

_CHUNK = 250


def _carry_out(seed: int, checkpoint: Path, tmp_path: Path) -> None:
    result = carry_out(seed, checkpoint, tmp_path / "state")
    assert not result.wrong, f"{result}\nagain: python -m tests.simulation {seed}"


@pytest.mark.parametrize("seed", range(12))
def test_every_client_gets_the_oracles_tokens_or_a_clear_error(seed: int, checkpoint: Path, tmp_path: Path) -> None:
    _carry_out(seed, checkpoint, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(80))
def test_twenty_thousand_schedules(chunk: int, checkpoint: Path, tmp_path: Path) -> None:
    for seed in range(1000 + chunk * _CHUNK, 1000 + (chunk + 1) * _CHUNK):
        _carry_out(seed, checkpoint, tmp_path)


def test_the_same_seed_is_the_same_schedule(checkpoint: Path, tmp_path: Path) -> None:
    first, again = (carry_out(7, checkpoint, tmp_path / name) for name in ("first", "again"))
    assert str(first) == str(again)
    assert [each.instants_s for each in first.answers] == [each.instants_s for each in again.answers]


def test_one_wrong_token_is_seen(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Front.token

    def wrong(front: Front, token: Token) -> None:
        if token.index == 3:
            token = attrs.evolve(token, chosen=attrs.evolve(token.chosen, token=token.chosen.token ^ 1))
        right(front, token)

    monkeypatch.setattr(Front, "token", wrong)
    results = [carry_out(seed, checkpoint, tmp_path / str(seed)) for seed in (1, 2, 3)]
    assert any("the oracle says" in each for result in results for each in result.wrong)
