"""Calls to servers of the equivariant mode as no client of ours makes them."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import tiny_models

from privinf.equivariant import wire
from privinf.equivariant.covering.convert import Converted
from privinf.equivariant.key import Key
from privinf.equivariant.methods import SESSION
from privinf.equivariant.serving.server import Server
from privinf.options import Sampling
from privinf.parties.rpc.credentials import CLAIM, dial
from privinf.parties.rpc.methods import Method
from privinf.parties.rpc.status import restore
from privinf.v1 import equivariant_pb2 as pb

VOCAB = len(tiny_models.DECODER_VOCAB)
WIDTH, POSITIONS = tiny_models.WIDTH, tiny_models.POSITIONS
MADE = {
    "embed": ("bert", "cover"),
    "classify": ("bert-classifier", "cover"),
    "images": ("vit", "cover"),
    "generate": ("llama", "cover"),
    "session": ("llama", "session"),
    "rows": ("bert", "session"),
    "patches": ("vit", "session"),
}


class Caller:
    """Makes calls with whatever messages."""

    def __init__(self, made: Converted, server: Server) -> None:
        self.made, self.server = made, server
        self.id = Key.load(made.client).about.id
        self._peer = dial(f"127.0.0.1:{server.port}", "equivariant", None, "client")

    def begin(self, method: Method, request: Any, timeout: float | None = 20.0) -> Any:
        return method.on(self._peer)(request, timeout=timeout, metadata=((CLAIM, "client"),))

    def call(self, method: Method, request: Any, timeout: float | None = 20.0) -> Any:
        """The answer, or what was raised at the other end."""
        try:
            answer = self.begin(method, request, timeout)
            return list(answer) if method.streams[1] else answer
        except grpc.RpcError as error:
            raise restore(error, "server") from error

    def session(self, *steps: pb.CoveredStep) -> list[pb.CoveredRows]:
        """The answers after the first, which says that the variant is new."""
        begun, *rows = self.call(SESSION, iter(steps))
        assert begun == pb.CoveredRows()
        return rows

    def variant(self, place: int) -> pb.CoveredStep:
        key = Key.load(self.made.client / "variants" / f"{place:04}")
        return pb.CoveredStep(open=pb.CoveredOpen(id=key.about.id))


def texts(*lengths: int, first: int = 7, pooling: str = "mean", **more: Any) -> pb.CoveredQuery:
    """A query of so many ids each."""
    given = [pb.CoveredIds(ids=[first] * length) for length in lengths]
    return pb.CoveredQuery(**{"texts": given, "pooling": pooling, **more})


def prompt(caller: Caller, **changed: Any) -> pb.CoveredPrompt:
    """A prompt that is in order but for what is changed."""
    whole = wire.prompt_message(caller.id, [5, 6, 7], 4, Sampling())
    for name, value in changed.items():
        if isinstance(value, list):
            del getattr(whole, name)[:]
            getattr(whole, name).extend(value)
        else:
            setattr(whole, name, value)
    return whole


def rows_of(*shape: int, value: float = 0.5) -> pb.CoveredRows:
    return wire.rows_message(np.full(shape, value))
