"""ViT-Lite whose heads are of several variants: read, refused by name, and run in shares as in float32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_images
import torch
from specs import encoder
from tiny_images import SharedImages

from privinf.errors import ModelError
from privinf.models.clear import ClearImages
from privinf.models.families import FAMILIES
from privinf.models.fold import fold
from privinf.models.functions import FUNCTIONS
from privinf.models.functions.linear import Identity
from privinf.models.parts import build
from privinf.models.programs import query
from privinf.models.sharing.bundle import Mode
from privinf.models.source.checkpoint import load, read_spec
from privinf.models.spec import BlockSpec

SEEDS = (b"\x05" * 32, b"\x06" * 32)
NEAR = 0.02
RS, SCALE = "relu_softmax", "scaling"
CASES: dict[str, dict[str, object]] = {
    "relu": {"attention": RS, "activation": "relu"},
    "scaling": {"attention": SCALE, "activation": "linear"},
    "quad": {"attention": "quad"},
    "mixed": {"attention": [[RS, SCALE, RS], SCALE], "activation": ["gelu", "linear"]},
    "softmax": {"attention": ["softmax", [SCALE, "softmax", RS]]},
    "rows": {"activation": [["gelu", "linear", "gelu", "linear", "linear", "linear", "gelu"], "gelu"]},
    "last": {"activation": ["gelu", ["gelu", *["linear"] * 6]]},
    "class": {"activation": ["relu", ["linear", *["relu"] * 6]]},
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SharedImages]:
    root, made = tmp_path_factory.mktemp("variants"), {}
    for name, settings in CASES.items():
        mode: Mode = "public" if name == "quad" else "private"
        tiny_images.write_lite(root / name / "model", 3, **settings)
        made[name] = tiny_images.share(root / name / "model", root / name / "shared", mode)
    return made


@pytest.mark.parametrize("name", CASES)
def test_shares_equal_the_fixed_interpreter_and_are_near_float32(
    shared: dict[str, SharedImages], name: str
) -> None:
    model = shared[name]
    images = tiny_images.pixels(model.spec, 2)
    answer = model.ask(images, SEEDS)
    fixed, given = model.fixed(images, SEEDS)
    assert given
    np.testing.assert_array_equal(answer.rows, fixed.astype(np.float32))
    clear = model.clear(images)
    assert np.abs(clear).max() > 0.3
    assert np.abs(answer.rows - clear).max() < NEAR
    declared = query.count(model.layout, model.shape(2))
    for sent in answer.transcripts:
        assert (len(sent), sum(map(len, sent))) == (declared.rounds, declared.tally.total().online)


def test_cheap_attention_takes_fewer_rounds(shared: dict[str, SharedImages]) -> None:
    rounds = {name: query.count(model.layout, model.shape(1)).rounds for name, model in shared.items()}
    assert rounds["scaling"] < rounds["mixed"] < rounds["relu"] < rounds["softmax"]


def test_rows_without_an_activation_cost_nothing(shared: dict[str, SharedImages]) -> None:
    """Neither do those whose answer is not asked for: the last layer computes the class's row alone."""
    prepared = {name: query.count(m.layout, m.shape(1)).tally.total().prep0 for name, m in shared.items()}
    assert prepared["rows"] < prepared["last"]
    assert "layer0.ffn.fused.weight" in shared["rows"].folded
    assert not {"layer1.ffn.up.weight", "layer1.ffn.down.bias"} & set(shared["mixed"].folded)


class ByRow(Identity):
    """An activation of some rows alone, in the clear."""

    def __init__(self, block: BlockSpec) -> None:
        self._block = block

    def clear(self, x: torch.Tensor) -> torch.Tensor:
        straight = torch.zeros(x.shape[1], dtype=torch.bool)
        straight[[place for place in self._block.straight if place < len(straight)]] = True
        return torch.where(straight[:, None], x, FUNCTIONS[self._block.activation].clear(x))


@pytest.mark.parametrize("name", CASES)
def test_a_fused_model_is_the_same_function(tmp_path: Path, name: str) -> None:
    """As one whose rows all go through both layers, some of them without what is between."""
    spec = tiny_images.write_lite(tmp_path, 3, **CASES[name])
    weights, images = load(tmp_path)[1], torch.from_numpy(tiny_images.pixels(spec, 2))
    blocks = []
    for i, block in enumerate(spec.blocks):
        FUNCTIONS.register(f"by-row-{i}", ByRow(block))
        blocks.append(replace(block, activation=f"by-row-{i}", straight=()))
    try:
        apart = replace(spec, blocks=tuple(blocks))
        one, other = (ClearImages(s, fold(s, weights)).run(images) for s in (spec, apart))
    finally:
        for i in range(len(blocks)):
            FUNCTIONS.forget(f"by-row-{i}")
    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_a_specification_is_written_as_it_was_read(tmp_path: Path, name: str) -> None:
    spec = tiny_images.write_lite(tmp_path, 0, **CASES[name])
    written = FAMILIES["vit_lite"].write(spec)
    assert {key: written[key] for key in CASES[name]} == CASES[name]
    assert read_spec(tmp_path).digest == spec.digest


def test_heads_that_are_alike_are_one_variant(tmp_path: Path) -> None:
    spec = tiny_images.write_lite(tmp_path, 0, attention=[[SCALE] * 3, [RS, RS, SCALE]])
    assert [block.attention for block in spec.blocks] == [SCALE, (RS, RS, SCALE)]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"attention": "sharp"}, "attention 'sharp' is not supported; accepted: quad, relu_softmax, scaling"),
        ({"attention": ["softmax"]}, "attention names 1 layers of 2"),
        ({"attention": ["softmax", ["softmax", "quad"]]}, "attention names 2 heads of 3"),
        ({"attention": [["softmax", 3, "quad"], "quad"]}, "attention 3 is not supported"),
        ({"activation": [["gelu"], "relu"]}, "activation names 1 rows of 7"),
        ({"activation": [["gelu", "relu", *["linear"] * 5], "relu"]}, "bend by gelu and relu: one"),
        ({"activation": "bent"}, "activation 'bent' is not supported"),
    ],
)
def test_what_there_is_not_is_refused_by_name(
    tmp_path: Path, settings: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ModelError, match=complaint):
        tiny_images.write_lite(tmp_path, 0, **settings)


def test_texts_take_no_attention_over_a_fixed_number_of_rows() -> None:
    spec = encoder(1, 16, 2, 24, 30, 16)
    with pytest.raises(ModelError, match="scaling attention is for models of images"):
        build(replace(spec, blocks=tuple(replace(block, attention=SCALE) for block in spec.blocks)))
