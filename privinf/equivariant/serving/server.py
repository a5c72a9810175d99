"""The server of this mode: it is trusted with nothing but to answer, and holds no key."""

from __future__ import annotations

from pathlib import Path

from privinf.config import EquivariantConfig
from privinf.equivariant.methods import ROLE, SERVICE
from privinf.equivariant.serving.limits import calls_of_one
from privinf.equivariant.serving.service import Calls
from privinf.parties import serve as roles
from privinf.parties.rpc.life import Bounds


class Server(roles.Server):
    """A server in this process; `folder` is the server's part of what `privinf cover` wrote."""

    def __init__(self, folder: Path, config: EquivariantConfig) -> None:
        if config.threads:
            import torch

            torch.set_num_threads(config.threads)
        idle = config.idle_seconds
        bounds = Bounds(config.max_seconds, config.max_seconds, config.due_seconds, idle, idle)
        super().__init__(ROLE, SERVICE, config, calls_of_one(config), bounds)
        self.calls = Calls(Path(folder), config, self.log, self._meters)
        queries, sessions = self.calls.entrances.queries, self.calls.entrances.sessions
        self._meters.watch(
            queries=lambda: queries.running,
            sessions=lambda: sessions.running,
            waiting=lambda: queries.waiting + sessions.waiting,
        )
        self._server.add_generic_rpc_handlers((self.calls.handlers(self._guard),))

    def _drain(self) -> None:
        self.calls.drain()


def serve(folder: Path, config: EquivariantConfig) -> None:
    """Serve until SIGTERM or SIGINT; print one line of JSON on stdout when ready."""
    roles.serve_until_stopped(Server(folder, config))
