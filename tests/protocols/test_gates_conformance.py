"""Every gate conforms: the suite that ships, over all cases."""

from __future__ import annotations

import pytest
from cases import CASES

from privinf.protocols.testing.gates import GateSuite


@pytest.mark.fast_cases(27)
class TestGates(GateSuite):
    """All gates."""

    cases = CASES
