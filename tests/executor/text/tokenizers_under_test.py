"""Small tokenizers, one for each manner of decoding, each with a special and an ordinary added token."""

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from executor.text.tokenizer import Tokenizer as OurTokenizer
from executor.text.tokenizer import load_tokenizer
from tests.checkpoints import make_tokenizer

WORDS = ("▁the", "▁a", "▁", "▁▁", "ing", "n't", ".", "▁,", "a", "b", "▁b", "ß", "▁Über", "日", "�")


def byte_level(directory: Path) -> OurTokenizer:
    """As GPT-2, Llama 3, Qwen and GPT-NeoX have it."""
    front = make_tokenizer(directory)
    front.add_tokens([AddedToken("<ordinary added>", special=False)])
    front.save_pretrained(directory)
    return load_tokenizer(directory)


def _sentencepiece(directory: Path, decoder: object) -> OurTokenizer:
    vocabulary = {name: index for index, name in enumerate(("<unk>", "<s>", "</s>", *WORDS))}
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoder
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    front = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", bos_token="<s>")
    front.add_tokens([AddedToken("<added>", special=False)])
    front.save_pretrained(directory)
    return load_tokenizer(directory)


def llama2(directory: Path) -> OurTokenizer:
    """As Llama 2, Mistral and Phi-3 have it."""
    chain = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    return _sentencepiece(directory, decoders.Sequence(chain))


def gemma(directory: Path) -> OurTokenizer:
    """As Gemma has it: the leading space stays."""
    return _sentencepiece(
        directory, decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    )


def metaspace(directory: Path) -> OurTokenizer:
    """As XGLM has it."""
    return _sentencepiece(directory, decoders.Metaspace())


def word_piece(directory: Path) -> OurTokenizer:
    """As BERT has it."""
    vocabulary = {
        name: index for index, name in enumerate(("[UNK]", "[SEP]", "the", "a", "##ing", "##s", ".", ",", "'"))
    }
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(["[UNK]", "[SEP]"])
    front = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="[SEP]", clean_up_tokenization_spaces=False)
    front.save_pretrained(directory)
    return load_tokenizer(directory)


def bpe_suffix(directory: Path) -> OurTokenizer:
    """As CLIP's and GPT-1's vocabularies have it: the last token is decoded otherwise."""
    vocabulary = {name: index for index, name in enumerate(("</end>", "the</w>", "a</w>", "a", "b", "ing</w>"))}
    backend = Tokenizer(models.BPE(vocabulary, [], end_of_word_suffix="</w>"))
    backend.decoder = decoders.BPEDecoder("</w>")
    front = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</end>", clean_up_tokenization_spaces=False)
    front.save_pretrained(directory)
    return load_tokenizer(directory)


MAKERS = (byte_level, llama2, gemma, metaspace, word_piece, bpe_suffix)


def token_id(tokenizer: OurTokenizer, name: str) -> int:
    """Give the id of a token of the vocabulary by its name."""
    return tokenizer._backend.token_to_id(name)
