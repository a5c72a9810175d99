"""Converted GGUF files equal what transformers reads in them; files that lie are refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("gguf")

import gguf
import transformers
from converting import (
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

from privinf.errors import MissingExtra, ModelError
from privinf.formats.convert import convert
from privinf.models.source.checkpoint import load
from privinf.models.spec import Generator

PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
ADDED = "<think>"
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def byte_vocabulary() -> tuple[list[str], list[str]]:
    """Special tokens, the 256 bytes, merges learnt from nothing but the texts here."""
    rules = Tokenizer(models.BPE())
    cuts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    rules.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    rules.train_from_iterator(TEXTS * 9, trainer)
    model = json.loads(rules.to_str())["model"]
    ordered = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return [*SPECIALS, ADDED, *ordered], [" ".join(pair) for pair in model["merges"]]


TOKENS, MERGES = byte_vocabulary()


def settings(writer: Any, config: Any) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)


def byte_tokenizer(writer: Any) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * len(SPECIALS) + [4] + [1] * (len(TOKENS) - len(SPECIALS) - 1))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_eot_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def quantised(values: Values, kind: Any, rng: np.random.Generator) -> npt.NDArray[Any]:
    """The values in a format, or where the library only reads the format, any valid blocks of it."""
    if kind.name in ("F32", "F16"):
        return values.astype(np.float32 if kind.name == "F32" else np.float16)
    if not kind.name.endswith("_K"):
        return np.asarray(gguf.quants.quantize(values, kind))
    block, size = gguf.GGML_QUANT_SIZES[kind]
    rows = rng.integers(0, 256, (len(values), values.shape[1] // block, size), np.uint8)
    scales = rng.uniform(1e-3, 1e-2, (*rows.shape[:2], 2)).astype(np.float16).view(np.uint8)
    if kind.name == "Q6_K":  # one scale at the end, where the others have two at the start
        rows[..., -2:] = scales[..., :2]
    else:
        rows[..., :4] = scales
    return rows.reshape(len(values), -1)


def write_gguf(
    path: Path,
    model: Any,
    kind: str = "F32",
    *,
    tokenizer: Callable[[Any], None] = byte_tokenizer,
    tensors: Mapping[str, Values | None] | None = None,
    architecture: str = "llama",
    change: Callable[[Any], object] = lambda writer: None,
) -> Path:
    """A model of transformers in GGUF; `tensors` replaces some by others, or by none."""
    writer, config = gguf.GGUFWriter(path, architecture), model.config
    settings(writer, config)
    tokenizer(writer)
    change(writer)
    rng, stored = np.random.default_rng(1), dict[str, Values | None]()
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for name, value in model.state_dict().items():
        theirs = name.removesuffix(".weight")
        for part, short in PARTS.items():
            if theirs.endswith(part) and not (short == "output" and config.tie_word_embeddings):
                rows = neighbours(value.numpy(), heads[short]) if short in heads else value.numpy()
                layer = f"blk.{theirs.split('.')[2]}." if "layers" in theirs else ""
                stored[f"{layer}{short}.weight"] = rows
    stored.update(tensors or {})
    for name, rows in stored.items():
        if rows is not None:
            dtype = gguf.GGMLQuantizationType[kind if rows.ndim == 2 else "F32"]
            writer.add_tensor(name, quantised(rows, dtype, rng), raw_dtype=dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tiny_llama(**options: Any) -> Any:
    return random_llama(vocab_size=len(TOKENS), **options)


@pytest.mark.parametrize("tied", [False, True])
def test_gguf_computes_the_same(tmp_path: Path, tied: bool) -> None:
    model = tiny_llama(
        tie_word_embeddings=tied, rope_parameters={"rope_type": "default", "rope_theta": 500.0}
    )
    out = convert(write_gguf(tmp_path / "m.gguf", model), tmp_path / "out")
    np.testing.assert_array_equal(logits(out), run(model))
    spec, _ = load(out)
    assert spec.generator == Generator(tied, 1, (2, 0))
    assert (spec.eps, spec.rotary and spec.rotary.theta) == (1e-5, 500.0)


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(
    "kind", ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
)
def test_gguf_weights_are_those_that_transformers_reads(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("accelerate")
    model = tiny_llama(hidden_size=256, intermediate_size=256, num_hidden_layers=1)
    out = convert(write_gguf(tmp_path / "m.gguf", model, kind), tmp_path / "out")
    check_weights(out, tmp_path, "m.gguf")


def test_gguf_tokens_are_those_that_transformers_reads(tmp_path: Path) -> None:
    out = convert(write_gguf(tmp_path / "m.gguf", tiny_llama()), tmp_path / "out")
    ours = Tokenizer.from_file(str(out / "tokenizer.json"))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file="m.gguf")
    loaded = transformers.AutoTokenizer.from_pretrained(out)
    for text in [*TEXTS, f"{SPECIALS[1]}user\nhi{SPECIALS[2]}{ADDED} so"]:
        ids = ours.encode(text).ids
        assert ids == loaded(text)["input_ids"] == theirs(text)["input_ids"]
        assert ours.decode(ids, skip_special_tokens=False) == text
    assert ours.decode([1, 2, *ours.encode("a").ids]) == "a"
    about = json.loads((out / "tokenizer_config.json").read_text())
    assert about["chat_template"] == TEMPLATE
    assert (about["bos_token"], about["eos_token"], about["unk_token"]) == (
        SPECIALS[1],
        SPECIALS[2],
        SPECIALS[0],
    )
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == [2, 0]


def test_digits_are_cut_off_before_all_else(tmp_path: Path) -> None:
    """As in SmolLM2 itself; transformers, reading GGUF, splits off one of the spaces that precede a digit."""
    out = convert(write_gguf(tmp_path / "m.gguf", tiny_llama()), tmp_path / "out")
    rules = Tokenizer.from_file(str(out / "tokenizer.json"))
    assert rules.encode("x   12").tokens == [*rules.encode("x   ").tokens, "1", "2"]


def test_a_text_begins_with_the_token_that_gguf_asks_for(tmp_path: Path) -> None:
    def tokenizer(writer: Any) -> None:
        byte_tokenizer(writer)
        writer.kv_data[0]["tokenizer.ggml.add_bos_token"].value = True

    out = convert(write_gguf(tmp_path / "m.gguf", tiny_llama(), tokenizer=tokenizer), tmp_path / "out")
    assert Tokenizer.from_file(str(out / "tokenizer.json")).encode("a").ids[0] == 1


def test_sentencepiece_in_gguf(tmp_path: Path) -> None:
    vocab = [
        ("<s>" if i == 1 else "</s>" if i == 2 else piece, score) for i, (piece, score) in enumerate(pieces())
    ]

    def tokenizer(writer: Any) -> None:
        writer.add_tokenizer_model("llama")
        writer.add_token_list([piece.replace(" ", "▁") for piece, _ in vocab])
        writer.add_token_scores([score for _, score in vocab])
        writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * (len(vocab) - 259))
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)

    model = random_llama(vocab_size=len(vocab))
    out = convert(write_gguf(tmp_path / "m.gguf", model, tokenizer=tokenizer), tmp_path / "out")
    rules = Tokenizer.from_file(str(out / "tokenizer.json"))
    assert [rules.encode(text).ids for text in TEXTS] == [greedy(text, vocab) for text in TEXTS]
    assert [rules.decode(rules.encode(text).ids) for text in TEXTS] == TEXTS


@pytest.mark.parametrize("part", [0.0, 1e-5, 0.001, 0.01, 0.1, 0.2, 0.5, 0.9, 0.9999])
def test_a_gguf_file_cut_short_is_refused(tmp_path: Path, part: float) -> None:
    source = write_gguf(tmp_path / "m.gguf", tiny_llama())
    data = source.read_bytes()
    source.write_bytes(data[: 4 + int(part * len(data))])
    assert "cut short" in refusal(source)


@pytest.mark.slow
def test_a_gguf_file_with_a_wrong_byte_is_refused_or_another_model(tmp_path: Path) -> None:
    source = write_gguf(tmp_path / "m.gguf", tiny_llama())
    data, rng = source.read_bytes(), random.Random(1)
    for number in range(60):
        at = rng.randrange(4, 4000)
        source.write_bytes(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :])
        with suppress(ModelError):
            convert(source, tmp_path / f"out{number}")


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "other architecture": ({"architecture": "qwen2"}, "'llama'"),
    "scaled positions": (
        {"change": lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.YARN)},
        "rope.scaling.type",
    ),
    "experts": ({"change": lambda w: w.add_expert_count(4)}, "expert_count"),
    "unknown key": ({"change": lambda w: w.add_sliding_window(4)}, "sliding_window"),
    "wide values": ({"change": lambda w: w.add_value_length(16)}, "heads of width 8"),
    "missing tensor": ({"tensors": {"blk.1.ffn_up.weight": None}}, "blk.1.ffn_up.weight"),
    "extra tensor": ({"tensors": {"rope_freqs.weight": np.ones(4, np.float32)}}, "rope_freqs.weight"),
    "wrong shape": ({"tensors": {"output_norm.weight": np.ones(31, np.float32)}}, "(31,)"),
    "other cuts": ({"tokenizer": lambda w: (byte_tokenizer(w), set_value(w, "pre", "qwen2"))}, "'qwen2'"),
    "other model": ({"tokenizer": lambda w: (byte_tokenizer(w), set_value(w, "model", "t5"))}, "'t5'"),
    "a closed prompt": ({"change": lambda w: w.add_add_eos_token(True)}, "add_eos_token"),
    "few types": ({"tokenizer": lambda w: (byte_tokenizer(w), set_value(w, "token_type", [1]))}, "1 entries"),
    "no merges": ({"tokenizer": lambda w: (byte_tokenizer(w), set_value(w, "merges", ["zz zz"]))}, "'zz zz'"),
    "far token": ({"tokenizer": lambda w: (byte_tokenizer(w), set_value(w, "eos_token_id", 999))}, "999"),
}


def set_value(writer: Any, name: str, value: Any) -> None:
    writer.kv_data[0][f"tokenizer.ggml.{name}"].value = value


@pytest.mark.fast_cases(8)
@pytest.mark.parametrize("name", LIES)
def test_what_a_gguf_file_cannot_mean_is_named(tmp_path: Path, name: str) -> None:
    options, named = LIES[name]
    assert named in refusal(write_gguf(tmp_path / "m.gguf", tiny_llama(), **options))


def test_other_formats_of_weights_are_refused(tmp_path: Path) -> None:
    model = tiny_llama(hidden_size=256, intermediate_size=256)
    message = refusal(write_gguf(tmp_path / "m.gguf", model, "Q2_K"))
    assert "stored as Q2_K" in message
    assert "Q4_K" in message


def test_a_vocabulary_of_another_size_is_refused(tmp_path: Path) -> None:
    assert "tokens" in refusal(write_gguf(tmp_path / "m.gguf", random_llama(vocab_size=64)))


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_gguf(tmp_path / "m.gguf", tiny_llama())
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r'pip install "privinf\[convert\]"'):
        convert(source, tmp_path / "out")
