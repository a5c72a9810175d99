"""What a model owner hands out: a directory each for client, dealer and both parties, and how it is read."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from privinf import __version__
from privinf.errors import ConfigError, ModelError
from privinf.models.fold import F64, RELATIVE
from privinf.models.plan import Plan
from privinf.models.program import EncoderDealer, EncoderParty
from privinf.models.query import Layout
from privinf.models.spec import EncoderSpec, read_spec
from privinf.models.tables import verify
from privinf.models.weights import DealerStore, PartyStore, encode, mask_tensor
from privinf.protocols import prg
from privinf.protocols.program import Identity
from privinf.protocols.ring import U64, Shape

FORMAT = 1
ROLES = ("client", "dealer", "party0", "party1")
PUBLIC_FILES = ("config.json", "modules.json", "1_Pooling/config.json")
Mode = Literal["private", "public"]
EMBEDDINGS = ("embed.token", "embed.position")


@dataclass(frozen=True)
class Bundle:
    """The public part of a shared model, equal in every role's directory."""

    directory: Path
    layout: Layout
    identity: Identity
    sharing: str

    @property
    def spec(self) -> EncoderSpec:
        return self.layout.spec

    def shapes(self) -> dict[str, Shape]:
        return folded_shapes(self.spec)


def write(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    spec: EncoderSpec,
    weights: Mapping[str, F64],
    plan: Plan,
    mode: Mode,
) -> None:
    """Split a folded model under a fresh random sharing id; an existing directory is refused."""
    target = Path(out)
    if target.exists() and any(target.iterdir()):
        raise ConfigError(f"{target} exists and is not empty: choose another directory, or remove it")
    sharing = secrets.token_hex(16)
    about = {
        "format": FORMAT,
        "version": __version__,
        "model": f"{Path(source).resolve().name}-{sharing[:8]}",
        "sharing": sharing,
        "weights": mode,
    }
    for role in ROLES:
        _write_public(Path(source), target / role, about, plan)
    _copy(Path(source) / "tokenizer.json", target / "client" / "tokenizer.json")
    encoded = encode(weights)
    if mode == "public":
        for role in ROLES[2:]:
            save_file(encoded, target / role / "weights.safetensors")
        save_file(
            {n: weights[n].astype(np.float32) for n in EMBEDDINGS}, target / "client" / "embed.safetensors"
        )
    else:
        _write_masked(target, encoded, sharing)


def _write_masked(target: Path, encoded: Mapping[str, U64], sharing: str) -> None:
    seeds = prg.fresh_seed(), prg.fresh_seed()
    masked = {name: mask_tensor(value, seeds, sharing, name) for name, value in encoded.items()}
    for party, seed in enumerate(seeds):
        save_file(masked, target / f"party{party}" / "weights.safetensors")
        _write_seed(target / f"party{party}" / "mask.seed", seed)
        _write_seed(target / "dealer" / f"mask{party}.seed", seed)


def _write_public(source: Path, target: Path, about: Mapping[str, object], plan: Plan) -> None:
    target.mkdir(parents=True, mode=0o700)
    for name in PUBLIC_FILES:
        if (source / name).is_file():
            _copy(source / name, target / name)
    (target / "bundle.json").write_text(json.dumps(about, indent=1))
    (target / "plan.json").write_text(plan.to_json())


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _write_seed(path: Path, seed: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(seed)


def read(directory: str | os.PathLike[str]) -> Bundle:
    """Read a role's directory; ModelError names what is missing or damaged."""
    path = Path(directory)
    try:
        about = json.loads((path / "bundle.json").read_text())
        plan = Plan.from_json((path / "plan.json").read_text())
        if about["format"] != FORMAT:
            raise ModelError(
                f"{path}: bundle format {about['format']} is not {FORMAT}: share the model again"
            )
        mode, sharing, model = about["weights"], str(about["sharing"]), str(about["model"])
    except FileNotFoundError as error:
        raise ModelError(
            f"{path} is no shared model ({error.filename} is missing): run `privinf share`"
        ) from error
    except (json.JSONDecodeError, KeyError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}/bundle.json is damaged: share the model again") from error
    if mode not in ("private", "public"):
        raise ModelError(f"{path}: unknown kind of weights {mode!r}")
    layout = Layout(read_spec(path), plan, mode == "public")
    return Bundle(path, layout, Identity(__version__, f"{model}:{sharing}:{mode}", plan.hash), sharing)


def dealer_program(directory: str | os.PathLike[str]) -> EncoderDealer:
    """The dealer's program of a shared model."""
    bundle = read(directory)
    verify(bundle.layout.spec, bundle.layout.plan)
    shapes = bundle.shapes()
    if bundle.layout.public:
        return EncoderDealer(bundle.identity, bundle.layout, shapes, None, blank_weights(shapes))
    seeds = _read_seed(bundle.directory / "mask0.seed"), _read_seed(bundle.directory / "mask1.seed")
    store = DealerStore(shapes, seeds, bundle.sharing)
    store.warm()
    return EncoderDealer(bundle.identity, bundle.layout, shapes, store)


def party_program(directory: str | os.PathLike[str], party: int) -> EncoderParty:
    """A party's program of a shared model."""
    bundle = read(directory)
    verify(bundle.layout.spec, bundle.layout.plan)
    shapes = bundle.shapes()
    tensors = _read_tensors(bundle.directory / "weights.safetensors", shapes)
    if bundle.layout.public:
        return EncoderParty(bundle.identity, party, bundle.layout, shapes, None, tensors)
    seed = _read_seed(bundle.directory / "mask.seed")
    store = PartyStore(tensors, seed, bundle.sharing)
    store.warm(party)
    return EncoderParty(bundle.identity, party, bundle.layout, shapes, store)


def client_embeddings(bundle: Bundle) -> dict[str, F64] | None:
    """What a client needs to embed tokens itself, where the weights are public."""
    if not bundle.layout.public:
        return None
    shapes = bundle.shapes()
    stored = _load(bundle.directory / "embed.safetensors")
    if {name: array.shape for name, array in stored.items()} != {name: shapes[name] for name in EMBEDDINGS}:
        raise ModelError(f"{bundle.directory}/embed.safetensors does not fit the model's configuration")
    return {name: array.astype(np.float64) for name, array in stored.items()}


def folded_shapes(spec: EncoderSpec) -> dict[str, Shape]:
    """Shapes of all folded tensors, from the public configuration."""
    d, f = spec.width, spec.ffn
    shapes: dict[str, Shape] = {"embed.token": (spec.vocab, d), "embed.position": (spec.max_tokens, d)}
    if spec.names.buckets:
        shapes[RELATIVE] = (spec.names.buckets, spec.heads)

    def linear(name: str, rows: int, columns: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (rows, columns), (columns,)

    for i in range(spec.layers):
        for name in ("q", "k", "v", "out"):
            linear(f"layer{i}.attn.{name}", d, d)
        linear(f"layer{i}.ffn.up", d, f)
        linear(f"layer{i}.ffn.down", f, d)
        for block in ("attn", "ffn"):
            shapes[f"layer{i}.{block}.skip.gain"], shapes[f"layer{i}.{block}.skip.mean"] = (d,), (d, 1)
    if spec.head == "none":
        shapes["pool.gain"], shapes["pool.bias"] = (d,), (d,)
    else:
        linear("head.pooler", d, d)
        linear("head.out", d, len(spec.labels))
    return shapes


def blank_weights(shapes: Mapping[str, Shape]) -> dict[str, U64]:
    """Stand-ins that have a shape and no memory: the dealer needs no more of public weights."""
    return {name: np.broadcast_to(np.zeros((), dtype=np.uint64), shape) for name, shape in shapes.items()}


def _read_tensors(path: Path, shapes: Mapping[str, Shape]) -> dict[str, U64]:
    tensors = _load(path)
    if {name: array.shape for name, array in tensors.items()} != dict(shapes):
        raise ModelError(f"{path} does not fit the model's configuration: share the model again")
    if any(array.dtype != np.uint64 for array in tensors.values()):
        raise ModelError(f"{path} holds no ring elements: share the model again")
    return tensors


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing: share the model again") from error
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is damaged: share the model again") from error


def _read_seed(path: Path) -> bytes:
    try:
        seed = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: is this the directory of this role?") from error
    if len(seed) != prg.SEED_BYTES:
        raise ModelError(f"{path} is damaged: share the model again")
    return seed
