"""The command line; every command imports what it needs when it runs, so that help is fast."""

from __future__ import annotations

import sys
from collections.abc import Sequence

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code: 0, 2 for usage, else the error's own."""
    import typer

    from privinf.cli.app import app
    from privinf.errors import PrivinfError

    command = typer.main.get_command(app)
    try:
        outcome = command.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except PrivinfError as error:
        return _fail(error)
    except (KeyboardInterrupt, typer.Abort):
        print("privinf: interrupted", file=sys.stderr)
        return INTERRUPTED
    except typer.Exit as done:
        return done.exit_code
    except Exception as error:
        return _usage(error)
    return outcome if isinstance(outcome, int) else 0


def _fail(error: Exception) -> int:
    """One line on stderr; no traceback, as its frames may hold shares."""
    print(f"privinf: {type(error).__name__}: {error}", file=sys.stderr)
    return int(getattr(error, "exit_code", 1))


def _usage(error: Exception) -> int:
    show = getattr(error, "show", None)
    if show is None:
        raise error
    show()
    return int(getattr(error, "exit_code", 2))
