"""A generation that stands still in a pass, for tests of what then happens to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dummy import Settings
from harness import Cluster, wait_until
from sessions import SHARES, freed

from privinf.protocols.contract import Advance
from privinf.sdk.passes import Generation


class Halted:
    """A generation that stands still in its second pass, until the gate is opened."""

    def __init__(self, folder: Path, keys: Path, **changes: Any) -> None:
        self.gate = folder / "gate"
        self.gate.touch()
        self.cluster = Cluster(folder, keys, Settings(gate=str(self.gate), **changes))

    def __enter__(self) -> Halted:
        self.cluster.__enter__()
        self.link = self.cluster.link()
        return self

    def __exit__(self, *error: object) -> None:
        self.open()
        self.link.close()
        freed(self.cluster)
        self.cluster.__exit__(*error)

    def open(self) -> None:
        """Let it go on."""
        self.gate.unlink(missing_ok=True)

    def reach(self, generation: Generation) -> None:
        """Bring it to where it stands still."""
        generation.step(Advance(), SHARES)
        generation.send(Advance.first(1), SHARES)
        wait_until(self.gate.with_suffix(".reached").exists)
