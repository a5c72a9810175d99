"""Party processes of a baseline: started together, waited for together, and none outlives its driver."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from workloads import BaselineError

TAIL = 2000  # characters of a failed party's log that are shown
POLL_SECONDS = 0.05


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all held at once so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def run_parties(
    folder: Path,
    commands: Sequence[Sequence[str]],
    seconds: float,
    environment: Callable[[int], Mapping[str, str]] = lambda rank: {},
) -> None:
    """Runs a Python process for each command in `folder`, with logN there as its output, and waits for all."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for rank, command in enumerate(commands):
            with (folder / f"log{rank}").open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, *command],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    cwd=folder,  # SPU keeps cached weights in files of the directory it runs in
                    env=os.environ | dict(environment(rank)),
                )
            processes.append(process)
        _wait_for_all(folder, processes, time.monotonic() + seconds)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _wait_for_all(folder: Path, processes: list[subprocess.Popen[bytes]], deadline: float) -> None:
    codes: list[int | None] = [None]
    while None in codes and not any(codes):
        if time.monotonic() > deadline:
            raise BaselineError("parties did not finish in time")
        time.sleep(POLL_SECONDS)
        codes = [process.poll() for process in processes]
    for rank, code in enumerate(codes):
        if code:
            tail = (folder / f"log{rank}").read_text(errors="replace")[-TAIL:]
            raise BaselineError(f"party {rank} ended with status {code}:\n{tail}")


def end_with_driver() -> None:
    """Ends this party's process when the driver's end of its standard input closes, however the driver died."""
    threading.Thread(target=_wait_for_driver, daemon=True).start()


def _wait_for_driver() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)
