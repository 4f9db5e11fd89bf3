"""Pages: the unit in which keys and values take memory and are reserved.

A page holds PAGE_TOKENS positions of one slot, in every layer of the stage.  The heads of a slot lie apart, so that a
page is a piece of each; 128 tokens make each piece whole pages of the operating system (4096 bytes) wherever a head's
key has a multiple of 32 bytes: 16 dimensions of two bytes.
"""

from specs.units import align_up

PAGE_TOKENS = 128


def paged(tokens: int, context_tokens: int) -> int:
    """Tokens of the pages that hold the first `tokens` positions of a slot; its last page ends with the context."""
    return min(align_up(tokens, PAGE_TOKENS), context_tokens)
