"""A shared encoder: a directory each for client, dealer and both parties, and the programs that they run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from privinf.models import folder
from privinf.models.fold import F64
from privinf.models.folder import Mode, blank_weights, read_seed, read_tensors
from privinf.models.plan.rings import Plan
from privinf.models.plan.scales import POST
from privinf.models.plan.tables import verify
from privinf.models.program import EncoderDealer, EncoderParty
from privinf.models.query import Layout
from privinf.models.source.checkpoint import read_spec
from privinf.models.source.sentences import CLIENT_FILES, pooling_files
from privinf.models.spec import ModelSpec
from privinf.models.weights import DealerStore, PartyStore, encode
from privinf.protocols import masked
from privinf.protocols.contract import DealerProgram, Identity, PartyProgram
from privinf.protocols.ring import Shape

PUBLIC_FILES = ("config.json", "modules.json")


@dataclass(frozen=True)
class Bundle:
    """The public part of a shared model, equal in every role's directory."""

    directory: Path
    layout: Layout
    identity: Identity
    sharing: str

    @property
    def spec(self) -> ModelSpec:
        return self.layout.spec

    def shapes(self) -> dict[str, Shape]:
        return self.layout.model.shapes()


def write(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    spec: ModelSpec,
    weights: Mapping[str, F64],
    plan: Plan,
    mode: Mode,
) -> None:
    """Split a folded model under a fresh random sharing id; an existing directory is refused."""
    origin, target = Path(source), Path(out)
    sharing = folder.begin(
        origin, target, {"weights": mode}, (*PUBLIC_FILES, *pooling_files(origin)), plan.to_json()
    )
    for name in ("tokenizer.json", *CLIENT_FILES):
        if (origin / name).is_file():
            folder.copy(origin / name, target / "client" / name)
    folder.write_weights(target, encode(weights), mode, sharing)


def read(directory: str | os.PathLike[str], role: str | None = None) -> Bundle:
    """Read a role's directory; ModelError names what is missing or damaged, or that it is another role's."""
    path = Path(directory)
    about, text = folder.read_about(path, role)
    plan, mode, sharing = Plan.from_json(text, POST), about["weights"], str(about["sharing"])
    layout = Layout(read_spec(path), plan, mode == "public")
    model_id = f"{about['model']}:{sharing}:{mode}"
    identity = Identity(folder.VERSION, masked.NAME, model_id, plan.hash, str(about["role"]))
    return Bundle(path, layout, identity, sharing)


def dealer_program(directory: str | os.PathLike[str]) -> DealerProgram:
    """The dealer's program of a shared model."""
    bundle = read(directory, "dealer")
    verify(bundle.layout.model, bundle.layout.plan)
    shapes = bundle.shapes()
    if bundle.layout.public:
        queries = EncoderDealer(bundle.layout, shapes, None, blank_weights(shapes))
        return DealerProgram(bundle.identity, masked.TOPOLOGY, queries)
    seeds = read_seed(bundle.directory / "mask0.seed"), read_seed(bundle.directory / "mask1.seed")
    store = DealerStore(shapes, seeds, bundle.sharing)
    store.warm()
    return DealerProgram(bundle.identity, masked.TOPOLOGY, EncoderDealer(bundle.layout, shapes, store))


def party_program(directory: str | os.PathLike[str], party: int) -> PartyProgram:
    """A party's program of a shared model."""
    bundle = read(directory, f"party{party}")
    verify(bundle.layout.model, bundle.layout.plan)
    shapes = bundle.shapes()
    tensors = read_tensors(bundle.directory / folder.WEIGHTS, shapes)
    if bundle.layout.public:
        queries = EncoderParty(party, bundle.layout, shapes, None, tensors)
        return PartyProgram(bundle.identity, masked.TOPOLOGY, party, queries)
    seed = read_seed(bundle.directory / "mask.seed")
    store = PartyStore(tensors, seed, bundle.sharing)
    store.warm(party)
    queries = EncoderParty(party, bundle.layout, shapes, store)
    return PartyProgram(bundle.identity, masked.TOPOLOGY, party, queries)
