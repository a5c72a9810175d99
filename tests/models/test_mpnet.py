"""A tiny MPNet: its relative positions are transformers', its shares are the fixed interpreter's, its bias is free."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from tiny import F32, MAX_TOKENS, Shared, Task, Tiny, load_tiny, sentences, write_model

from privinf.errors import InputError
from privinf.models.engines.relative import buckets
from privinf.models.engines.weights import MaskedWeights, PublicWeights
from privinf.models.plan.scales import RELATIVE
from privinf.models.programs import query
from privinf.models.sharing import calibrate
from privinf.models.sharing.bundle import Mode
from privinf.protocols.contract import QueryShape
from privinf.protocols.masked.counting import Counting

TASKS: tuple[Task, ...] = ("embed", "classify")
MODES: tuple[Mode, ...] = ("private", "public")
TEXTS = ["the", "for all the words", *sentences(3, seed=9), *sentences(1, words=80, seed=3)]
SEEDS = (b"\x03" * 32, b"\x04" * 32)


@pytest.fixture(scope="module")
def tinies(tmp_path_factory: pytest.TempPathFactory) -> dict[Task, Tiny]:
    """Return one model of each task."""
    place = tmp_path_factory.mktemp("mpnet")
    return {task: load_tiny(write_model(place / task, task, family="mpnet")) for task in TASKS}


@pytest.fixture(scope="module")
def shared(
    tinies: dict[Task, Tiny], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[Task, Mode], Shared]:
    """Return each model shared in both ways."""
    out: Path = tmp_path_factory.mktemp("bundles")
    return {(task, mode): tinies[task].share(out / task / mode, mode) for task, mode in product(TASKS, MODES)}


KINDS = pytest.mark.parametrize("kind", list(product(TASKS, MODES)), ids="-".join)


@pytest.mark.parametrize("tokens", [1, 2, 9, 130, 514])
def test_buckets_equal_those_of_transformers(tokens: int) -> None:
    mpnet = pytest.importorskip("transformers.models.mpnet.modeling_mpnet")
    place = torch.arange(tokens)
    theirs = mpnet.MPNetEncoder.relative_position_bucket(place[None, :] - place[:, None])
    np.testing.assert_array_equal(buckets(tokens), theirs.numpy())


def test_far_distances_share_the_last_bucket_of_their_direction() -> None:
    row = buckets(400)[200]
    assert (row[:110] == 15).all()
    assert (row[291:] == 31).all()
    assert sorted(set(row)) == [*range(16), *range(17, 32)]  # bucket 16 would be distance 0 to the right


@pytest.mark.parametrize("task", TASKS)
def test_clear_equals_transformers(tinies: dict[Task, Tiny], task: Task) -> None:
    pytest.importorskip("transformers")
    from reference import Reference

    tiny = tinies[task]
    reference = Reference(tiny.directory)
    texts = [" ".join(text.split()[: MAX_TOKENS - 2]) for text in TEXTS]
    ids = tiny.tokenizer.encode(texts)
    for mine, theirs in zip(ids, reference.ids(texts), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    wanted = reference.embeddings(texts) if task == "embed" else reference.classes(texts)
    clear = calibrate.clear_answers(tiny.spec, tiny.folded, ids)
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(clear, wanted, atol=1e-5, rtol=0)


@pytest.mark.fast_cases(1)
@KINDS
@pytest.mark.parametrize(("batch", "tokens"), [(1, 8), (3, 16), (1, 64)])
def test_shares_equal_the_fixed_interpreter(
    shared: dict[tuple[Task, Mode], Shared], kind: tuple[Task, Mode], batch: int, tokens: int
) -> None:
    model, shape = shared[kind], QueryShape(kind[0], batch, tokens)
    ids = [ids for ids in model.tiny.tokenizer.encode(TEXTS, truncate=True) if len(ids) <= tokens][-batch:]
    answer = model.ask(shape, ids, SEEDS)
    np.testing.assert_array_equal(answer.rows, model.fixed(shape, ids, SEEDS))
    assert answer.unread == (0, 0)
    clear = calibrate.clear_answers(model.tiny.spec, model.tiny.folded, ids)
    assert cosines(answer.rows, clear).min() >= 0.999
    assert np.abs(answer.rows - clear).max() < 0.02


def cosines(rows: F32, others: F32) -> F32:
    result: F32 = (rows * others).sum(-1) / np.linalg.norm(rows, axis=-1) / np.linalg.norm(others, axis=-1)
    return result


def test_the_bias_shows_in_the_answer(tinies: dict[Task, Tiny]) -> None:
    """Without it the comparisons above would prove nothing."""
    tiny = tinies["embed"]
    ids = tiny.tokenizer.encode(TEXTS[1:3])
    without = dict(tiny.folded) | {RELATIVE: np.zeros_like(tiny.folded[RELATIVE])}
    answers = [calibrate.clear_answers(tiny.spec, weights, ids) for weights in (tiny.folded, without)]
    assert cosines(*answers).max() < 0.995


@KINDS
def test_the_bias_costs_no_round_and_no_byte(
    shared: dict[tuple[Task, Mode], Shared], kind: tuple[Task, Mode], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, shape = shared[kind], QueryShape(kind[0], 2, 16)
    layout = model.client.layout

    def declared() -> Counting:
        return query.count(layout, shape)

    biased = declared()
    for weights in (MaskedWeights, PublicWeights):
        monkeypatch.setattr(weights, "looked", lambda self, ctx, scores, *table: scores)
    assert (declared().rounds, declared().tally.total()) == (biased.rounds, biased.tally.total())


def test_a_padding_token_amid_a_text_is_refused(tinies: dict[Task, Tiny]) -> None:
    """transformers gives it no position of its own, so that the positions of what follows would shift."""
    with pytest.raises(InputError, match=r"text 1 holds '\[PAD\]'"):
        tinies["embed"].tokenizer.encode(["the and", "the [PAD] and"], special_tokens=True)
