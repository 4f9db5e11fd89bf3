"""The tokenizer of one LLM, read from its checkpoint directory.

Everything goes through the Rust tokenizer behind `transformers`, which is read-only here and so may be used from
several threads; the callable of `transformers` changes truncation settings on every call and may not.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from executor.text.decoding import Decoding, read_decoding
from executor.text.errors import ChatRefused, UnusableTokenizer


@attrs.frozen(kw_only=True, eq=False)
class Tokenizer:
    """Text to tokens and back, as the LLM's checkpoint defines it.  Only `load_tokenizer` makes one."""

    decoding: Decoding
    end_token: int | None
    _front: Any  # the `transformers` tokenizer: it renders chat templates
    _backend: Any  # the Rust tokenizer behind it

    def encode(self, text: str) -> tuple[int, ...]:
        """Give the tokens of a prompt, with the special tokens that the LLM wants around one."""
        return tuple(self._backend.encode(text, add_special_tokens=True).ids)

    def encode_chat(self, messages: Iterable[Mapping[str, str]]) -> tuple[int, ...]:
        """Render the conversation up to where the assistant speaks, and give its tokens.  Raises ChatRefused."""
        # The template writes the special tokens itself.
        return tuple(self._backend.encode(self.render_chat(messages), add_special_tokens=False).ids)

    def render_chat(self, messages: Iterable[Mapping[str, str]]) -> str:
        """Render the conversation up to where the assistant speaks.  Raises ChatRefused."""
        import jinja2

        if not self._front.chat_template:
            raise ChatRefused("this LLM has no chat template; use /v1/completions")
        try:
            return str(
                self._front.apply_chat_template(
                    [dict(message) for message in messages], tokenize=False, add_generation_prompt=True
                )
            )
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            # Templates raise on purpose (roles that do not alternate), and by accident on what they did not foresee.
            raise ChatRefused(f"the chat template of this LLM refuses these messages: {error}") from None

    def decode(self, tokens: Iterable[int]) -> str:
        """Give the text of a whole sequence, special tokens left out."""
        return str(self._backend.decode(list(tokens), skip_special_tokens=True))

    def token_bytes(self, token: int) -> bytes:
        """Give what one token writes; a special token writes its name.  Bytes of a split character are not text."""
        return self.decoding.token_bytes(token)

    def knows(self, token: int) -> bool:
        """Whether the vocabulary has this token."""
        # The Rust side reads 32 bits.
        return 0 <= token < 2**32 and self._backend.id_to_token(token) is not None


def load_tokenizer(directory: Path) -> Tokenizer:
    """Read the tokenizer of a checkpoint; no network, no code from the directory.  Raises UnusableTokenizer."""
    import transformers

    if not (directory / "tokenizer.json").is_file():
        raise UnusableTokenizer(f"{directory} has no tokenizer.json; a fast tokenizer is needed")
    try:
        front: Any = transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnusableTokenizer(f"the tokenizer of {directory} cannot be read: {error}") from None
    backend = getattr(front, "backend_tokenizer", None)
    if backend is None:
        raise UnusableTokenizer(f"the tokenizer of {directory} is not a fast one, but {type(front).__name__}")
    backend.no_truncation()
    backend.no_padding()
    return Tokenizer(decoding=read_decoding(backend), end_token=front.eos_token_id, front=front, backend=backend)
