"""Prompts, chats and the bytes of single tokens."""

import pytest
import transformers

from executor.text.errors import ChatRefused, UnusableTokenizer
from executor.text.tokenizer import load_tokenizer
from tests.executor.text import tokenizers_under_test as under_test


def test_prompt_and_chat_are_as_transformers_makes_them(tmp_path):
    tokenizer = under_test.byte_level(tmp_path)
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert list(tokenizer.encode("Which bytes?")) == reference("Which bytes?")["input_ids"]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    wanted = reference.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert list(tokenizer.encode_chat(messages)) == wanted


def test_a_chat_without_template_is_refused(tmp_path):
    tokenizer = under_test.llama2(tmp_path)
    with pytest.raises(ChatRefused, match="no chat template"):
        tokenizer.encode_chat([{"role": "user", "content": "Hi"}])


def test_a_template_that_raises_is_refused_with_its_sentence(tmp_path):
    under_test.byte_level(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(ChatRefused, match="roles must alternate"):
        load_tokenizer(tmp_path).encode_chat([{"role": "user", "content": "Hi"}])


def test_a_directory_without_tokenizer_is_named(tmp_path):
    with pytest.raises(UnusableTokenizer, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_a_spoilt_tokenizer_is_named(tmp_path):
    under_test.byte_level(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "model": 7')
    with pytest.raises(UnusableTokenizer, match="cannot be read"):
        load_tokenizer(tmp_path)


def test_bytes_of_single_tokens(tmp_path):
    tokenizer = under_test.byte_level(tmp_path / "bytes")
    tokens = tokenizer.encode("日 x")
    assert b"".join(tokenizer.token_bytes(token) for token in tokens) == "日 x".encode()
    assert tokenizer.end_token is not None
    assert tokenizer.token_bytes(tokenizer.end_token) == b"<|end|>"
    llama2 = under_test.llama2(tmp_path / "pieces")
    assert llama2.token_bytes(under_test.token_id(llama2, "<0xE2>")) == b"\xe2"
    assert llama2.token_bytes(under_test.token_id(llama2, "▁the")) == b" the"
