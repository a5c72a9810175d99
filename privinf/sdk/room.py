"""A warning before an answer is asked for that the session cannot hold; the answer itself says `full` at its end."""

from __future__ import annotations

import warnings

from privinf.options import changed
from privinf.sdk.options import GenerationOptions


class RoomWarning(UserWarning):
    """Fewer tokens will come than were asked for."""


def warn_of_room(options: GenerationOptions, room: int, remedy: str) -> None:
    """Say how many tokens fit, if that is less than the caller asked for; the default of tokens asks for none."""
    if "max_new_tokens" in changed(options) and options.max_new_tokens > room:
        asked = f"max_new_tokens is {options.max_new_tokens}"
        ends = "the answer ends there, with the finish_reason full"
        warnings.warn(
            f"{asked}, and {room} fit after this prompt: {ends}; {remedy}", RoomWarning, stacklevel=5
        )
