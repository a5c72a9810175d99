"""Fixtures of the tests with processes: toy models, each shared once and served once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import toy
from deployment import Deployment, of_processes

from privinf.keys import keygen
from privinf.local import LocalParties


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an embedding model's directory."""
    return toy.checkpoint(tmp_path_factory.mktemp("encoder") / "toy")


@pytest.fixture(scope="session")
def shared(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return it shared with private weights."""
    return toy.share(encoder, tmp_path_factory.mktemp("shared") / "toy")


@pytest.fixture(scope="session")
def private(encoder: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return it served by processes."""
    with LocalParties(shared, tmp_path_factory.mktemp("private")) as local:
        yield of_processes(encoder, shared, local)


@pytest.fixture(scope="session")
def foreign_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the certificates of another authority."""
    folder = tmp_path_factory.mktemp("foreign") / "keys"
    keygen(folder)
    return folder
