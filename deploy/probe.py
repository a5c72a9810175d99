"""Asks this container's server for its health on the loopback port meant for that; the exit status says yes or no."""

from __future__ import annotations

import os
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SECONDS = 3.0


def serving(address: str) -> bool:
    """Whether the server behind `address` says that it answers calls."""
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        except grpc.RpcError as error:
            print(error.code().name, file=sys.stderr)
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


if __name__ == "__main__":
    sys.exit(not serving(f"127.0.0.1:{os.environ['PRIVINF_HEALTH_PORT']}"))
