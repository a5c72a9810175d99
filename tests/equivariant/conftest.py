"""Converts each tiny model once for a level."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from tiny_models import Kind, write_model

from privinf.equivariant.covering.convert import Converted, convert


@pytest.fixture(scope="session")
def plain_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], Path]:
    """Return the function that gives a plain model's directory."""
    return cache(lambda kind: write_model(tmp_path_factory.mktemp(kind) / "plain", kind, chat=True))


@pytest.fixture(scope="session")
def converted(
    plain_model: Callable[[Kind], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Kind, str], Converted]:
    """Return the function that gives a model converted for a level, two variants at `session`."""
    return cache(
        lambda kind, level: convert(
            plain_model(kind), tmp_path_factory.mktemp(f"{kind}-{level}") / "out", level, variants=2
        )
    )
