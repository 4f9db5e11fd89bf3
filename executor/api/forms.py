"""How an order's answer is written: as completion or as chat, whole or in chunks."""

from collections.abc import Sequence
from typing import Protocol

from executor.api import replies
from executor.api.choice import Piece
from executor.api.logprobs import chat_logprobs, completion_logprobs
from executor.api.order import Order
from executor.api.replies import Usage
from executor.api.serving import Reason


class Form(Protocol):
    """One of the two APIs."""

    def opening(self, order: Order, index: int) -> object | None:
        """Give the chunk that comes before a choice's first piece, if there is one."""

    def chunk(self, order: Order, index: int, piece: Piece) -> object:
        """Give the chunk of a piece."""

    def usage_chunk(self, order: Order, usage: Usage) -> object:
        """Give the last chunk, for clients that want the token counts."""

    def whole(self, order: Order, choices: Sequence[Piece], usage: Usage) -> object:
        """Give the whole answer; each choice is one piece with a reason."""


def joined(pieces: Sequence[Piece]) -> Piece:
    """Join the pieces of one choice."""
    reason = pieces[-1].reason if pieces else None
    return Piece("".join(piece.text for piece in pieces), tuple(w for piece in pieces for w in piece.tokens), reason)


class CompletionForm:
    """Of /v1/completions."""

    def opening(self, order: Order, index: int) -> None:
        """Give nothing: completions have no opening."""
        del order, index

    def chunk(self, order: Order, index: int, piece: Piece) -> replies.Completion:
        """Give the chunk of a piece."""
        return self._completion(order, [self._choice(order, index, piece)], None)

    def usage_chunk(self, order: Order, usage: Usage) -> replies.Completion:
        """Give a chunk without choices."""
        return self._completion(order, [], usage)

    def whole(self, order: Order, choices: Sequence[Piece], usage: Usage) -> replies.Completion:
        """Give the whole answer."""
        return self._completion(order, [self._choice(order, *numbered) for numbered in enumerate(choices)], usage)

    def _completion(
        self, order: Order, choices: list[replies.CompletionChoice], usage: Usage | None
    ) -> replies.Completion:
        return replies.Completion(
            id=order.id, created=order.created_s, model=order.llm.id, choices=choices, usage=usage
        )

    def _choice(self, order: Order, index: int, piece: Piece) -> replies.CompletionChoice:
        wanted = order.sampling.logprobs is not None
        return replies.CompletionChoice(
            index=index,
            text=piece.text,
            logprobs=completion_logprobs(order.tokenizer, piece.tokens) if wanted else None,
            finish_reason=piece.reason,
        )


class ChatForm:
    """Of /v1/chat/completions."""

    def opening(self, order: Order, index: int) -> replies.ChatChunk:
        """Give the chunk that says who speaks."""
        delta = replies.ChatDelta(role="assistant", content="")
        return self._chunk(order, [self._chunk_choice(index, delta)], None)

    def chunk(self, order: Order, index: int, piece: Piece) -> replies.ChatChunk:
        """Give the chunk of a piece."""
        delta = replies.ChatDelta(content=piece.text)
        wanted = order.sampling.logprobs is not None
        choice = replies.ChatChunkChoice(
            index=index,
            delta=delta,
            logprobs=chat_logprobs(order.tokenizer, piece.tokens) if wanted else None,
            finish_reason=piece.reason,
        )
        return self._chunk(order, [choice], None)

    def usage_chunk(self, order: Order, usage: Usage) -> replies.ChatChunk:
        """Give a chunk without choices."""
        return self._chunk(order, [], usage)

    def whole(self, order: Order, choices: Sequence[Piece], usage: Usage) -> replies.ChatCompletion:
        """Give the whole answer."""
        wanted = order.sampling.logprobs is not None
        return replies.ChatCompletion(
            id=order.id,
            created=order.created_s,
            model=order.llm.id,
            choices=[
                replies.ChatChoice(
                    index=index,
                    message=replies.AssistantMessage(content=piece.text),
                    logprobs=chat_logprobs(order.tokenizer, piece.tokens) if wanted else None,
                    finish_reason=piece.reason or Reason.STOP,
                )
                for index, piece in enumerate(choices)
            ],
            usage=usage,
        )

    def _chunk(self, order: Order, choices: list[replies.ChatChunkChoice], usage: Usage | None) -> replies.ChatChunk:
        return replies.ChatChunk(id=order.id, created=order.created_s, model=order.llm.id, choices=choices, usage=usage)

    def _chunk_choice(self, index: int, delta: replies.ChatDelta) -> replies.ChatChunkChoice:
        return replies.ChatChunkChoice(index=index, delta=delta, logprobs=None, finish_reason=None)
