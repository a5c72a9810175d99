"""Recipes: everything that a trained model depends on, as a TOML file and settings that override it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from privinf.options import require

Precision = Literal["float32", "bfloat16"]
Device = Literal["cpu", "cuda"]
Arm = Literal["softmax", "relu_softmax", "scaling", "quad"]
Bent = Literal["gelu", "relu", "linear"]


@dataclass(frozen=True)
class Shape:
    """The model: `patch` pixels a side; `attention` and `activation` of all that no search chose."""

    family: str
    layers: int = 7
    heads: int = 4
    width: int = 256
    ffn: int = 512
    patch: int = 4
    attention: Arm = "softmax"
    activation: Bent = "gelu"

    def __post_init__(self) -> None:
        require(1 <= self.layers <= 64, "model.layers must be from 1 to 64")
        require(1 <= self.heads <= 64, "model.heads must be from 1 to 64")
        require(8 <= self.width <= 4096, "model.width must be from 8 to 4096")
        require(
            self.width % self.heads == 0,
            f"model.width {self.width} must be a multiple of model.heads {self.heads}",
        )
        require(8 <= self.ffn <= 16384, "model.ffn must be from 8 to 16384")
        require(1 <= self.patch <= 64, "model.patch must be from 1 to 64 pixels")


@dataclass(frozen=True)
class Data:
    """The images: `set` is a name or a folder, whose images are scaled to `size`; `validation` is cut from training.

    limit: so many training images alone, the first ones of a shuffle; 0 for all.
    """

    set: str = "cifar10"
    size: int = 32
    validation: float = 0.0
    limit: int = 0

    def __post_init__(self) -> None:
        require(4 <= self.size <= 1024, "data.size must be from 4 to 1024 pixels")
        require(0 <= self.validation < 1, "data.validation must be at least 0 and below 1")
        require(self.limit >= 0, "data.limit must be 0 (all) or above")


@dataclass(frozen=True)
class Augmentation:
    """What is done to training images.

    crop: least part of an image that is kept, scaled back; 1 for none. shift: pixels by which it is moved. operations,
    magnitude (0 to 10), deviation: of RandAugment; 0 operations for none. mixup, cutmix: their beta distributions;
    switch: how often the latter where both are on; mix_until: the epoch from which neither is, 0 for never.
    erase: how often a rectangle becomes noise. smoothing: of labels.
    """

    crop: float = 1.0
    shift: int = 0
    flip: float = 0.5
    operations: int = 0
    magnitude: float = 9.0
    deviation: float = 0.5
    mixup: float = 0.0
    cutmix: float = 0.0
    switch: float = 0.5
    mix_until: int = 0
    erase: float = 0.0
    smoothing: float = 0.1

    def __post_init__(self) -> None:
        require(0.01 <= self.crop <= 1, "augmentation.crop must be from 0.01 to 1")
        require(0 <= self.shift <= 64, "augmentation.shift must be from 0 to 64 pixels")
        require(0 <= self.operations <= 8, "augmentation.operations must be from 0 to 8")
        require(0 <= self.magnitude <= 10, "augmentation.magnitude must be from 0 to 10")
        require(0 <= self.deviation <= 5, "augmentation.deviation must be from 0 to 5")
        require(self.mix_until >= 0, "augmentation.mix_until must be 0 (never) or an epoch")
        for name in ("mixup", "cutmix"):
            require(0 <= getattr(self, name) <= 10, f"augmentation.{name} must be from 0 (off) to 10")
        for name in ("flip", "switch", "erase"):
            require(0 <= getattr(self, name) <= 1, f"augmentation.{name} must be from 0 to 1")
        require(0 <= self.smoothing < 1, "augmentation.smoothing must be at least 0 and below 1")


@dataclass(frozen=True)
class Optimisation:
    """AdamW: `rate` after `warmup` epochs that begin at `first`, a half cosine down to `last`, then `cooldown` epochs.

    decay: of matrices; norms and biases have none. clip: largest norm of a gradient, 0 for any.
    """

    epochs: int = 300
    batch: int = 128
    rate: float = 5.5e-4
    first: float = 1e-5
    last: float = 1e-5
    warmup: int = 10
    cooldown: int = 10
    decay: float = 0.06
    clip: float = 0.0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        require(1 <= self.epochs <= 10_000, "optimisation.epochs must be from 1 to 10000")
        require(1 <= self.batch <= 65_536, "optimisation.batch must be from 1 to 65536")
        require(0 < self.rate <= 1, "optimisation.rate must be above 0 and at most 1")
        require(
            min(self.first, self.last) >= 0, "optimisation.first and optimisation.last must not be negative"
        )
        require(max(self.first, self.last) <= self.rate, "optimisation.rate must be the largest of the rates")
        require(
            0 <= self.warmup < self.epochs,
            f"optimisation.warmup {self.warmup} must be less than optimisation.epochs {self.epochs}",
        )
        require(0 <= self.cooldown <= 10_000, "optimisation.cooldown must be from 0 to 10000")
        require(0 <= self.decay <= 1, "optimisation.decay must be from 0 to 1")
        require(self.clip >= 0, "optimisation.clip must be 0 (off) or above")

    @property
    def all_epochs(self) -> int:
        return self.epochs + self.cooldown


@dataclass(frozen=True)
class Dropping:
    """attention: how many weights of attention are dropped. depth: of the last layer's branches, growing from 0."""

    attention: float = 0.1
    depth: float = 0.1

    def __post_init__(self) -> None:
        for name in ("attention", "depth"):
            require(0 <= getattr(self, name) < 1, f"dropping.{name} must be at least 0 and below 1")


@dataclass(frozen=True)
class Distillation:
    """Learning from a softmax teacher: weights of its logits in the loss, and of the square error of token features."""

    logits: float = 1.0
    features: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        require(min(self.logits, self.features) >= 0, "distillation weights must not be negative")
        require(self.temperature > 0, "distillation.temperature must be above 0")


@dataclass(frozen=True)
class Choosing:
    """The supernet: what its alphas and betas start from and what shrinks them.

    grain: whether each head or each layer chooses; bends: whether feed-forward parts choose too, a token or a layer.
    penalty: of the absolute values, as in the paper; seconds: of the predicted time, as a part of the dearest.
    decay: of alphas and betas as of weights, the force that the paper has and does not name.
    """

    grain: Literal["head", "layer"] = "head"
    bends: Literal["none", "token", "layer"] = "none"
    start: float = 1.0
    penalty: float = 1e-5
    seconds: float = 0.0
    decay: bool = True
    rate: float = 1.0
    epochs: int = 0

    def __post_init__(self) -> None:
        require(0 < self.start <= 1, "choosing.start must be above 0 and at most 1")
        require(
            min(self.penalty, self.seconds) >= 0, "choosing.penalty and choosing.seconds must not be negative"
        )
        require(0 < self.rate <= 1000, "choosing.rate must be above 0 and at most 1000")
        require(0 <= self.epochs <= 10_000, "choosing.epochs must be 0 (as in optimisation) to 10000")


@dataclass(frozen=True)
class Recipe:
    """All of it; two runs of one recipe with as many threads give the same weights, bit for bit."""

    model: Shape
    seed: int = 42
    threads: int = 1
    device: Device = "cpu"
    data: Data = field(default_factory=Data)
    augmentation: Augmentation = field(default_factory=Augmentation)
    optimisation: Optimisation = field(default_factory=Optimisation)
    dropping: Dropping = field(default_factory=Dropping)
    distillation: Distillation = field(default_factory=Distillation)
    choosing: Choosing = field(default_factory=Choosing)

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**63, "seed must be from 0 to 2^63 - 1")
        require(1 <= self.threads <= 1024, "threads must be from 1 to 1024")
