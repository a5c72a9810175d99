"""All kernel backends that this machine can run give the reference's bytes, from any buffer."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from privinf.errors import ConfigError
from privinf.protocols import kernels as chosen
from privinf.protocols.kernels import LEVELS, load
from privinf.protocols.testing.kernels import KernelSuite, same

TREE = bytes(range(96))  # six keys of 16 bytes


def _native() -> list[str]:
    found = []
    for level in LEVELS:
        try:
            load(level)
        except ConfigError:
            continue
        found.append(level)
    return [level for level in found if level != "reference"]


@pytest.mark.fast_cases(9)
class TestBackends(KernelSuite):
    """Every level that this processor runs."""

    backends: ClassVar = {level: load(level) for level in _native()}


@pytest.mark.fast_cases(3)
class TestReference(KernelSuite):
    """The reference itself, for its buffers and refusals."""

    backends: ClassVar = {"reference": load("reference")}


def test_a_backend_that_differs_in_a_bit_is_found() -> None:
    other = SimpleNamespace(**vars(load("reference")))
    other.stream = lambda key, nbytes: load("reference").stream(key, nbytes) ^ np.uint8(1)
    suite = TestBackends()
    with pytest.raises(AssertionError):
        suite.test_bytes_are_the_references(other, "stream")  # type: ignore[arg-type]


@pytest.mark.parametrize("level", _native())
def test_the_low_root_bits_do_not_matter(level: str) -> None:
    native, roots = load(level), np.random.default_rng(4).integers(0, 256, (2, 9, 16), dtype=np.uint8)
    other, alpha = roots.copy(), np.arange(9, dtype=np.uint64)
    other[:, :, 0] ^= 3
    same(native.dpf_gen(TREE, alpha, 9, *roots), native.dpf_gen(TREE, alpha, 9, *other))


def _report(forced: str) -> subprocess.CompletedProcess[str]:
    code = "import privinf.protocols.kernels as k; print(k.default().name, k.why_reference())"
    environment = {**os.environ, "PRIVINF_KERNELS": forced}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("level", [*_native(), "reference"])
def test_the_environment_forces_a_backend(level: str) -> None:
    name, why = _report(level).stdout.split(maxsplit=1)
    assert name == LEVELS[level]
    assert why.strip() == ("PRIVINF_KERNELS=reference" if level == "reference" else "None")


def test_an_unknown_backend_is_refused() -> None:
    done = _report("fastest")
    assert done.returncode != 0
    assert "PRIVINF_KERNELS must be one of" in done.stderr


def test_a_reason_is_given_exactly_for_the_reference() -> None:
    assert (chosen.why_reference() is None) == (chosen.default().name != "reference")
