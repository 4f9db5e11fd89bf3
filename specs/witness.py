"""What a certificate carries so that the checker can work its bound out again without a search."""

import attrs

from specs import fields


@attrs.frozen(kw_only=True)
class Price:
    """What a witness gives to one resource: its dual price in whole units, or 1 for each member of a cut.

    Any prices prove a bound; good ones prove a good one.  So a wrong witness is weak, never wrong.
    """

    name: str = fields.name()  # of a place, link, memory, device kind, item ... as the formula says
    amount: int = fields.natural()


Witness = tuple[Price, ...]  # names ascend, each once; amounts of 0 are left out
