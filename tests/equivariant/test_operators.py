"""A covered model without noise costs what the plain one does: the same operators on arrays of the same shapes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from serving import converted
from torch.utils._python_dispatch import TorchDispatchMode

from privinf.equivariant.about import digest, read_about
from privinf.equivariant.covering.convert import Converted
from privinf.equivariant.serving import running
from privinf.models.sharing.folder import copy

IMAGES = np.ones((2, 3, 8, 12), dtype=np.float32)


class Seen(TorchDispatchMode):
    """Keeps every operator with the shapes that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        shapes = [tuple(one.shape) for one in args if isinstance(one, torch.Tensor)]
        self.calls[f"{func} {shapes}"] += 1
        return func(*args, **(kwargs or {}))


def seen(folder: Path) -> Counter[str]:
    """What one question to a server's model runs."""
    about = read_about(folder)
    model = running.load_model(folder, about)
    with Seen() as seen:
        if about.task == "generate":
            sequence = running.CachedSequence(model)
            sequence.read_ids(np.array([1, 6, 9]))
            sequence.read_ids(np.array([4]))
        elif about.task == "embed":
            running.embed(model, [np.array([2, 6, 3]), np.array([2, 3])], "mean")
        else:
            asked = [np.array([2, 6, 3]), np.array([2, 3])] if about.vocab else IMAGES
            running.classify(model, asked)
    return seen.calls


def plain(made: Converted, folder: Path) -> Path:
    """The plain model's own weights as a server would have them."""
    for name in ("config.json", "model.safetensors"):
        copy(made.client.parents[1] / "model" / name, folder / name)
    about = json.loads((made.server / "about.json").read_text())
    weights = {"model_sha256": digest(folder / "model.safetensors")}
    (folder / "about.json").write_text(json.dumps(about | weights))
    return folder


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("level", ["tokens", "cover"])
@pytest.mark.parametrize("kind", ["bert", "bert-classifier", "gpt2", "llama", "llama-groups", "vit"])
def test_the_same_operators_on_the_same_shapes(tmp_path: Path, kind: str, level: str) -> None:
    made = converted(tmp_path, kind, level)
    ours, theirs = seen(made.server), seen(plain(made, tmp_path / "plain"))
    assert ours == theirs
    linear = [call for call in ours.elements() if "linear" in call or "addmm" in call]
    assert len(linear) >= 2 * 4  # GPT-2 has the fewest: four in each of two layers


def test_key_matrices_are_wider(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "noise")
    assert seen(made.server) != seen(plain(made, tmp_path / "plain"))
