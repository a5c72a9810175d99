"""Commands of the equivariant mode, under `privinf ee`: convert a model, serve it, ask it, attack it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import typer

ee = typer.Typer(
    name="ee",
    help="Equivariant mode: plain speed on one server. Obfuscation, not encryption: SECURITY.md says what it hides.",
    no_args_is_help=True,
)


@ee.callback()
def _group() -> None:
    """A group, even while it has one command."""


for name in ("ee_convert", "ee_serve", "ee_ask", "ee_attack"):
    if find_spec(f"privinf.cli.{name}"):
        import_module(f"privinf.cli.{name}").register(ee)


def register(app: typer.Typer) -> None:
    """Add this group."""
    app.add_typer(ee)
