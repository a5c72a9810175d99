"""Token ids equal transformers', and text that does not fit is refused with its index and a way out."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import tokenizers

import privinf
from privinf.errors import ConfigError, FileError, InputError, ModelError
from privinf.formats.fetch import fetch
from privinf.models.text.tokenizer import Tokenizer, bucket, read_lines

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "whale", "sea", "##s", "!", "a"]
CONFIG = {
    "model_type": "bert",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "vocab_size": len(WORDS),
    "max_position_embeddings": 8,
}
TEXTS = Path(__file__).parents[2] / "data" / "sentences.txt"
SHIPPED = Path(privinf.__file__).parent / "data"
CALIBRATION = Path(str(resources.files("privinf.models.text") / "data" / "calibration.txt"))
AWKWARD = [
    "Ünïcödé naïveté, Ελληνικά, 漢字 and \U0001f40b\u200d!",
    "tab\tand\r\nline breaks\x07",
    "antidisestablishmentarianism" * 8,
    "[CLS] in the text [SEP]",
    "don't, won't; e.g. 3.14 (50%) @home #1 $2 \u2026 \u201cquoted\u201d",
]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A model directory whose tokenizer.json stores padding and truncation."""
    rules = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    rules.normalizer = tokenizers.normalizers.BertNormalizer()
    rules.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    rules.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    rules.enable_truncation(4)
    rules.enable_padding(length=6)
    rules.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


@pytest.fixture
def tokenizer(directory: Path) -> Tokenizer:
    return Tokenizer(directory)


def test_stored_padding_and_truncation_are_ignored(tokenizer: Tokenizer) -> None:
    short, longer = tokenizer.encode(["Whales!", "the whale a sea a"])
    assert short.tolist() == [2, 5, 7, 8, 3]
    assert longer.tolist() == [2, 4, 5, 9, 6, 9, 3]
    assert short.dtype == np.int32


def test_a_text_of_just_the_right_length_passes(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode(["sea " * 6])[0]) == 8


def test_too_long_a_text_names_index_count_and_remedy(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match=r"text 1 has 9 tokens and the model takes 8.*truncate=True"):
        tokenizer.encode(["sea", "sea " * 7])


def test_truncation_keeps_the_special_tokens(tokenizer: Tokenizer) -> None:
    text = "the whale a sea a whale the"
    assert tokenizer.encode([text], truncate=True)[0].tolist() == [2, 4, 5, 9, 6, 9, 5, 3]
    assert tokenizer.encode(["sea"], truncate=True)[0].tolist() == [2, 6, 3]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("", "empty"),
        (" \t\n\u2003", "white space"),
        (None, "NoneType"),
        (b"sea", "bytes"),
        (3, "int"),
        ("a\ud800", "surrogate"),
        ("\x00", "no character"),
    ],
)
@pytest.mark.parametrize("truncate", [False, True])
def test_text_that_is_none_is_refused_by_index(
    tokenizer: Tokenizer, bad: str, said: str, truncate: bool
) -> None:
    with pytest.raises(InputError, match=rf"text 2 .*{said}"):
        tokenizer.encode(["sea", "sea", bad], truncate=truncate)


def test_errors_do_not_repeat_the_text(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError) as caught:
        tokenizer.encode(["whale " * 20])
    assert "whale" not in str(caught.value)


def test_one_text_is_no_list_of_letters(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="list of texts"):
        tokenizer.encode("the sea")
    assert tokenizer.encode([]) == []


def test_a_token_beyond_the_table_is_refused(directory: Path) -> None:
    rules = json.loads((directory / "tokenizer.json").read_text("utf-8"))
    rules["model"]["vocab"]["a"] = 30  # ten entries still
    (directory / "tokenizer.json").write_text(json.dumps(rules))
    with pytest.raises(ModelError, match="knows 31 tokens, the model 10"):
        Tokenizer(directory)


def test_a_tokenizer_of_another_model_is_refused(directory: Path) -> None:
    (directory / "config.json").write_text(json.dumps(CONFIG | {"vocab_size": 9}))
    with pytest.raises(ModelError, match="knows 10 tokens, the model 9"):
        Tokenizer(directory)


def test_a_missing_or_broken_tokenizer_is_named(directory: Path) -> None:
    (directory / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer\.json is not a tokenizer"):
        Tokenizer(directory)
    (directory / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing"):
        Tokenizer(directory)


@pytest.mark.parametrize(
    ("tokens", "size"),
    [(1, 8), (8, 8), (9, 16), (16, 16), (17, 24), (65, 96), (256, 256), (257, 384), (512, 512)],
)
def test_buckets(tokens: int, size: int) -> None:
    assert bucket(tokens) == size


@pytest.mark.parametrize("tokens", [-1, 0, 513])
def test_no_bucket_fits(tokens: int) -> None:
    with pytest.raises(InputError, match=f"{tokens} tokens fit no length bucket"):
        bucket(tokens)


@pytest.mark.parametrize(
    "content", [b"one\ntwo\n", b"one\ntwo", b"one\r\ntwo\r\n", b"\xef\xbb\xbfone\ntwo\n"]
)
def test_lines_of_a_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.txt").write_bytes(content)
    assert read_lines(tmp_path / "in.txt") == ["one", "two"]


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one\u2028more\x0bmore\n", encoding="utf-8")
    assert read_lines(str(tmp_path / "in.txt")) == ["one\u2028more\x0bmore"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"one\n\nthree\n", ": line 2 is blank"),
        (b"one\n \t\n", ": line 2 is blank"),
        (b"\none\n\n \nfive\n", r": lines 1, 3, 4 are blank"),
        (b"\n" * 30, r"19, 20 and 10 more are blank"),
        (b"one\ntw\xff\n", "line 2, byte 3 is not UTF-8"),
        ("é\n".encode("latin-1"), "line 1, byte 1 is not UTF-8"),
        ("one\n".encode("utf-16"), "line 1, byte 1 is not UTF-8"),
        (b"cut \xc3", "line 1, byte 5 is not UTF-8"),
    ],
)
def test_other_files_name_line_and_byte(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "in.txt").write_bytes(content)
    with pytest.raises(InputError, match=rf"in\.txt.*{said}"):
        read_lines(tmp_path / "in.txt")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read"):
        read_lines(tmp_path / "nowhere.txt")
    with pytest.raises(FileError, match="cannot be read"):
        read_lines(tmp_path)


@pytest.fixture(scope="module")
def minilm() -> Path:
    try:
        return fetch("minilm")
    except ConfigError as error:
        pytest.skip(f"minilm cannot be fetched: {error}")


def test_ids_equal_those_of_transformers(minilm: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(minilm, local_files_only=True)
    texts = [*read_lines(TEXTS), *AWKWARD]
    for text, ids in zip(texts, Tokenizer(minilm).encode(texts, special_tokens=True), strict=True):
        assert ids.tolist() == theirs(text)["input_ids"], text


def test_truncation_equals_that_of_transformers(minilm: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(minilm, local_files_only=True)
    text = "There she blows! " * 200
    wanted = theirs(text, truncation=True, max_length=256)["input_ids"]
    assert Tokenizer(minilm).encode([text], truncate=True)[0].tolist() == wanted


def test_shipped_texts_cover_the_lengths_they_claim(minilm: Path) -> None:
    tokenizer = Tokenizer(minilm)
    calibration, sentences = read_lines(CALIBRATION), read_lines(TEXTS)
    for texts, count in ((calibration, 201), (sentences, 200)):
        lengths = {len(ids) for ids in tokenizer.encode(texts)}
        assert len(texts) == len(set(texts)) == count
        assert {3, 8, 9, 16, 17, 32, 33, 64, 65, 128} <= lengths
        assert max(lengths) == 128
    assert not set(calibration) & set(sentences)


def test_demo_sentences_are_short() -> None:
    demo = read_lines(SHIPPED / "demo.txt")
    assert len(demo) == len(set(demo)) == 24
    assert all(5 <= len(line.split()) <= 28 for line in demo)
