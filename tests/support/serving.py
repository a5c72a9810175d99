"""Covered tiny models behind a server of this process, and a wire on which everything is kept."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import tiny_models
import torch

from privinf import Client
from privinf.config import EquivariantConfig
from privinf.equivariant.covering.convert import Converted, convert
from privinf.equivariant.serving.server import Server
from privinf.equivariant.serving.turns import Turns
from privinf.models.text.tokenizer import Tokenizer
from privinf.parties.rpc.deadline import Deadline

torch.set_num_threads(1)


def converted(folder: Path, kind: Any, level: str, *, variants: int = 4, **settings: Any) -> Converted:
    """A model and both parts of it; the seed is of one whose greedy answers have many tokens."""
    model = tiny_models.write_model(folder / "model", kind, **{"seed": 6, **settings})
    return convert(model, folder / "out", level, variants=variants)


def plain_of(made: Converted) -> Any:
    """The plain model in transformers."""
    return tiny_models.load(made.client.parents[1] / "model")


@contextmanager
def serving(folder: Path, **config: Any) -> Iterator[Server]:
    """A server without TLS."""
    with Server(folder, EquivariantConfig(insecure_no_tls=True, stop_seconds=1.0, **config)) as server:
        yield server


@contextmanager
def asking(made: Converted, **config: Any) -> Iterator[tuple[Any, Server]]:
    """A client of a server."""
    with serving(made.server, **config) as server, client_of(made, server) as client:
        yield client, server


def client_of(made: Converted, server: Server | int, **options: Any) -> Any:
    """A client; it is of the class that `privinf.Client` gives."""
    port = server if isinstance(server, int) else server.port
    return Client(
        made.client, mode="equivariant", server=f"127.0.0.1:{port}", insecure_no_tls=True, **options
    )


def another_turn(turns: Turns) -> AbstractContextManager[None]:
    """The turn of another, for ever."""
    return turns.of(Deadline.after(600), lambda: True)()


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether it comes to hold."""
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        time.sleep(0.01)
    return holds()


@torch.inference_mode()
def greedy(model: Any, ids: list[int], count: int) -> list[int]:
    """What the plain model continues with, whatever ends a text."""
    seen = list(ids)
    for _ in range(count):
        seen.append(int(model(input_ids=torch.tensor([seen])).logits[0, -1].argmax()))
    return seen[len(ids) :]


@torch.inference_mode()
def embedded(model: Any, folder: Path, texts: list[str]) -> np.ndarray:
    """Mean of the plain model's last hidden rows, of unit length."""
    rows = []
    for ids in Tokenizer(folder).encode(texts):
        hidden = model(input_ids=torch.tensor(ids[None].astype(np.int64))).last_hidden_state
        rows.append(hidden[0].mean(0).numpy())
    return np.stack([row / np.linalg.norm(row) for row in rows])


@torch.inference_mode()
def classified(model: Any, folder: Path, asked: Any) -> np.ndarray:
    """The plain model's logits of texts or of images."""
    if isinstance(asked, np.ndarray):
        return model(pixel_values=torch.from_numpy(asked)).logits.numpy()
    ids = [torch.tensor(one[None].astype(np.int64)) for one in Tokenizer(folder).encode(asked)]
    return np.stack([model(input_ids=one).logits[0].numpy() for one in ids])


class Wire:
    """Stands between a client and a server, and keeps every byte that the client sends."""

    def __init__(self, port: int) -> None:
        self._port, self._sent = port, bytearray()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def sent(self) -> bytes:
        """Everything until now."""
        return bytes(self._sent)

    def cut(self) -> None:
        """Drop all connections, and take no more."""
        for one in [self._listener, *self._sockets]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *failure: object) -> None:
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._sockets += [near, far]
                threading.Thread(target=self._pass_on, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(far, near, False), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, kept: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if kept:
                    self._sent += data
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
