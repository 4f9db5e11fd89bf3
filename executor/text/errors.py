"""The exceptions of text handling.

ExecutorError
+-- UnusableTokenizer   the directory holds no tokenizer that can be used
+-- ChatRefused         the LLM's chat template cannot render these messages, or there is none
"""

from executor.errors import ExecutorError


class UnusableTokenizer(ExecutorError):
    """The directory holds no tokenizer that can be used: which, and why."""


class ChatRefused(ExecutorError):
    """The chat template cannot render these messages, or there is none."""
