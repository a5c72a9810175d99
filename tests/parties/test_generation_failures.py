"""Generations that end badly: each by a typed error at the client, and with nothing left at any server."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from dummy import Settings
from harness import SHAPE, Cluster, ask, tls, wait_until
from sessions import SESSION, SHARES, freed, generate, spend

from privinf.errors import (
    ConfigError,
    ConnectError,
    DeadlineExceeded,
    InputError,
    IntegrityError,
    MismatchError,
    PartyError,
    PeerLost,
    PrivinfError,
    ProtocolError,
)
from privinf.parties import methods
from privinf.parties.credentials import MESSAGE_LIMIT, dial
from privinf.parties.messages import identity_message, session_shape_message, shape_message
from privinf.parties.status import restore
from privinf.transport import AsyncLink, Generation
from privinf.v1 import common_pb2, dealer_pb2, party_pb2

IDENTITY = Settings().identity
ID = bytes(16)


class Halted:
    """A generation that stands still in its second pass, until the gate is opened."""

    def __init__(self, folder: Path, keys: Path, **changes: Any) -> None:
        self.gate = folder / "gate"
        self.gate.touch()
        self.cluster = Cluster(folder, keys, Settings(gate=str(self.gate), **changes))

    def __enter__(self) -> Halted:
        self.cluster.__enter__()
        self.link = self.cluster.link()
        return self

    def __exit__(self, *error: object) -> None:
        self.open()
        self.link.close()
        freed(self.cluster)
        self.cluster.__exit__(*error)

    def open(self) -> None:
        """Let it go on."""
        self.gate.unlink(missing_ok=True)

    def reach(self, generation: Generation) -> None:
        """Bring it to where it stands still."""
        generation.step(0, SHARES)
        generation.send(1, SHARES)
        wait_until(self.gate.with_suffix(".reached").exists)


@pytest.mark.parametrize("party", [0, 1])
def test_a_client_cancels_in_a_pass(tmp_path: Path, keys: Path, party: int) -> None:
    with Halted(tmp_path, keys, halt_at=4, halt_party=party) as halted:
        generation = halted.link.generate(SESSION)
        halted.reach(generation)
        generation.cancel()
        halted.open()
        freed(halted.cluster)
        with pytest.raises(ConnectError, match="over"):
            generation.receive()
        generate(halted.link, 3)


def test_a_client_cancels_between_passes(cluster: Cluster) -> None:
    with cluster.link() as link:
        generation = link.generate(SESSION)
        generation.step(0, SHARES)
        generation.cancel()
        freed(cluster)
        generate(link, 2)


def test_a_client_cancels_while_another_thread_waits(tmp_path: Path, keys: Path) -> None:
    with Halted(tmp_path, keys, halt_at=4) as halted:
        generation = halted.link.generate(SESSION)
        halted.reach(generation)
        failures: list[PrivinfError] = []

        def wait() -> None:
            try:
                generation.receive()
            except PrivinfError as error:
                failures.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        generation.cancel()
        waiting.join(10)
        assert isinstance(failures[0], ConnectError)


def test_a_link_that_is_closed_ends_its_generations(tmp_path: Path, keys: Path) -> None:
    with Halted(tmp_path, keys, halt_at=4) as halted:
        generation = halted.link.generate(SESSION)
        halted.reach(generation)
        halted.link.close()
        with pytest.raises(PeerLost) as failure:
            generation.receive()
        assert failure.value.session_id == generation.session_id


def test_an_exception_in_the_clients_block_drops_the_generation(cluster: Cluster) -> None:
    with cluster.link() as link:
        generation = link.generate(SESSION)
        generation.step(0, SHARES)
        with pytest.raises(ValueError, match="theirs"), generation:
            raise ValueError("theirs")
        freed(cluster)


def test_a_cancelled_task_drops_its_generation(tmp_path: Path, keys: Path) -> None:
    async def cancelled(halted: Halted) -> None:
        async with AsyncLink(halted.cluster.client()) as link:
            generation = await link.generate(SESSION)
            await generation.step(0, SHARES)
            task = asyncio.create_task(generation.step(1, SHARES))
            await asyncio.to_thread(wait_until, halted.gate.with_suffix(".reached").exists)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            halted.open()

    with Halted(tmp_path, keys, halt_at=4) as halted:
        asyncio.run(cancelled(halted))


@pytest.mark.parametrize("party", [0, 1])
def test_a_program_that_fails_in_a_pass_ends_the_generation_alone(
    tmp_path: Path, keys: Path, party: int
) -> None:
    with Cluster(tmp_path, keys, Settings(fail_at=4, fail_party=party)) as cluster, cluster.link() as link:
        with link.generate(SESSION) as generation:
            generation.step(0, SHARES)
            with pytest.raises(IntegrityError, match="told to fail") as failure:
                generation.step(0, SHARES)
            assert failure.value.party in (f"party{party}", "party0")
            assert failure.value.session_id == generation.session_id
            with pytest.raises(ConnectError, match="over"):
                generation.step(0, SHARES)
        freed(cluster)
        generate(link, 1)
        ask(link)


@pytest.mark.parametrize("party", [0, 1])
def test_a_program_that_fails_ahead_ends_the_generation(tmp_path: Path, keys: Path, party: int) -> None:
    settings = Settings(fail_prepare=True, fail_party=party)
    with Cluster(tmp_path, keys, settings) as cluster, cluster.link() as link:
        with (
            link.generate(SESSION) as generation,
            pytest.raises(IntegrityError, match="told to fail ahead") as failure,
        ):
            generation.step(0, SHARES)
        assert failure.value.party in (f"party{party}", "party0")
        freed(cluster)


def test_an_exception_of_the_program_ahead_is_told_by_its_kind(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> object:
        raise ValueError("a secret value")

    monkeypatch.setattr("dummy.DummyGeneration.prepare", broken)
    with Cluster(tmp_path, keys) as cluster, cluster.link() as link:
        with link.generate(SESSION) as generation, pytest.raises(PartyError, match="ValueError") as failure:
            generation.step(0, SHARES)
        freed(cluster)
    assert "secret" not in str(failure.value) + capfd.readouterr().err


@pytest.mark.parametrize("settings", [Settings(expect_more=1), Settings(wrong_result=1)])
def test_a_program_that_breaks_its_word_is_refused(tmp_path: Path, keys: Path, settings: Settings) -> None:
    with Cluster(tmp_path, keys, settings) as cluster, cluster.link() as link:
        with (
            link.generate(SESSION) as generation,
            pytest.raises(ProtocolError, match=r"were expected|another size"),
        ):
            generation.step(0, SHARES)
        freed(cluster)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (Settings(deal_too_many=1), "were not used"),
        (Settings(deal_too_many=1 << 20), "not used|sent more"),
        (Settings(deal_too_many=-1), "sent less"),
        (Settings(deal_too_many=-1000), "sent less"),
        (Settings(leave_unread=1), "were not used"),
    ],
)
def test_a_pass_takes_exactly_what_is_dealt(
    tmp_path: Path, keys: Path, settings: Settings, complaint: str
) -> None:
    with Cluster(tmp_path, keys, settings) as cluster, cluster.link() as link:
        with link.generate(SESSION) as generation, pytest.raises(ProtocolError, match=complaint):
            generation.step(0, SHARES)
        freed(cluster)


@pytest.mark.parametrize("role", ["party0", "party1"])
@pytest.mark.parametrize("between", [True, False])
def test_a_party_that_leaves_ends_the_generation(
    tmp_path: Path, keys: Path, role: str, between: bool
) -> None:
    settings = {"halt_at": -1 if between else 4, "halt_party": 1 - int(role[-1])}
    with Halted(tmp_path, keys, **settings) as halted:
        generation = halted.link.generate(SESSION)
        if between:
            generation.step(0, SHARES)
        else:
            halted.reach(generation)
        halted.cluster.stop(role)
        halted.open()
        with pytest.raises(PrivinfError) as failure:
            generation.step(1, SHARES) if between else generation.receive()
        assert failure.value.party == role
        freed(halted.cluster)


@pytest.mark.parametrize("between", [True, False])
def test_a_dealer_that_leaves_ends_the_generation(tmp_path: Path, keys: Path, between: bool) -> None:
    with Halted(tmp_path, keys, halt_deal=-1 if between else 1) as halted:
        generation = halted.link.generate(SESSION)
        generation.step(0, SHARES)
        if not between:
            wait_until(halted.gate.with_suffix(".reached").exists)
        halted.cluster.stop("dealer")
        with pytest.raises((ConnectError, PartyError)) as failure:
            spend(generation)
        assert failure.value.party == "dealer"
        halted.open()
        freed(halted.cluster)
        halted.cluster.start("dealer")
        wait_until(lambda: _generates(halted))


def _generates(halted: Halted) -> bool:
    try:
        generate(halted.link, 2)
    except ConnectError:
        return False
    return True


def test_who_cannot_be_reached_is_named(cluster: Cluster) -> None:
    for role in ("dealer", "party1"):
        with cluster.link() as link:
            link.connect()
            cluster.stop(role)
            with link.generate(SESSION) as generation, pytest.raises(ConnectError) as failure:
                generation.step(0, SHARES)
            assert failure.value.party == role
            freed(cluster)


def test_a_client_that_says_nothing_is_forgotten(tmp_path: Path, keys: Path) -> None:
    options = {"party0": {"idle_seconds": 0.3}, "party1": {"idle_seconds": 0.3}}
    with Cluster(tmp_path, keys, options=options) as cluster, cluster.link() as link:
        generation = link.generate(SESSION)
        generation.step(0, SHARES)
        wait_until(lambda: [status.sessions for status in link.status()] == [0, 0])
        with pytest.raises(DeadlineExceeded, match=r"asked for nothing for 0\.3 s"):
            generation.step(0, SHARES)
        unused = link.generate(SESSION)
        wait_until(lambda: not unused._readers[0].is_alive() and not unused._readers[1].is_alive())
        with pytest.raises(DeadlineExceeded, match="asked for nothing"):
            unused.step(0, SHARES)
        freed(cluster)


def test_time_runs_out_for_a_pass(tmp_path: Path, keys: Path) -> None:
    with Halted(tmp_path, keys, halt_at=4) as halted:
        generation = halted.link.generate(SESSION)
        generation.step(0, SHARES)
        with pytest.raises(DeadlineExceeded, match=r"pass 1 took longer than 0\.2 s") as failure:
            generation.step(0, SHARES, 0.2)
        assert failure.value.session_id == generation.session_id
        halted.open()
        freed(halted.cluster)


@pytest.mark.parametrize(("changes", "phase"), [({"halt_at": 4}, "online"), ({"halt_deal": 1}, "offline")])
def test_time_runs_out_for_a_generation(
    tmp_path: Path, keys: Path, changes: dict[str, int], phase: str
) -> None:
    with Halted(tmp_path, keys, **changes) as halted:
        halted.link.connect()
        generation = halted.link.generate(SESSION, 2.5)
        generation.step(0, SHARES)
        with pytest.raises(DeadlineExceeded) as failure:
            generation.step(0, SHARES)
        assert failure.value.phase in (phase, "online")  # the client's own clock knows no more
        halted.open()
    with cluster_link_expired(halted), pytest.raises(DeadlineExceeded):
        halted.link.generate(SESSION, -1)


def cluster_link_expired(halted: Halted) -> Any:
    """Return a link that is not closed, to servers that are gone."""
    halted.link = halted.cluster.link()
    halted.link._agreed = IDENTITY
    return halted.link


class Asker:
    """A client that tells each party what it likes."""

    def __init__(self, cluster: Cluster, session: bytes | None = None) -> None:
        self.session = session or os.urandom(16)
        self.peers = [
            dial(cluster.address(role), role, tls(cluster.keys, "client"), "client", MESSAGE_LIMIT)
            for role in ("party0", "party1")
        ]

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *error: object) -> None:
        for peer in self.peers:
            peer.channel.close()

    def opened(self, **changes: Any) -> party_pb2.GenerateRequest:
        """Return an opening."""
        fields: dict[str, Any] = {
            "session_id": self.session,
            "identity": identity_message(IDENTITY),
            "shape": session_shape_message(SESSION),
        }
        return party_pb2.GenerateRequest(open=party_pb2.GenerateOpen(**fields | changes))

    def ask(self, *scripts: list[party_pb2.GenerateRequest]) -> list[PrivinfError | None]:
        """Send a script to each party; return what each call ends with."""
        calls = [
            methods.GENERATE.on(peer)(iter(script), timeout=5)
            for peer, script in zip(self.peers, scripts, strict=True)
        ]
        return [_ended(call, f"party{party}") for party, call in enumerate(calls)]

    def infer(self, party: int) -> Any:
        """Ask one party a query in the same session."""
        opened = party_pb2.InferOpen(
            session_id=self.session, identity=identity_message(IDENTITY), shape=shape_message(SHAPE)
        )
        parts = [party_pb2.InferRequest(open=opened), party_pb2.InferRequest(chunk=bytes(8))]
        return methods.INFER.on(self.peers[party]).future(iter(parts), timeout=5)


def _ended(call: Any, role: str) -> PrivinfError | None:
    try:
        for _ in call:
            pass
    except grpc.RpcError as error:
        return restore(error, role)
    return None


def expect(errors: list[PrivinfError | None], kind: type[PrivinfError], text: str = "") -> None:
    """See that one party at least says what is wrong; the other may know no more than that it was left."""
    told = [error for error in errors if type(error) is kind and text in str(error)]
    assert told, errors
    assert all(type(error) in (kind, PeerLost) for error in errors), errors


def step(index: int, kept: int = 0) -> party_pb2.GenerateRequest:
    """Return the opening of a pass."""
    return party_pb2.GenerateRequest(step=party_pb2.PassOpen(index=index, kept=kept))


def chunk(nbytes: int) -> party_pb2.GenerateRequest:
    """Return a part of a share."""
    return party_pb2.GenerateRequest(chunk=bytes(nbytes))


@pytest.fixture
def asker(cluster: Cluster) -> Iterator[Asker]:
    """Return a client of servers that must be free of everything in the end."""
    with Asker(cluster) as made:
        yield made
        freed(cluster)
        with cluster.link() as link:
            generate(link, 2)


def test_a_raw_generation_in_good_order(asker: Asker) -> None:
    right = [asker.opened(), step(0), chunk(16), step(1, 2), chunk(7), chunk(9)]
    assert asker.ask(right, right) == [None, None]


def test_what_is_kept_is_the_same_for_both(asker: Asker) -> None:
    first, second = ([asker.opened(), step(0), chunk(16), step(1, kept), chunk(16)] for kept in (1, 2))
    expect(asker.ask(first, second), MismatchError, "pass 1: the other party was told differently of kept")


def test_what_is_kept_is_the_same_for_both_in_a_pass_without_a_round(asker: Asker) -> None:
    longer = session_shape_message(replace(SESSION, prompt=9))
    first, second = (
        [asker.opened(shape=longer), step(0), chunk(16), step(1, kept), chunk(16)] for kept in (1, 2)
    )
    expect(asker.ask(first, second), MismatchError, "told differently of kept")


def test_parties_that_are_asked_for_different_things_do_not_begin(asker: Asker) -> None:
    other = session_shape_message(replace(SESSION, rows=3))
    rest = [step(0), chunk(16)]
    errors = asker.ask([asker.opened(), *rest], [asker.opened(shape=other), *rest])
    expect(errors, MismatchError, "another shape")


@pytest.mark.parametrize("party", [0, 1])
def test_a_query_and_a_generation_are_different_things(cluster: Cluster, party: int) -> None:
    with Asker(cluster) as asker:
        query = asker.infer(party)
        call = methods.GENERATE.on(asker.peers[1 - party])(iter([asker.opened()]), timeout=5)
        error = _ended(call, f"party{1 - party}")
        assert isinstance(error, MismatchError)
        with pytest.raises(grpc.RpcError) as failure:
            query.result()
        assert isinstance(restore(failure.value, f"party{party}"), MismatchError)
        freed(cluster)


def test_a_session_id_is_used_once(asker: Asker) -> None:
    right = [asker.opened(), step(0), chunk(16)]
    assert asker.ask(right, right) == [None, None]
    for error in asker.ask(right, right):
        assert isinstance(error, ProtocolError)
        assert "used before" in str(error)


BAD: dict[str, tuple[Any, type[PrivinfError]]] = {
    "nothing": (lambda a: [], ProtocolError),
    "no opening": (lambda a: [step(0), chunk(16)], ProtocolError),
    "a short session id": (lambda a: [a.opened(session_id=b"short")], ProtocolError),
    "no identity": (lambda a: [a.opened(identity=common_pb2.Identity())], MismatchError),
    "no shape": (lambda a: [a.opened(shape=common_pb2.SessionShape())], InputError),
    "another task": (
        lambda a: [a.opened(shape=session_shape_message(replace(SESSION, task="other")))],
        InputError,
    ),
    "opened twice": (lambda a: [a.opened(), a.opened()], ProtocolError),
    "no pass": (lambda a: [a.opened(), chunk(16)], ProtocolError),
    "an empty message": (lambda a: [a.opened(), party_pb2.GenerateRequest()], ProtocolError),
    "a later pass": (lambda a: [a.opened(), step(1), chunk(16)], ProtocolError),
    "a pass twice": (lambda a: [a.opened(), step(0), chunk(16), step(0), chunk(16)], ProtocolError),
    "no share": (lambda a: [a.opened(), step(0)], ProtocolError),
    "a short share": (lambda a: [a.opened(), step(0), chunk(15)], ProtocolError),
    "a share cut short by a pass": (lambda a: [a.opened(), step(0), chunk(15), step(1)], ProtocolError),
    "a long share": (lambda a: [a.opened(), step(0), chunk(17)], ProtocolError),
    "a share and more": (lambda a: [a.opened(), step(0), chunk(16), chunk(1)], ProtocolError),
    "an empty chunk": (lambda a: [a.opened(), step(0), chunk(0), chunk(16)], ProtocolError),
    "kept what never was": (lambda a: [a.opened(), step(0, 1), chunk(16)], ProtocolError),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_is_refused(asker: Asker, case: str) -> None:
    make, kind = BAD[case]
    expect(asker.ask(make(asker), make(asker)), kind)


@pytest.mark.parametrize("party", [0, 1])
def test_a_client_that_ends_at_one_party_alone_ends_for_both(tmp_path: Path, keys: Path, party: int) -> None:
    options = {role: {"idle_seconds": 0.3} for role in ("party0", "party1")}
    with Cluster(tmp_path, keys, options=options) as cluster, Asker(cluster) as asker:
        more = threading.Event()

        def script(other: int) -> Iterator[party_pb2.GenerateRequest]:
            yield from [asker.opened(), step(0), chunk(16)]
            if other != party:
                more.wait(10)

        errors = asker.ask(script(0), script(1))  # type: ignore[arg-type]
        assert any(isinstance(error, PrivinfError) for error in errors)
        more.set()
        freed(cluster)


def test_a_generation_for_one_party_alone_costs_the_other_nothing(cluster: Cluster) -> None:
    with Asker(cluster) as asker:
        script = [asker.opened(), step(0), chunk(16)]
        for party in (0, 1):
            error = _ended(
                methods.GENERATE.on(asker.peers[party])(iter(script), timeout=0.5), f"party{party}"
            )
            assert isinstance(error, DeadlineExceeded)
            asker.session = os.urandom(16)
            script[0] = asker.opened()
        freed(cluster)


def test_each_party_opens_its_own_half_at_the_dealer(cluster: Cluster, keys: Path) -> None:
    identity, begin = identity_message(IDENTITY), session_shape_message(SESSION)
    halves: list[tuple[str, dict[str, Any]]] = [
        ("party0", {"preparation_id": ID}),
        ("party1", {"begin": begin}),
        ("party0", {}),
    ]
    for role, which in halves:
        peer = dial(cluster.address("dealer"), "dealer", tls(keys, role), role)
        opened = dealer_pb2.PassesOpen(identity=identity, **which)
        for first in (dealer_pb2.PassesRequest(open=opened), dealer_pb2.PassesRequest()):
            error = _ended(methods.PASSES.on(peer)(iter([first]), timeout=5), "dealer")
            assert isinstance(error, ProtocolError)
        peer.channel.close()
    freed(cluster)


def test_a_journal_that_cannot_be_written_is_named(tmp_path: Path, keys: Path) -> None:
    options = {"party0": {"journal": tmp_path / "nothing" / "journal"}}
    with pytest.raises(ConfigError, match=r"journal .* cannot be written"):
        Cluster(tmp_path, keys, options=options).__enter__()
