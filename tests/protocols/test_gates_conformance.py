"""Every gate: shares equal the ideal functionality bit for bit, near the clear function, at the declared cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import CASES
from hypothesis import given
from hypothesis import strategies as st
from trials import SEEDS, Exactly, Trial, Within, counted, examples

from privinf.protocols import kernels, ring
from privinf.protocols.kernels import Kernels
from privinf.protocols.masked import lockstep
from privinf.protocols.masked.wires import Share


def conforms(trial: Trial, seeds: tuple[bytes, bytes], other: Kernels | None = None) -> None:
    """Run a trial in shares, ideally and by count, and compare all three; party 1 and the dealer on other kernels."""
    stores = trial.stores
    weights = (*stores.parties, stores.dealer) if stores else (None, None, None)
    run = lockstep.run(trial.program, trial.inputs, seeds, weights=weights, kernels=(None, other, other))
    ideal = lockstep.ideal(trial.program, trial.inputs, seeds, stores and stores.ideal)
    assert len(ideal) == len(trial.wanted)
    for mine, theirs, exact, wanted in zip(*run.results, ideal, trial.wanted, strict=True):
        assert mine.shape == theirs.shape == exact.shape
        assert mine.bits == theirs.bits == exact.bits
        total = ring.low(mine.value + theirs.value, exact.bits)
        np.testing.assert_array_equal(total, ring.low(exact.value, exact.bits))
        near(exact, wanted)
    counted(trial.program, trial.inputs, stores and stores.shapes, run)


def near(result: Share, wanted: Exactly | Within) -> None:
    """Compare the ideal functionality with the clear function."""
    assert result.value.shape == result.shape
    if isinstance(wanted, Exactly):
        modulus = 1 << result.bits
        clear = np.array([int(v) % modulus for v in np.asarray(wanted.integers).flat], dtype=np.uint64)
        np.testing.assert_array_equal(ring.low(result.value, result.bits), clear.reshape(result.shape))
    else:
        error = np.abs(ring.decode(result.value, result.scale, result.bits) - wanted.reals)
        assert np.all(error <= wanted.bound), float(np.max(error - wanted.bound))


@pytest.mark.fast_cases(27)
@pytest.mark.parametrize("name", CASES)
@examples(25)
@given(data=st.data())
def test_gate(name: str, data: Any) -> None:
    conforms(CASES[name](data.draw), data.draw(SEEDS))


@pytest.mark.fast_cases(12)
@pytest.mark.parametrize("name", CASES)
@examples(3)
@given(data=st.data())
def test_gate_of_two_parties_on_different_kernels(name: str, data: Any) -> None:
    conforms(CASES[name](data.draw), data.draw(SEEDS), kernels.load("reference"))
