"""The exceptions of the engine: bad input, each with one sentence that says what, where and what instead.

EngineError              base; never raised itself
+-- UnsupportedLlm       a checkpoint whose configuration the engine cannot cut into stages
+-- WrongTensor          a tensor that does not belong to the LLM, or not in this shape, dtype or place
+-- RequestRefused       a request that can never be computed within the limits of the pipeline
+-- OutOfRange           layers, slots or positions that a stage's keys and values do not have
+-- NoRoom               a budget of KV tokens that does not hold what it must
"""


class EngineError(Exception):
    """Input that the engine cannot take."""


class UnsupportedLlm(EngineError):
    """A configuration that cannot be cut into stages; the message names the entry in the way."""


class WrongTensor(EngineError):
    """A tensor that cannot become a weight; the message names it, what it is and what was expected."""


class RequestRefused(EngineError):
    """A request that is longer than the pipeline's context, or has nothing to compute."""


class OutOfRange(EngineError):
    """Keys and values asked for, or given, that have no place in a stage; the message says which it has."""


class NoRoom(EngineError):
    """A budget of KV tokens that is smaller than one context, or than the pages that are written."""
