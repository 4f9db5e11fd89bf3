"""What a run of the demo is given, where it puts things, and how it fails."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from examples.demo.oracle import PROMPTS

# About 124 MB of fp32: large enough that loading it over slow links can be watched.
LLM_SHAPE: Mapping[str, int] = {
    "hidden_size": 384,
    "intermediate_size": 1152,
    "num_hidden_layers": 16,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "head_dim": 64,
    "max_position_embeddings": 1024,
}


class DemoFailed(Exception):
    """The demo cannot go on; the message is one sentence for the person who started it."""


@attrs.frozen(kw_only=True)
class Run:
    """What every demo is given and writes."""

    description: Path  # the YAML file; its LLM's checkpoint is made where it says
    out: Path  # all that is written goes here
    llm_shape: Mapping[str, int]
    prompts: Sequence[str]
    lengths: range  # of the answers, in tokens

    @property
    def plan(self) -> Path:
        """The first plan."""
        return self.out / "plan.json"

    @property
    def document(self) -> Path:
        """What the daemons take: the problem and the first plan in one."""
        return self.out / "document.json"

    @property
    def journals(self) -> Path:
        """One file per node."""
        return self.out / "journals"

    @property
    def logs(self) -> Path:
        """What each daemon wrote to its error stream."""
        return self.out / "logs"


@attrs.frozen(kw_only=True)
class Settings(Run):
    """One run of the demo."""

    llm_shape: Mapping[str, int] = LLM_SHAPE
    prompts: Sequence[str] = PROMPTS
    lengths: range = range(24, 33)
    burst: int = 60  # requests at once when the plan is put
    trickle_per_second: int = 5  # more requests, until the load has ended
    keep: bool = False  # go on serving at the end, until Ctrl-C

    @property
    def audit(self) -> Path:
        """The report of `holdfast audit`."""
        return self.out / "audit.txt"

    @property
    def page(self) -> Path:
        """The page of `holdfast show`."""
        return self.out / "demo.html"
