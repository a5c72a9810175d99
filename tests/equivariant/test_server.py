"""The server of the equivariant mode over its life: what it frees when, whom it serves, and what it needs."""

from __future__ import annotations

import threading
import urllib.request
import weakref
from pathlib import Path
from typing import Any

import grpc
import pytest
import tiny_models
from callers import Caller, prompt, rows_of
from harness import free_port
from serving import client_of, converted, eventually, serving

from privinf import Client, Tls
from privinf.config import EquivariantConfig
from privinf.equivariant.methods import GENERATE, SESSION
from privinf.equivariant.serving import running
from privinf.equivariant.serving.server import Server
from privinf.errors import (
    ConfigError,
    DeadlineExceeded,
    InputError,
    IntegrityError,
    ModelError,
    Overloaded,
    PeerLost,
    Unauthenticated,
)
from privinf.keys import EQUIVARIANT_ROLES, keygen
from privinf.parties.rpc.outgoing import Outgoing
from privinf.parties.rpc.status import restore
from privinf.sdk.room import RoomWarning
from privinf.settings import load
from privinf.v1 import equivariant_pb2 as pb

WIDTH = tiny_models.WIDTH


def test_a_variant_is_opened_once_whatever_the_server(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "session", variants=2)
    step = pb.CoveredStep(rows=rows_of(3, WIDTH))
    for place in range(2):
        with serving(made.server) as server:
            caller = Caller(made, server)
            assert caller.session(caller.variant(place), step)[0].shape == [1, WIDTH]
            for again in range(place + 1):
                with pytest.raises(InputError, match="opened before"):
                    caller.session(caller.variant(again), step)


def test_so_many_at_once_and_no_more(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "session")
    with serving(made.server, max_sessions=2, max_sessions_each=2, wait_seconds=0.2) as server:
        caller, steps = Caller(made, server), [Outgoing(), Outgoing()]
        for place, outgoing in enumerate(steps):
            outgoing.put(caller.variant(place))
            outgoing.put(pb.CoveredStep(rows=rows_of(1, WIDTH)))
        open_ = [caller.begin(SESSION, iter(outgoing)) for outgoing in steps]
        assert all(next(call) == pb.CoveredRows() for call in open_)
        assert all(next(call).shape == [1, WIDTH] for call in open_)
        with pytest.raises(Overloaded, match=r"no free place within 0\.2 s"):
            caller.session(caller.variant(2))
        steps[0].put(None)
        assert next(open_[0], None) is None
        assert eventually(lambda: server.calls.entrances.sessions.running == 1)
        assert caller.session(caller.variant(2), pb.CoveredStep(rows=rows_of(1, WIDTH)))
        open_[1].cancel()
        steps[1].put(None)
        assert eventually(lambda: not server.calls.entrances.sessions.running)


@pytest.mark.parametrize("left", ["cancel", "end", "idle", "stop"])
def test_a_session_leaves_no_cache_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str) -> None:
    held: list[weakref.ref[Any]] = []
    begin = running.CachedSequence.__init__

    def kept(sequence: running.CachedSequence, model: Any) -> None:
        begin(sequence, model)
        held.extend(weakref.ref(one) for one in (model, sequence._cache["cache"]))

    monkeypatch.setattr(running.CachedSequence, "__init__", kept)
    made = converted(tmp_path, "llama", "session")
    with serving(made.server, idle_seconds=2.0 if left == "idle" else 60.0) as server:
        caller, outgoing = Caller(made, server), Outgoing()
        call = caller.begin(SESSION, iter(outgoing))
        outgoing.put(caller.variant(0))
        outgoing.put(pb.CoveredStep(rows=rows_of(4, WIDTH)))
        assert next(call) == pb.CoveredRows()
        assert next(call).shape == [1, WIDTH]
        if left == "cancel":
            call.cancel()
        elif left == "end":
            outgoing.put(None)
        elif left == "stop":
            server.stop()
        if left in ("idle", "stop"):
            with pytest.raises(grpc.RpcError) as caught:
                next(call)
            kind = {"idle": DeadlineExceeded, "stop": Overloaded}[left]
            assert type(restore(caught.value, "server")) is kind
        assert eventually(lambda: not server.calls.entrances.sessions.running)
        outgoing.put(None)
    model, cache = held
    assert eventually(lambda: cache() is None)
    assert eventually(lambda: model() is None)


def test_a_generation_that_is_left_ends_at_once(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "cover", eos_token_id=None, max_position_embeddings=20000)
    with serving(made.server) as server:
        caller = Caller(made, server)
        call = caller.begin(GENERATE, prompt(caller, max_new_tokens=19000))
        next(call)
        call.cancel()
        assert eventually(lambda: not server.calls.entrances.sessions.running)  # long before 19,000 tokens


def test_calls_under_way_do_not_mix(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "cover", eos_token_id=None)
    answers: dict[int, tuple[int, ...]] = {}
    with serving(made.server, max_sessions=8) as server, client_of(made, server) as client:
        prompts = [[1, 6, 9 + place] for place in range(4)]
        want = {place: client.generate(ids, max_new_tokens=24).tokens for place, ids in enumerate(prompts)}

        def ask(place: int) -> None:
            answers[place] = client.generate(prompts[place], max_new_tokens=24).tokens

        threads = [threading.Thread(target=ask, args=(place,)) for place in want]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == want
    assert len(set(want.values())) == len(want)


def test_only_a_client_may_ask(tmp_path: Path) -> None:
    made, keys = converted(tmp_path, "llama", "cover"), tmp_path / "keys"
    paths = keygen(keys, roles=EQUIVARIANT_ROLES)
    assert {path.name for path in keys.glob("*.pem")} == {"ca.pem", "equivariant.pem", "client.pem"}
    own, foreign = _tls(paths, "client"), keygen(tmp_path / "other", roles=EQUIVARIANT_ROLES)
    config = EquivariantConfig(tls=_settings(paths, "equivariant"), stop_seconds=1.0)
    with Server(made.server, config) as server:
        address = f"127.0.0.1:{server.port}"
        with Client(made.client, mode="equivariant", server=address, tls=own) as client:
            assert len(client.generate([1, 6], max_new_tokens=2).tokens) > 0
        with pytest.raises(ConfigError, match="is the certificate of equivariant, and client needs its own"):
            Client(made.client, mode="equivariant", server=address, tls=_tls(paths, "equivariant"))
        with pytest.raises(Unauthenticated):
            Client(made.client, mode="equivariant", server=address, tls=_tls(foreign, "client")).generate(
                [1, 6]
            )


def _tls(paths: dict[str, Path], role: str) -> dict[str, Path]:
    return {"ca": paths["ca.pem"], "cert": paths[f"{role}.pem"], "key": paths[f"{role}.key"]}


def _settings(paths: dict[str, Path], role: str) -> Tls:
    return Tls(**_tls(paths, role))


def test_hosts_are_not_named_like_this_mode(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a role is not a host name"):
        keygen(tmp_path, ["equivariant"], roles=EQUIVARIANT_ROLES)


def test_directories_that_cannot_be_served(tmp_path: Path) -> None:
    made, config = converted(tmp_path, "llama", "cover"), EquivariantConfig(insecure_no_tls=True)
    with pytest.raises(ConfigError, match=r"about\.json is missing"):
        Server(made.client, config)
    weights = made.server / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    with pytest.raises(IntegrityError, match="cut short or changed"):
        Server(made.server, config)
    weights.write_bytes(whole)
    about = made.server / "about.json"
    for said, match in ((b"{", "not JSON"), (b"[]", "format"), (b'{"format": 2}', "does not say")):
        about.write_bytes(said)
        with pytest.raises(ConfigError, match=match):
            Server(made.server, config)


def test_weights_that_lack_a_tensor(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "cover")
    config = made.server / "config.json"
    config.write_text(config.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    with pytest.raises(ModelError, match="lacks"):
        Server(made.server, EquivariantConfig(insecure_no_tls=True))


def test_metrics_are_served_where_they_are_told_to(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "cover")
    port = free_port()
    with serving(made.server, metrics_port=port), urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
        assert 'privinf_sessions{role="equivariant"} 0.0' in page.read().decode()


def test_a_server_that_stops_says_so(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "session")
    with serving(made.server) as server, client_of(made, server) as client:
        tokens = client.stream([1, 6, 9], max_new_tokens=40)
        next(tokens)
        server.stop()
        with pytest.raises((Overloaded, PeerLost)):
            list(tokens)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "certificates are missing"),
        ({"insecure_no_tls": True, "max_sessions": 0}, "count something"),
        ({"insecure_no_tls": True, "max_rows": 0}, "count something"),
        ({"insecure_no_tls": True, "threads": -1}, "0 or more"),
        ({"insecure_no_tls": True, "max_tokens": -1}, "0 or more"),
        ({"insecure_no_tls": True, "idle_seconds": 0.0}, "above 0"),
        ({"insecure_no_tls": True, "sessions": 3}, "unknown"),
    ],
)
def test_settings_that_cannot_be(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        load(EquivariantConfig, **options)


def test_the_servers_own_bound_on_tokens(tmp_path: Path) -> None:
    for level in ("cover", "session"):
        made = converted(tmp_path / level, "llama", level, eos_token_id=None)
        with serving(made.server, max_tokens=8) as server, client_of(made, server) as client:
            with pytest.warns(RoomWarning, match="max_new_tokens is 20, and 5 fit"):
                answer = client.generate([1, 6, 9, 4], max_new_tokens=20)
            assert len(answer.tokens) == 5  # the last is not read
            assert answer.finish_reason == "full"
            with pytest.raises(InputError):
                client.generate([1] * 9)
