"""The list of commands."""

from __future__ import annotations

import typer

from privinf.cli import (
    ask,
    attack,
    bench,
    check,
    convert,
    cover,
    demo,
    doctor,
    draft,
    generate,
    plan,
    serve,
    share,
)

MOVED = {  # what stood under `privinf ee`
    "convert": "cover",
    "serve": "serve",
    "attack": "attack",
    "keygen": "keygen --mode equivariant",
    "embed": "embed --mode equivariant",
    "classify": "classify --mode equivariant",
    "generate": "generate --mode equivariant",
}

app = typer.Typer(
    name="privinf",
    help="Run transformers on data that only you can read.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    add_completion=True,
)
for module in (share, plan, check, convert, serve, ask, generate, draft, cover, attack, demo, doctor, bench):
    module.register(app)


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
