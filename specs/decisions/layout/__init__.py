"""Which devices form which pipelines of an LLM, in which order, with which layers, batch and KV.

Two questions.  `question`, `answer`, `faults`, `values`, `bounds`, `exhausted`: pipelines of whole stages over groups
of equal devices, under latency limits and memory.  `spans`: machines that hold any runs of layers, with tokens flowing
from machine to machine wherever one run ends and another begins.
"""
