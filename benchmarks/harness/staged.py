"""A role's process whose work is timed by stage: `python -m benchmarks.harness.staged SOCKET MODULE WORDS...`.

It runs MODULE as that would run by itself, and tells whoever connects to SOCKET what each stage has taken so far. A
stage is a table of functions; what one calls of another's is the other's. Processor seconds are those of the calling
thread: what gRPC does in threads of its own, TLS first of all, is what a process has used beyond its stages.
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from multiprocessing.connection import Client, Listener
from typing import Any, Final

Spent = dict[str, tuple[float, float]]  # seconds by the clock and of the processor, by stage
PROCESS: Final = "process"  # the processor seconds of all threads

# What belongs to a stage, as module, class or nothing, and names. WAIT: the clock alone means something.
WAIT: Final = "wait: "
ROOMS: Final = ("OnDisk", "InMemory")
STAGES: Final[dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]]] = {
    "generate keys and masks": (("protocols.masked.dealer", "Dealer", ("run", "open", "flush")),),
    "pack": (("parties.dealing.delivery", "", ("pack",)), ("parties.dealing.pipes", "Packer", ("finish",))),
    "digest": (("parties.stock.digest", "Tally", ("update", "digest")),),
    "take room": tuple(("parties.stock.room", room, ("__init__", "take")) for room in ROOMS),
    "write": tuple(("parties.stock.room", room, ("write",)) for room in ROOMS),
    "publish": tuple(("parties.stock.room", room, ("publish", "close")) for room in ROOMS),
    "compute ahead": (("protocols.masked.ahead", "Ahead", ("run", "open", "flush")),),
    "mark as spent": (("parties.stock.spent", "SpentLog", ("mark",)),),
    "read back": (
        ("parties.stock.digest", "Checked", ("up_to",)),
        ("parties.stock.mapped", "Mapping", ("__init__", "erase")),
        ("parties.stock.store", "", ("opened",)),
    ),
    "evaluate": (("protocols.masked.party", "Party", ("run", "open", "flush")),),
    f"{WAIT}generation": (("models.programs.stream", "_Chunks", ("take",)),),
    f"{WAIT}delivery": (
        ("models.programs.stream", "_Chunks", ("put",)),
        ("parties.dealing.pipes", "Pipe", ("put", "settle")),
    ),
    f"{WAIT}packing": (("parties.dealing.pipes", "Pipe", ("_get",)),),
    f"{WAIT}other party": (("parties.session.channel", "SessionLink", ("pull",)),),
    f"{WAIT}dealer": (
        ("parties.stock.dealt", "DealtStream", ("_next",)),
        ("parties.stock.arrival", "Preparing", ("read", "__exit__")),
    ),
}
SEND: Final = "serialise and send"  # in the dealer's threads: gRPC encrypts in the caller's
RECEIVE: Final = f"{WAIT}dealer"


class Stages:
    """Seconds by stage; each second of a thread is counted once, in the innermost stage."""

    def __init__(self) -> None:
        self._lock, self._here = threading.Lock(), threading.local()
        self._spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Count what is done in here."""
        inner = self._here.__dict__.setdefault("stack", [])
        inner.append([0.0, 0.0])
        clock, processor = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            took = time.perf_counter() - clock, time.thread_time() - processor
            nested = inner.pop()
            self._add(stage, [took[i] - nested[i] for i in (0, 1)])
            if inner:
                inner[-1] = [inner[-1][i] + took[i] for i in (0, 1)]

    def timed(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        """The same function, counted."""

        @wraps(function)
        def call(*given: Any, **named: Any) -> Any:
            with self.of(stage):
                return function(*given, **named)

        return call

    def each(self, iterate: Callable[..., Iterator[Any]], stage: str) -> Callable[..., Iterator[Any]]:
        """The same generator, whose every step is counted."""

        @wraps(iterate)
        def steps(*given: Any) -> Iterator[Any]:
            items, end = iterate(*given), object()
            while True:
                with self.of(stage):
                    item = next(items, end)
                if item is end:
                    return
                yield item

        return steps

    def spent(self) -> Spent:
        """What it is by now."""
        with self._lock:
            found = {stage: (wall, cpu) for stage, (wall, cpu) in self._spent.items()}
        return found | {PROCESS: (time.monotonic(), time.process_time())}

    def _add(self, stage: str, took: list[float]) -> None:
        with self._lock:
            total = self._spent[stage]
            total[0] += took[0]
            total[1] += took[1]


def install(stages: Stages) -> None:
    """Have every function of the table counted."""
    for stage, rows in STAGES.items():
        for module, owner, names in rows:
            where = importlib.import_module(f"privinf.{module}")
            for name in names:
                _replace(getattr(where, owner) if owner else where, name, stages.timed, stage)
    _replace(importlib.import_module("privinf.parties.stock.fetch"), "_messages", stages.each, RECEIVE)
    _replace(importlib.import_module("grpc._server"), "_send_response", stages.timed, SEND)


def ask(socket: str) -> Spent:
    """What a role's process has spent, by its socket."""
    with Client(socket, "AF_UNIX") as connection:
        told: Spent = connection.recv()
        return told


def _replace(owner: Any, name: str, by: Callable[[Any, str], Any], stage: str) -> None:
    setattr(owner, name, by(getattr(owner, name), stage))


def _tell(socket: str, stages: Stages) -> None:
    with Listener(socket, "AF_UNIX") as listener:
        while True:
            with listener.accept() as connection:
                connection.send(stages.spent())


def main() -> None:
    """Install the clocks, then be the role."""
    socket, module, *words = sys.argv[1:]
    stages = Stages()
    install(stages)
    threading.Thread(target=_tell, args=(socket, stages), daemon=True).start()
    sys.argv = [module, *words]
    sys.path.insert(0, os.getcwd())
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
