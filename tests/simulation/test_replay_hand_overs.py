"""Daemons with one line changed that hand requests over with their KV: their journals do not pass."""

import inspect
import re
import textwrap
from pathlib import Path

import pytest

from executor.pipelines import arrival, departure, front
from specs.journal import TookOver
from specs.protocols import kv_hand_over, kv_hand_over_target
from specs.replay import replay
from tests.checkpoints import make_checkpoint
from tests.simulation.test_replay import journals_of

pytestmark = pytest.mark.slow

_SEEDS = range(5000, 5100)
_HANDED_OVER = 4  # schedules in which requests go on from their KV are tried

# Where a line of a daemon is changed, from what to what, and what the replay of the journals says of it.
_BROKEN = {
    "takes iterations under way for ended": (
        departure.Departure, "boundary", "is_quiet=batcher.boundary", "is_quiet=True",
        "Boundary .* no iteration ends after the last boundary",
    ),
    "copies from another slot": (
        departure.Departure, "_copy", "slot=row.slot", "slot=row.slot + 1", "CopyOrdered .* what the source leader says"
    ),
    "invites with tokens in another order": (
        departure.Departure, "_invited", "pack_tokens(request.tokens[: fresh.tokens])",
        "pack_tokens(request.tokens[: fresh.tokens][::-1])", "TookOver .* the very tokens that its front has",
    ),
    "says that it has handed over more": (
        departure.Departure, "_hand_out", "copied=len(copied)", "copied=len(copied) + 1",
        "HandedOver .* requests were handed out, as many as it says",
    ),
    "begins a round before the last is whole": (
        kv_hand_over, "_next_round", "each.seat is None or each.held < each.goal", "each.seat is None",
        "(Copy|Halt) was done as it was not due|(Copy|Halt) was due",
    ),
    "hands out before all is there": (
        kv_hand_over, "_hand_out", "(current.is_whole or not current.guests)", "current",
        "HandOut was done as it was not due; .* once all of their KV is there",
    ),
    "copies with one token less": (
        kv_hand_over, "_copy", "guest.held, guest.goal)", "guest.held, guest.goal - 1)",
        "Copy was done as it was not due",
    ),
    "gives every guest the same seat": (
        arrival.Arrival, "_reserve", "return self._led", "return 0 if self._led.batcher.running else self._led",
        "gets seat 0, which is another's",
    ),
    "takes over with tokens in another order": (
        arrival.Arrival, "_take_over", "tokens = card.tokens + self._tails[action.id, action.request]",
        "tokens = self._tails[action.id, action.request] + card.tokens", "TookOver .* the very tokens",
    ),
    "says that KV is there which is not": (
        kv_hand_over_target, "hosting", "held[guest.request] == guest.final.computed", "held",
        "HostingIs .* what its target leader has; n. has told nothing of the kind",
    ),
    "counts a token more than was written": (
        kv_hand_over_target, "_take", "tokens=chunk.end)", "tokens=chunk.end + 1)",
        "HeldIs .* a stage holds what was written to it; n. has told nothing of the kind",
    ),
    "leaves the seat of a request that goes on open": (
        kv_hand_over_target, "_resume", "del guests[claim.request]", "pass",
        "SeatsAre .* a stage goes by the seats that its leader says; n. has told nothing",
    ),
    "resumes with a token less": (
        front.Front, "handed_over", "tokens=len(live.tokens))", "tokens=len(live.tokens) - 1)",
        "Resumed .* with all its tokens; n. has told nothing",
    ),
    "resumes under the old name": (
        front.Front, "handed_over", "attempt=live.attempt", "attempt=before", "Resumed .* under a new name"
    ),
}  # fmt: skip


def _change(patch, owner, name, old, new):
    function = inspect.unwrap(vars(owner)[name])
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, (name, old, source.count(old))
    made = {}
    exec(source.replace(old, new), function.__globals__, made)  # the daemon's own source, but for a line
    patch.setattr(owner, name, made[name])
    rules = getattr(owner, "_RULES", ())
    patch.setattr(owner, "_RULES", tuple(made[name] if rule is function else rule for rule in rules), raising=False)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), "llama")


@pytest.fixture(scope="module")
def seeds(checkpoint, tmp_path_factory):
    """Find schedules in which healthy daemons hand requests over."""
    found = []
    for seed in _SEEDS:
        with pytest.MonkeyPatch.context() as patch:
            lives, _ = journals_of(seed, checkpoint, tmp_path_factory.mktemp("state") / "state", patch)
        if any(isinstance(record.what, TookOver) for life in lives for record in life.records):
            found.append(seed)
        if len(found) == _HANDED_OVER:
            return found
    raise AssertionError("requests are hardly ever handed over")


@pytest.mark.parametrize("what", _BROKEN)
def test_a_hand_over_with_one_line_changed_is_caught(what, seeds, checkpoint, tmp_path):
    *where, sentence = _BROKEN[what]
    for seed in seeds:
        with pytest.MonkeyPatch.context() as patch:
            _change(patch, *where)
            kept = journals_of(seed, checkpoint, tmp_path / "state", patch)
        breaches = replay(*kept).breaches
        if breaches:
            said = [f"{each.node}, {each.sentence}" for each in breaches]
            assert any(re.search(f"^n., record [0-9]+: .*{sentence}", each) for each in said), said
            return
    pytest.fail("the replay finds nothing")
