"""A role starts with its own folder, whole, and on a machine that computes the owner's tables; else it says why not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_decoder

from privinf import Client
from privinf.errors import ConfigError, ModelError
from privinf.models.engines.positions import circle
from privinf.models.sharing.bundle import dealer_program, party_program
from privinf.models.sharing.folder import roles
from privinf.protocols.masked import TOPOLOGY

ADDRESSES = ("localhost:1", "localhost:2")


def client(folder: Path) -> Client:
    return Client(folder, parties=ADDRESSES, insecure_no_tls=True)


STARTS: dict[str, Callable[[Path], Any]] = {
    "client": client,
    "dealer": dealer_program,
    "party0": lambda folder: party_program(folder, 0),
    "party1": lambda folder: party_program(folder, 1),
}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    return tiny_decoder.share(tiny_decoder.checkpoint(folder / "source", "llama"), folder / "shared")


@pytest.mark.parametrize("family", ["encoder", "decoder"])
@pytest.mark.parametrize("role", roles(TOPOLOGY))
def test_a_role_starts_with_its_own_folder_alone(family: str, role: str, shared: Path, llama: Path) -> None:
    folder = shared if family == "encoder" else llama
    STARTS[role](folder / role)
    for other in sorted({*roles(TOPOLOGY)} - {role}):
        with pytest.raises(ModelError) as failure:
            STARTS[role](folder / other)
        said = str(failure.value)
        assert said == f"{folder / other} is {other}'s folder, not {role}'s: give it {folder / role}"


def test_a_party_that_the_protocol_does_not_have_is_refused(shared: Path) -> None:
    with pytest.raises(ConfigError, match=r"party \(--party\) is 0 or 1, not 2"):
        party_program(shared / "party1", 2)


def test_a_folder_that_lies_alone_is_refused_with_what_to_give(shared: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(shared / "party0", tmp_path / "model"))
    party_program(moved, 0)
    with pytest.raises(
        ModelError, match="party0's folder, not party1's: give it the folder party1 of the same"
    ):
        party_program(moved, 1)


@pytest.mark.parametrize("at", [-1, -100_000])
def test_one_wrong_bit_of_the_weights_is_refused(shared: Path, tmp_path: Path, at: int) -> None:
    folder = Path(shutil.copytree(shared / "party1", tmp_path / "party1"))
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"weights\.safetensors is damaged: .*[Cc]opy the folder again"):
        party_program(folder, 1)


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("role", ["dealer", "party0", "party1"])
@pytest.mark.parametrize("function", ["cos", "sin"])
def test_one_angle_that_is_rounded_otherwise_keeps_a_role_from_starting(
    llama: Path, role: str, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = getattr(np, function)

    def crooked(angles: Any) -> Any:
        values = right(angles)
        values[5, 1] += 2.0**-14  # one unit of a wire
        return values

    STARTS[role](llama / role)
    monkeypatch.setattr(np, function, crooked)
    circle.cache_clear()  # as where a process starts
    try:
        with pytest.raises(ModelError, match="rounds the model's tables differently"):
            STARTS[role](llama / role)
    finally:
        circle.cache_clear()
