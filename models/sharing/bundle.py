"""A shared model: a directory each for client, dealer and both parties, what each says, and the programs of each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from privinf.errors import ConfigError, ModelError
from privinf.models.cache import POLICIES
from privinf.models.engines.stores import encode
from privinf.models.fold import F64
from privinf.models.orders import ORDERS
from privinf.models.plan.rings import Plan
from privinf.models.plan.scales import PATCH
from privinf.models.plan.tables import verify
from privinf.models.programs.layout import TABLES, ImageLayout, Layout, QueryLayout, SessionLayout
from privinf.models.sharing import folder
from privinf.models.sharing.folder import Mode, read_tensors
from privinf.models.sharing.schemes import SCHEMES, Scheme
from privinf.models.source import processor
from privinf.models.source.checkpoint import read_spec
from privinf.models.source.sentences import CLIENT_FILES as SENTENCE_FILES
from privinf.models.source.sentences import pooling_files
from privinf.models.spec import ModelSpec, Patches
from privinf.models.text.control import Script
from privinf.protocols import kernels
from privinf.protocols.contract import DealerProgram, Identity, PartyProgram
from privinf.protocols.masked import NAME
from privinf.protocols.ring import U64

PUBLIC_FILES = ("config.json", "generation_config.json", "modules.json")
CLIENT_FILES = (
    "tokenizer.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    processor.FILE,
    *SENTENCE_FILES,
)
EMBEDDINGS = (
    "embed.safetensors"  # a party's, where these alone are public; of images the client's, where all are
)
OF_PATCHES = (PATCH, "embed.position")  # with these
NO_HEAD = Script("")

L = TypeVar("L", bound=Layout, covariant=True)


@dataclass(frozen=True)
class Bundle(Generic[L]):
    """The public part of a shared model, equal in every role's directory.

    head: the public prefix as text, without a first special token that it may begin with. chat: whether that is the
    header of a conversation.
    """

    directory: Path
    layout: L
    identity: Identity
    sharing: str
    head: Script = NO_HEAD
    chat: bool = False

    @property
    def spec(self) -> ModelSpec:
        return self.layout.spec

    @property
    def scheme(self) -> Scheme:
        return SCHEMES[self.identity.protocol]


def write(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    weights: Mapping[str, F64],
    plan: Plan,
    mode: Mode,
    embeddings: Mode | None = None,
    head: Script = NO_HEAD,
    chat: bool = False,
    protocol: str = NAME,
) -> None:
    """Split a folded model under a fresh random sharing id; an existing directory is refused."""
    origin, target = Path(source), Path(out)
    if target.exists() and any(target.iterdir()):
        raise ConfigError(f"{target} exists and is not empty: choose another directory, or remove it")
    scheme, embedded = SCHEMES[protocol], embeddings or mode
    folders = {role: target / role for role in folder.roles(scheme.topology)}
    about = {
        "protocol": protocol,
        "weights": mode,
        "embeddings": embedded,
        "head": head.text,
        "control": head.control,
        "chat": chat,
    }
    sharing = folder.begin(origin, folders, about, (*PUBLIC_FILES, *pooling_files(origin)), plan.to_json())
    for name in CLIENT_FILES:
        if (origin / name).is_file():
            folder.copy(origin / name, folders["client"] / name)
    encoded = encode(weights, plan.scales.of)
    if embedded == "public" and PATCH in encoded:
        folder.write_tensors(folders["client"] / EMBEDDINGS, {name: encoded[name] for name in OF_PATCHES})
    apart = (mode, embedded) == ("private", "public")
    tables = {n: encoded.pop(n) for n in TABLES if n in encoded} if apart else {}
    if mode == "private":
        scheme.split(encoded, sharing, folders)
    name, public = (EMBEDDINGS, tables) if mode == "private" else (folder.WEIGHTS, encoded)
    for role in folder.parties(scheme.topology) if public else ():
        folder.write_tensors(folders[role] / name, public)


def read(
    directory: str | os.PathLike[str], role: str | None = None
) -> Bundle[QueryLayout] | Bundle[SessionLayout]:
    """Read a role's directory; ModelError names what is missing or damaged, or that it is another role's."""
    path = Path(directory)
    about, text = folder.read_about(path, role)
    spec = read_spec(path)
    plan = Plan.from_json(text, ORDERS[spec.order].scales)
    _require_fit(path, spec, plan)
    try:
        return _bundle(path, about, spec, plan)
    except (TypeError, ValueError, KeyError) as error:
        raise ModelError(f"{path}/bundle.json is damaged: share the model again") from error


def _require_fit(path: Path, spec: ModelSpec, plan: Plan) -> None:
    """A plan is of one specification: under another, roles would run other programs that all attest."""
    if plan.spec != spec.digest or len(plan.layers) != spec.layers:
        raise ModelError(
            f"{path}/config.json is not that of the model that was shared: share the model again"
        )
    if plan.cache not in POLICIES:
        raise ModelError(f"{path}: this version knows no cache policy {plan.cache!r}: share the model again")


def _bundle(
    path: Path, about: Mapping[str, Any], spec: ModelSpec, plan: Plan
) -> Bundle[QueryLayout] | Bundle[SessionLayout]:
    mode, embeddings, sharing = about["weights"], about["embeddings"], str(about["sharing"])
    if (mode, embeddings) not in (("private", "private"), ("private", "public"), ("public", "public")):
        raise ValueError(embeddings)
    model_id = f"{about['model']}:{sharing}:{mode}:{embeddings}"
    protocol, role = str(about["protocol"]), str(about["role"])
    if protocol not in SCHEMES:
        raise ModelError(f"{path}: this version knows no protocol {protocol!r}: share the model again")
    identity = Identity(folder.VERSION, protocol, model_id, plan.hash, role)
    control = tuple((int(start), int(end)) for start, end in about["control"])
    head, chat = Script(str(about["head"]), control), bool(about["chat"])
    facts = spec, plan, mode == "public", embeddings == "public"
    if spec.task == "generate":
        return Bundle(path, SessionLayout(*facts), identity, sharing, head, chat)
    kind = ImageLayout if isinstance(spec.inputs, Patches) else QueryLayout
    return Bundle(path, kind(*facts), identity, sharing)


def read_queries(directory: str | os.PathLike[str], role: str | None = None) -> Bundle[QueryLayout]:
    """The same of a model that is asked about texts."""
    bundle = read(directory, role)
    if isinstance(bundle.layout, QueryLayout):
        return Bundle(bundle.directory, bundle.layout, bundle.identity, bundle.sharing)
    raise ModelError(f"{directory} is a model that generates")


def read_sessions(directory: str | os.PathLike[str], role: str | None = None) -> Bundle[SessionLayout]:
    """The same of a model that generates."""
    bundle = read(directory, role)
    if isinstance(bundle.layout, SessionLayout):
        return Bundle(
            bundle.directory, bundle.layout, bundle.identity, bundle.sharing, bundle.head, bundle.chat
        )
    raise ModelError(f"{directory} is a model of texts: it does not generate")


def known(path: Path, layout: Layout) -> dict[str, U64]:
    """The tensors in a party's folder that are no secret: all, the tables of embeddings alone, or none."""
    shapes = {name: shape for name, shape in layout.model.shapes().items() if name not in layout.masked}
    if not shapes:
        return {}
    return read_tensors(path / (folder.WEIGHTS if layout.public else EMBEDDINGS), shapes)


def of_patches(bundle: Bundle[QueryLayout]) -> dict[str, U64]:
    """What a client makes rows of patches with, where everybody knows it; empty otherwise."""
    layout = bundle.layout
    if not (isinstance(layout, ImageLayout) and layout.embedded):
        return {}
    shapes = layout.model.shapes()
    return read_tensors(bundle.directory / EMBEDDINGS, {name: shapes[name] for name in OF_PATCHES})


def dealer_program(directory: str | os.PathLike[str]) -> DealerProgram:
    """The dealer's program; ModelError where the directory is no shared model, ConfigError for unknown kernels."""
    kernels.default()
    bundle = read(directory, "dealer")
    verify(bundle.layout.model, bundle.layout.plan)
    return bundle.scheme.dealer(bundle)


def party_program(directory: str | os.PathLike[str], party: int) -> PartyProgram:
    """A party's program; ModelError where the directory is no shared model, ConfigError for unknown kernels."""
    kernels.default()
    bundle = read(directory)
    bundle.scheme.topology.require(party)
    folder.require_role(bundle.directory, bundle.identity.role, f"party{party}")
    verify(bundle.layout.model, bundle.layout.plan)
    return bundle.scheme.party(bundle, party, known(bundle.directory, bundle.layout))
