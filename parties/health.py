"""The gRPC health protocol, where grpcio-health-checking is installed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from privinf.addresses import Address
from privinf.errors import MissingExtra
from privinf.parties.listening import ALONE, listen


class Health:
    """Health beside a server's calls, and on a plaintext port for probes that have no certificate."""

    def __init__(self, server: grpc.Server, probed: Address) -> None:
        self._servicer: Any = None
        self._address = probed
        self._probed: grpc.Server | None = None
        try:
            from grpc_health.v1 import health, health_pb2_grpc
        except ImportError as error:
            if probed.port:
                raise MissingExtra("health_port needs: pip install 'privinf[node]'") from error
            return
        self._servicer = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        if probed.port:
            self._probed = grpc.server(ThreadPoolExecutor(2, thread_name_prefix="health"), options=ALONE)
            health_pb2_grpc.add_HealthServicer_to_server(self._servicer, self._probed)

    def listen(self) -> None:
        """Take the port for probes; nothing is answered yet."""
        if self._probed is not None:
            listen(self._probed.add_insecure_port, self._address)

    def serving(self, service: str) -> None:
        """Say that calls are answered."""
        if self._servicer is not None:
            from grpc_health.v1 import health_pb2

            for name in ("", service):
                self._servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
        if self._probed is not None:
            self._probed.start()

    def stopping(self) -> None:
        """Say so before anything else stops."""
        if self._servicer is not None:
            self._servicer.enter_graceful_shutdown()

    def close(self) -> None:
        """End the port for probes."""
        if self._probed is not None:
            self._probed.stop(None)
