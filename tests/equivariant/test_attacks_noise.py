"""Attacks where weights carry noise: what the layers and the head say of one another, and prompts read through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tiny_models import Kind, write_model

from privinf.equivariant.attacks.activations import activations, observe
from privinf.equivariant.attacks.body import body
from privinf.equivariant.attacks.causal import CausalModel
from privinf.equivariant.attacks.denoised import ordered
from privinf.equivariant.attacks.doubled import joint
from privinf.equivariant.attacks.run import NOTHING, folders, view_of
from privinf.equivariant.attacks.truth import Sizes, Truth
from privinf.equivariant.attacks.view import View
from privinf.equivariant.attacks.weights import Weights, facts
from privinf.equivariant.covering.convert import Noise, convert

TOKENS, WIDTH = 300, 16
SIZES = Sizes(window=1000, sample=100, prompts=6)
Staged = Callable[[Kind, float], tuple[View, Truth]]


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Staged:
    """Return the function that converts a model at level noise with so much of it, half on the head."""

    def stage(kind: Kind, alpha: float) -> tuple[View, Truth]:
        folder = tmp_path_factory.mktemp("noise")
        plain = write_model(folder / "plain", kind, seed=5, vocab_size=TOKENS)
        convert(plain, folder / "out", "noise", noise=Noise(alpha_e=alpha, alpha_h=alpha / 2))
        known = facts(plain)
        server, client = folders(plain, folder / "out", known)
        rng = np.random.default_rng(4)
        texts = [rng.integers(0, TOKENS, 40) for _ in range(80)]
        truth = Truth(client, known, texts[::2], SIZES, seed=1)
        return view_of(plain, server, known, truth, {"public": texts[1::2]}), truth

    return cache(stage)


def of_another_model(view: View, folder: Path) -> View:
    other = write_model(folder / "other", "llama", seed=6, vocab_size=TOKENS)
    return replace(view, plain=Weights(other, facts(other)))


def test_layers_together_uncover_the_head() -> None:
    """Inverses differ by what rows never reach; one layer's pair alone does not tell which part that is."""
    rng, wide = np.random.default_rng(1), WIDTH + 8
    cover = np.linalg.qr(rng.standard_normal((wide, wide)))[0]
    head = rng.standard_normal((WIDTH, 50))

    def read(plain: np.ndarray) -> np.ndarray:
        return cover.T @ np.vstack((plain, rng.standard_normal((8, WIDTH)) @ plain))

    def pairs(count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for plain in rng.standard_normal((count, WIDTH, 30)):
            yield read(plain), plain

    covered = read(head)
    assert joint(pairs(4)) @ covered == pytest.approx(head, abs=1e-6)
    assert np.abs(joint(pairs(1)) @ covered - head).mean() > 0.1


@pytest.mark.parametrize("kind", ["gpt2", "llama", "llama-untied"])
def test_the_head_tells_what_the_embedding_hides(staged: Staged, kind: Kind) -> None:
    view, truth = staged(kind, 2.0)
    guesses = body(view, NOTHING).guesses
    alone, head, both = (
        truth.score(guesses[name])["vocabulary"]
        for name in ("nearest token", "by the head", "by embedding and head")
    )
    assert alone < head
    assert alone + 0.2 < both


def test_no_noise_leaves_nothing_to_weigh(staged: Staged) -> None:
    view, truth = staged("llama", 0.0)
    assert all(truth.score(guess)["vocabulary"] == 1 for guess in body(view, NOTHING).guesses.values())


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_prompts_are_read_through_small_noise(staged: Staged, kind: Kind) -> None:
    view, truth = staged(kind, 0.02)
    findings = activations(view, NOTHING)
    assert findings.facts["matched_columns"] == 48
    assert findings.facts["covered_ids_by_covered_weights"]["exact_prompts"] == 1
    assert len(findings.prompts) == 2
    for decoded in findings.prompts.values():
        assert truth.score_prompts(decoded)["occurrences"] > 0.95


@pytest.mark.slow
def test_large_noise_hides_prompts(staged: Staged) -> None:
    view, truth = staged("llama", 3.0)
    for decoded in activations(view, NOTHING).prompts.values():
        assert truth.score_prompts(decoded)["occurrences"] < 0.3


def test_columns_of_another_model_are_in_no_order(staged: Staged, tmp_path: Path) -> None:
    """The control: prompts are read because the plain weights are public."""
    view, truth = staged("llama", 0.02)
    wrong = of_another_model(view, tmp_path)
    findings = activations(wrong, NOTHING)
    assert ordered(wrong, CausalModel(wrong.plain.folder)) is None
    for decoded in findings.prompts.values():
        assert truth.score_prompts(decoded)["occurrences"] < 0.1


def test_what_the_model_expects_counts_where_noise_hides(staged: Staged) -> None:
    """A token that public text has all the time is named where nothing else speaks for one."""
    view, _ = staged("llama", 0.02)
    denoising = ordered(view, CausalModel(view.plain.folder))
    assert denoising is not None
    seen = observe(view, view.traffic.prompts[:2])
    usual = np.full(TOKENS, 1e-12)
    usual[7] = 1.0
    believing = type(denoising)(denoising.model, denoising.used, denoising.order, usual)
    (first, _), _ = believing.decode(seen, noise=1e6)
    assert first[0] == 7
    (first, _), _ = believing.decode(seen)
    assert (first == denoising.decode(seen)[0][0]).all()
