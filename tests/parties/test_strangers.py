"""Who may call what: each role proves itself, and has the program that the others have."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from calling import CREATE, FETCH, ID, IDENTITY, PREFETCH, call, chunk, infer, opening, refused
from dummy import Settings
from harness import SHAPE, SHARES, Cluster, ask, tls
from sessions import generate, once

from privinf.config import ClientConfig
from privinf.errors import (
    ConnectError,
    InputError,
    MismatchError,
    Unauthenticated,
)
from privinf.keys import keygen
from privinf.parties.rpc import methods
from privinf.parties.rpc.credentials import dial
from privinf.parties.rpc.status import restore
from privinf.sdk.transport import Link
from privinf.v1 import dealer_pb2, party_pb2


@pytest.mark.parametrize(
    ("role", "method", "request_", "strangers"),
    [
        ("dealer", methods.CREATE, CREATE, ("party1", "client", "dealer")),
        ("dealer", methods.FETCH, FETCH, ("client", "dealer")),
        ("dealer", methods.DROP, dealer_pb2.DropRequest(preparation_id=ID), ("client", "dealer")),
        ("party1", methods.PREFETCH, PREFETCH, ("party1", "client", "dealer")),
        ("party1", methods.RECONCILE, party_pb2.ReconcileRequest(), ("party1", "client", "dealer")),
        ("party1", methods.SESSION, iter([b"frame"]), ("party1", "client", "dealer")),
        ("party0", methods.INFER, iter([]), ("party0", "party1", "dealer")),
        ("party0", methods.GENERATE, iter([]), ("party0", "party1", "dealer")),
        ("dealer", methods.PASSES, iter([]), ("client", "dealer")),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_each_call_is_for_its_role(
    cluster: Cluster, role: str, method: methods.Method, request_: Any, strangers: tuple[str, ...]
) -> None:
    for stranger in strangers:
        error = refused(cluster, role, stranger, method, request_)
        assert isinstance(error, Unauthenticated), stranger
        assert f"{stranger} may not call {method.name} on {role}" in str(error)


def test_party_0_answers_no_call_between_parties(cluster: Cluster) -> None:
    assert isinstance(refused(cluster, "party0", "party0", methods.PREFETCH, PREFETCH), MismatchError)


def test_a_certificate_of_another_authority_reaches_nobody(
    cluster: Cluster, keys: Path, foreign_keys: Path, tmp_path: Path
) -> None:
    trusting = replace(tls(foreign_keys, "client"), ca=keys / "ca.pem")  # knows us, is not known to us
    with Link(cluster.client(tls=trusting, connect_seconds=0.5)) as link, pytest.raises(ConnectError):
        link.connect()
    with Link(cluster.client(tls=tls(foreign_keys, "client"))) as link, pytest.raises(Unauthenticated):
        link.connect()
    with cluster.link() as link:
        ask(link)


def test_a_server_with_another_roles_certificate_is_no_party(cluster: Cluster) -> None:
    swapped = (cluster.address("party1"), cluster.address("party0"))
    with Link(cluster.client(parties=swapped)) as link, pytest.raises(Unauthenticated) as failure:
        link.connect()
    assert failure.value.party == "party0"


def test_a_certificate_of_two_roles_is_of_none(
    cluster: Cluster, tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "privinf.parties.rpc.certificates.check_own", lambda *_: None
    )  # as another's client would
    both = tmp_path / "both"
    shutil.copytree(keys, both)
    _reissue(both, "client", "party0")
    peer = dial(cluster.address("party1"), "party1", tls(both, "client"), "client")
    with pytest.raises(Unauthenticated, match="no role, or more than one"):
        call(peer, methods.STATUS, party_pb2.StatusRequest())
    peer.channel.close()


def _reissue(folder: Path, role: str, other: str) -> None:
    """Sign a certificate for two roles with the authority's own key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    old = x509.load_pem_x509_certificate((folder / f"{role}.pem").read_bytes())
    names = x509.SubjectAlternativeName([x509.DNSName(role), x509.DNSName(other)])
    new = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.issuer)
        .public_key(old.public_key())
        .serial_number(7)
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())  # type: ignore[arg-type]
    )
    (folder / f"{role}.pem").write_bytes(new.public_bytes(serialization.Encoding.PEM))


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("field", ["version", "protocol", "model_id", "plan_hash"])
@pytest.mark.parametrize("role", ["dealer", "party1", "party0"])
def test_a_role_with_another_program_is_named(tmp_path: Path, keys: Path, role: str, field: str) -> None:
    other = Settings(identity=replace(IDENTITY, **{field: "other"}))
    why = "runs the protocol '(echo|other)', not" if field == "protocol" else f"differs in {field}"
    with (
        Cluster(tmp_path, keys, each={role: other}) as cluster,
        cluster.link(IDENTITY) as link,
        pytest.raises(MismatchError, match=why),
    ):
        ask(link)


def test_a_task_that_the_model_has_no_part_for_is_refused(tmp_path: Path, keys: Path) -> None:
    """By every role, before anything is spent; what it has a part for is served."""
    with Cluster(tmp_path, keys, Settings(parts=("queries",))) as cluster, cluster.link() as link:
        with pytest.raises(InputError, match="this model does not generate"):
            once(link)
        ask(link)
    with Cluster(tmp_path, keys, Settings(parts=("sessions",))) as cluster, cluster.link() as link:
        with pytest.raises(InputError, match="this model does not answer single queries: it generates"):
            ask(link)
        for role, caller, method, request in (
            ("dealer", "party0", methods.CREATE, CREATE),
            ("party1", "party0", methods.PREFETCH, PREFETCH),
        ):
            error = refused(cluster, role, caller, method, request)
            assert isinstance(error, InputError)
            assert "does not answer single queries" in str(error)
        generate(link, 1)


@pytest.mark.parametrize(
    ("role", "whose"), [("dealer", "party0"), ("party1", "party0"), ("party0", "client")]
)
def test_a_role_that_says_it_has_anothers_folder_is_named(
    tmp_path: Path, keys: Path, role: str, whose: str
) -> None:
    with (
        Cluster(tmp_path, keys, each={role: Settings(whose=whose)}) as cluster,
        cluster.link(IDENTITY) as link,
        pytest.raises(MismatchError, match=f"{role} was started with {whose}'s folder"),
    ):
        ask(link)


@pytest.mark.parametrize("role", ["party0", "party1"])
def test_parties_compare_whose_folder_the_other_has(tmp_path: Path, keys: Path, role: str) -> None:
    """The client does not look here, so that only the session's first frame can tell."""
    with Cluster(tmp_path, keys, each={role: Settings(whose="dealer")}) as cluster:
        errors = []
        for party, future in enumerate([infer(cluster, 0, IDENTITY), infer(cluster, 1, IDENTITY)]):
            with pytest.raises(grpc.RpcError) as failure:
                list(future)
            errors.append(restore(failure.value, f"party{party}"))
        other = errors[1 if role == "party0" else 0]
        assert isinstance(other, MismatchError)
        assert f"{role} was started with dealer's folder" in str(other)
        assert not (tmp_path / "party0" / "spent.log").read_text()


def test_parties_compare_even_if_the_client_does_not(tmp_path: Path, keys: Path) -> None:
    """Each party is asked with its own identity, so that only the session's first frame can tell."""
    other = Settings(identity=replace(IDENTITY, plan_hash="other"))
    with Cluster(tmp_path, keys, each={"party1": other}) as cluster:
        calls = [infer(cluster, 0, IDENTITY), infer(cluster, 1, other.identity)]
        for role, future in zip(("party0", "party1"), calls, strict=True):
            with pytest.raises(grpc.RpcError) as failure:
                list(future)
            assert isinstance(restore(failure.value, role), MismatchError)
        assert not (tmp_path / "party0" / "spent.log").read_text()


def test_without_tls_roles_are_claimed_and_a_warning_is_given(
    tmp_path: Path, keys: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = {"tls": None, "insecure_no_tls": True}
    options: dict[str, dict[str, Any]] = {role: dict(plain) for role in ("dealer", "party0", "party1")}
    with Cluster(tmp_path, keys, options=options) as cluster:
        parties = (cluster.address("party0"), cluster.address("party1"))
        with Link(ClientConfig(parties=parties, insecure_no_tls=True)) as link:
            ask(link)
        peer = dial(parties[0], "party0", None, "dealer")
        with pytest.raises(Unauthenticated):
            call(peer, methods.INFER, iter([opening(), chunk(8)]))
        peer.channel.close()
        with cluster.link(connect_seconds=0.3) as link, pytest.raises((ConnectError, Unauthenticated)):
            link.connect()
    assert capfd.readouterr().err.count("WARNING: insecure_no_tls") == 4


@pytest.fixture
def one_host(tmp_path: Path) -> Path:
    """Return certificates for another machine's name."""
    keygen(tmp_path / "elsewhere", ["elsewhere.example"])
    return tmp_path / "elsewhere"


def test_the_role_is_what_a_certificate_must_prove(tmp_path: Path, one_host: Path) -> None:
    with Cluster(tmp_path, one_host) as cluster, cluster.link() as link:
        assert ask(link).parties[0].rounds == Settings().rounds
        assert link.run(SHAPE, SHARES)[:2] == SHARES
