"""Certificates: replaced files serve the next connection, and who can mend a refused one is told why it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from harness import Cluster, ask, tls

from privinf.config import Tls
from privinf.errors import ConfigError, ConnectError, PrivinfError, Unauthenticated
from privinf.keys import keygen
from privinf.parties.rpc.certificates import Renewal, read
from privinf.parties.rpc.credentials import bind, dial
from privinf.parties.rpc.methods import ATTEST_DEALER
from privinf.parties.rpc.status import restore
from privinf.parties.stderr import own_stderr
from privinf.v1 import common_pb2


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of keys that a test may change."""
    keygen(tmp_path / "own")
    return tmp_path / "own"


def expire(keys: Path, role: str) -> None:
    """Put a certificate in place that is the same, but for the time in which it was valid."""
    path = keys / f"{role}.pem"
    old = x509.load_pem_x509_certificate(path.read_bytes())
    authority = serialization.load_pem_private_key((keys / "ca.key").read_bytes(), None)
    then = datetime.now(UTC) - timedelta(days=400)
    builder = x509.CertificateBuilder(old.issuer, old.subject, old.public_key(), old.serial_number)
    builder = builder.not_valid_before(then).not_valid_after(then + timedelta(days=365))
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    new = builder.sign(authority, hashes.SHA256())
    path.write_bytes(new.public_bytes(serialization.Encoding.PEM))


def test_replaced_files_serve_the_next_connection(tmp_path: Path, own: Path) -> None:
    """Of all roles at once, and of another authority: nothing is started anew."""
    with Cluster(tmp_path, own) as cluster, cluster.link() as link:
        ask(link)
        shutil.copytree(own, tmp_path / "old")
        keygen(own, force=True)
        ask(link)
        with cluster.link(tls=tls(tmp_path / "old", "client")) as late, pytest.raises(PrivinfError):
            ask(late)
        with cluster.link() as another:
            ask(another)


def test_servers_call_each_other_with_what_the_files_hold_now(tmp_path: Path, own: Path) -> None:
    """Of all calls between them: each server that is started anew trusts the latest authority alone."""
    with Cluster(tmp_path, own) as cluster, cluster.link() as link:
        for role in ("dealer", "party1", "dealer"):
            ask(link)
            keygen(own, force=True)
            cluster.stop(role)
            cluster.start(role)
            ask(link)


def test_a_call_under_way_stays_on_its_connection(tmp_path: Path, own: Path) -> None:
    peer = dial("127.0.0.1:1", "dealer", tls(own, "client"), "client")
    first = peer.channel
    assert peer.channel is first
    keygen(own, force=True)
    second = peer.channel
    assert second is not first
    first.unary_unary("/a/b")  # raises when the channel is closed
    keygen(own, force=True)
    assert peer.channel not in (first, second)
    with pytest.raises(ValueError, match="closed"):
        first.unary_unary("/a/b")(b"", timeout=1)
    peer.close()


def test_files_that_do_not_fit_are_told_once_and_what_was_before_goes_on(tmp_path: Path, own: Path) -> None:
    keygen(tmp_path / "new")
    told: list[ConfigError] = []
    renewal = Renewal(tls(own, "party0"), told.append, "party0")
    before = renewal.own
    for name in ("ca.pem", "party0.pem"):  # the key comes last
        shutil.copy(tmp_path / "new" / name, own / name)
    assert renewal.renewed() is None
    assert renewal.renewed() is None
    (error,) = told
    assert str(error).endswith(f"party0.key is not the key of {own / 'party0.pem'}")
    assert renewal.own == before
    shutil.copy(tmp_path / "new" / "party0.key", own / "party0.key")
    after = renewal.renewed()
    assert after is not None
    assert after == renewal.own != before
    assert renewal.renewed() is None
    (own / "ca.pem").unlink()
    assert renewal.renewed() is None
    assert len(told) == 2
    assert renewal.own == after


def test_another_roles_files_are_not_taken_for_new_ones(own: Path, capfd: pytest.CaptureFixture[str]) -> None:
    peer = dial("127.0.0.1:1", "dealer", tls(own, "party0"), "party0")
    before = peer.channel
    for suffix in ("pem", "key"):
        shutil.copy(own / f"party1.{suffix}", own / f"party0.{suffix}")
    assert peer.channel is before
    assert "is the certificate of party1" in capfd.readouterr().err
    peer.close()


def test_a_server_whose_new_files_do_not_fit_says_so_and_goes_on(
    tmp_path: Path, own: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Cluster(tmp_path, own) as cluster:
        (own / "party1.key").write_text("nonsense")
        with cluster.link() as link:
            ask(link)
    said = [json.loads(line) for line in capfd.readouterr().err.splitlines() if "certificates" in line]
    assert said
    assert all("is not used" in line["error"] for line in said)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("client.key", "", "is not a PEM file"),
        ("client.key", "-----BEGIN PRIVATE KEY-----", "no private key"),
        ("client.pem", "-----BEGIN CERTIFICATE-----", "no certificate"),
        ("ca.pem", "-----BEGIN CERTIFICATE-----", "no certificate"),
        ("ca.pem", None, "cannot be read"),
    ],
)
def test_files_that_are_no_certificate_are_named(
    own: Path, name: str, content: str | None, said: str
) -> None:
    (own / name).unlink() if content is None else (own / name).write_text(content)
    with pytest.raises(ConfigError, match=said) as failure:
        read(tls(own, "client"), "client")
    assert name in str(failure.value)


def test_a_key_of_another_certificate_is_refused(own: Path) -> None:
    mixed = Tls(own / "ca.pem", own / "client.pem", own / "party0.key")
    with pytest.raises(ConfigError, match="is not the key of"):
        read(mixed, "client")


@pytest.mark.parametrize("use", ["dial", "bind"])
def test_an_expired_certificate_of_ones_own_is_refused_at_start(own: Path, use: str) -> None:
    expire(own, "dealer")
    expired = tls(own, "dealer")
    uses: dict[str, Callable[[], object]] = {
        "dial": lambda: dial("127.0.0.1:1", "party0", expired, "dealer"),
        "bind": lambda: bind(grpc.server(None), "127.0.0.1:0", expired, print, "dealer"),  # type: ignore[arg-type]
    }
    with pytest.raises(ConfigError, match=r"dealer\.pem expired on 20\d\d-"):
        uses[use]()


def test_a_certificate_that_expires_while_we_run_is_named(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = dial("127.0.0.1:1", "party0", tls(own, "client"), "client")

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + timedelta(days=500)

    monkeypatch.setattr("privinf.parties.rpc.certificates.datetime", Later)
    with pytest.raises(ConfigError, match=r"client\.pem expired on"):
        _ = peer.channel
    peer.close()


@contextmanager
def _raw(keys: Path, role: str) -> Iterator[int]:
    """A gRPC server that checks nothing of its own."""
    certificate = [(keys / f"{role}.key").read_bytes(), (keys / f"{role}.pem").read_bytes()]
    ca = (keys / "ca.pem").read_bytes()
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        credentials = grpc.ssl_server_credentials([tuple(certificate)], ca, require_client_auth=True)
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        yield port
        server.stop(None).wait()


def _failure(port: int, keys: Tls) -> PrivinfError:
    """What calling a dealer there comes to."""
    peer = dial(f"127.0.0.1:{port}", "dealer", keys, "client")
    try:
        ATTEST_DEALER.on(peer)(common_pb2.AttestRequest(), timeout=10, metadata=peer.metadata)
    except grpc.RpcError as error:
        return restore(error, "dealer")
    finally:
        peer.close()
    raise AssertionError


def test_a_client_is_told_what_is_wrong_with_a_server(own: Path, foreign_keys: Path) -> None:
    with _raw(own, "party0") as port:
        error = _failure(port, tls(own, "client"))
        assert (type(error), "of another role" in str(error)) == (Unauthenticated, True)
        error = _failure(port, tls(foreign_keys, "client"))
        assert (type(error), "authority unknown here" in str(error)) == (Unauthenticated, True)
    expire(own, "dealer")
    with _raw(own, "dealer") as port:
        error = _failure(port, tls(own, "client"))
        assert (type(error), "has expired" in str(error)) == (Unauthenticated, True)


def test_a_server_is_told_what_is_wrong_with_a_client(
    own: Path, foreign_keys: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = Tls(own / "ca.pem", foreign_keys / "client.pem", foreign_keys / "client.key")
    expire(own, "party1")
    monkeypatch.setattr("privinf.parties.rpc.certificates.Renewal.require_current", lambda *_: None)
    monkeypatch.setattr("privinf.parties.rpc.certificates.check_own", lambda *_: None)
    with own_stderr("dealer"), _raw(own, "dealer") as port:
        for keys in (strange, tls(own, "party1")):
            error = _failure(port, keys)
            assert (type(error), "may refuse our certificate" in str(error)) == (ConnectError, True)
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    kinds = [line["kind"] for line in lines if line["event"] == "handshake"]
    assert list(dict.fromkeys(kinds)) == ["authority", "expired"]


def test_a_server_that_is_not_there_is_no_question_of_certificates(own: Path) -> None:
    with _raw(own, "dealer") as port:
        pass
    error = _failure(port, tls(own, "client"))
    assert (type(error), str(error)) == (ConnectError, "dealer: cannot be reached: nobody listens there")
