"""A model's matrices under our names, read one at a time and with each norm's gain in the linear layer after it."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from privinf.errors import FileError, MissingExtra, ModelError
from privinf.models.families import FAMILIES
from privinf.models.source.checkpoint import plain_name, read_spec, tensors
from privinf.models.source.tensors import WEIGHTS
from privinf.models.spec import ModelSpec

F32 = npt.NDArray[np.float32]


def decodes(spec: ModelSpec) -> bool:
    """Norms come before linear layers, so that their gains are folded; an encoder's stay on the residual."""
    return spec.order == "pre"


def kind_of(spec: ModelSpec) -> str:
    """What its residual stream allows a cover to be: norms behind it, RMSNorm, or LayerNorm before it."""
    return spec.norm if decodes(spec) else "post"


def first_part(spec: ModelSpec) -> str:
    """The part of a feed-forward layer that a cover can only permute: what an activation follows."""
    return "gate" if spec.gated else "up"


def facts(folder: Path) -> ModelSpec:
    """What is public about a plain model.

    Raises:
        ModelError: it has no tokens to guess, or cannot be read.
    """
    spec = read_spec(folder)
    if spec.vocab == 0 or spec.buckets:
        raise ModelError(
            f"{folder} is of family {spec.family!r}: no attack here knows images or relative positions"
        )
    return spec


class Weights:
    """Arrays of one file; linear layers are (in, out). Sizes may differ from those of the plain model."""

    def __init__(self, folder: Path, known: ModelSpec) -> None:
        self.folder, self.spec, self._arrays = folder, known, tensors(known)
        self._path = folder / WEIGHTS
        try:
            file: Any = safe_open(self._path, "pt")
        except ImportError as error:
            raise MissingExtra('attacks need torch: pip install "privinf[models]"') from error
        except OSError as error:
            raise FileError.unread(self._path, error) from None
        except SafetensorError as error:
            raise ModelError(f"{self._path} is cut short or not safetensors ({error})") from None
        self._file = file
        self._names = {plain_name(name, FAMILIES[known.family]): name for name in file.keys()}  # noqa: SIM118

    def __contains__(self, ours: str) -> bool:
        tensor = self._arrays.get(ours)
        return tensor is not None and tensor.theirs in self._names

    def __getitem__(self, ours: str) -> F32:
        tensor = self._arrays[ours]
        if ours not in self:
            raise ModelError(f"{self._path} has no {tensor.theirs}")
        return tensor.ours(self._file.get_tensor(self._names[tensor.theirs]).float().numpy())

    @property
    def parameters(self) -> int:
        """How many numbers the file holds."""
        return sum(prod(self._file.get_slice(name).get_shape()) for name in self._file.keys())  # noqa: SIM118

    def embedding(self) -> F32:
        """(vocab, width); centred where a norm would do so."""
        return self.centred(self["embed.token"])

    def head(self) -> F32:
        """(width, vocab) of a decoder, with the final norm's gain."""
        head = self["head.weight"] if "head.weight" in self else self["embed.token"].T
        return self._folded(head, "head.norm")

    def reads(self, layer: int, part: str) -> F32:
        """What a linear layer reads from the residual with, (width, out); q, k, v, gate or up."""
        block = "attn" if part in "qkv" else "ffn"
        name = f"layer{layer}.{block}"
        return self._folded(self[f"{name}.{part}.weight"], f"{name}.norm")

    def centred(self, rows: F32) -> F32:
        """Rows of GPT-2's residual without their mean, which its norms ignore and covers keep."""
        if kind_of(self.spec) != "layer":
            return rows
        return np.asarray(rows - rows.mean(-1, keepdims=True))

    def _folded(self, weight: F32, norm: str) -> F32:
        """With the gain before it, unless that is constant: a scale says nothing."""
        if decodes(self.spec):
            gain = self[f"{norm}.gain"]
            if np.ptp(gain) > 0:
                weight = gain[:, None] * weight
        return self.centred(weight.T).T
