"""What a party sees of an image does not depend on it: lengths and order, uniform openings, masks for any image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_images
import torch
from generating import seeds

from privinf.models.clear import ClearImages
from privinf.models.engines import stores
from privinf.models.engines.weights import MaskedWeights
from privinf.models.fold import fold
from privinf.models.inputs import patches
from privinf.models.programs import images, query, wire
from privinf.models.programs.layout import ImageLayout
from privinf.models.programs.public import PRIVATE
from privinf.models.sharing import calibrate
from privinf.models.source.checkpoint import load
from privinf.protocols import prg, ring
from privinf.protocols.contract import QueryShape
from privinf.protocols.masked.gates.alarm import begin
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share
from privinf.protocols.testing.sessions import Opening, Session, session
from privinf.protocols.testing.uniform import SURPRISE, difference_surprise, opened_surprise, worst

NEAR = 0.02
RUNS = 8


class Classifier:
    """A tiny classifier of images as a program on a query's shares, with private weights."""

    def __init__(self, folder: Path) -> None:
        tiny_images.write_lite(folder)
        spec, weights = load(folder)
        self.folded = fold(spec, weights)
        calibration = tiny_images.pixels(spec, 32, seed=5)
        plan = calibrate.calibrate_images(spec, self.folded, calibration, tiny_images.MOST)
        self.layout = ImageLayout(spec, plan, False, False)
        self.shape = QueryShape("classify", 1, spec.max_tokens)
        encoded, own = stores.encode(self.folded, self.layout.scale), seeds(-1)
        masked = {n: stores.mask_tensor(v, own, "tests", n) for n, v in encoded.items()}
        shapes = {n: v.shape for n, v in encoded.items()}
        first, second = (stores.PartyStore(masked, seed, "tests", self.layout.scale) for seed in own)
        self.stores = first, second, stores.DealerStore(shapes, own, "tests", self.layout.scale)

    def image(self, number: int) -> np.ndarray:
        """Noise, black, white, and noise again."""
        flat = {1: -tiny_images.MOST, 2: tiny_images.MOST}
        made = tiny_images.pixels(self.layout.spec, 1, seed=number)
        return np.full_like(made, flat[number]) if number in flat else made

    def values(self, number: int) -> wire.Values:
        return images.lay_out(self.layout, self.shape, self.image(number), {})

    def program(self, ctx: Interpreter, pixels: Share) -> Sequence[Share]:
        given = self.layout.form(self.shape).asked({"pixels": pixels.data})
        return query.run_model(ctx, self.layout, given, PRIVATE)

    def first(self, ctx: Interpreter, pixels: Share) -> Sequence[Share]:
        """The part of it that reads pixels."""
        begin(ctx)
        given = self.layout.form(self.shape).asked({"pixels": pixels.data})
        return [patches.take(ctx, self.layout, given, MaskedWeights())]

    def run(self, number: int, like: Sequence[Opening] | None = None) -> Session:
        given = images.plain(self.layout, self.shape, self.values(number))
        return session(self.program, [given.shared["pixels"]], seeds(0), weights=self.stores, like=like)

    def missed(self, number: int, ran: Session) -> float:
        """By how much a session's answer is not that of float32."""
        field = self.layout.result(self.shape)
        logits = ring.decode(ran.results[0], field.scale, field.bits).reshape(-1)
        clear = ClearImages(self.layout.spec, self.folded).run(torch.from_numpy(self.image(number)))
        return float(np.abs(logits - clear.numpy().reshape(-1)).max())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier(tmp_path_factory.mktemp("private") / "model")


def test_it_sends_the_same_messages_for_every_image(model: Classifier) -> None:
    runs = [model.run(number) for number in range(3)]
    for party in (0, 1):
        assert len({tuple(map(len, run.transcripts[party])) for run in runs}) == 1
    assert len({tuple((o.name, o.bits, o.opened.shape) for o in run.openings) for run in runs}) == 1
    assert len({run.transcripts[0][-1] for run in runs}) == len(runs)


def test_masks_explain_every_image(model: Classifier) -> None:
    """The whole transcript of one image's session is one of another's, down to the last opening."""
    before = model.run(0)
    assert model.missed(0, before) < NEAR
    for number in (1, 2, 3):
        after = model.run(number, before.openings)
        for one, two in zip(before.openings, after.openings, strict=True):
            np.testing.assert_array_equal(one.opened, two.opened)
        assert model.missed(number, after) < NEAR
        assert model.missed(0, after) > 2 * NEAR


def test_what_is_opened_of_pixels_is_uniform(model: Classifier) -> None:
    """Of black and of white in turn."""
    runs = []
    for i in range(RUNS):
        given = images.plain(model.layout, model.shape, model.values(1 + i % 2))
        runs.append(session(model.first, [given.shared["pixels"]], seeds(i), weights=model.stores))
    assert [o.opened.shape for o in runs[0].openings] == [(1, 6, 48)] * 2
    assert opened_surprise(runs) < SURPRISE
    assert difference_surprise(runs) < SURPRISE


def test_a_share_of_pixels_is_uniform(model: Classifier) -> None:
    """Party 0 is sent a seed; of party 1's message only what is behind the query's id counts."""
    form = model.layout.form(model.shape)
    (field,) = form.shared
    sent = [wire.split(form, model.values(1 + i % 2))[1][prg.QUERY_ID_BYTES :] for i in range(2 * RUNS)]
    shares = [ring.unpack(memoryview(part), field.bits, field.shape) for part in sent]
    assert worst(shares, field.bits) < 2 * SURPRISE  # the seeds are fresh each time
    assert {len(part) for part in sent} == {field.nbytes}
