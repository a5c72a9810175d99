"""Checks what a caller of the SDK hands over: texts, one or several, and seconds."""

from __future__ import annotations

import os
from collections.abc import Iterable

from privinf.config import LONGEST
from privinf.errors import InputError
from privinf.options import require


def listed(texts: object) -> list[str]:
    """One text or several as a list, which may be empty; InputError for images, which models of texts do not take."""
    if isinstance(texts, str):
        return [texts]
    if hasattr(texts, "dtype") or isinstance(
        texts, os.PathLike
    ):  # an array, of which a transport knows nothing
        raise InputError("this model takes texts, not images")
    if isinstance(texts, bytes) or not isinstance(texts, Iterable):
        raise InputError(f"a text or a list of texts is needed, not {type(texts).__name__}")
    return list(texts)


def seconds(timeout: float | None) -> float | None:
    """The same, if a call may be given that long; None leaves it to the configuration."""
    number = isinstance(timeout, int | float | None) and not isinstance(timeout, bool)
    require(
        number and (timeout is None or 0 < timeout <= LONGEST),
        f"timeout must be a number of seconds above 0, up to {LONGEST:g}, not {timeout!r}; "
        "leave it out for the default",
    )
    return timeout
