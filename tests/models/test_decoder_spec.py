"""What config.json and generation_config.json of a decoder may say, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import specs

from privinf.errors import ConfigError, ModelError
from privinf.formats.fetch import fetch
from privinf.models.families import FAMILIES
from privinf.models.parts import biased
from privinf.models.source.checkpoint import read_spec
from privinf.models.spec import Generator

GPT2: dict[str, Any] = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "n_layer": 2,
    "n_embd": 8,
    "n_head": 2,
    "n_inner": None,
    "n_positions": 16,
    "vocab_size": 20,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "bos_token_id": 3,
    "eos_token_id": 4,
}
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
    "vocab_size": 20,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
    "tie_word_embeddings": False,
    "bos_token_id": 3,
    "eos_token_id": [4, 5],
}
CONFIGS = {"gpt2": GPT2, "llama": LLAMA}
GPT2_SPEC = specs.gpt2(2, 8, 2, 32, 20, 16, Generator(True, 3, (4,)))
LLAMA_SPEC = specs.llama(2, 8, (4, 2, 6), 12, 20, 16, Generator(False, 3, (4, 5)), 500.0)


def write(folder: Path, config: dict[str, Any], **changed: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(config | changed))
    return folder


def without(config: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_spec(folder)
    return str(caught.value)


def test_the_fields_of_both_families(tmp_path: Path) -> None:
    assert read_spec(write(tmp_path, GPT2)) == GPT2_SPEC
    assert read_spec(str(write(tmp_path, LLAMA))) == LLAMA_SPEC
    assert (GPT2_SPEC.gated, biased(GPT2_SPEC, "qkv"), biased(GPT2_SPEC, "head")) == (False, True, True)
    assert (LLAMA_SPEC.gated, biased(LLAMA_SPEC, "qkv"), biased(LLAMA_SPEC, "head")) == (True, False, False)


def test_defaults_are_those_of_transformers(tmp_path: Path) -> None:
    short = without(GPT2, "n_inner", "activation_function", "layer_norm_epsilon", "architectures")
    assert read_spec(write(tmp_path, short)) == GPT2_SPEC
    short = without(
        LLAMA,
        "num_key_value_heads",
        "head_dim",
        "hidden_act",
        "rms_norm_eps",
        "rope_parameters",
        "tie_word_embeddings",
    )
    spec = read_spec(write(tmp_path, short))
    assert (spec.kv_heads, spec.head_width, spec.blocks[0].activation, spec.eps) == (4, 2, "silu", 1e-6)
    assert (spec.rotary and spec.rotary.theta, spec.generator.tied) == (10000.0, False)


def test_sizes_that_may_be_null(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path, LLAMA, num_key_value_heads=None, head_dim=None))
    assert (spec.kv_heads, spec.head_width) == (4, 2)
    assert read_spec(write(tmp_path, GPT2, n_inner=7)).ffn == 7


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_harmless_keys_change_nothing(tmp_path: Path, family: str) -> None:
    keys = FAMILIES[family].keys
    fixed = {key: accepted[0] for key, accepted in keys.fixed.items()}
    plain = read_spec(write(tmp_path, CONFIGS[family]))
    changed = dict.fromkeys(keys.harmless, 1)
    assert read_spec(write(tmp_path, CONFIGS[family] | changed, **fixed)) == plain


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_theta": 500.0},
        {"rope_theta": 500, "rope_scaling": None},
        {"rope_theta": 500.0, "rope_scaling": {"type": "default"}},
        {"rope_theta": 500.0, "rope_parameters": {"rope_type": "default"}},
        {"rope_parameters": {"rope_theta": 500.0}},
        {"rope_scaling": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 1.0}},
    ],
)
def test_both_spellings_of_rotary_positions(tmp_path: Path, rope: dict[str, Any]) -> None:
    assert read_spec(write(tmp_path, without(LLAMA, "rope_parameters"), **rope)) == LLAMA_SPEC


@pytest.mark.parametrize(
    ("rope", "named"),
    [
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope_scaling"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "'default'"),
        ({"rope_scaling": {"type": "dynamic"}}, "dynamic"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 5.0}}, "yarn"),
        ({"rope_parameters": {"rope_type": "default", "factor": 2.0}}, "factor"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "full_attention"),
        (
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
            "partial_rotary_factor",
        ),
        ({"rope_parameters": []}, "rope_parameters"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"rope_theta": 600.0}, "different bases"),
        ({"rope_parameters": {"rope_theta": "500"}}, "rope_theta"),
        ({"rope_parameters": {"rope_theta": 0}}, "rope_theta"),
        ({"rope_parameters": None, "rope_theta": True}, "rope_theta"),
    ],
)
def test_other_rotary_positions_are_refused(tmp_path: Path, rope: dict[str, Any], named: str) -> None:
    assert named in refusal(write(tmp_path, LLAMA, **rope))


@pytest.mark.fast_cases(12)
@pytest.mark.parametrize(
    ("family", "key", "value", "accepted"),
    [
        ("gpt2", "model_type", "gptj", "'gpt2'"),
        ("gpt2", "model_type", ["gpt2"], "'gpt2'"),
        ("gpt2", "architectures", ["GPT2Model"], "GPT2LMHeadModel"),
        ("gpt2", "scale_attn_weights", False, "True"),
        ("gpt2", "scale_attn_by_inverse_layer_idx", True, "False"),
        ("gpt2", "reorder_and_upcast_attn", True, "False"),
        ("gpt2", "add_cross_attention", True, "False"),
        ("gpt2", "activation_function", "swish_glu", "gelu_new"),
        ("gpt2", "n_head", 3, "multiple"),
        ("gpt2", "n_inner", 0, "positive integer"),
        ("gpt2", "n_positions", None, "positive integer"),
        ("gpt2", "layer_norm_epsilon", 0, "between 0 and 1"),
        ("gpt2", "tie_word_embeddings", "yes", "true or false"),
        ("gpt2", "eos_token_id", "4", "token id"),
        ("gpt2", "bos_token_id", True, "token id"),
        ("gpt2", "rope_theta", 10000.0, "GPT2Config"),
        ("gpt2", "quantization_config", {}, "GPT2Config"),
        ("llama", "architectures", ["MistralForCausalLM"], "LlamaForCausalLM"),
        ("llama", "attention_bias", True, "False"),
        ("llama", "mlp_bias", True, "False"),
        ("llama", "pretraining_tp", 2, "1"),
        ("llama", "sliding_window", 4096, "None"),
        ("llama", "rope_interleaved", True, "False"),
        ("llama", "head_dim", 5, "odd"),
        ("llama", "num_key_value_heads", 3, "multiple"),
        ("llama", "hidden_act", "swish_glu", "silu"),
        ("llama", "rms_norm_eps", "1e-5", "between 0 and 1"),
        ("llama", "n_layer", 2, "LlamaConfig"),
        ("llama", "no_rope_layers", [0], "LlamaConfig"),
    ],
)
def test_other_values_are_refused_by_name(
    tmp_path: Path, family: str, key: str, value: Any, accepted: str
) -> None:
    message = refusal(write(tmp_path, CONFIGS[family], **{key: value}))
    assert key in message
    assert accepted in message
    assert "config.json" in message


def test_heads_that_do_not_divide_the_width_need_their_own(tmp_path: Path) -> None:
    assert read_spec(write(tmp_path, LLAMA, num_attention_heads=6)).head_width == 6
    assert "multiple" in refusal(write(tmp_path, without(LLAMA, "head_dim"), num_attention_heads=6))


@pytest.mark.parametrize(
    ("generation", "ends"),
    [
        (None, (4, 5)),
        ({}, (4, 5)),
        ({"eos_token_id": None}, (4, 5)),
        ({"eos_token_id": 6}, (6,)),
        ({"eos_token_id": [7, 8]}, (7, 8)),
    ],
)
def test_generation_says_last_what_ends_a_text(
    tmp_path: Path, generation: Any, ends: tuple[int, ...]
) -> None:
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    assert read_spec(write(tmp_path, LLAMA)).generator.eos == ends


def test_a_generation_config_that_lies_is_named(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [[1]]}))
    assert "generation_config.json" in refusal(write(tmp_path, LLAMA))
    (tmp_path / "generation_config.json").write_text("[]")
    assert "generation_config.json" in refusal(write(tmp_path, LLAMA))


def test_special_tokens_outside_the_vocabulary_never_occur(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path, without(GPT2, "bos_token_id", "eos_token_id")))
    assert (spec.generator.bos, spec.generator.eos) == (None, ())  # transformers takes 50256 for both


@pytest.mark.parametrize("key", ["n_embd", "n_layer", "n_head", "n_positions", "vocab_size", "model_type"])
def test_a_missing_size_is_named(tmp_path: Path, key: str) -> None:
    assert key in refusal(write(tmp_path, without(GPT2, key)))


def test_the_kind_of_a_model(tmp_path: Path) -> None:
    assert read_spec(write(tmp_path, GPT2)).task == "generate"
    assert read_spec(write(tmp_path, LLAMA)).task == "generate"
    for given in ("t5", None, ["bert"]):
        with pytest.raises(ModelError, match=", ".join(map(repr, FAMILIES.names()))):
            read_spec(write(tmp_path, {"model_type": given}))


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("tinystories", ("llama", 6, 288, 6, 6, 48, 768, 32000, 256, 10000.0, (2,))),
        pytest.param(
            "smollm2",
            ("llama", 30, 576, 9, 3, 64, 1536, 49152, 8192, 100000.0, (2,)),
            marks=pytest.mark.slow,
        ),
        ("mgm", ("gpt2", 8, 256, 8, 8, 32, 1024, 9669, 512, 0.0, (3,))),
    ],
)
def test_the_fetched_decoders(name: str, sizes: tuple[Any, ...]) -> None:
    try:
        spec = read_spec(fetch(name))
    except ConfigError as error:
        pytest.skip(f"{name} cannot be fetched: {error}")
    found = (spec.family, spec.layers, spec.width, spec.heads, spec.kv_heads, spec.head_width, spec.ffn)
    assert (
        *found,
        spec.vocab,
        spec.max_tokens,
        spec.rotary.theta if spec.rotary else 0.0,
        spec.generator.eos,
    ) == sizes
    assert (spec.generator.tied, spec.eps) == (True, 1e-5)


@pytest.mark.parametrize(
    ("key", "value", "fine"),
    [
        ("n_special", 0, True),
        ("predict_special_tokens", True, True),
        ("num_beams", 1, True),
        ("bad_words_ids", None, True),
        ("no_repeat_ngram_size", 0, True),
        ("bad_words_ids", [[3]], False),
        ("suppress_tokens", [1], False),
        ("no_repeat_ngram_size", 2, False),
    ],
)
def test_what_old_versions_wrote(tmp_path: Path, key: str, value: Any, fine: bool) -> None:
    written = write(tmp_path, GPT2, **{key: value})
    if fine:
        assert read_spec(written).family == "gpt2"
        return
    with pytest.raises(ModelError, match=key):
        read_spec(written)
