"""Workers side by side on one machine: processes that end with the one that started them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Self

from optuna import Study

from privinf.errors import PrivinfError
from privinf.last_words import last_words
from privinf.search.trials import OVER
from privinf.train.watching import Watcher

POLL = 1.0  # seconds between two looks at what is done
STOP = 10.0


class WorkerFailed(PrivinfError):
    """A worker ended before its trials did; the message has what it said last."""


class Workers:
    """So many processes that work on the search of a folder; a context manager that ends them."""

    def __init__(self, folder: Path, count: int, address: str | None) -> None:
        self._folder, self._count, self._address = folder, count, address
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        for index in range(self._count):
            self._running.append(self._start(index))
        return self

    def __exit__(self, *failure: object) -> None:
        for process in self._running:
            assert process.stdin is not None
            process.stdin.close()  # what a worker takes for the end of this process
        for process in self._running:
            try:
                process.wait(STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, index: int) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-P",
            "-m",
            "privinf.search.worker",
            str(self._folder),
            self._address or "",
        ]
        with self._log(index).open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)

    def _log(self, index: int) -> Path:
        return self._folder / f"worker{index}.log"

    def wait(self, study: Study, total: int, watcher: Watcher) -> None:
        """Until all are done; WorkerFailed where one is not and ends all the same."""
        watcher.begin("trials", total)
        done = 0
        for index, process in enumerate(self._running):
            while True:
                now = len(study.get_trials(deepcopy=False, states=OVER))
                watcher.tick(now - done)
                done = now
                try:
                    status = process.wait(POLL)
                except subprocess.TimeoutExpired:
                    self._require(index)
                    continue
                if status:
                    raise WorkerFailed(f"worker {index} ended with {status}: {last_words(self._log(index))}")
                break

    def _require(self, index: int) -> None:
        """None of the others has failed meanwhile."""
        for other, process in enumerate(self._running):
            if other != index and process.poll():
                raise WorkerFailed(
                    f"worker {other} ended with {process.returncode}: {last_words(self._log(other))}"
                )
