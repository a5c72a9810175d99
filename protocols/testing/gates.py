"""The suite of a gate: shares equal the exact integers, near the clear function, at the declared cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privinf.protocols import kernels, ring
from privinf.protocols.kernels import Kernels
from privinf.protocols.masked.wires import Share
from privinf.protocols.testing import lockstep
from privinf.protocols.testing.trials import SEEDS, Draw, Exactly, Trial, Within, counted, examples

Case = Callable[[Draw], Trial]


class GateSuite:
    """Subclass it and name the cases: each draws a program of gates, its inputs, and what they should give."""

    cases: ClassVar[Mapping[str, Case]]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run every test on every case."""
        metafunc.parametrize("case", list(self.cases.values()), ids=list(self.cases))

    @examples(25)
    @given(data=st.data())
    def test_gate(self, case: Case, data: Any) -> None:
        """On the kernels of this machine."""
        conforms(case(data.draw), data.draw(SEEDS))

    @pytest.mark.fast_cases(12)
    @examples(3)
    @given(data=st.data())
    def test_gate_of_two_parties_on_different_kernels(self, case: Case, data: Any) -> None:
        """Party 1 and the dealer run on the reference."""
        conforms(case(data.draw), data.draw(SEEDS), kernels.load("reference"))

    @pytest.mark.fast_cases(12)
    @examples(2)
    @given(data=st.data())
    def test_messages_say_nothing_of_the_input(self, case: Case, data: Any) -> None:
        """Both parties' messages are as many and as long for inputs of the other sign."""
        trial, weights = case(data.draw), None
        if trial.stores:
            weights = (*trial.stores.parties, trial.stores.dealer)
        others = [Share(x.shape, x.bits, x.scale, ring.low(-x.value, x.bits)) for x in trial.inputs]
        first, second = (
            lockstep.run(trial.program, inputs, data.draw(SEEDS), weights=weights or (None, None, None))
            for inputs in (trial.inputs, others)
        )
        for one, other in zip(first.transcripts, second.transcripts, strict=True):
            assert [len(message) for message in one] == [len(message) for message in other]


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
