"""What a model owner does, from a checkpoint to one directory for each role."""

from __future__ import annotations

import os
from collections.abc import Sequence

from privinf.models import bundle, calibrate
from privinf.models.fold import fold
from privinf.models.folder import Mode
from privinf.models.source.checkpoint import load
from privinf.models.text.tokenizer import Tokenizer


def share(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    weights: Mode = "private",
    calibration: Sequence[str] | None = None,
    tick: calibrate.Tick = lambda done: None,
) -> bundle.Bundle:
    """Read, fold, calibrate and split a Hugging Face directory; return the client's part.

    `calibration` is text like that of the queries, one passage an item; by default what ships with privinf.
    `tick` counts passages done. Raises ModelError for what cannot be computed faithfully.
    """
    spec, tensors = load(source)
    folded = fold(spec, tensors)
    lines = calibrate.default_text() if calibration is None else calibration
    plan = calibrate.calibrate(spec, folded, Tokenizer(source).encode(lines, truncate=True), tick)
    bundle.write(source, out, spec, folded, plan, weights)
    return bundle.read(os.path.join(out, "client"))
