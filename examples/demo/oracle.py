"""The oracle: `transformers` `generate` on the whole LLM in one process, fp32, greedy, one prompt at a time."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from executor.text.tokenizer import Tokenizer, load_tokenizer

_SENTENCES = (
    "Which bytes move over which link by when?",
    "A node sends a block as soon as it holds it.",
    "What can be computed where, with what is already there?",
    "Order and dependency are law, times are predictions.",
    "A plan is a complete description of a desired state, not a script.",
    "Every request keeps its tokens while the pipeline under it changes.",
)
PROMPTS = tuple(f"{number}. {_SENTENCES[number % len(_SENTENCES)]}" for number in range(24))


def expected_names(
    directory: Path, tokens: int, progress: Callable[[int], None], prompts: Sequence[str] = PROMPTS
) -> tuple[tuple[str, ...], ...]:
    """Give the names of the first so many tokens after each prompt, as the completions API names tokens.

    Fewer tokens of a greedy answer are a prefix of more, so one row serves every length.  End tokens do not end it.
    """
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped there
    tokenizer = load_tokenizer(directory)
    # Typed by its common base, which does not know `generate`.
    llm: Any = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    assert len({_name(tokenizer, token) for token in range(llm.config.vocab_size)}) == llm.config.vocab_size, (
        "two tokens of the demo's tokenizer have one name: equal names would not mean equal tokens"
    )
    rows = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the daemons have; on a busy machine, several wait for one another
    for number, prompt in enumerate(prompts):
        given = torch.tensor([tokenizer.encode(prompt)])
        output = llm.generate(given, max_new_tokens=tokens, do_sample=False, eos_token_id=None, pad_token_id=0)
        rows.append(tuple(_name(tokenizer, token) for token in output[0, given.shape[1] :].tolist()))
        progress(number + 1)
    torch.set_num_threads(threads)
    return tuple(rows)


def _name(tokenizer: Tokenizer, token: int) -> str:
    """Name a token as OpenAI's completions do: its text, or its bytes where they are no text by themselves."""
    written = tokenizer.token_bytes(token)
    try:
        return written.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in written)
