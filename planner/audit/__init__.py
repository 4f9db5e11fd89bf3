"""What ran against what was planned: journals are read, compared with their plan, and put on one time line."""

from planner.audit.instants import (
    LlmInstants,
    LossInstant,
    PipelineInstants,
    Timeline,
    TransferInstants,
    predicted,
    timeline,
)
from planner.audit.journals import NodeJournal, read_journals
from planner.audit.report import Report, audit

__all__ = [
    "LlmInstants",
    "LossInstant",
    "NodeJournal",
    "PipelineInstants",
    "Report",
    "Timeline",
    "TransferInstants",
    "audit",
    "predicted",
    "read_journals",
    "timeline",
]
