"""What the leader of a pipeline shares with those who take its requests elsewhere, or bring some."""

from collections.abc import Callable, Coroutine

import attrs

from executor.engine.batcher import Batcher
from executor.engine.request import Request, RequestId
from executor.notes import TakeNote
from executor.pipelines.host import Host
from executor.pipelines.post import Post
from specs.cluster import NodeId
from specs.plan import Pipeline


@attrs.frozen(kw_only=True, eq=False)
class Led:
    """A pipeline led from here."""

    pipeline: Pipeline
    batcher: Batcher
    fronts: dict[RequestId, NodeId]  # of its requests
    host: Host
    post: Post
    spawn: Callable[[Coroutine[object, object, None]], None]
    pump: Callable[[], None]  # forms iterations, if any can be
    check: Callable[[Request], None]  # refuses tokens that the LLM does not have
    note: TakeNote  # for the journal
