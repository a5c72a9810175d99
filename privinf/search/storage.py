"""Where a search keeps its trials: a journal in its folder, or a server that workers of several machines share."""

from __future__ import annotations

import fcntl
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import optuna
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage, run_grpc_proxy_server
from optuna.storages.journal import JournalFileBackend

from privinf.errors import ConfigError, ConnectError, ListenError

JOURNAL, TABLES = "trials.jsonl", "trials.db"
STUDY = "privinf"
DIRECTIONS: tuple[Literal["maximize"], Literal["minimize"]] = ("maximize", "minimize")  # accuracy, seconds
WAIT = 30  # seconds for a server to answer
optuna.logging.set_verbosity(optuna.logging.WARNING)


def journal(folder: Path) -> BaseStorage:
    """One file, a line a change: a crash loses nothing that was told."""
    _require_without(folder, TABLES, "with --serve: give it again")
    return JournalStorage(JournalFileBackend(str(folder / JOURNAL)))


def joined(address: str) -> BaseStorage:
    """That of a search elsewhere."""
    host, port = _parts(address)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = GrpcStorageProxy(host=host, port=port)
    try:
        storage.wait_server_ready(timeout=WAIT)
    except Exception as error:  # of gRPC's own kinds
        raise ConnectError(f"no search serves its trials at {address} ({type(error).__name__})") from None
    return storage


@contextmanager
def served(folder: Path, address: str) -> Iterator[BaseStorage]:
    """Trials in SQLite, as Optuna's server takes no journal, for whoever joins while this lasts.

    It knows neither passwords nor encryption: an address that others reach belongs behind a tunnel.
    """
    host, port = _parts(address)
    _require_without(folder, JOURNAL, "without --serve: leave it out")
    _require_free(host, port)
    tables = RDBStorage(f"sqlite:///{(folder / TABLES).absolute()}")

    def serve() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            run_grpc_proxy_server(tables, host=host, port=port)

    threading.Thread(target=serve, name="trials", daemon=True).start()
    storage = joined(address)
    try:
        yield storage
    finally:
        storage.remove_session()


def study(storage: BaseStorage) -> optuna.Study:
    """The one study of a storage."""
    return optuna.create_study(storage=storage, study_name=STUDY, directions=DIRECTIONS, load_if_exists=True)


@contextmanager
def turn(lock: Path | None) -> Iterator[None]:
    """Alone among the workers of this machine; without a file, among nobody."""
    if lock is None:
        yield
        return
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _require_without(folder: Path, name: str, how: str) -> None:
    """Refuse to begin again beside trials that are kept in the other way."""
    if (folder / name).exists():
        raise ConfigError(f"the search in {folder} was begun {how}, or choose another folder")


def _require_free(host: str, port: int) -> None:
    """gRPC would share a port with a server that is there already, and trials with its search."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        raise ListenError(f"{host}:{port} cannot be listened on: {error.strerror}") from None


def _parts(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise ConfigError(f"{address!r} is no address: write it as host:port")
    return host, int(port)
