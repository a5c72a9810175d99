"""A tiny model in shares: equal to the fixed interpreter, near the clear one, as cheap as declared."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from tiny import F32, Shared, Task, Tiny, load_tiny, sentences, write_model

from privinf.errors import InputError
from privinf.models.plan.rings import AttentionRings
from privinf.models.plan.scales import POST as SCALES
from privinf.models.programs import query, texts
from privinf.models.sharing import calibrate, share
from privinf.models.sharing.bundle import Mode
from privinf.models.source.checkpoint import read_spec
from privinf.protocols.contract import QueryShape
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.gates import histogram
from privinf.protocols.masked.wires import Wire
from privinf.protocols.ring import Shape

TASKS: tuple[Task, ...] = ("embed", "classify")
MODES: tuple[Mode, ...] = ("private", "public")
BUCKETS = (8, 16, 32)
TEXTS = ["the", "for all the words", "zebra, quick! of and to in", *sentences(3, seed=9)]
SEEDS = (b"\x03" * 32, b"\x04" * 32)


@pytest.fixture(scope="module")
def tinies(tmp_path_factory: pytest.TempPathFactory) -> dict[Task, Tiny]:
    """Return one model of each task."""
    return {task: load_tiny(write_model(tmp_path_factory.mktemp(task) / "model", task)) for task in TASKS}


@pytest.fixture(scope="module")
def shared(
    tinies: dict[Task, Tiny], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[Task, Mode], Shared]:
    """Return each model shared in both ways."""
    out: Path = tmp_path_factory.mktemp("bundles")
    return {(task, mode): tinies[task].share(out / task / mode, mode) for task, mode in product(TASKS, MODES)}


def fitting(tiny: Tiny, tokens: int) -> list[texts.Ids]:
    """Return the ids of the texts that fit a bucket, the longest first, so that some are padded."""
    return sorted((ids for ids in tiny.tokenizer.encode(TEXTS) if len(ids) <= tokens), key=len)[::-1]


def cosines(rows: F32, others: F32) -> F32:
    result: F32 = (rows * others).sum(-1) / np.linalg.norm(rows, axis=-1) / np.linalg.norm(others, axis=-1)
    return result


def per_row(shape: tuple[Task, Mode]) -> str:
    return "-".join(shape)


KINDS = pytest.mark.parametrize("kind", list(product(TASKS, MODES)), ids=per_row)


@pytest.mark.parametrize("task", TASKS)
def test_clear_equals_transformers(tinies: dict[Task, Tiny], task: Task) -> None:
    pytest.importorskip("transformers")
    from reference import Reference

    tiny = tinies[task]
    reference = Reference(tiny.directory)
    ids = tiny.tokenizer.encode(TEXTS)
    for mine, theirs in zip(ids, reference.ids(TEXTS), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    wanted = reference.embeddings(TEXTS) if task == "embed" else reference.classes(TEXTS)
    clear = calibrate.clear_answers(tiny.spec, tiny.folded, ids)
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(clear, wanted, atol=1e-5, rtol=0)


@pytest.mark.fast_cases(2)
@KINDS
@pytest.mark.parametrize(("batch", "tokens"), [(1, 8), (3, 8), (1, 16), (3, 16), (2, 32)])
def test_shares_equal_the_fixed_interpreter(
    shared: dict[tuple[Task, Mode], Shared], kind: tuple[Task, Mode], batch: int, tokens: int
) -> None:
    model, shape = shared[kind], QueryShape(kind[0], batch, tokens)
    ids = fitting(model.tiny, tokens)[:batch]
    answer = model.ask(shape, ids, SEEDS)
    np.testing.assert_array_equal(answer.rows, model.fixed(shape, ids, SEEDS))
    clear = calibrate.clear_answers(model.tiny.spec, model.tiny.folded, ids)
    assert cosines(answer.rows, clear).min() >= 0.999
    assert np.abs(answer.rows - clear).max() < 0.02


@pytest.mark.fast_cases(2)
@KINDS
@pytest.mark.parametrize(("batch", "tokens"), [(1, 8), (2, 16)])
def test_costs_are_as_declared(
    shared: dict[tuple[Task, Mode], Shared], kind: tuple[Task, Mode], batch: int, tokens: int
) -> None:
    model, shape = shared[kind], QueryShape(kind[0], batch, tokens)
    answer = model.ask(shape, fitting(model.tiny, tokens)[:batch], SEEDS)
    declared = _declared(model, shape)
    for sent in answer.transcripts:
        assert (len(sent), sum(map(len, sent))) == (declared.rounds, declared.tally.total().online)
    total = declared.tally.total()
    assert answer.prepared == model.dealer.sizes(shape) == (total.prep0, total.prep1)
    assert tuple(p.stock_sizes(shape).preparation for p in model.parties) == answer.prepared
    assert answer.unread == (0, 0)


@pytest.mark.parametrize("task", TASKS)
def test_a_shape_is_checked_and_its_query_sized_without_the_program(
    shared: dict[tuple[Task, Mode], Shared], task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, shape = shared[task, "private"], QueryShape(task, 3, 13)

    def run(*given: object) -> Counting:
        raise AssertionError("the program was run")

    monkeypatch.setattr(query, "count", run)
    for party in model.parties:
        assert min(party.sizes(shape).query, party.sizes(shape).result) > 0
        with pytest.raises(InputError):
            party.sizes(QueryShape(task, 3, 1 << 20))
        with pytest.raises(AssertionError, match="was run"):
            party.stock_sizes(shape)


def _declared(model: Shared, shape: QueryShape) -> Counting:
    return query.count(model.client.layout, shape)


@KINDS
@pytest.mark.parametrize("tokens", [8, 16, 32, 64])
def test_rounds_of_a_layer(
    shared: dict[tuple[Task, Mode], Shared], kind: tuple[Task, Mode], tokens: int
) -> None:
    """One more where zeros of the histogram are told by bits."""
    tiny = shared[kind].tiny
    layers = _declared(shared[kind], QueryShape(kind[0], 1, tokens)).tally.top()
    for i, rings in enumerate(tiny.plan.layers):
        asking = 1 if kind[0] == "classify" and i == tiny.spec.layers - 1 else tokens
        scores = (1, tiny.spec.heads, asking)
        assert layers[f"layer{i}"].rounds == 17 + by_bits(rings.attention, scores, tokens)


def test_the_last_layer_computes_what_its_head_takes(shared: dict[tuple[Task, Mode], Shared]) -> None:
    """A classifier's takes the first row, whose attention and feed-forward part are all that it needs."""
    for task in TASKS:
        model = shared[task, "private"]
        layers = _declared(model, QueryShape(task, 1, 32)).tally.top()
        first, last = (layers[f"layer{i}"].prep0 for i in (0, model.tiny.spec.layers - 1))
        assert (last < first / 4) == (task == "classify")


def by_bits(rings: AttentionRings, rows: Shape, slots: int) -> bool:
    """Whether the largest scores of rows are found by keys of single bits, in one pass."""
    bits = rings.score_bits - SCALES.scores - rings.coarse
    counts = Wire((*rows, (1 << bits) - 1), slots.bit_length(), 0)
    return not histogram.by_lanes(counts, histogram.lane_of(bits))


def test_layers_take_one_pass(tinies: dict[Task, Tiny]) -> None:
    """So that the test above is about such layers."""
    for tiny in tinies.values():
        assert all(layer.attention.coarse == layer.attention.fine for layer in tiny.plan.layers)


@pytest.mark.fast_cases(1)
@KINDS
def test_padding_changes_no_answer(shared: dict[tuple[Task, Mode], Shared], kind: tuple[Task, Mode]) -> None:
    """Beyond what other seeds change: rounding depends on the masks."""
    model = shared[kind]
    ids = fitting(model.tiny, 8)[:1]

    def answers(tokens: int) -> F32:
        shape = QueryShape(kind[0], 1, tokens)
        return np.stack([model.fixed(shape, ids, (bytes([i]) * 32, b"\xee" * 32))[0] for i in range(8)])

    unpadded = answers(len(ids[0]))
    noise = unpadded.std(axis=0).max()
    assert 0 < noise < 5e-3
    for tokens in BUCKETS:
        padded = answers(tokens)
        assert np.abs(padded.mean(axis=0) - unpadded.mean(axis=0)).max() < 4 * noise
        assert padded.std(axis=0).max() < 4 * noise


def test_a_row_of_a_batch_is_answered_as_alone(shared: dict[tuple[Task, Mode], Shared]) -> None:
    model = shared["embed", "private"]
    ids = fitting(model.tiny, 16)[:3]
    together = model.fixed(QueryShape("embed", 3, 16), ids, SEEDS)
    for row, one in zip(together, ids, strict=True):
        alone = model.fixed(QueryShape("embed", 1, 16), [one], SEEDS)[0]
        np.testing.assert_allclose(row, alone, atol=5e-3)


@pytest.mark.parametrize(
    "shape",
    [
        QueryShape("classify", 1, 8),
        QueryShape("translate", 1, 8),
        QueryShape("embed", 0, 8),
        QueryShape("embed", 257, 8),
        QueryShape("embed", 1, 1),
        QueryShape("embed", 1, 65),
    ],
    ids=str,
)
def test_a_shape_that_the_model_cannot_take_is_refused(
    shared: dict[tuple[Task, Mode], Shared], shape: QueryShape
) -> None:
    model = shared["embed", "private"]
    for refuses in (model.dealer.sizes, model.parties[0].sizes, model.parties[1].sizes):
        with pytest.raises(InputError):
            refuses(shape)
    with pytest.raises(InputError):
        model.dealer.deal(shape, b"a preparation id", SEEDS)


def test_private_weights_reach_no_role_in_the_clear(
    shared: dict[tuple[Task, Mode], Shared], tmp_path: Path
) -> None:
    """Only both mask seeds together, which the dealer has without the tensors, take the masks off."""
    model = shared["embed", "private"]
    root = model.client.directory.parent
    held = {
        role: {p.name for p in (root / role).iterdir()} for role in ("client", "dealer", "party0", "party1")
    }
    assert "weights.safetensors" not in held["dealer"] | held["client"]
    assert not {"mask.seed", "mask0.seed", "mask1.seed"} & held["client"]
    masked = model.parties[0]._store.wire("layer0.ffn.up.weight").public  # type: ignore[union-attr]
    top = (masked.reshape(-1) >> np.uint64(60)).astype(int)
    # encoded weights are small, so their top bits would all be 0 or 15
    assert np.bincount(top, minlength=16).min() > top.size / 16 * 0.6


@pytest.mark.fast_cases(1)
@KINDS
def test_the_answer_shares_say_nothing_but_their_sum(
    tinies: dict[Task, Tiny], shared: dict[tuple[Task, Mode], Shared], kind: tuple[Task, Mode]
) -> None:
    """Party 0's share comes from its seed alone, so even a client that knows the dealer's masks learns the sum."""
    model, (first, second) = shared[kind], fitting(tinies[kind[0]], 16)[:2]
    answers = [model.ask(QueryShape(kind[0], 1, 16), [ids], SEEDS) for ids in (first, second)]
    assert answers[0].shares[0][:-1] == answers[1].shares[0][:-1]  # behind it is a bit, turned by chance
    assert answers[0].shares[1] != answers[1].shares[1]


@KINDS
def test_rows_and_lengths_are_bounded(
    shared: dict[tuple[Task, Mode], Shared], kind: tuple[Task, Mode]
) -> None:
    layout = shared[kind].client.layout
    for batch, tokens in ((0, 16), (65, 16), (1, 3), (1, 65)):
        with pytest.raises(InputError):
            layout.check(QueryShape(kind[0], batch, tokens))


def test_a_pooling_that_lies_elsewhere_is_shared_too(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", "embed")
    (model / "1_Pooling").rename(model / "pool")
    modules = model / "modules.json"
    modules.write_text(modules.read_text().replace("1_Pooling", "pool"))
    shared = share.share(model, tmp_path / "shared", calibration=sentences(4, seed=9))
    assert shared.spec.pool.kind == read_spec(model).pool.kind == "mean"
