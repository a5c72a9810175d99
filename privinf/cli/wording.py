"""What a command says of a value of the wrong kind, in plain words; the library speaks of its own validation."""

from __future__ import annotations

from typing import Any, Final

_KINDS: Final = {
    "int_parsing": "a whole number is needed",
    "int_from_float": "a whole number is needed",
    "float_parsing": "a number is needed",
    "finite_number": "a finite number is needed",
    "bool_parsing": "true or false is needed",
    "greater_than_equal": "at least {ge} is needed",
    "less_than_equal": "at most {le} is needed",
    "literal_error": "choose {expected}",
}
_OWN: Final = "Value error, "  # before what typer itself says


def plainly(error: Any) -> None:
    """Reword a usage error that typer has made of a failed validation; others stay as they are."""
    failed = getattr(error.__cause__, "errors", None)
    if failed is None:
        return
    for first in failed()[:1]:
        if (kind := _KINDS.get(first["type"])) is not None:
            error.message = f"{first['input']!r}: {kind.format(**first.get('ctx', {}))}"
        else:
            error.message = first["msg"].removeprefix(_OWN)
