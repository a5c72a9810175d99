"""Every gate conforms: the suite that ships, over all cases."""

from __future__ import annotations

from cases import CASES

from privinf.protocols.testing.gates import GateSuite


class TestGates(GateSuite):
    """All gates."""

    cases = CASES
