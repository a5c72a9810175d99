"""Options that are declared once: a field has the default and the help that the SDK and the commands show; no numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from inspect import signature
from numbers import Integral, Real
from typing import Any, TypeVar

from privinf.errors import OptionError

T = TypeVar("T")


def option(default: T, help: str, *, repr: bool = True, **spelled: Any) -> T:
    """A field of a dataclass of options.

    Args:
        default: of the field.
        help: one sentence for the command line.
        repr: whether to show the value in logs and errors.
        spelled: how a command takes it where that differs: `typed` (its type there), `flag` (its name), what typer has.
    """
    made: T = field(default=default, repr=repr, metadata={"help": help, **spelled})
    return made


def changed(options: Any) -> dict[str, Any]:
    """The fields of a dataclass of options that differ from their defaults."""
    values = {item.name: (getattr(options, item.name), item.default) for item in fields(options)}
    return {name: value for name, (value, default) in values.items() if value != default}


def chosen(kind: Callable[..., T], given: Mapping[str, Any]) -> T:
    """A dataclass of options from keywords; OptionError for those that are no options, with what there is."""
    refuse_unknown(given, list(signature(kind).parameters))
    return kind(**given)


def refuse_unknown(given: Iterable[str], known: Sequence[str]) -> None:
    """Raise OptionError for names that are no options, with what there is and the likeliest of it."""
    if unknown := sorted(set(given).difference(known)):
        what = "is no option" if len(unknown) == 1 else "are no options"
        close = get_close_matches(unknown[0], known, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise OptionError(f"{', '.join(unknown)} {what} here: {', '.join(known)} are{hint}")


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen; the default is greedy.

    Raises:
        OptionError: a value out of its range.
    """

    temperature: float = option(
        0.0, "0 takes the most likely token; 1 samples from the model's distribution."
    )
    top_k: int | None = option(
        None, "Sample from the k most likely tokens, and those as likely as the last of them."
    )
    top_p: float | None = option(
        None, "Sample from the fewest most likely tokens whose probabilities add up to this."
    )
    repetition_penalty: float = option(1.0, "Above 1, tokens already in prompt or answer become less likely.")
    seed: int | None = option(None, "Seed for sampling; the same seed gives the same answer.")

    def __post_init__(self) -> None:
        require(
            _is_number(self.temperature) and self.temperature >= 0,
            "temperature must be 0 (greedy) or a finite number above it",
        )
        require(
            self.top_k is None or (is_whole(self.top_k) and self.top_k >= 1),
            "top_k must be a whole number of at least 1; leave it out to keep all tokens",
        )
        require(
            self.top_p is None or (_is_number(self.top_p) and 0 < self.top_p <= 1),
            "top_p must be above 0 and at most 1; leave it out to keep all tokens",
        )
        require(
            _is_number(self.repetition_penalty) and 0.01 <= self.repetition_penalty <= 100,
            "repetition_penalty must be from 0.01 to 100; 1 is no penalty",
        )
        require(
            self.seed is None or (is_whole(self.seed) and self.seed >= 0),
            "seed must be a whole number of at least 0; leave it out for a random one",
        )

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always chosen."""
        return not self.temperature


def is_whole(value: object) -> bool:
    """Whether it counts something."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def require(valid: bool, message: str) -> None:
    """Raise OptionError unless an option is valid."""
    if not valid:
        raise OptionError(message)


def _is_number(value: object) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False
