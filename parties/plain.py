"""A small HTTP server for what operators read; it shares its port with nobody."""

from __future__ import annotations

import socket
import threading
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from privinf.addresses import Address
from privinf.parties.rpc.listening import refused, resolve


class PlainServer(ThreadingMixIn, WSGIServer):
    """One application for everybody who reaches the port."""

    daemon_threads = True
    allow_reuse_port = False  # newer releases of http.server turn it on

    def __init__(self, address: Address, application: Any) -> None:
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        super().__init__((address.host, address.port), _Quiet)
        self.set_app(application)

    def server_bind(self) -> None:
        """Bind, without asking a name server who we are."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()


class _Quiet(WSGIRequestHandler):
    timeout = 10.0  # of a connection that says nothing

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: requests come every few seconds."""


def serve_plain(application: Any, address: Address) -> PlainServer:
    """Serve in a thread until `shutdown`; ListenError says why it cannot."""
    try:
        server = PlainServer(resolve(address)[0], application)
    except OSError as error:
        raise refused(address, error.errno) from error
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
