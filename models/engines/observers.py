"""Who watches the clear engine while ranges are measured: what passes each site of a model, layer0.attn.scores say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass
class Ranges:
    """Smallest and largest magnitude seen at each site, over all calibration text."""

    low: dict[str, float] = field(default_factory=dict)
    high: dict[str, float] = field(default_factory=dict)

    def see(self, site: str, x: torch.Tensor) -> None:
        """Called once a pass for each site."""
        magnitude = x.detach().abs()
        self.low[site] = min(self.low.get(site, np.inf), float(magnitude.min()))
        self.high[site] = max(self.high.get(site, 0.0), float(magnitude.max()))
