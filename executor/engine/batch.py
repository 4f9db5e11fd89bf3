"""What one iteration asks of a stage: rows of tokens of several requests, packed back to back."""

import attrs

from specs import fields


@attrs.frozen(kw_only=True)
class Row:
    """Consecutive tokens of one request: one token when decoding, more when its prompt is computed."""

    slot: int = fields.natural()  # where each stage keeps the request's keys and values
    start: int = fields.natural()  # position of the first token; all before it have been computed
    tokens: int = fields.positive()
    wants_logits: bool  # of its last token

    @property
    def end(self) -> int:
        """Position after the last token: the length of the context that it attends to."""
        return self.start + self.tokens


@attrs.frozen(kw_only=True)
class Batch:
    """Rows of different requests.  Decoding rows in ascending order of slots are computed fastest."""

    rows: tuple[Row, ...]
    freed: tuple[int, ...] = ()  # slots whose requests have left: their pages are given back before rows are computed

    @property
    def tokens(self) -> int:
        """Tokens of all rows together: T of the tensors that pass between stages."""
        return sum(row.tokens for row in self.rows)
