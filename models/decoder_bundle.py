"""A shared decoder: a directory each for client, dealer and both parties, and the programs that they run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from privinf.errors import ModelError
from privinf.models import folder
from privinf.models.decoder_layout import DecoderLayout
from privinf.models.decoder_program import DecoderDealer, DecoderParty
from privinf.models.decoder_public import TABLES, Public
from privinf.models.fold import F64
from privinf.models.folder import Mode, read_seed, read_tensors
from privinf.models.plan.rings import Plan
from privinf.models.plan.scales import PRE
from privinf.models.plan.tables import verify
from privinf.models.source.checkpoint import read_spec
from privinf.models.spec import ModelSpec
from privinf.models.text.control import Script
from privinf.models.weights import DealerStore, PartyStore, encode
from privinf.protocols import masked
from privinf.protocols.contract import DealerProgram, Identity, PartyProgram
from privinf.protocols.ring import Shape

PUBLIC_FILES = ("config.json", "generation_config.json")
PART = ("private", "public")  # weights and embeddings: of those, parties hold the latter apart
CLIENT_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
EMBEDDINGS = "embed.safetensors"  # a party's, where these alone are public
NO_HEAD = Script("")


@dataclass(frozen=True)
class DecoderBundle:
    """The public part of a shared decoder, equal in every role's directory."""

    directory: Path
    layout: DecoderLayout
    identity: Identity
    sharing: str
    head: Script  # the public prefix as text, without a first special token that it may begin with
    chat: bool  # whether that is the header of a conversation

    @property
    def spec(self) -> ModelSpec:
        return self.layout.spec

    def shapes(self) -> dict[str, Shape]:
        """Shapes of the tensors that the parties hold."""
        return self.layout.model.shapes()

    def masked(self) -> dict[str, Shape]:
        """Shapes of those that they hold under masks."""
        if self.layout.public:
            return {}
        return {n: s for n, s in self.shapes().items() if not (self.layout.embedded and n in TABLES)}


def write(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    weights: Mapping[str, F64],
    plan: Plan,
    mode: Mode,
    embeddings: Mode,
    head: Script = NO_HEAD,
    chat: bool = False,
) -> None:
    """Split a folded decoder under a fresh random sharing id; an existing directory is refused."""
    origin, target = Path(source), Path(out)
    about = {
        "weights": mode,
        "embeddings": embeddings,
        "head": head.text,
        "control": head.control,
        "chat": chat,
    }
    sharing = folder.begin(origin, target, about, PUBLIC_FILES, plan.to_json())
    for name in CLIENT_FILES:
        if (origin / name).is_file():
            folder.copy(origin / name, target / "client" / name)
    encoded = encode(weights, PRE.of)
    known = {n: encoded.pop(n) for n in TABLES if n in encoded} if (mode, embeddings) == PART else {}
    folder.write_weights(target, encoded, mode, sharing)
    for role in folder.ROLES[2:] if known else ():
        folder.write_tensors(target / role / EMBEDDINGS, known)


def read(directory: str | os.PathLike[str], role: str | None = None) -> DecoderBundle:
    """Read a role's directory; ModelError names what is missing or damaged, or that it is another role's."""
    path = Path(directory)
    about, text = folder.read_about(path, role)
    plan, mode, sharing = Plan.from_json(text, PRE), about["weights"], str(about["sharing"])
    embeddings = about.get("embeddings")
    known = {"head", "control", "chat"} <= set(about) and embeddings in ("private", "public")
    if not known or (mode, embeddings) == ("public", "private"):
        raise ModelError(f"{path}/bundle.json is damaged: share the model again")
    layout = DecoderLayout(read_spec(path), plan, mode == "public", embeddings == "public")
    model_id = f"{about['model']}:{sharing}:{mode}:{embeddings}"
    identity = Identity(folder.VERSION, masked.NAME, model_id, plan.hash, str(about["role"]))
    head = Script(str(about["head"]), tuple((start, end) for start, end in about["control"]))
    return DecoderBundle(path, layout, identity, sharing, head, bool(about["chat"]))


def dealer_program(directory: str | os.PathLike[str]) -> DealerProgram:
    """The dealer's program of a shared decoder."""
    bundle = read(directory, "dealer")
    layout = bundle.layout
    verify(layout.model, layout.plan)
    public = Public.blank(bundle.shapes(), layout.public, layout.embedded)
    if layout.public:
        return _dealer(bundle, DecoderDealer(layout, None, public))
    seeds = read_seed(bundle.directory / "mask0.seed"), read_seed(bundle.directory / "mask1.seed")
    store = DealerStore(bundle.masked(), seeds, bundle.sharing, PRE.of)
    store.warm()
    return _dealer(bundle, DecoderDealer(layout, store, public))


def _dealer(bundle: DecoderBundle, sessions: DecoderDealer) -> DealerProgram:
    return DealerProgram(bundle.identity, masked.TOPOLOGY, sessions=sessions)


def party_program(directory: str | os.PathLike[str], party: int) -> PartyProgram:
    """A party's program of a shared decoder."""
    bundle = read(directory, f"party{party}")
    layout, path = bundle.layout, bundle.directory
    verify(layout.model, layout.plan)
    masked, shapes = bundle.masked(), bundle.shapes()
    tensors = read_tensors(path / folder.WEIGHTS, masked or shapes)
    if layout.public:
        return _party(bundle, DecoderParty(party, layout, None, Public.of(tensors, True, True)))
    tables = {name: shape for name, shape in shapes.items() if name not in masked}
    known = read_tensors(path / EMBEDDINGS, tables) if tables else {}
    store = PartyStore(tensors, read_seed(path / "mask.seed"), bundle.sharing, PRE.of)
    store.warm(party)
    return _party(bundle, DecoderParty(party, layout, store, Public.of(known, False, layout.embedded)))


def _party(bundle: DecoderBundle, sessions: DecoderParty) -> PartyProgram:
    return PartyProgram(bundle.identity, masked.TOPOLOGY, sessions.party, sessions=sessions)
