"""What plain and covered models answer, and how the client's key and own part undo the covers, in plain NumPy."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file
from tiny_models import DECODERS, Kind, load

from privinf.equivariant.covering.convert import Converted
from privinf.equivariant.key import Key

F64 = npt.NDArray[np.float64]
TIGHT = 2e-5  # of the largest value: what float32 loses in other orders of summing up

torch.set_num_threads(1)


def ids_of(kind: Kind, rows: int = 3, columns: int = 40) -> npt.NDArray[np.int64]:
    vocab = 40 if kind in DECODERS else 43
    return np.random.default_rng(1).integers(0, vocab - 1, (rows, columns))


def pixels() -> F64:
    return np.random.default_rng(2).standard_normal((2, 3, 8, 12))


def patches_of(images: F64) -> F64:
    """(images, patches, values), patches row by row."""
    count = len(images)
    return images.reshape(count, 3, 2, 4, 3, 4).transpose(0, 2, 4, 1, 3, 5).reshape(count, 6, 48)


def pixels_of(patches: F64) -> F64:
    count = len(patches)
    return patches.reshape(count, 2, 3, 3, 4, 4).transpose(0, 3, 1, 4, 2, 5).reshape(count, 3, 8, 12)


def said(model: Any, asked: npt.NDArray[Any], part: str = "logits") -> F64:
    """What a model answers."""
    given = torch.from_numpy(asked)
    answer = model(given) if given.dtype == torch.int64 else model(pixel_values=given.float())
    return getattr(answer, part).double().numpy()


def close(ours: F64, plain: F64) -> bool:
    return bool(np.abs(ours - plain).max() < TIGHT * np.abs(plain).max())


def placed(values: F64, places: npt.NDArray[np.int64] | None) -> F64:
    """Patches at their covered places."""
    if places is None:
        return values
    out = np.empty_like(values)
    out[:, places] = values
    return out


def greedy(model: Any, ids: npt.NDArray[np.int64], count: int = 32) -> npt.NDArray[np.int64]:
    """With the cache that transformers keeps."""
    model.generation_config.eos_token_id = None
    options = {"max_new_tokens": count, "do_sample": False, "pad_token_id": 0}
    given = torch.from_numpy(ids)
    return model.generate(given, attention_mask=torch.ones_like(given), **options).numpy()


def local(client: Path) -> dict[str, F64]:
    """What the client computes with itself, in float64."""
    assert stat.S_IMODE((client / "local.safetensors").stat().st_mode) == 0o600
    return {name: value.astype(np.float64) for name, value in load_file(client / "local.safetensors").items()}


def embedded(own: dict[str, F64], ids: npt.NDArray[np.int64]) -> F64:
    rows = own["embed.token"][ids]
    if "embed.position" in own:
        rows = rows + own["embed.position"][: ids.shape[1]]
    if "embed.type" in own:
        rows = rows + own["embed.type"][0]
        rows = rows - rows.mean(-1, keepdims=True)
        rows = rows / np.sqrt((rows**2).mean(-1, keepdims=True) + 1e-12)
        rows = rows * own["embed.norm.gain"] + own["embed.norm.bias"]
    return rows


def headed(own: dict[str, F64], rows: F64) -> F64:
    if "head.norm.gain" in own:
        rows = rows * own["head.norm.gain"] + own.get("head.norm.bias", 0.0)
    head = own["head.weight"] if "head.weight" in own else own["embed.token"].T
    return rows @ head + own.get("head.bias", 0.0)


def error_of(kind: Kind, model: Path, made: Converted) -> float:
    """Of answers, against their largest value."""
    key, plain, ours = Key.load(made.client), load(model), load(made.server)
    if kind == "vit":
        wanted, asked = said(plain, pixels()), patches_of(pixels()) @ key.patches
        answer = said(ours, pixels_of(placed(asked, key.places))) @ key.labels
    else:
        ids, part = ids_of(kind), "last_hidden_state" if kind == "bert" else "logits"
        assert key.tokens is not None
        wanted, answer = said(plain, ids, part), said(ours, key.tokens[ids], part)
        undo = {"bert": key.answer, "bert-classifier": key.labels}.get(kind)
        answer = answer[..., key.tokens] if undo is None else answer @ undo
    return float(np.abs(answer - wanted).max() / np.abs(wanted).max())
