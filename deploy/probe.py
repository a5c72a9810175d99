"""Asks this container's server for its health on the port meant for that; the exit status says yes or no."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SECONDS = 3.0
DIRECT = [("grpc.enable_http_proxy", 0)]  # a proxy of the container's environment knows no address of its own
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104


def serving(address: str) -> bool:
    """Whether the server behind `address` says that it answers calls."""
    with grpc.insecure_channel(address, options=DIRECT) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        except grpc.RpcError as error:
            print(error.code().name, file=sys.stderr)
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


def address(environ: Mapping[str, str]) -> str:
    """Where the server's own settings have it answer probes."""
    host = environ.get("PRIVINF_HEALTH_HOST", "127.0.0.1").strip("[]")
    bare = f"[{host}]" if ":" in host else host
    return f"{EVERYWHERE.get(host, bare)}:{environ['PRIVINF_HEALTH_PORT']}"


if __name__ == "__main__":
    sys.exit(not serving(address(os.environ)))
