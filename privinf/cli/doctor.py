"""The doctor command: what this installation can do, and what to do about the rest."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from typing import Any

import typer

from privinf.cli.output import JsonFlag, emit_json

OPTIONAL = {
    "torch": ("models", "sharing and calibrating models, clear references"),
    "transformers": ("models", "reference answers in tests and reports"),
    "jinja2": ("chat", "chat templates: conversations with a decoder, and sharing one for them"),
    "PIL": ("images", "pictures: classifying them, training on folders of them"),
    "gguf": ("convert", "privinf convert of GGUF files, privinf fetch smollm2"),
    "grpc_health": ("node", "health checks"),
    "prometheus_client": ("node", "metrics"),
}


def doctor(as_json: JsonFlag = False) -> None:
    """Check the installation; exit code 1 if something that a query needs is missing."""
    checks = [*_kernels(), *_packages(), _npm(), _cores()]
    if as_json:
        emit_json({"ok": all(c["ok"] or not c["needed"] for c in checks), "checks": checks})
    else:
        for check in checks:
            mark = "ok  " if check["ok"] else ("FAIL" if check["needed"] else "note")
            do = f" -> {check['do']}" if check["do"] else ""
            typer.echo(f"{mark} {check['name']}: {check['found']}{do}")
    if any(c["needed"] and not c["ok"] for c in checks):
        raise typer.Exit(1)


def _check(name: str, ok: bool, found: str, do: str = "", *, needed: bool = False) -> dict[str, Any]:
    return {"name": name, "ok": ok, "needed": needed, "found": found, "do": "" if ok else do}


def _kernels() -> list[dict[str, Any]]:
    from privinf.protocols import kernels

    enough, newer = sys.version_info >= (3, 11), "use Python 3.11 or newer"
    why = kernels.why_reference()
    found = kernels.default().name if why is None else f"reference path, many times slower ({why})"
    remedy = "install a C++17 compiler and reinstall: pip install --force-reinstall --no-deps privinf"
    return [
        _check("python", enough, platform.python_version(), newer, needed=True),
        _check("kernels", why is None, found, remedy),
    ]


def _wanted(name: str, found: bool, use: str, do: str) -> dict[str, Any]:
    return _check(name, found, "installed" if found else f"missing, wanted for {use}", do)


def _packages() -> list[dict[str, Any]]:
    return [
        _wanted(name, importlib.util.find_spec(name) is not None, use, f'pip install "privinf[{extra}]"')
        for name, (extra, use) in OPTIONAL.items()
    ]


def _cores() -> dict[str, Any]:
    cores = os.cpu_count() or 1
    return _check("cores", cores >= 2, str(cores), "a party and a dealer on one core wait for each other")


def _npm() -> dict[str, Any]:
    use, do = "privinf fetch tinystories and moby-dick", "install Node.js, which brings npm"
    return _wanted("npm", shutil.which("npm") is not None, use, do)
