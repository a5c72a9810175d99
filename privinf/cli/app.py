"""The list of commands."""

from __future__ import annotations

import typer

from privinf.cli import ask, bench, check, convert, demo, doctor, draft, ee, generate, model, plan, serve

app = typer.Typer(
    name="privinf",
    help="Run transformers on data that only you can read.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    add_completion=True,
)
for module in (model, plan, check, convert, serve, ask, generate, draft, ee, demo, doctor, bench):
    module.register(app)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
) -> None:
    if version:
        from privinf import __version__

        typer.echo(__version__)
        raise typer.Exit
