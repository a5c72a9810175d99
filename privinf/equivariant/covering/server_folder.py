"""Writes the server's directory: weights and configuration for plain transformers, and what is public about both."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from privinf.equivariant.about import FILE, FORMAT, digest
from privinf.equivariant.covering.covered import Covered
from privinf.equivariant.covering.plain import Plain
from privinf.equivariant.covering.server_config import covered_spec, server_config
from privinf.formats.directory import stored_name
from privinf.models.source.checkpoint import tensors
from privinf.models.source.tensors import WEIGHTS, Array


def write_server(folder: Path, plain: Plain, covered: Covered, about: Mapping[str, Any]) -> None:
    """Write one covered model; `about` is what the key says of itself that servers may know."""
    folder.mkdir(parents=True, exist_ok=True)
    config = server_config(plain, covered)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    save_file(_stored(plain, covered), folder / WEIGHTS, metadata={"format": "pt"})
    write_about(folder, {**about, "model_sha256": digest(folder / WEIGHTS), "width": covered.width})


def write_about(folder: Path, about: Mapping[str, Any]) -> None:
    """Write what is public."""
    (folder / FILE).write_text(json.dumps({"format": FORMAT, **about}, indent=1) + "\n")


def _stored(plain: Plain, covered: Covered) -> dict[str, Array]:
    """The weights under the names, in the shapes and in the order of axes that transformers wants."""
    parts: dict[str, dict[int, Array]] = defaultdict(dict)
    for ours, tensor in tensors(covered_spec(plain, covered)).items():
        if ours in covered.weights:
            name = tensor.theirs if covered.local else stored_name(tensor.theirs, plain.spec)
            parts[name][tensor.part] = tensor.stored(covered.weights[ours])
    return {
        name: np.ascontiguousarray(np.concatenate([found[i] for i in sorted(found)], axis=-1))
        for name, found in parts.items()
    }
