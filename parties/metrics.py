"""Prometheus metrics, where a port is given and the library is installed: public facts alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from privinf.addresses import Address
from privinf.errors import MissingExtra
from privinf.parties.plain import PlainServer, serve_plain
from privinf.v1 import party_pb2

Answered = Literal["query", "pass"]


class Meters:
    """Counts nothing: the metrics of a server without a port for them."""

    def answered(self, stats: party_pb2.Stats, what: Answered) -> None:
        """Count a query, or a pass of a generation."""

    def waited(self, seconds: float) -> None:
        """Count what has waited for its place."""

    def refused(self) -> None:
        """Count what no place was found for."""

    def watch(self, **gauges: Callable[[], float]) -> None:
        """Read these values whenever somebody looks."""

    def listen(self) -> None:
        """Serve what is counted."""

    def close(self) -> None:
        """Stop serving."""


class PrometheusMeters(Meters):
    """Serves metrics on a plaintext port."""

    def __init__(self, role: str, address: Address) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError as error:
            raise MissingExtra("metrics need: pip install 'privinf[node]'") from error
        self._registry = prometheus.CollectorRegistry()
        self._library, self._role = prometheus, role
        common: dict[str, Any] = {"labelnames": ["role"], "registry": self._registry}
        self._rounds = prometheus.Counter("privinf_rounds", "rounds with the other party", **common)
        self._sent = prometheus.Counter("privinf_online_bytes", "payload sent to the other party", **common)
        self._spent = prometheus.Counter("privinf_preparation_bytes", "preparation used", **common)
        phased: dict[str, Any] = {"labelnames": ["role", "phase"], "registry": self._registry}
        self._seconds: dict[Answered, Any] = {
            "query": prometheus.Histogram("privinf_query_seconds", "time of a query", **phased),
            "pass": prometheus.Histogram("privinf_pass_seconds", "time of a pass of a generation", **phased),
        }
        self._waits = prometheus.Histogram("privinf_wait_seconds", "time in the queue for a place", **common)
        self._refusals = prometheus.Counter("privinf_refused", "calls that no place was found for", **common)
        self._address = address
        self._server: PlainServer | None = None

    def listen(self) -> None:
        """Serve what is counted."""
        self._server = serve_plain(self._library.make_wsgi_app(self._registry), self._address)

    def answered(self, stats: party_pb2.Stats, what: Answered) -> None:
        """Count a query, or a pass of a generation."""
        self._rounds.labels(self._role).inc(stats.rounds)
        self._sent.labels(self._role).inc(stats.online_bytes)
        self._spent.labels(self._role).inc(stats.preparation_bytes)
        seconds = self._seconds[what]
        seconds.labels(self._role, "online").observe(stats.online_seconds)
        seconds.labels(self._role, "offline").observe(stats.offline_seconds)

    def waited(self, seconds: float) -> None:
        """Count what has waited for its place."""
        self._waits.labels(self._role).observe(seconds)

    def refused(self) -> None:
        """Count what no place was found for."""
        self._refusals.labels(self._role).inc()

    def watch(self, **gauges: Callable[[], float]) -> None:
        """Read these values whenever somebody looks."""
        for name, read in gauges.items():
            gauge = self._library.Gauge(f"privinf_{name}", name, ["role"], registry=self._registry)
            gauge.labels(self._role).set_function(read)

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def meters(role: str, address: Address) -> Meters:
    """Return the meters of a server; port 0 is none."""
    return PrometheusMeters(role, address) if address.port else Meters()
