"""Fixtures of the client's tests: those of the servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Cluster

from privinf.keys import keygen


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the certificates of all roles."""
    folder = tmp_path_factory.mktemp("keys") / "keys"
    keygen(folder)
    return folder


@pytest.fixture
def cluster(tmp_path: Path, keys: Path) -> Iterator[Cluster]:
    """Return three servers in this process."""
    with Cluster(tmp_path, keys) as running:
        yield running
