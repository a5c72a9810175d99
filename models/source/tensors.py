"""Reads named tensors from a safetensors file into float32 arrays, and refuses by name those that lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize

from privinf.errors import FileError, ModelError

Array = npt.NDArray[np.float32]
Stored = Mapping[str, Any]  # shape, dtype, raw bytes

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Tensor:
    """Where one of our arrays comes from: its name in the file, its shape there, whether it is turned or cut.

    Of `parts` equal ranges of columns, it is the one at `part`. laid: the shape in which it is turned, if that is
    another. optional: read where the file has it; all that are optional are there, or none.
    """

    theirs: str
    shape: tuple[int, ...]
    transposed: bool = False
    part: int = 0
    parts: int = 1
    laid: tuple[int, ...] | None = None
    optional: bool = False

    def ours(self, stored: Array) -> Array:
        """The array as we use it, of one as it is stored."""
        values = np.split(stored, self.parts, axis=-1)[self.part]
        if self.laid is not None:
            values = values.reshape(self.laid)
        return np.ascontiguousarray(values.T if self.transposed else values)

    def stored(self, ours: Array) -> Array:
        """The same the other way round, of the part that it is."""
        values = ours.T if self.transposed else ours
        return values if self.laid is None else values.reshape(self.shape)


def stored_tensors(path: Path) -> dict[str, Stored]:
    """The file's tensors as raw bytes, since NumPy has no bfloat16; the library checks header and lengths."""
    if not path.is_file():
        others = ("model.safetensors.index.json", "pytorch_model.bin", "tf_model.h5")
        found = "".join(f"; {name} is not read" for name in others if (path.parent / name).exists())
        raise ModelError(
            f"{path} is missing{found}: save the model as one safetensors file (save_pretrained)"
        )
    try:
        return dict(deserialize(path.read_bytes()))  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise ModelError(f"{path} is cut short or not safetensors ({error})") from None
    except OSError as error:
        raise FileError.unread(path, error) from None


def read_tensor(stored: Stored, tensor: Tensor, name: str) -> Array:
    """The array that `tensor` describes, contiguous."""
    shape = tuple(stored["shape"])
    if shape != tensor.shape:
        raise ModelError(f"{name} has shape {shape}, where config.json calls for {tensor.shape}")
    values = tensor.ours(_float32(stored["dtype"], stored["data"], name).reshape(shape))
    if not np.isfinite(values).all():
        raise ModelError(f"{name} holds NaN or infinite values")
    return values


def _float32(dtype: str, data: bytes, name: str) -> Array:
    if dtype == "F32":
        return np.frombuffer(data, "<f4").astype(np.float32)
    if dtype == "F16":
        return np.frombuffer(data, "<f2").astype(np.float32)
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    raise ModelError(f"{name} is stored as {dtype}; accepted: F32, F16, BF16")
