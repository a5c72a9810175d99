"""The status command: whether the servers of a client serve, which model, and what they have ready."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privinf.cli._options import ClientOptions
from privinf.cli.output import JsonFlag, emit_json, megabytes, plain
from privinf.errors import ConnectError, DeadlineExceeded, MismatchError, PrivinfError
from privinf.options import option

if TYPE_CHECKING:
    from privinf.protocols.contract import Identity
    from privinf.sdk.standing import Standing

SHOWN = 300  # characters of what a server says
SHAPES = 20  # of preparations that it has ready


@dataclass(frozen=True)
class StatusOptions(ClientOptions):
    """The same, and the server that no query goes to."""

    dealer: str | None = option(None, "host:port of the dealer, where this machine reaches it.")


def status(
    reach: StatusOptions,
    model: Annotated[
        Path | None, typer.Option(help="The client's folder: servers of another model are named.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask the servers of a client what they serve and have ready; exit code 0 only if all of them serve.

    A client's certificate may ask that; what is answered are names, versions and counts, and nothing of any query.
    """
    from privinf.config import ClientConfig
    from privinf.errors import OptionError

    if reach.mode != "private":
        raise OptionError("--mode: status is for the private mode alone")
    settings = reach.settings(ClientConfig, dealer=reach.dealer)  # before gRPC is loaded, which it quiets
    from privinf.sdk.standing import standings

    found = standings(settings, _own(model))
    if as_json:
        emit_json({"serving": not any(one.error for one in found), "servers": [_facts(one) for one in found]})
    else:
        _print(found)
    if failed := next((one.error for one in found if one.error is not None), None):
        raise typer.Exit(failed.exit_code)


def _own(model: Path | None) -> Identity | None:
    from privinf.models.sharing import bundle

    return None if model is None else bundle.read(model, "client").identity


def _facts(one: Standing) -> dict[str, Any]:
    """One server for --json."""
    facts: dict[str, Any] = {"role": one.role, "address": one.address, "serves": one.error is None}
    if one.error is not None:
        facts |= {"kind": type(one.error).__name__, "error": _short(str(one.error))}
    if one.identity is not None:
        names = ("version", "protocol", "model_id", "plan_hash")
        facts |= {name: _short(getattr(one.identity, name)) for name in names}
    if one.status is not None:
        counts = {item.name: getattr(one.status, item.name) for item in fields(one.status)[2:]}
        ready = [asdict(shape) | {"count": count} for shape, count in one.status.ready.items()]
        facts |= {"ready": ready, **counts}
    return facts


def _print(found: list[Standing]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("server", "address", "state", "release", "runs", "model", "ready", "sessions", "store")
    for one in found:
        table.add_row(*map(Text, _cells(one)))
    console = Console(width=None if Console().is_terminal else 200)
    console.print(table)
    for one in found:
        if one.error is not None:
            console.print(Text(f"{type(one.error).__name__}: {_short(str(one.error))}"))


def _cells(one: Standing) -> list[str]:
    identity, counts = one.identity, one.status
    cells = [one.role, one.address, _state(one.error)]
    if identity is None:
        return [*cells, *[""] * 6]
    cells += map(_short, (identity.version, identity.protocol, identity.model_id.partition(":")[0]))
    if counts is None:
        return [*cells, "", "", ""]
    ready = [f"{n} x {_short(s.task)}:{s.batch}:{s.tokens}" for s, n in counts.ready.items()]
    if (more := len(ready) - SHAPES) > 0:
        ready = [*ready[:SHAPES], f"and {more} more"]
    waiting = f", {counts.waiting} wait" if counts.waiting else ""
    sessions = f"{counts.sessions} of {counts.max_sessions}{waiting}"
    return [*cells, ", ".join(ready) or "nothing", sessions, megabytes(counts.store_bytes)]


def _state(error: PrivinfError | None) -> str:
    if error is None:
        return "serves"
    if isinstance(error, MismatchError):
        return "differs"
    return "no answer" if isinstance(error, ConnectError | DeadlineExceeded) else "refuses"


def _short(text: str) -> str:
    return plain(text)[:SHOWN]
