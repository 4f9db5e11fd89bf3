"""The exceptions of the engine: bad input, each with one sentence that says what, where and what instead.

EngineError              base; never raised itself
+-- UnsupportedLlm       a checkpoint whose configuration the engine cannot cut into stages
+-- WrongTensor          a tensor that does not belong to the LLM, or not in this shape, dtype or place
+-- RequestRefused       a request that can never be computed within the limits of the pipeline
"""


class EngineError(Exception):
    """Input that the engine cannot take."""


class UnsupportedLlm(EngineError):
    """A configuration that cannot be cut into stages; the message names the entry in the way."""


class WrongTensor(EngineError):
    """A tensor that cannot become a weight; the message names it, what it is and what was expected."""


class RequestRefused(EngineError):
    """A request that is longer than the pipeline's context, or has nothing to compute."""
