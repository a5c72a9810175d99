"""Checkpoints: what is written is read, whole or not at all, and damage is told from absence."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from privinf.errors import ConfigError, FileError, InputError
from privinf.train import checkpoint, folder
from privinf.train.recipe import Optimisation
from privinf.train.schedule import rate

TENSORS = {"weights/a": np.arange(6, dtype=np.float32).reshape(2, 3), "state/a": np.array(4.0, np.float32)}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / checkpoint.FILE
    assert checkpoint.read(path) is None
    checkpoint.write(path, TENSORS, {"step": 3, "history": [{"loss": 0.5}]})
    found = checkpoint.read(path)
    assert found is not None
    assert (found.about["step"], found.about["history"]) == (3, [{"loss": 0.5}])
    assert list(found.part("weights")) == ["a"]
    assert all(np.array_equal(found.tensors[name], tensor) for name, tensor in TENSORS.items())


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / checkpoint.FILE
    checkpoint.write(path, TENSORS, {"step": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="No space left"):
        checkpoint.write(path, TENSORS, {"step": 2})
    found = checkpoint.read(path)
    assert found is not None
    assert found.about["step"] == 1
    assert [file.name for file in tmp_path.iterdir()] == [checkpoint.FILE]


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / checkpoint.FILE
    checkpoint.write(path, TENSORS, {})
    whole = path.read_bytes()
    for data in (b"", whole[:40], whole[:-1], whole.replace(b"privinf", b"another")):
        path.write_bytes(data)
        with pytest.raises(InputError, match="damaged"):
            checkpoint.read(path)
    path.write_bytes(whole.replace(b'\\"version\\": 1', b'\\"version\\": 9'))
    with pytest.raises(InputError, match="version 9, not 1"):
        checkpoint.read(path)


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with folder.owned(run), pytest.raises(ConfigError, match="in use"), folder.owned(run):
        pass
    with folder.owned(tmp_path / "run"):
        pass


def test_rates_rise_and_fall() -> None:
    settings = Optimisation(epochs=4, warmup=1, rate=1e-2, first=1e-4, last=1e-3, cooldown=1)
    rates = [rate(settings, step, 10) for step in range(50)]
    assert (rates[0], rates[10], rates[40], rates[49]) == pytest.approx((1e-4, 1e-2, 1e-3, 1e-3))
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[25] == pytest.approx(5.5e-3)
