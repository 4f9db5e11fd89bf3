"""What a run of the demo is given, where it puts things, and how it fails."""

from collections.abc import Mapping
from pathlib import Path

import attrs

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
class Settings:
    """One run."""

    description: Path  # the YAML file; its LLM's checkpoint is made where it says
    out: Path  # plan, journals, logs and page go here
    llm_shape: Mapping[str, int] = LLM_SHAPE
    lengths: range = range(24, 33)  # of the answers, in tokens
    burst: int = 60  # requests at once when the plan is put
    trickle_per_second: int = 5  # more requests, until the load has ended
    keep: bool = False  # go on serving at the end, until Ctrl-C

    @property
    def plan(self) -> Path:
        """The plan."""
        return self.out / "plan.json"

    @property
    def document(self) -> Path:
        """What the daemons take: the problem and the plan in one."""
        return self.out / "document.json"

    @property
    def audit(self) -> Path:
        """The report of `holdfast audit`."""
        return self.out / "audit.txt"

    @property
    def page(self) -> Path:
        """The page of `holdfast show`."""
        return self.out / "demo.html"

    @property
    def journals(self) -> Path:
        """One file per node."""
        return self.out / "journals"

    @property
    def logs(self) -> Path:
        """What each daemon wrote to its error stream."""
        return self.out / "logs"
