"""A small ViT-Lite and images for it."""

from __future__ import annotations

import torch

from privinf.models.spec import BlockSpec, Classifier, ModelSpec, Patches
from privinf.train.vision import Vision, initial

LAYERS, HEADS, ROWS = 2, 2, 5


def spec(*blocks: BlockSpec) -> ModelSpec:
    return ModelSpec(
        family="vit_lite",
        width=8,
        heads=HEADS,
        kv_heads=HEADS,
        head_width=4,
        ffn=16,
        max_tokens=ROWS,
        order="vit_lite",
        norm="layer",
        eps=1e-5,
        blocks=blocks or (BlockSpec("gelu"),) * LAYERS,
        inputs=Patches(8, 8, 4, 4, 3),
        head=Classifier(("a", "b", "c")),
        biases=frozenset(("out", "ffn", "norm", "head")),
    )


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    """Far from where training begins: no gain is one, no bias zero."""
    draws = torch.Generator().manual_seed(seed)
    made = initial(spec(), seed)
    return {
        name: (x.detach() + 0.3 * torch.randn(x.shape, generator=draws)).requires_grad_()
        for name, x in made.items()
    }


def network(attention: str | tuple[str, ...] = "softmax", activation: str = "gelu") -> Vision:
    return Vision(spec(*(BlockSpec(activation, attention=attention),) * LAYERS), weights())


def images(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(7))
