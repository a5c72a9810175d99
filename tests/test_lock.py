"""The lock of versions: complete, within what pyproject.toml allows, one gRPC, and of no machine."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LINES = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
PINS = [Requirement(line) for line in LINES if line and not line.startswith("#")]
# What the Makefile installs.
INSTALLED = ("node", "models", "chat", "convert", "train", "images", "tensorboard", "search", "bench", "dev")
PYTHONS = ("3.11", "3.13")


def pinned(python: str) -> dict[str, str]:
    """Return what the lock installs on Linux with a version of Python."""
    here = default_environment() | {"python_version": python, "python_full_version": f"{python}.1"}
    found: dict[str, str] = {}
    for pin in PINS:
        if pin.marker is None or pin.marker.evaluate({**here, "sys_platform": "linux"}):
            assert canonicalize_name(pin.name) not in found, pin.name
            (exact,) = pin.specifier
            assert exact.operator == "=="
            found[canonicalize_name(pin.name)] = exact.version
    return found


def declared() -> list[Requirement]:
    project = PROJECT["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in INSTALLED)]
    return [Requirement(text) for texts in lists for text in texts]


@pytest.mark.parametrize("python", PYTHONS)
def test_what_is_declared_is_locked_within_its_bounds(python: str) -> None:
    pins = pinned(python)
    for wanted in declared():
        if wanted.name == "torch":
            assert "torch" not in pins  # constraints.txt alone says which
        else:
            assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), wanted


@pytest.mark.parametrize("python", PYTHONS)
def test_what_the_locked_packages_need_is_locked_too(python: str) -> None:
    pins = pinned(python)
    here = default_environment() | {"python_version": python, "extra": ""}
    for name in pins:
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # of another Python
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate(here):
                assert canonicalize_name(need.name) in {*pins, "torch"}, f"{name} needs {need}"


def test_torch_has_an_exact_pin_of_its_own() -> None:
    assert re.fullmatch(r"torch==[\d.]+\n", (ROOT / "constraints.txt").read_text("utf-8"))


def test_grpc_has_one_version() -> None:
    for python in PYTHONS:
        pins = pinned(python)
        assert len({pins[name] for name in ("grpcio", "grpcio-tools", "grpcio-health-checking")}) == 1


def test_the_lock_names_no_machine() -> None:
    assert not [line for line in LINES if re.search(r"://|/|@|--|\.(local|org|com|io)\b", line)]


def test_generated_code_is_not_newer_than_the_lower_bounds() -> None:
    floors = {wanted.name: _floor(wanted) for wanted in declared()}
    for path in (ROOT / "privinf" / "v1").glob("*_pb2*.py"):
        text = path.read_text("utf-8")
        if grpc := re.search(r"GRPC_GENERATED_VERSION = '([\d.]+)'", text):
            assert Version(grpc[1]) <= floors["grpcio"]
        if proto := re.search(r"# Protobuf Python Version: ([\d.]+)", text):
            assert Version(proto[1]) <= floors["protobuf"]


def _floor(wanted: Requirement) -> Version:
    return max(Version(one.version) for one in wanted.specifier if one.operator in (">=", "=="))
