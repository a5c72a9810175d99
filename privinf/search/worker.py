"""A worker's process, and what works on trials in any process."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from optuna import Study

from privinf.errors import PrivinfError
from privinf.search import storage, trials
from privinf.search.candidates import Candidates
from privinf.search.settings import read

STDIN = 0
TURN = "turn"  # the file that workers of a machine take turns by


def worker(study: Study, candidates: Candidates) -> trials.Worker:
    """One of those that work on a search's trials."""
    rules, lock = candidates.search.rules, candidates.folder / TURN
    return trials.Worker(study, candidates.space, candidates, rules, lock)


def _end_with_parent() -> None:
    """Read what never comes: the end of the file is the end of the process that started this one.

    By the descriptor: whoever waits within a buffer of Python's holds its lock, and an interpreter that ends meanwhile
    aborts.
    """

    def watch() -> None:
        while os.read(STDIN, 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def main(folder: Path, address: str) -> int:
    """Work on the search of a folder; its trials are at an address, or where there is none in the folder."""
    asked = read(folder)
    assert asked is not None
    held = storage.joined(address) if address else storage.journal(folder)
    try:
        worker(storage.study(held), Candidates(folder, asked)).work()
    except PrivinfError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    _end_with_parent()
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
