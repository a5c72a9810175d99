"""Arrays under our names equal transformers' tensors, and a file that lies is refused by tensor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from privinf.errors import ConfigError, ModelError
from privinf.formats.fetch import fetch
from privinf.models.source.checkpoint import load

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

QUERY = "encoder.layer.1.attention.self.query.weight"


def tiny(folder: Path, kind: str, **options: Any) -> Any:
    """A random model of transformers, saved to `folder`."""
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
    family = transformers.MPNetConfig if kind.startswith("MPNet") else transformers.BertConfig
    config = family(**sizes, vocab_size=20, max_position_embeddings=16, **options)
    torch.manual_seed(1)
    model = getattr(transformers, kind)(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)  # biases and gains too, which start at 0 and 1
    model.save_pretrained(folder)
    return model


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    tiny(tmp_path, "BertModel")
    return tmp_path


def change(directory: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    path = directory / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)
    return directory


def refusal(directory: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(directory)
    assert "model.safetensors" in str(caught.value)
    return str(caught.value)


def as_bert(name: str) -> str:
    """What BERT would call a tensor, without a prefix."""
    short = name.removeprefix("bert.").removeprefix("mpnet.")
    for theirs, berts in {
        "attention.attn.q.": "attention.self.query.",
        "attention.attn.k.": "attention.self.key.",
        "attention.attn.v.": "attention.self.value.",
        "attention.attn.o.": "attention.output.dense.",
        "attention.LayerNorm.": "attention.output.LayerNorm.",
    }.items():
        short = short.replace(theirs, berts)
    return short


def expected(state: dict[str, Any], layers: int) -> dict[str, Any]:
    """The naming contract, spelt out once more and independently."""
    names = {
        "embed.token": "embeddings.word_embeddings.weight",
        "embed.position": "embeddings.position_embeddings.weight",
        "embed.type": "embeddings.token_type_embeddings.weight",
        "embed.norm.gain": "embeddings.LayerNorm.weight",
        "embed.norm.bias": "embeddings.LayerNorm.bias",
        "pooler.weight": "pooler.dense.weight",
        "pooler.bias": "pooler.dense.bias",
        "head.weight": "classifier.weight",
        "head.bias": "classifier.bias",
        "relative": "encoder.relative_attention_bias.weight",
    }
    if "classifier.out_proj.bias" in state:
        names |= {f"pooler.{part}": f"classifier.dense.{part}" for part in ("weight", "bias")}
        names |= {f"head.{part}": f"classifier.out_proj.{part}" for part in ("weight", "bias")}
    for i in range(layers):
        theirs = f"encoder.layer.{i}"
        for ours, part in {
            "attn.q": "attention.self.query",
            "attn.k": "attention.self.key",
            "attn.v": "attention.self.value",
            "attn.out": "attention.output.dense",
            "ffn.up": "intermediate.dense",
            "ffn.down": "output.dense",
        }.items():
            names[f"layer{i}.{ours}.weight"] = f"{theirs}.{part}.weight"
            names[f"layer{i}.{ours}.bias"] = f"{theirs}.{part}.bias"
        for ours, part in {"attn.norm": "attention.output.LayerNorm", "ffn.norm": "output.LayerNorm"}.items():
            names[f"layer{i}.{ours}.gain"] = f"{theirs}.{part}.weight"
            names[f"layer{i}.{ours}.bias"] = f"{theirs}.{part}.bias"
    plain = {as_bert(name): value.numpy() for name, value in state.items()}
    turned = {ours: ours.endswith(".weight") for ours in names}
    return {
        ours: plain[theirs].T if turned[ours] else plain[theirs]
        for ours, theirs in names.items()
        if theirs in plain
    }


def check_equal(weights: dict[str, Any], state: dict[str, Any], layers: int) -> None:
    wanted = expected(state, layers)
    assert set(weights) == set(wanted)
    for name, value in weights.items():
        assert value.dtype == np.float32
        assert value.flags.c_contiguous
        np.testing.assert_array_equal(value, wanted[name], err_msg=name)


@pytest.mark.parametrize("kind", ["BertModel", "BertForSequenceClassification"])
def test_tensors_equal_those_of_transformers(tmp_path: Path, kind: str) -> None:
    model = tiny(tmp_path, kind, id2label={0: "a", 1: "b", 2: "c"})
    spec, weights = load(tmp_path)
    check_equal(weights, model.state_dict(), spec.layers)
    assert ("head.weight" in weights) == (kind != "BertModel") == (spec.labels == ("a", "b", "c"))


@pytest.mark.parametrize("kind", ["MPNetModel", "MPNetForSequenceClassification"])
def test_tensors_of_mpnet_equal_those_of_transformers(tmp_path: Path, kind: str) -> None:
    model = tiny(tmp_path, kind, id2label={0: "a", 1: "b", 2: "c"})
    spec, weights = load(tmp_path)
    check_equal(weights, model.state_dict(), spec.layers)
    assert weights["relative"].shape == (32, 2)
    assert weights["embed.position"].shape == (16, 8) == (spec.max_tokens + 2, spec.width)
    assert ("head.weight" in weights) == (kind != "MPNetModel") == (spec.labels == ("a", "b", "c"))


def test_a_language_model_of_mpnet_is_refused_for_its_head(tmp_path: Path) -> None:
    tiny(tmp_path, "MPNetForMaskedLM")
    assert "lm_head" in refusal(tmp_path)


def test_linear_weights_are_input_by_output(directory: Path) -> None:
    _, weights = load(directory)
    assert weights["layer0.ffn.up.weight"].shape == (8, 12)
    assert weights["layer0.ffn.down.weight"].shape == (12, 8)
    assert weights["embed.token"].shape == (20, 8)


@pytest.mark.slow
def test_the_fetched_encoder_equals_transformers() -> None:
    try:
        minilm = fetch("minilm")
    except ConfigError as error:
        pytest.skip(f"minilm cannot be fetched: {error}")
    model = transformers.BertModel.from_pretrained(minilm, local_files_only=True)
    spec, weights = load(minilm)
    check_equal(weights, model.state_dict(), spec.layers)


def test_a_pooler_may_be_absent(tmp_path: Path) -> None:
    tiny(tmp_path, "BertModel")
    _, whole = load(tmp_path)
    _, weights = load(change(tmp_path, lambda t: (t.pop("pooler.dense.weight"), t.pop("pooler.dense.bias"))))
    assert set(whole) - set(weights) == {"pooler.weight", "pooler.bias"}


def test_prefix_and_old_spellings_are_accepted(directory: Path) -> None:
    _, before = load(directory)

    def rename(tensors: dict[str, Any]) -> None:
        for name in list(tensors):
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            )
            tensors[f"bert.{old}"] = tensors.pop(name)

    _, after = load(change(directory, rename))
    assert set(before) == set(after)
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_exactly(tmp_path: Path, dtype: Any) -> None:
    model = tiny(tmp_path, "BertModel").to(dtype)
    model.save_pretrained(tmp_path)
    spec, weights = load(tmp_path)
    check_equal(weights, {name: value.float() for name, value in model.state_dict().items()}, spec.layers)


def test_stored_positions_must_be_in_order(directory: Path) -> None:
    name = "embeddings.position_ids"
    load(change(directory, lambda t: t.update({name: np.arange(16)[None]})))
    assert name in refusal(change(directory, lambda t: t.update({name: np.arange(16)[None, ::-1].copy()})))
    assert name in refusal(change(directory, lambda t: t.update({name: np.arange(15)[None]})))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(directory: Path, bad: float) -> None:
    message = refusal(change(directory, lambda t: t[QUERY].__setitem__((3, 4), bad)))
    assert QUERY in message
    assert "infinite" in message


def test_a_wrong_shape_names_both_shapes(directory: Path) -> None:
    message = refusal(change(directory, lambda t: t.update({QUERY: np.zeros((8, 9), np.float32)})))
    assert QUERY in message
    assert "(8, 9)" in message
    assert "(8, 8)" in message


def test_a_transposed_shape_is_refused(directory: Path) -> None:
    name = "encoder.layer.0.intermediate.dense.weight"
    assert name in refusal(change(directory, lambda t: t.update({name: t[name].T.copy()})))


def test_missing_and_extra_tensors_are_named(directory: Path) -> None:
    assert "'classifier.bias'" in refusal(
        change(directory, lambda t: t.update({"classifier.bias": np.zeros(2)}))
    )
    change(directory, lambda t: t.pop("classifier.bias"))
    assert QUERY in refusal(change(directory, lambda t: t.pop(QUERY)))


def test_a_classifier_needs_its_pooler(tmp_path: Path) -> None:
    tiny(tmp_path, "BertForSequenceClassification")
    assert "pooler.dense.weight" in refusal(change(tmp_path, lambda t: t.pop("bert.pooler.dense.weight")))


def test_one_tensor_under_two_names_is_refused(directory: Path) -> None:
    assert f"bert.{QUERY}" in refusal(change(directory, lambda t: t.update({f"bert.{QUERY}": t[QUERY]})))


def test_other_number_formats_are_refused(directory: Path) -> None:
    message = refusal(change(directory, lambda t: t.update({QUERY: np.zeros((8, 8), np.int8)})))
    assert QUERY in message
    assert "I8" in message


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(directory: Path, kept: int) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert "cut short" in refusal(directory)


def test_a_missing_file_says_what_to_do(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    message = refusal(directory)
    assert "pytorch_model.bin is not read" in message
    assert "save_pretrained" in message
