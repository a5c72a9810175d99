"""A process for one role of a workload: dealer or party, until it is told to end."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness.workload import Workload
from benchmarks.workloads import encoder_layer, gates
from benchmarks.workloads.encoder_layer import LayerDealer, LayerParty, Size, identity
from privinf.config import GIB, DealerConfig, PartyConfig, Tls
from privinf.models.engines.stores import DealerStore, PartyStore, encode, mask_tensor
from privinf.models.plan.rings import Plan
from privinf.models.plan.scales import POST
from privinf.parties.serve import DealerServer, PartyServer, Server, serve_until_stopped
from privinf.protocols import kernels, masked
from privinf.protocols.contract import DealerProgram, PartyProgram, QueryShape

SHARING = "benchmark"


def build(name: str, folder: Path) -> Workload:
    """A workload by name; a plan is read from the folder, or made and written there."""
    if name in gates.NAMES:
        return gates.NAMES[name]()
    size, path = Size.of(name), folder / "plan.json"
    if path.exists():
        return encoder_layer.workload(name, size, Plan.from_json(path.read_text("utf-8"), POST))
    plan, _ = encoder_layer.in_clear(size, encoder_layer.weights(size))
    path.write_text(plan.to_json(), encoding="utf-8")
    return encoder_layer.workload(name, size, plan)


def mask_seeds() -> tuple[bytes, bytes]:
    """Fixed seeds: the weights are made up, and every process derives them alike."""
    return hashlib.sha256(b"benchmark mask 0").digest(), hashlib.sha256(b"benchmark mask 1").digest()


def dealer_program(work: Workload) -> DealerProgram:
    """The dealer's side: masks of the weights alone."""
    store = DealerStore(work.weight_shapes, mask_seeds(), SHARING, POST.of)
    store.warm()
    return DealerProgram(identity(work, "dealer"), masked.TOPOLOGY, LayerDealer(work, store))


def party_program(work: Workload, party: int) -> PartyProgram:
    """A party's side: masked weights."""
    seeds, encoded = mask_seeds(), encode(work.weights(), POST.of)
    opened = {name: mask_tensor(value, seeds, SHARING, name) for name, value in encoded.items()}
    store = PartyStore(opened, seeds[party], SHARING, POST.of)
    store.warm(party)
    queries = LayerParty(work, party, store)
    return PartyProgram(identity(work, f"party{party}"), masked.TOPOLOGY, party, queries)


def _shape(text: str) -> QueryShape:
    task, batch, tokens = text.split(":")
    return QueryShape(task, int(batch), int(tokens))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.harness.role", description=__doc__)
    parser.add_argument("role", choices=("dealer", "party0", "party1"))
    parser.add_argument("workload")
    parser.add_argument("folder", type=Path, help="holds plan.json where the workload has a plan")
    for name in ("listen", "dealer", "peer"):
        parser.add_argument(f"--{name}")
    for name in ("ca", "cert", "key", "store"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--party", type=int)
    parser.add_argument("--ahead", type=int, default=0)
    parser.add_argument("--shape", type=_shape, action="append", default=[])
    parser.add_argument("--insecure-no-tls", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Serve; the options are those of `privinf dealer` and `privinf party`."""
    given = _options()
    work = build(given.workload, given.folder)
    tls = None if given.insecure_no_tls else Tls(given.ca, given.cert, given.key)
    servers: dict[str, Callable[[], Server]] = {
        "dealer": lambda: DealerServer(
            DealerConfig(listen=given.listen, tls=tls, insecure_no_tls=given.insecure_no_tls),
            dealer_program(work),
        ),
        "party": lambda: PartyServer(_party_config(given, tls), party_program(work, given.party)),
    }
    kernels.use_threads()
    serve_until_stopped(servers[given.role.rstrip("01")]())


def _party_config(given: argparse.Namespace, tls: Tls | None) -> PartyConfig:
    return PartyConfig(
        given.party,
        given.store,
        given.dealer,
        peer=given.peer,
        listen=given.listen,
        tls=tls,
        insecure_no_tls=given.insecure_no_tls,
        max_store_bytes=32 * GIB,
        ahead=given.ahead,
        shapes=tuple(given.shape),
    )


if __name__ == "__main__":
    main()
