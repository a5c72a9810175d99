"""The configuration of each role: what it is told, with its defaults and checks; `privinf/settings.py` reads it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from privinf.addresses import Address, parse_host
from privinf.errors import ConfigError
from privinf.protocols.contract import QueryShape

PREFIX = "PRIVINF_"
GIB = 1 << 30
LOOPBACK = "127.0.0.1"
ANY_PORT = Address(LOOPBACK, 0)
LONGEST = 1e9  # seconds: no clock, lock or deadline overflows with them


@dataclass(frozen=True)
class Tls:
    """Where this role's certificate lies; the environment says PRIVINF_CA, PRIVINF_CERT, PRIVINF_KEY."""

    ca: Path
    cert: Path
    key: Path = field(repr=False)


# What party 0 decides for all: it leads.
PARTY0_ALONE = ("ahead", "shapes")
_NO_CERTIFICATES = (
    "certificates are missing: give --ca, --cert and --key, PRIVINF_CA, PRIVINF_CERT and PRIVINF_KEY, tls=, or a file "
    "that has [tls] as --config; `privinf keygen` makes them"
)
_ADDRESSES = ("dealer", "peer", "listen", "parties", "server")


@dataclass(frozen=True, kw_only=True)
class _Role:
    """What every role is told."""

    tls: Tls | None = None
    insecure_no_tls: bool = False

    def __post_init__(self) -> None:
        _parse(self, *(item.name for item in fields(self) if item.name in _ADDRESSES))
        _check(self.tls is not None or self.insecure_no_tls, _NO_CERTIFICATES)
        _check(
            self.tls is None or not self.insecure_no_tls,
            "tls and insecure_no_tls exclude each other: leave out --insecure-no-tls, or the certificates",
        )
        _check_seconds(self)


@dataclass(frozen=True, kw_only=True)
class ServerConfig(_Role):
    """What every server is told."""

    listen: Address = ANY_PORT
    max_seconds: float = 3600.0  # the longest that a call lasts, whatever its client asked for
    idle_seconds: float = 300.0  # how long a generation or session may wait for its client's next request
    due_seconds: float = 20.0  # how long a call may take over a message that is due, as a part of a share
    health_port: int = 0  # a plaintext port for probes; 0 is none
    # Another address lets everybody who reaches it ask whether this server serves.
    health_host: str = LOOPBACK
    metrics_port: int = 0  # a plaintext port for Prometheus; 0 is none
    metrics_host: str = LOOPBACK
    stop_seconds: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("health", "metrics"):
            _check(0 <= getattr(self, f"{name}_port") <= 65535, f"{name}_port is 0 to 65535")
            object.__setattr__(self, f"{name}_host", parse_host(getattr(self, f"{name}_host")))


@dataclass(frozen=True, kw_only=True)
class _Admitting(ServerConfig):
    """What a server is told that clients ask themselves."""

    max_sessions: int = 8  # queries, generations and sessions under way
    max_sessions_each: int = 0  # of one client, known by its certificate; 0 is half of them
    max_waiting: int = 64  # calls that wait for a place
    max_waiting_each: int = 0  # of one client; 0 is half of them
    wait_seconds: float = 300.0  # how long one of them waits; its client is then told when to ask again

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(min(self.max_sessions, self.max_waiting) > 0, "max_sessions and max_waiting count something")
        each = self.max_sessions_each, self.max_waiting_each
        _check(min(each) >= 0, "what one client may have is 0 or more")


@dataclass(frozen=True)
class PartyConfig(_Admitting):
    """One of the two servers that compute on shares."""

    party: int
    store: Path  # a directory of its own, 0700; never shared by two parties
    dealer: Address | None = None  # where the protocol has one
    # Where parties of a higher index listen, in order: of two, party 0's alone.
    peer: tuple[Address, ...] = ()
    max_store_bytes: int = 8 * GIB
    max_store_count: int = 1024
    # Of these, what lies in memory and never on the disk, while there is room; it ends with the process. 0 is none.
    max_memory_bytes: int = GIB
    memory_each_bytes: int = GIB // 4  # the largest preparation that does
    ahead: int = 0  # preparations kept ready for each of `shapes`; party 0 decides for both
    shapes: tuple[QueryShape, ...] = ()
    greet_seconds: float = 5.0  # how long a call that has a place waits for its other half at the other party
    passes_ahead: int = 2  # passes of a generation kept ready, in memory; the smaller number of both parties
    max_ahead_bytes: int = GIB // 4  # of a generation's passes that lie ready or come while one runs, about
    max_batch: int = 8  # prompts of one generation that advance together: a pass takes the memory of as many
    journal: Path | None = None  # names of what passes opened are appended here, for an audit
    max_journal_bytes: int = GIB  # of all its parts; the oldest of them are deleted
    prepare_seconds: float = 600.0  # the longest that one preparation may take in the background
    connect_seconds: float = 3.0  # how long a query waits for the other party or the dealer to be reachable
    threads: int = 0  # for one computation, such as a gate's keys; 0: one for each processor that it may use

    def __post_init__(self) -> None:
        _check(self.party >= 0, "party is 0 or more")
        _check(self.party > 0 or bool(self.peer), "party 0 needs peer, the address of party 1")
        for name in PARTY0_ALONE:
            told = self.party > 0 and getattr(self, name) != getattr(PartyConfig, name)
            _check(not told, f"{name} is party 0's: set it there, it decides for both")
        _check(
            bool(self.ahead) == bool(self.shapes),
            "ahead (--ahead) and shapes (--shape) go together: how many, and of what",
        )
        super().__post_init__()
        _check(self.max_store_bytes > 0 and self.max_store_count > 0, "the store needs room")
        _check(
            min(self.max_memory_bytes, self.memory_each_bytes) >= 0,
            "bytes of preparations in memory are 0 or more",
        )
        _check(self.ahead >= 0, "ahead counts something")
        _check(0 < self.passes_ahead <= 32, "passes_ahead is 1 to 32")
        _check(self.max_batch > 0, "max_batch is 1 or more")
        _check(min(self.max_ahead_bytes, self.max_journal_bytes) > 0, "a limit in bytes is positive")
        _check(self.threads >= 0, "threads is 0 or more")


@dataclass(frozen=True)
class DealerConfig(ServerConfig):
    """The server that draws preparations."""

    max_jobs: int = 8  # preparations created and not yet delivered
    max_sessions: int = 8  # generations under way
    queue_chunks: int = 32  # of 1 MiB, for each party and preparation, between drawing and delivery
    come_seconds: float = 10.0  # how long both parties may take to come for what was ordered
    stall_seconds: float = 60.0  # how long one party may lag once both have come
    idle_seconds: float = 900.0  # how long a generation may wait for its next order
    threads: int = 0  # for one computation, such as a gate's keys; 0: one for each processor that it may use

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = self.max_jobs, self.max_sessions, self.queue_chunks
        _check(min(counts) > 0, "max_jobs, max_sessions and queue_chunks count something")
        _check(self.threads >= 0, "threads is 0 or more")


@dataclass(frozen=True, kw_only=True)
class _Asking(_Role):
    """What the SDK is told in every mode."""

    deadline: float = 120.0  # seconds for a whole query, or for one pass of a private generation
    session_deadline: float = 3600.0  # seconds for a whole generation; the servers' max_seconds bound it
    connect_seconds: float = 10.0


@dataclass(frozen=True)
class ClientConfig(_Asking):
    """What the SDK needs to reach both parties."""

    parties: tuple[Address, Address]
    dealer: Address | None = None  # for `privinf status` alone: no query is sent there

    def __post_init__(self) -> None:
        _parse(self, "parties")
        _check(
            len(self.parties) == 2,
            f"parties (--parties): two addresses are needed, party 0's and party 1's, host:port,host:port; "
            f"{len(self.parties)} given",
        )
        super().__post_init__()


@dataclass(frozen=True)
class EquivariantConfig(_Admitting):
    """The one server of the equivariant mode."""

    threads: int = 0  # of torch, within one layer; 0 leaves that to torch
    max_calls: int = 32  # embeddings and classifications under way
    max_calls_each: int = 0  # of one client; 0 is half of them
    max_rows: int = 16384  # tokens or patches of one request, padding included
    max_tokens: int = 0  # of prompt and answer together; 0 is what the model takes

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(min(self.max_calls, self.max_rows) > 0, "max_calls and max_rows count something")
        _check(min(self.threads, self.max_tokens) >= 0, "threads and max_tokens are 0 or more")
        _check(self.max_calls_each >= 0, "what one client may have is 0 or more")


@dataclass(frozen=True)
class EquivariantClientConfig(_Asking):
    """What the SDK needs to reach the server of the equivariant mode."""

    server: Address


Config = TypeVar("Config", bound=_Role)
ROLES = (PartyConfig, DealerConfig, ClientConfig, EquivariantConfig, EquivariantClientConfig)


def read_address(value: Any, where: str) -> Address:
    _check(
        isinstance(value, (str, Address)),
        f"{where}: an address, host:port, is needed, not a list or a number",
    )
    try:
        return Address.of(value)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _parse(config: _Role, *names: str) -> None:
    """Read the addresses that a caller of the constructor wrote as text; those to dial name their port."""
    for name in names:
        value = getattr(config, name)
        given = value if isinstance(value, (tuple, list)) else (value,)
        read = tuple(read_address(item, name) for item in given if item is not None)
        _check(name == "listen" or all(item.port for item in read), f"{name}: port 0 cannot be reached")
        several = name in ("peer", "parties")
        object.__setattr__(config, name, read if several else next(iter(read), None))


def _check_seconds(config: _Role) -> None:
    """Every number of seconds is one, above 0; stopping alone may take none."""
    for item in fields(config):
        if item.type == "float":  # annotations are text here
            value = getattr(config, item.name)
            holds = 0 < value <= LONGEST or (value == 0 and item.name == "stop_seconds")
            _check(holds, f"{item.name} is a number of seconds above 0, up to {LONGEST:g}, not {value:g}")


def _check(holds: bool, claim: str) -> None:
    if not holds:
        raise ConfigError(claim)
