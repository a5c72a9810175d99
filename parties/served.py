"""The parts of a program: a task is refused where the model has no part for it."""

from __future__ import annotations

from typing import Final, TypeVar

from privinf.errors import InputError

QUERIES: Final = "answer single queries: it generates"
SESSIONS: Final = "generate"

T = TypeVar("T")


def served(part: T | None, task: str) -> T:
    """Return the part of a program that does this, if it has one."""
    if part is None:
        raise InputError(f"this model does not {task}")
    return part
