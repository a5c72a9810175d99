"""The gRPC health protocol, where grpcio-health-checking is installed: its Check alone, a call that ends at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc

from privinf.addresses import Address
from privinf.errors import MissingExtra
from privinf.parties.rpc.credentials import server_options
from privinf.parties.rpc.descriptors import PROBES
from privinf.parties.rpc.guard import Guard
from privinf.parties.rpc.life import Bounds
from privinf.parties.rpc.listening import listen
from privinf.parties.rpc.methods import ANYBODY, Method

SERVICE: Final = "grpc.health.v1.Health"
_PROBES: Final = 8  # calls at once, half of them of one address
_BOUNDS: Final = Bounds(5.0, 5.0, 2.0, 2.0, 2.0)


class Health:
    """Health beside a server's calls, and on a plaintext port for probes that have no certificate."""

    def __init__(self, server: grpc.Server, guard: Guard, probed: Address) -> None:
        self._servicer: Any = None
        self._address = probed
        self._probed: grpc.Server | None = None
        self._guard = Guard("health", False, guard.log, _PROBES, _BOUNDS)
        try:
            from grpc_health.v1 import health, health_pb2
        except ImportError as error:
            if probed.port:
                raise MissingExtra("health_port needs: pip install 'privinf[node]'") from error
            return
        self._servicer, self._messages = health.HealthServicer(), health_pb2
        server.add_generic_rpc_handlers((self._handler(guard),))
        if probed.port:
            pool = ThreadPoolExecutor(_PROBES, thread_name_prefix="health")
            self._probed = grpc.server(pool, options=server_options(PROBES))
            self._probed.add_generic_rpc_handlers((self._handler(self._guard),))

    def listen(self) -> None:
        """Take the port for probes; nothing is answered yet."""
        if self._probed is not None:
            listen(self._probed.add_insecure_port, self._address)

    def _handler(self, guard: Guard) -> grpc.GenericRpcHandler:
        asked, said = self._messages.HealthCheckRequest, self._messages.HealthCheckResponse
        check = Method(SERVICE, "Check", asked, said, ANYBODY)
        return guard.handlers({check: lambda request, context, _: self._servicer.Check(request, context)})

    def serving(self, service: str) -> None:
        """Say that calls are answered."""
        if self._servicer is not None:
            for name in ("", service):
                self._servicer.set(name, self._messages.HealthCheckResponse.SERVING)
        if self._probed is not None:
            self._probed.start()

    def stopping(self) -> None:
        """Say so before anything else stops."""
        if self._servicer is not None:
            self._servicer.enter_graceful_shutdown()

    def close(self) -> None:
        """End the port for probes."""
        if self._probed is not None:
            self._probed.stop(None).wait()  # the port is free once we return
        self._guard.close()
