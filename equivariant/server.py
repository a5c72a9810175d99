"""The server of this mode: it is trusted with nothing but to answer, and holds no key."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import Any, cast

from privinf.config import EquivariantConfig
from privinf.equivariant.methods import ROLE, SERVICE
from privinf.equivariant.service import Calls
from privinf.parties import serve as roles


class Server(roles.Server):
    """A server in this process; `folder` is the server's part of what `privinf ee convert` wrote."""

    def __init__(self, folder: Path, config: EquivariantConfig) -> None:
        if config.threads:
            import torch

            torch.set_num_threads(config.threads)
        calls = config.max_calls + config.max_sessions
        super().__init__(ROLE, SERVICE, cast(Any, config), calls)  # it reads what all roles' have
        self.calls = Calls(Path(folder), config, self.log)
        self._server.add_generic_rpc_handlers((self.calls.handlers(self._guard),))

    def _drain(self) -> None:
        self.calls.drain()


def serve(folder: Path, config: EquivariantConfig) -> None:
    """Serve until SIGTERM or SIGINT; print one line of JSON on stdout when ready."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Server(folder, config) as server:
        print(json.dumps({"ready": True, "role": server.role, "port": server.port}), flush=True)
        while not stop.wait(1.0):
            pass
