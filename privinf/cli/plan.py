"""The plan command: rounds and bytes of a query, or of a pass of a generation, before anything is asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privinf.cli._options import refuse
from privinf.cli.output import JsonFlag, emit_json, megabytes, note
from privinf.options import changed, option

if TYPE_CHECKING:
    from privinf.protocols.contract import Identity
    from privinf.protocols.cost import Cost, Tally

TOKENS = 128


@dataclass(frozen=True)
class Query:
    """An encoder's query."""

    tokens: int | None = option(None, "Encoders: length bucket [128, or the longest that the model takes].")


@dataclass(frozen=True)
class LaterPass:
    """A pass of a generation."""

    prompt: int = option(32, "Decoders: tokens of the prompt.")
    drafts: int = option(0, "Decoders: drafts in one pass.")
    generated: int = option(64, "Decoders: tokens generated before the pass.")
    secure_argmax: bool = option(False, "Decoders: the client learns no logits.")


def plan(
    directory: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A shared model, or one role's folder of it.")
    ],
    query: Query,
    later: LaterPass,
    batch: int = option(1, "Texts in one query, or prompts that advance together."),
    measure: bool = option(False, "Measure this machine first (about ten seconds); kept for later plans."),
    as_json: JsonFlag = False,
) -> None:
    """Show rounds and bytes of a query or a pass, layer by layer, and seconds to compute, prepare and send it."""
    from privinf.models.sharing.folder import read_about
    from privinf.models.source.checkpoint import read_spec

    folder = directory / "client" if (directory / "client").is_dir() else directory
    read_about(folder)  # says what is wrong with a directory that is no shared model
    if measure:
        _measure()
    if read_spec(folder).task == "generate":
        refuse(changed(query), "encoders, and this model is a decoder")
        document = _session(folder, later, batch)
    else:
        refuse(changed(later), "decoders, and this model is an encoder")
        document = _query(folder, query, batch)
    emit_json(document) if as_json else _print(document)


def _measure() -> None:
    from privinf import speed

    note("measuring what this machine computes")
    speed.measure()
    note(f"kept in {speed.path()}")


def _query(folder: Path, query: Query, batch: int) -> dict[str, Any]:
    """Costs of an encoder's query."""
    from privinf.models.programs.layout import ImageLayout
    from privinf.models.sharing import bundle
    from privinf.protocols.contract import QueryShape
    from privinf.sdk.costs import query_tally

    shared = bundle.read_queries(folder)
    longest = shared.layout.max_tokens
    usual = longest if isinstance(shared.layout, ImageLayout) else min(TOKENS, longest)
    tokens = usual if query.tokens is None else query.tokens
    shape = QueryShape(shared.spec.task, batch, tokens)
    shared.layout.check(shape)
    return _facts(shared.identity) | vars(shape) | _costs([query_tally(shared, shape)])


def _session(folder: Path, later: LaterPass, batch: int) -> dict[str, Any]:
    """Costs of one pass of a generation, and beside them those of reading the prompt."""
    from privinf.errors import OptionError
    from privinf.models.sharing import bundle
    from privinf.models.text.prompts import prompt_rows
    from privinf.protocols.contract import SessionShape
    from privinf.sdk.costs import session_tallies

    shared = bundle.read_sessions(folder)
    if min(later.prompt, later.generated) < 1:
        raise OptionError("--prompt and --generated are 1 or more: a pass follows a prompt, and a token")
    task = "argmax" if later.secure_argmax else "generate"
    shape = SessionShape(task, prompt_rows(later.prompt), 1 + later.drafts, batch)
    reading, one = session_tallies(shared, shape, later.generated - 1)
    about = {
        "task": shape.task,
        "prompt_rows": shape.prompt,
        "rows": shape.rows,
        "batch": shape.batch,
        "generated": later.generated,
        "slots": len(shared.layout.plan.prefix) + shape.prompt + later.generated - 1,
    }
    reads = {"passes": len(reading)} | _costs(reading)
    return _facts(shared.identity) | about | _costs([one]) | {"prompt": reads}


def _facts(identity: Identity) -> dict[str, Any]:
    return {"model": identity.model_id, "plan_hash": identity.plan_hash}


def _costs(tallies: Iterable[Tally]) -> dict[str, Any]:
    from privinf.protocols.cost import NETWORKS, Tally

    whole = Tally()
    for tally in tallies:
        for name, cost in tally.top().items():
            whole.add(name, cost)
    total = whole.total()
    larger = max(total.prep0, total.prep1)
    return {
        "layers": [_layer(name, cost) for name, cost in whole.by_scope.items()],
        "rounds": total.rounds,
        "online_bytes": total.online,
        "offline_bytes": total.prep0 + total.prep1,
        "offline_bytes_party0": total.prep0,
        "offline_bytes_party1": total.prep1,
        "wire_seconds": {name: network.seconds(total) for name, network in NETWORKS.items()},
        "delivery_seconds": {name: larger / network.bandwidth for name, network in NETWORKS.items()},
        "compute": _computed(total),
    }


def _layer(name: str, cost: Cost) -> dict[str, Any]:
    offline = cost.prep0 + cost.prep1
    return {"name": name, "openings": cost.rounds, "online_bytes": cost.online, "offline_bytes": offline}


def _computed(total: Cost) -> dict[str, Any] | None:
    """Seconds of a core at roles as fast as this machine, if it was measured."""
    from privinf import speed

    known = speed.stored()
    if known is None:
        return None
    about = {"measured": known.measured, "kernels": known.kernels, "file": str(speed.path())}
    return {"seconds": known.seconds(total)} | about


def _print(document: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("part", "rounds", "online, one party", "offline, both", title=_title(document))
    for row in document["layers"]:
        table.add_row(row["name"], *_cells(row, row["openings"]))
    table.add_section()
    table.add_row("total", *_cells(document, document["rounds"]))
    if reads := document.get("prompt"):
        table.add_section()
        table.add_row(f"the prompt, {document['prompt_rows']} rows", *_cells(reads, reads["rounds"]))
    console.print(table)
    first, second = (megabytes(document[f"offline_bytes_party{party}"]) for party in (0, 1))
    console.print(f"offline, party 0: {first}, party 1: {second}")
    for name, seconds in document["wire_seconds"].items():
        prompt = f", the prompt {reads['wire_seconds'][name]:.2f} s" if reads else ""
        late = document["delivery_seconds"][name]
        console.print(
            f"on the wire, {name}: {seconds:.2f} s online{prompt}; preparations {late:.2f} s before it"
        )
    for line in _compute_lines(document):
        console.print(line)


def _compute_lines(document: dict[str, Any]) -> list[str]:
    compute = document["compute"]
    if compute is None:
        return ["computed: not measured on this machine; --measure takes some ten seconds"]
    offline = "{deal:.2f} s at the dealer, {prepare:.2f} s at each party".format_map(compute["seconds"])
    return [
        f"computed, one core: online {compute['seconds']['answer']:.2f} s at each party; before it {offline}",
        f"measured here on {compute['measured']} ({compute['kernels']}, {compute['file']}); --measure again",
    ]


def _title(document: dict[str, Any]) -> str:
    name = str(document["model"]).split(":")[0]
    if "rows" not in document:
        return name
    rows = "1 row" if document["rows"] == 1 else f"{document['rows']} rows"
    if document["batch"] > 1:
        rows += f" of each of {document['batch']} prompts"
    return f"{name}: one pass of {rows}, {document['slots']} slots before it"


def _cells(costs: dict[str, Any], rounds: int) -> tuple[str, str, str]:
    return str(rounds), megabytes(costs["online_bytes"]), megabytes(costs["offline_bytes"])
