"""Conversions of every family and level: what the key undoes is what the plain model answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from answers import (
    TIGHT,
    close,
    embedded,
    error_of,
    greedy,
    headed,
    ids_of,
    local,
    patches_of,
    pixels,
    pixels_of,
    placed,
    said,
)
from safetensors.numpy import load_file, save_file
from tiny_models import DECODERS, KINDS, LABELS, Kind, load, write_model

from privinf.equivariant.covering.convert import Converted, Noise, convert
from privinf.equivariant.key import Key

Plain = Callable[[Kind], Path]
Made = Callable[[Kind, str], Converted]
EXACT = ("tokens", "cover")


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("level", EXACT)
@pytest.mark.parametrize("kind", DECODERS)
def test_a_decoder_answers_as_the_plain_one(
    plain_model: Plain, converted: Made, kind: Kind, level: str
) -> None:
    made, ids = converted(kind, level), ids_of(kind)
    tokens = Key.load(made.client).tokens
    assert tokens is not None
    plain, ours = said(load(plain_model(kind)), ids), said(load(made.server), tokens[ids])
    assert close(ours[:, :, tokens], plain)


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("level", EXACT)
@pytest.mark.parametrize("kind", DECODERS)
def test_greedy_tokens_are_the_plain_models(
    plain_model: Plain, converted: Made, kind: Kind, level: str
) -> None:
    made, prompt = converted(kind, level), ids_of(kind, rows=4, columns=7)
    tokens = Key.load(made.client).tokens
    assert tokens is not None
    plain = greedy(load(plain_model(kind)), prompt)
    assert len(np.unique(plain[:, 7:])) > 4
    assert np.array_equal(greedy(load(made.server), tokens[prompt]), tokens[plain])


@pytest.mark.parametrize("level", EXACT)
def test_hidden_rows_of_an_encoder_come_back(plain_model: Plain, converted: Made, level: str) -> None:
    made, ids = converted("bert", level), ids_of("bert")
    key = Key.load(made.client)
    assert key.tokens is not None
    plain, ours = load(plain_model("bert")), load(made.server)
    for part in ("last_hidden_state", "pooler_output"):
        rows = said(ours, key.tokens[ids], part)
        assert close(rows if key.answer is None else rows @ key.answer, said(plain, ids, part))


@pytest.mark.parametrize("level", EXACT)
def test_a_classifier_answers_as_the_plain_one(plain_model: Plain, converted: Made, level: str) -> None:
    made, ids = converted("bert-classifier", level), ids_of("bert-classifier")
    key = Key.load(made.client)
    assert key.tokens is not None
    assert key.labels is not None
    plain, ours = said(load(plain_model("bert-classifier")), ids), said(load(made.server), key.tokens[ids])
    assert close(ours @ key.labels, plain)
    assert key.about.labels == LABELS


@pytest.mark.parametrize("level", EXACT)
def test_images_are_classified_as_by_the_plain_model(plain_model: Plain, converted: Made, level: str) -> None:
    made = converted("vit", level)
    key, patches = Key.load(made.client), patches_of(pixels())
    assert key.labels is not None
    plain = said(load(plain_model("vit")), pixels())
    sent = pixels_of(placed(patches if key.patches is None else patches @ key.patches, key.places))
    assert close(said(load(made.server), sent) @ key.labels, plain)
    assert (level == "tokens") == np.array_equal(sent, pixels())


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("variant", ["0000", "0001"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "bert-classifier"])
def test_in_sessions_the_clients_part_and_the_servers_make_the_plain_model(
    plain_model: Plain, converted: Made, kind: Kind, variant: str
) -> None:
    made = converted(kind, "session")
    key, own = Key.load(made.client / "variants" / variant), local(made.client)
    model = load(made.server / "variants" / variant)
    assert key.hidden is not None
    assert key.answer is not None
    if kind == "vit":
        rows = patches_of(pixels()) @ own["embed.patch.weight"] + own["embed.patch.bias"]
        sent = placed((rows + own["embed.position"][1:]) @ key.hidden, key.places)
        answer = said(model, sent.transpose(0, 2, 1)[:, :, None], "last_hidden_state")[:, 0] @ key.answer
        wanted = said(load(plain_model(kind)), pixels())
    else:
        ids = ids_of(kind)
        rows = torch.from_numpy(embedded(own, ids) @ key.hidden).float()
        run = model.encoder(rows) if kind == "bert" else model(inputs_embeds=rows)
        answer = run.last_hidden_state.double().numpy() @ key.answer
        part = "last_hidden_state" if kind == "bert" else "logits"
        wanted = said(load(plain_model(kind)), ids, part)
    assert close(answer if kind == "bert" else headed(own, answer), wanted)


def test_sessions_of_a_classifier_leave_pooler_and_head_with_the_client(
    plain_model: Plain, converted: Made
) -> None:
    made, ids = converted("bert-classifier", "session"), ids_of("bert-classifier")
    key, own = Key.load(made.client / "variants/0001"), local(made.client)
    assert key.hidden is not None
    assert key.answer is not None
    rows = torch.from_numpy(embedded(own, ids) @ key.hidden).float()
    first = load(made.server / "variants/0001").encoder(rows).last_hidden_state[:, 0]
    pooled = np.tanh(first.double().numpy() @ key.answer @ own["pooler.weight"] + own["pooler.bias"])
    assert close(headed(own, pooled), said(load(plain_model("bert-classifier")), ids))


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("kind", ["bert", "bert-classifier", "gpt2", "vit"])
def test_square_covers_lose_nothing_but_to_noise(plain_model: Plain, tmp_path: Path, kind: Kind) -> None:
    """Families with LayerNorm keep exact covers at the level `noise`."""
    errors = []
    for alpha in (0.0, 0.01, 0.3):
        made = convert(plain_model(kind), tmp_path / str(alpha), "noise", noise=Noise(alpha, alpha))
        errors.append(error_of(kind, plain_model(kind), made))
    assert errors[0] < TIGHT < errors[1] < errors[2]


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("kind", ["llama", "llama-untied", "llama-groups"])
def test_key_matrices_cost_less_the_less_they_mix(plain_model: Plain, tmp_path: Path, kind: Kind) -> None:
    """Norms divide by the length of a row that is longer by a factor which mixing blurs."""
    errors = []
    for mixing in (0.0, 0.02, 0.4):
        noise = Noise(0.0, 0.0, padding=6, mixing=mixing)
        made = convert(plain_model(kind), tmp_path / str(mixing), "noise", noise=noise)
        errors.append(error_of(kind, plain_model(kind), made))
    assert made.about.server_width > made.about.width
    assert errors[0] < TIGHT < errors[1] < errors[2]


@pytest.mark.fast_cases(3)
@pytest.mark.parametrize("activation", ["relu", "gelu_new"])
@pytest.mark.parametrize("kind", ["gpt2", "bert", "vit", "llama"])
def test_other_activations_are_exact_too(tmp_path: Path, kind: Kind, activation: str) -> None:
    name = "activation_function" if kind == "gpt2" else "hidden_act"
    model = write_model(tmp_path / "plain", kind, **{name: activation})
    level, noise = ("cover", None) if kind == "llama" else ("noise", Noise(0.0, 0.0))
    made = convert(model, tmp_path / "out", level, noise=noise)
    assert error_of(kind, model, made) < TIGHT


def test_attention_of_images_may_lack_biases(tmp_path: Path) -> None:
    model = write_model(tmp_path / "plain", "vit", qkv_bias=False)
    assert error_of("vit", model, convert(model, tmp_path / "out")) < TIGHT


def test_an_encoder_may_lack_its_pooler(tmp_path: Path, plain_model: Plain) -> None:
    model = write_model(tmp_path / "plain", "bert")
    arrays = load_file(model / "model.safetensors")
    save_file({name: x for name, x in arrays.items() if "pooler" not in name}, model / "model.safetensors")
    assert error_of("bert", model, convert(model, tmp_path / "out")) < TIGHT
