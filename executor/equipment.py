"""What a node has as long as its daemon lives, under whichever plan it serves."""

import attrs

from executor.hearing import Hearing
from executor.journal import Journal
from executor.mail import Mail
from executor.pipelines.front import Front
from executor.pipelines.host import Host
from executor.pipelines.leader import Leader
from executor.tasks import Tasks
from executor.transport.interface import Transport
from specs.cluster import NodeId
from specs.plan import PipelineId


@attrs.frozen(kw_only=True)
class Equipment:
    """The parts of a node that no plan replaces."""

    node: NodeId
    life: str  # of this process, and of no other before or after it
    journal: Journal
    transport: Transport
    tasks: Tasks
    mail: Mail
    hearing: Hearing
    host: Host
    front: Front
    leaders: dict[PipelineId, Leader]
