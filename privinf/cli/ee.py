"""Commands of the equivariant mode, under `privinf ee`: convert a model, serve it, ask it, attack it."""

from __future__ import annotations

import typer

from privinf.cli import ee_ask, ee_attack, ee_convert, ee_serve

ee = typer.Typer(
    name="ee",
    help="Equivariant mode: plain speed on one server. Obfuscation, not encryption: see SECURITY.md.",
    no_args_is_help=True,
)
for module in (ee_convert, ee_serve, ee_ask, ee_attack):
    module.register(ee)


def register(app: typer.Typer) -> None:
    """Add this group."""
    app.add_typer(ee)
