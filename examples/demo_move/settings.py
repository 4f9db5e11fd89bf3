"""What a run of the demo of moves is given, and where it puts things."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from examples.demo.oracle import PROMPTS
from examples.demo.settings import Run
from examples.demo_move.wishes import WISHES, Wish

# About 64 MB of fp32.  Few heads of keys and values: two shapes of a stage fit beside each other where all does not.
LLM_SHAPE: Mapping[str, int] = {
    "hidden_size": 192,
    "intermediate_size": 1536,
    "num_hidden_layers": 16,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "head_dim": 64,
    "max_position_embeddings": 512,
}


@attrs.frozen(kw_only=True)
class Settings(Run):
    """One run."""

    llm_shape: Mapping[str, int] = LLM_SHAPE
    prompts: Sequence[str] = PROMPTS[:6]
    lengths: range = range(48, 81)  # of the answers, in tokens; the longest prompt has 36 more
    wishes: Sequence[Wish] = WISHES
    clients: int = 6  # that ask all the time
    think_s: float = 0.2  # between an answer and the next question of the same client
    calm_s: float = 0.7  # in which nothing is changed: before the first change, between two, and after the last

    def file(self, number: int, wish: Wish, name: str) -> Path:
        """Something that belongs to a change, counted from 1."""
        return self.out / f"{number}-{wish.name}-{name}"

    @property
    def picture(self) -> Path:
        """The page with every request's tokens."""
        return self.out / "demo-move.html"
