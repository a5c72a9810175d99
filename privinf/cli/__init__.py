"""The command line; every command imports what it needs when it runs, so that help is fast."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from privinf.errors import PrivinfError

INTERRUPTED = 130
INTERNAL = 70  # sysexits.h: EX_SOFTWARE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code, as docs/exit_codes.md lists them."""
    with _plain_warnings():
        code = _run(list(arguments) if arguments is not None else None)
    if code == INTERRUPTED:  # typer itself may have turned the interrupt into this code
        print("privinf: interrupted", file=sys.stderr)
    return code


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings as lines for people, without the line of code that they come from."""
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, category, *_, **__: f"privinf: {category.__name__}: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _run(arguments: list[str] | None) -> int:
    import typer

    from privinf.cli.app import app
    from privinf.errors import FileError, PrivinfError

    try:
        outcome = typer.main.get_command(app).main(args=arguments, standalone_mode=False)
    except PrivinfError as error:
        return _fail(error)
    except OSError as error:
        return _fail(FileError.of(error))
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except typer.Exit as done:
        return done.exit_code
    except Exception as error:
        return _usage(error)
    return outcome if isinstance(outcome, int) else 0


def _fail(error: PrivinfError) -> int:
    """One line on stderr; no traceback, as its frames may hold shares."""
    from privinf.cli.output import plain

    print(plain(f"privinf: {type(error).__name__}: {error}"), file=sys.stderr)
    return error.exit_code


def _usage(error: Exception) -> int:
    show = getattr(error, "show", None)
    if show is None:  # a fault of ours: its frames may hold shares, so that its kind is all that is said
        if os.environ.get("PRIVINF_TRACEBACK"):
            raise error
        print(
            f"privinf: internal error ({type(error).__name__}): please report it; "
            "PRIVINF_TRACEBACK=1 shows where, and may show what is secret",
            file=sys.stderr,
        )
        return INTERNAL
    from privinf.cli.wording import plainly

    plainly(error)
    show()
    return int(getattr(error, "exit_code", 2))
