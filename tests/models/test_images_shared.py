"""Classifiers of images in shares: equal to the fixed interpreter, near the clear one, as cheap as declared."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_images
import tiny_models
from tiny_images import SharedImages

from privinf.errors import InputError, RangeError
from privinf.models.programs import query, wire
from privinf.models.sharing.bundle import Mode
from privinf.protocols import ring
from privinf.protocols.contract import QueryShape
from privinf.protocols.ring import U64

SEEDS = (b"\x03" * 32, b"\x04" * 32)
FAMILIES, MODES = ("vit", "vit_lite", "deit"), ("private", "public")
NEAR = 0.02
Kind = tuple[str, Mode]


def written(folder: Path, family: str) -> Path:
    if family == "vit":
        return tiny_models.write_model(folder, "vit")
    if family == "deit":
        tiny_images.write_deit(folder, "DeiTForImageClassificationWithTeacher")
    else:
        tiny_images.write_lite(folder)
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, SharedImages]:
    root, made = tmp_path_factory.mktemp("images"), {}
    for family, mode in product(FAMILIES, MODES):
        source = written(root / family / mode / "model", family)
        made[family, mode] = tiny_images.share(source, root / family / mode / "shared", mode)
    return made


KINDS = pytest.mark.parametrize("kind", list(product(FAMILIES, MODES)), ids="-".join)


@KINDS
@pytest.mark.parametrize("batch", [1, 3])
def test_shares_equal_the_fixed_interpreter_and_are_near_float32(
    shared: dict[Kind, SharedImages], kind: Kind, batch: int
) -> None:
    model = shared[kind]
    images = tiny_images.pixels(model.spec, batch)
    answer = model.ask(images, SEEDS)
    fixed, given = model.fixed(images, SEEDS)
    assert given
    np.testing.assert_array_equal(answer.rows, fixed.astype(np.float32))
    clear = model.clear(images)
    assert np.abs(clear).max() > 0.3
    assert np.abs(answer.rows - clear).max() < NEAR


@KINDS
@pytest.mark.parametrize("batch", [1, 2])
def test_costs_are_as_declared(shared: dict[Kind, SharedImages], kind: Kind, batch: int) -> None:
    model, shape = shared[kind], shared[kind].shape(batch)
    answer = model.ask(tiny_images.pixels(model.spec, batch), SEEDS)
    declared = query.count(model.layout, shape)
    for sent in answer.transcripts:
        assert (len(sent), sum(map(len, sent))) == (declared.rounds, declared.tally.total().online)
    total = declared.tally.total()
    assert answer.prepared == model.dealer.sizes(shape) == (total.prep0, total.prep1)
    assert answer.unread == (0, 0)


def test_the_last_layer_computes_the_rows_that_its_head_takes(shared: dict[Kind, SharedImages]) -> None:
    for family in FAMILIES:
        model = shared[family, "private"]
        layers = query.count(model.layout, model.shape(1)).tally.top()
        assert layers["layer1"].prep0 < layers["layer0"].prep0 / 2


def test_clients_make_the_rows_that_parties_make_of_pixels(shared: dict[Kind, SharedImages]) -> None:
    """And save two rounds; so that both ways give one answer where masks are the same."""
    for family in FAMILIES:
        private, public = (shared[family, mode] for mode in MODES)
        images = tiny_images.pixels(private.spec, 1)
        rounds = [query.count(m.layout, m.shape(1)).rounds for m in (private, public)]
        assert rounds[0] - rounds[1] == 2
        pixels, rows = private.values(images)["pixels"], public.values(images)["rows"]
        scales, folded = private.layout.plan.scales, private.folded
        exact = ring.decode(pixels, scales.pixels, private.layout.form(private.shape(1)).shared[0].bits)
        exact = exact @ folded["embed.patch.weight"] + folded["embed.position"]
        bits = public.layout.plan.residual_bits
        assert np.abs(ring.decode(rows, scales.residual, bits) - exact).max() < 1e-3


@pytest.mark.parametrize(
    ("batch", "tokens", "task"),
    [(0, 7, "classify"), (147, 7, "classify"), (1, 6, "classify"), (1, 8, "classify"), (1, 7, "embed")],
)
def test_a_shape_that_the_model_cannot_take_is_refused(
    shared: dict[Kind, SharedImages], batch: int, tokens: int, task: str
) -> None:
    model, shape = shared["vit", "private"], QueryShape(task, batch, tokens)
    for refuses in (model.dealer.sizes, model.parties[0].sizes, model.parties[1].sizes):
        with pytest.raises(InputError):
            refuses(shape)


def hostile(model: SharedImages, images: np.ndarray, change: Callable[[U64], None]) -> bool:
    """Whether a query is answered whose shared values a client changed."""
    layout, shape = model.layout, model.shape(len(images))
    ((name, honest),) = model.values(images).items()
    values = honest.copy()
    change(values)
    session = model.exchange(shape, wire.split(layout.form(shape), {name: values}), SEEDS)
    try:
        wire.add_up(layout.result(shape), session.shares)
    except RangeError:
        return False
    return True


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("place", [(0, 0, 0), (0, 5, 47), (0, 2, 13)])
def test_a_pixel_beyond_what_a_processor_gives_is_answered_by_nothing(
    shared: dict[Kind, SharedImages], family: str, place: tuple[int, int, int]
) -> None:
    model = shared[family, "private"]
    images, plan = tiny_images.pixels(model.spec, 1), model.layout.plan
    quarter, (field,) = 1 << (plan.pixel_bits - 2), model.layout.form(model.shape(1)).shared
    assert hostile(model, images, lambda values: values.__setitem__(place, quarter - 1))
    whole = 1 << field.bits
    for beyond in (
        3 * quarter,
        4 * quarter,
        5 * quarter,
        whole // 2,
        whole - 4 * quarter,
        whole - 3 * quarter - 1,
    ):
        assert not hostile(model, images, lambda values, x=beyond: values.__setitem__(place, x)), beyond


def test_pixels_that_the_model_was_not_shared_for_are_refused_at_the_client(
    shared: dict[Kind, SharedImages],
) -> None:
    for mode in MODES:
        model = shared["vit_lite", mode]
        images = tiny_images.pixels(model.spec, 1)
        images[0, 0, 0, 0] = model.layout.most_pixel
        with pytest.raises(InputError, match="was shared for less than"):
            model.values(images)
        images[0, 0, 0, 0] = np.nan
        with pytest.raises(InputError, match="not finite"):
            model.values(images)
        with pytest.raises(InputError, match=r"of shape \(images, 3, 8, 12\), not \(1, 3, 8, 11\)"):
            model.values(images[..., :11])


def test_only_a_client_of_public_weights_has_those_of_patches(shared: dict[Kind, SharedImages]) -> None:
    held = {mode: {p.name for p in shared["vit", mode].client.directory.iterdir()} for mode in MODES}
    assert "embed.safetensors" in held["public"]
    assert not any(name.endswith(".safetensors") for name in held["private"])
