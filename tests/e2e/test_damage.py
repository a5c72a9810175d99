"""A real program with bytes of its stored preparations changed: no answer is ever wrong, and none is missing."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest
import toy
from deployment import in_this_process

from privinf.protocols.contract import QueryShape

SHAPE = QueryShape("embed", 1, 16)
TEXT = ["call me a ship"]
FLIPS = 8  # in each of three deployments


def _flip(draw: random.Random, path: Path) -> None:
    with path.open("r+b") as file:
        at = draw.randrange(path.stat().st_size)
        file.seek(at)
        (old,) = file.read(1)
        file.seek(at)
        file.write(bytes([old ^ 1 << draw.randrange(8)]))


def _stored(folder: Path) -> Path:
    """Wait for the preparation that is made ahead."""
    until = time.monotonic() + 30
    while not (found := list(folder.glob("*.prep"))):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found[0]


@pytest.mark.slow
@pytest.mark.parametrize("deployment", range(3))
def test_no_answer_is_wrong_whichever_byte_is_changed(
    encoder: Path, shared: Path, tmp_path: Path, deployment: int
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw, on_disk = random.Random(seed), {"max_memory_bytes": 0}
    right = toy.clear(encoder, TEXT)
    with (
        in_this_process(
            encoder, shared, tmp_path, party0=on_disk | {"ahead": 1, "shapes": (SHAPE,)}, party1=on_disk
        ) as serving,
        serving.client() as client,
    ):
        for _ in range(FLIPS):
            _flip(draw, _stored(tmp_path / f"party{draw.randrange(2)}"))
            cosine = float(np.sum(client.embed(TEXT).vectors * right))
            assert cosine > 0.9999
