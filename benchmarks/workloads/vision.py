"""ViT-Lite models of the MPCViT paper's shapes with made-up weights, shared and asked over real processes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.harness.deployment import Deployment, of_model
from benchmarks.harness.ours import DEADLINE, Sample
from benchmarks.harness.rows import MeasureError
from privinf.config import ClientConfig
from privinf.formats.directory import write_model
from privinf.models.clear import ClearImages
from privinf.models.fold import F64, fold
from privinf.models.programs import images as programs
from privinf.models.programs import wire
from privinf.models.programs.layout import ImageLayout
from privinf.models.sharing import bundle, calibrate
from privinf.models.source.checkpoint import load, read_spec, tensors
from privinf.models.source.tensors import Array
from privinf.models.spec import ModelSpec
from privinf.protocols import ring
from privinf.protocols.contract import QueryShape
from privinf.sdk.transport import Link

Named = str | list[str]
MOST, CALIBRATED = 3.0, 64  # of pixels; images
# Of logits, which reach 3 to 4. With made-up weights a row of ReLU-softmax may have no positive score but a tiny one:
# what is off there grows from layer to layer.
BOUND, RELU_BOUND = 0.1, 1.5
# Means of the searched alpha, by layer, as the paper's repository shows them for a model of seven: what keeps its ReLU
KEPT = (0.29, 0.60, 0.64, 0.62, 0.41, 0.30, 0.24)


@dataclass(frozen=True)
class Shape:
    """Of a model: layers, heads, width, feed-forward width, pixels of a side, pixels of a patch's side, classes."""

    layers: int
    heads: int
    width: int
    ffn: int
    side: int
    patch: int
    classes: int

    def config(self, attention: Named | list[Named]) -> dict[str, object]:
        return {
            "model_type": "vit_lite",
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.ffn,
            "image_size": self.side,
            "patch_size": self.patch,
            "num_channels": 3,
            "attention": attention,
            "id2label": {str(i): str(i) for i in range(self.classes)},
        }


CIFAR, TINY = Shape(7, 4, 256, 512, 32, 4, 10), Shape(9, 12, 192, 384, 64, 4, 200)


def mixed(shape: Shape, mu: float) -> list[Named]:
    """ReLU-softmax in the share `mu` of heads, of the layers whose alpha is largest first; scaling in the others."""
    means = np.interp(np.linspace(0, 1, shape.layers), np.linspace(0, 1, len(KEPT)), KEPT)
    left, kept = round(mu * shape.layers * shape.heads), [0] * shape.layers
    for layer in np.argsort(-means):
        kept[layer] = min(left, shape.heads)
        left -= kept[layer]
    return [["relu_softmax"] * k + ["scaling"] * (shape.heads - k) for k in kept]


def drawn(spec: ModelSpec, seed: int = 0) -> dict[str, Array]:
    """Parameters of the size that training starts from; no bias is zero."""
    draw, out = np.random.default_rng(seed), dict[str, Array]()
    for name, tensor in tensors(spec).items():
        shape = tensor.ours(np.empty(tensor.shape, dtype=np.float32)).shape
        spread = 0.1 if len(shape) == 1 else 1.2 / np.sqrt(shape[0])
        out[name] = (draw.standard_normal(shape) * spread + name.endswith(".gain")).astype(np.float32)
    return out


def pixels(spec: ModelSpec, count: int, seed: int) -> Array:
    image, draw = spec.patches, np.random.default_rng(seed)
    drawn_ = draw.uniform(-2, 2, (count, image.channels, image.height, image.width))
    return drawn_.astype(np.float32)


@dataclass(frozen=True)
class SharedVision:
    """One, as its owner shares it."""

    spec: ModelSpec
    folded: dict[str, F64]
    folder: Path

    @property
    def shape(self) -> QueryShape:
        return QueryShape("classify", 1, self.spec.max_tokens)


def share(shape: Shape, attention: Named | list[Named], folder: Path) -> SharedVision:
    """Write it, measure its ranges and share it with private weights."""
    plain = folder / "plain"
    plain.mkdir(parents=True)
    (plain / "config.json").write_text(json.dumps(shape.config(attention)))
    spec = read_spec(plain)
    write_model(plain, spec, drawn(spec))
    spec, weights = load(plain)
    folded = fold(spec, weights)
    plan = calibrate.calibrate_images(spec, folded, pixels(spec, CALIBRATED, 5), MOST)
    bundle.write(plain, folder / "shared", folded, plan, "private")
    return SharedVision(spec, folded, folder / "shared")


@contextmanager
def served(model: SharedVision, network: str) -> Iterator[Asker]:
    """Serve it by three fresh processes; yields once the first query is answered."""
    with (
        tempfile.TemporaryDirectory(prefix="privinf-bench-") as work,
        Deployment(of_model(model.folder), Path(work), network=network) as servers,
        Link(ClientConfig(servers.addresses, tls=servers.tls(), deadline=DEADLINE)) as link,
    ):
        asker = Asker(model, link)
        asker.ask(0)
        yield asker


class Asker:
    """A client of a shared model."""

    def __init__(self, model: SharedVision, link: Link) -> None:
        self._model, self._link = model, link
        self._client = bundle.read_queries(model.folder / "client")

    def ask(self, seed: int) -> Sample:
        """One image with fresh shares; MeasureError if its answer is wrong."""
        layout, shape = self._client.layout, self._model.shape
        assert isinstance(layout, ImageLayout)
        image = pixels(self._model.spec, 1, 1000 + seed)
        values = programs.lay_out(layout, shape, image, bundle.of_patches(self._client))
        left, right, stats = self._link.run(shape, wire.split(layout.form(shape), values))
        field = layout.result(shape)
        answer = ring.decode(wire.add_up(field, (left, right)), field.scale, field.bits)
        error = float(np.abs(answer.reshape(-1) - self._clear(image)).max())
        bound = RELU_BOUND if any("relu" in str(b.attention) for b in self._model.spec.blocks) else BOUND
        if not error <= bound:
            raise MeasureError(f"an answer is off by {error:.3g}, more than {bound}")
        return Sample.of(stats, error)

    def _clear(self, image: Array) -> Array:
        import torch

        run = ClearImages(self._model.spec, self._model.folded).run(torch.from_numpy(image))
        logits: Array = run.numpy().reshape(-1)
        return logits


def architectures(shape: Shape, mus: Sequence[float]) -> dict[str, Named | list[Named]]:
    """Softmax, all ReLU-softmax, the paper's mixes and all scaling, by name."""
    made: dict[str, Named | list[Named]] = {"softmax": "softmax", "relu_softmax": "relu_softmax"}
    made |= {f"mu-{mu}": mixed(shape, mu) for mu in sorted(mus, reverse=True)}
    return made | {"scaling": "scaling", "quad": "quad"}
