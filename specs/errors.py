"""The exceptions of this package.

    SpecError                  base; never raised itself
    +-- MalformedDocument      bytes that are not the document they should be: where, what, what instead
    +-- InvalidProblem         a well-formed problem that contradicts itself

A plan that breaks an invariant is an expected outcome, not an exception: see `specs.checker.Rejected`.
"""


class SpecError(Exception):
    """Input that cannot be taken."""


class MalformedDocument(SpecError):
    """Bytes or values that do not form the document: the message says where, what was found and what is wanted."""


class InvalidProblem(SpecError):
    """A problem that contradicts itself, for example a link to a place that does not exist."""
