"""What a plan says about a KV hand-over, in the words of its protocol."""

from specs.handing_over import shared_kv
from specs.llm import Llm
from specs.plan import HandOver, Pipeline
from specs.protocols.kv_hand_over_nouns import Path, Successor, Terms

_PATIENCE_TICKS = 25  # of a target leader that hears nothing of a source leader


def terms_of(llm: Llm, old: Pipeline, new: Pipeline, how: HandOver) -> Terms:
    """Give what the source leader goes by, for pipelines of this LLM."""
    return Terms(
        pipeline=old.id,
        paths=tuple(Path(old_stage=a, new_stage=b) for a, b in shared_kv(llm, old, new)),
        rounds_max=how.rounds_max,
        rest_tokens_max=how.rest_tokens_max,
        copy_tokens_min=how.copy_tokens_min,
    )


def successor_of(new: Pipeline) -> Successor:
    """Give what the target leader goes by."""
    return Successor(pipeline=new.id, stages=len(new.stages), patience=_PATIENCE_TICKS)
