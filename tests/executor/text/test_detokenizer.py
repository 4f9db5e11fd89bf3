"""The pieces joined are the text of the whole sequence, for every manner of decoding."""

import time

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.text.decoding import Manner
from executor.text.detokenizer import make_detokenizer
from executor.text.tokenizer import Tokenizer
from tests.executor.text import tokenizers_under_test as under_test

MANNERS = {
    "byte_level": Manner.BYTES,
    "llama2": Manner.PIECES,
    "gemma": Manner.PIECES,
    "metaspace": Manner.PIECES,
    "word_piece": Manner.PIECES,
    "bpe_suffix": Manner.WHOLE,
}


@pytest.fixture(scope="module", params=under_test.MAKERS, ids=lambda make: make.__name__)
def named_tokenizer(request, tmp_path_factory) -> tuple[str, Tokenizer, object]:
    make = request.param
    directory = tmp_path_factory.mktemp(make.__name__)
    tokenizer = make(directory)
    return make.__name__, tokenizer, transformers.AutoTokenizer.from_pretrained(directory)


def pieces_of(tokenizer: Tokenizer, tokens: list[int]) -> list[str]:
    detokenizer = make_detokenizer(tokenizer.decoding)
    return [detokenizer.push(token) for token in tokens] + [detokenizer.finish()]


def vocabulary_size(reference) -> int:
    return len(reference)


def test_the_manner_is_recognised(named_tokenizer):
    name, tokenizer, _ = named_tokenizer
    assert tokenizer.decoding.manner is MANNERS[name]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_joined_pieces_are_the_whole_text(named_tokenizer, data):
    _, tokenizer, reference = named_tokenizer
    # Two ids beyond the vocabulary: padded logits can give them.
    tokens = data.draw(st.lists(st.integers(0, vocabulary_size(reference) + 1), max_size=40))
    joined = "".join(pieces_of(tokenizer, tokens))
    assert joined == reference.decode(tokens, skip_special_tokens=True)
    assert joined == tokenizer.decode(tokens)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60))
def test_split_characters_never_show_as_halves(tmp_path_factory, text):
    tokenizer = _byte_level(tmp_path_factory)
    tokens = list(tokenizer.encode(text.replace("�", "")))
    pieces = pieces_of(tokenizer, tokens)
    assert not any("�" in piece for piece in pieces)
    assert "".join(pieces) == text.replace("�", "")


_made: dict[str, Tokenizer] = {}


def _byte_level(tmp_path_factory) -> Tokenizer:
    if "byte_level" not in _made:
        _made["byte_level"] = under_test.byte_level(tmp_path_factory.mktemp("bytes"))
    return _made["byte_level"]


def test_characters_come_as_soon_as_they_are_whole(tmp_path_factory):
    tokenizer = _byte_level(tmp_path_factory)
    tokens = list(tokenizer.encode("日"))
    assert len(tokens) == 3
    assert pieces_of(tokenizer, tokens) == ["", "", "日", ""]


def test_a_spoilt_run_of_byte_tokens_is_as_decode_writes_it(tmp_path):
    tokenizer = under_test.llama2(tmp_path)
    byte = {value: under_test.token_id(tokenizer, f"<0x{value:02X}>") for value in (0xE2, 0x82, 0xAC)}
    euro = [byte[0xE2], byte[0x82], byte[0xAC]]
    assert pieces_of(tokenizer, euro) == ["", "", "", "€"]
    # One byte too many: Rust turns the whole run into replacement characters, so none of it may be shown early.
    assert "".join(pieces_of(tokenizer, [*euro, byte[0x82]])) == "����"


def test_each_token_costs_the_same_after_many(tmp_path_factory):
    detokenizer = make_detokenizer(_byte_level(tmp_path_factory).decoding)

    def push_many() -> float:
        start = time.process_time()
        for token in range(20_000):
            detokenizer.push(token % 256 + 10)
        return time.process_time() - start

    first = push_many()
    later = min(push_many() for _ in range(3))
    assert later < 5 * first + 0.1
