"""The list of commands."""

from __future__ import annotations

import typer

from privinf.cli._options import with_options
from privinf.cli.ask import classify, embed
from privinf.cli.attack import attack
from privinf.cli.bench import bench
from privinf.cli.check import check
from privinf.cli.convert import convert
from privinf.cli.cover import cover
from privinf.cli.demo import demo
from privinf.cli.doctor import doctor
from privinf.cli.draft import draft
from privinf.cli.generate import chat, generate
from privinf.cli.plan import plan
from privinf.cli.search import search
from privinf.cli.serve import dealer, party, serve, up
from privinf.cli.share import fetch, keygen, share
from privinf.cli.status import status
from privinf.cli.train import train

OWNER, SERVERS = (fetch, share, keygen, plan, check, convert, train, search), (dealer, party, up, serve)
CLIENT, OTHERS = (embed, classify, generate, chat, draft, status), (cover, attack, demo, doctor, bench)
# What stood under `privinf ee`.
MOVED = {verb: f"{verb} --mode equivariant" for verb in ("keygen", "embed", "classify", "generate")}
MOVED |= {"convert": "cover", "serve": "serve", "attack": "attack"}

app = typer.Typer(
    name="privinf",
    help="Run transformers on data that only you can read.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
)
for command in (*OWNER, *SERVERS, *CLIENT, *OTHERS):
    app.command()(with_options(command))


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
) -> None:
    if version:
        from privinf import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.command(
    "ee",
    hidden=True,
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def _ee(context: typer.Context) -> None:
    """Refuse the old group by the name of what replaces it."""
    verb = next((word for word in context.args if word in MOVED), None)
    if verb is None:
        context.fail("`privinf ee` is gone: `privinf --help` lists its commands among the others")
    context.fail(f"`privinf ee {verb}` is now `privinf {MOVED[verb]}`")
