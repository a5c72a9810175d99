"""The server of the equivariant mode against what no client of ours would send, and what it frees when."""

from __future__ import annotations

import socket
import threading
import urllib.request
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tiny_models
from serving import another_turn, client_of, converted, eventually, serving

from privinf import Client, Tls
from privinf.config import EquivariantConfig, load
from privinf.equivariant import wire
from privinf.equivariant.asking.replies import Outgoing
from privinf.equivariant.covering.convert import Converted
from privinf.equivariant.key import Key
from privinf.equivariant.methods import ABOUT, CLASSIFY, EMBED, GENERATE, SESSION
from privinf.equivariant.serving import running
from privinf.equivariant.serving.server import Server
from privinf.errors import (
    ConfigError,
    DeadlineExceeded,
    InputError,
    IntegrityError,
    MismatchError,
    ModelError,
    Overloaded,
    PeerLost,
    ProtocolError,
    Unauthenticated,
)
from privinf.keys import EQUIVARIANT_ROLES, keygen
from privinf.parties.rpc.credentials import CLAIM, dial
from privinf.parties.rpc.methods import Method
from privinf.parties.rpc.parts import WHOLE_LIMIT
from privinf.parties.rpc.status import restore
from privinf.sampling import Sampling
from privinf.v1 import equivariant_pb2 as pb

VOCAB = len(tiny_models.DECODER_VOCAB)
WIDTH, POSITIONS = tiny_models.WIDTH, tiny_models.POSITIONS
MADE = {
    "embed": ("bert", "cover"),
    "classify": ("bert-classifier", "cover"),
    "images": ("vit", "cover"),
    "generate": ("llama", "cover"),
    "session": ("llama", "session"),
    "rows": ("bert", "session"),
    "patches": ("vit", "session"),
}


class Caller:
    """Makes calls with whatever messages."""

    def __init__(self, made: Converted, server: Server) -> None:
        self.made, self.server = made, server
        self.id = Key.load(made.client).about.id
        self._peer = dial(f"127.0.0.1:{server.port}", "equivariant", None, "client")

    def begin(self, method: Method, request: Any, timeout: float | None = 20.0) -> Any:
        return method.on(self._peer)(request, timeout=timeout, metadata=((CLAIM, "client"),))

    def call(self, method: Method, request: Any, timeout: float | None = 20.0) -> Any:
        """The answer, or what was raised at the other end."""
        try:
            answer = self.begin(method, request, timeout)
            return list(answer) if method.streams[1] else answer
        except grpc.RpcError as error:
            raise restore(error, "server") from error

    def session(self, *steps: pb.CoveredStep) -> list[pb.CoveredRows]:
        """The answers after the first, which says that the variant is new."""
        begun, *rows = self.call(SESSION, iter(steps))
        assert begun == pb.CoveredRows()
        return rows

    def variant(self, place: int) -> pb.CoveredStep:
        key = Key.load(self.made.client / "variants" / f"{place:04}")
        return pb.CoveredStep(open=pb.CoveredOpen(id=key.about.id))


@pytest.fixture(scope="module")
def callers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Caller]]:
    """One server of each kind."""
    made = {
        name: converted(tmp_path_factory.mktemp(name), kind, level, variants=12)
        for name, (kind, level) in MADE.items()
    }
    servers = {
        name: Server(one.server, EquivariantConfig(insecure_no_tls=True, max_rows=500, stop_seconds=1.0))
        for name, one in made.items()
    }
    for server in servers.values():
        server.start()
    yield {name: Caller(made[name], server) for name, server in servers.items()}
    for server in servers.values():
        server.stop()


def texts(*lengths: int, first: int = 7, pooling: str = "mean", **more: Any) -> pb.CoveredQuery:
    """A query of so many ids each."""
    given = [pb.CoveredIds(ids=[first] * length) for length in lengths]
    return pb.CoveredQuery(**{"texts": given, "pooling": pooling, **more})


def prompt(caller: Caller, **changed: Any) -> pb.CoveredPrompt:
    """A prompt that is in order but for what is changed."""
    whole = wire.prompt_message(caller.id, [5, 6, 7], 4, Sampling())
    for name, value in changed.items():
        if isinstance(value, list):
            del getattr(whole, name)[:]
            getattr(whole, name).extend(value)
        else:
            setattr(whole, name, value)
    return whole


def rows_of(*shape: int, value: float = 0.5) -> pb.CoveredRows:
    return wire.rows_message(np.full(shape, value))


def test_about_names_public_facts_alone(callers: dict[str, Caller]) -> None:
    caller = callers["generate"]
    about = caller.call(ABOUT, pb.CoveredAboutRequest())
    said = {field.name: value for field, value in about.ListFields()}
    facts = {"level": "cover", "family": "llama", "task": "generate", "width": WIDTH, "vocab": VOCAB}
    assert said == facts | {"id": caller.id, "context": POSITIONS, "max_rows": 500}


@pytest.mark.parametrize(
    ("query", "match"),
    [
        (texts(), "at least one text"),
        (texts(4, 0), "text 1 has 0 tokens"),
        (texts(4, POSITIONS + 1), "text 1 has 97 tokens"),
        (texts(3, first=len(tiny_models.BERT_VOCAB)), "not a token"),
        (texts(3, first=2**32 - 1), "not a token"),
        (texts(3, pooling="max"), "pooling is"),
        (texts(3, pooling=""), "pooling is"),
        (texts(*[90] * 6), "more than the 500"),
    ],
)
def test_texts_that_cannot_be_taken(callers: dict[str, Caller], query: pb.CoveredQuery, match: str) -> None:
    query.id = callers["embed"].id
    with pytest.raises(InputError, match=match):
        callers["embed"].call(EMBED, query)


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (pb.CoveredRows(), "shape"),
        (rows_of(1, 3, 8, 8), "shape"),
        (rows_of(0, 3, 8, 12), "shape"),
        (rows_of(3, 8, 12), "shape"),
        (rows_of(1, 3, 8, 12, value=np.nan), "not finite numbers"),
        (rows_of(1, 3, 8, 12, value=-np.inf), "not finite numbers"),
        (pb.CoveredRows(shape=[1, 3, 8, 12], values=b"1234"), "bytes, not 4"),
        (pb.CoveredRows(shape=[2**32 - 1, 3, 8, 12], values=b"1234"), "bytes, not 4"),
        (rows_of(72, 3, 8, 12), "more than the 500"),
    ],
)
def test_images_that_cannot_be_taken(callers: dict[str, Caller], images: pb.CoveredRows, match: str) -> None:
    with pytest.raises(InputError, match=match):
        callers["images"].call(CLASSIFY, pb.CoveredQuery(id=callers["images"].id, images=images))


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"ids": []}, "0 tokens"),
        ({"ids": [1] * (POSITIONS + 1)}, "97 tokens"),
        ({"ids": [VOCAB]}, "not a token"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": 0}, "top_k"),
        ({"top_p": 1.5}, "top_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
    ],
)
def test_prompts_that_cannot_be_taken(
    callers: dict[str, Caller], changed: dict[str, Any], match: str
) -> None:
    with pytest.raises(InputError, match=match):
        callers["generate"].call(GENERATE, prompt(callers["generate"], **changed))


@pytest.mark.parametrize(
    ("step", "match"),
    [
        (pb.CoveredStep(), "shape"),
        (pb.CoveredStep(rows=rows_of(2, WIDTH + 1)), "shape"),
        (pb.CoveredStep(rows=rows_of(1, 2, WIDTH)), "shape"),
        (pb.CoveredStep(rows=rows_of(2, WIDTH, value=np.nan)), "not finite numbers"),
        (pb.CoveredStep(rows=rows_of(POSITIONS + 1, WIDTH)), "do not fit"),
    ],
)
def test_rows_that_cannot_be_taken(
    callers: dict[str, Caller], step: pb.CoveredStep, match: str, variants: Iterator[int]
) -> None:
    caller = callers["session"]
    with pytest.raises(InputError, match=match):
        caller.session(caller.variant(next(variants)), step)


@pytest.fixture(scope="module")
def variants() -> Iterator[int]:
    """Numbers of variants that no other test has opened."""
    return iter(range(12))


@pytest.mark.parametrize(
    ("name", "step", "match"),
    [
        ("rows", pb.CoveredStep(rows=rows_of(2, 5, WIDTH), lengths=[5], pooling="mean"), "a length"),
        ("rows", pb.CoveredStep(rows=rows_of(1, 5, WIDTH), lengths=[6], pooling="mean"), "a length"),
        ("rows", pb.CoveredStep(rows=rows_of(1, 5, WIDTH), lengths=[0], pooling="mean"), "a length"),
        ("rows", pb.CoveredStep(rows=rows_of(1, 5, WIDTH), lengths=[5]), "pooling"),
        ("rows", pb.CoveredStep(rows=rows_of(1, 97, WIDTH), lengths=[97], pooling="cls"), "at most 96"),
        ("patches", pb.CoveredStep(rows=rows_of(1, 5, WIDTH), lengths=[5], pooling="cls"), "all 6"),
        ("patches", pb.CoveredStep(rows=rows_of(1, 7, WIDTH), lengths=[7], pooling="cls"), "all 6"),
        ("patches", pb.CoveredStep(rows=rows_of(90, 6, WIDTH), lengths=[6] * 90, pooling="cls"), "more than"),
    ],
)
def test_embedded_texts_and_images_that_cannot_be_taken(
    callers: dict[str, Caller], name: str, step: pb.CoveredStep, match: str, encoders: Iterator[int]
) -> None:
    with pytest.raises(InputError, match=match):
        callers[name].session(callers[name].variant(next(encoders)), step)


@pytest.fixture(scope="module")
def encoders() -> Iterator[int]:
    """Numbers of variants of encoders that no other test has opened."""
    return iter(range(12))


@pytest.mark.slow
def test_a_message_over_the_limit(callers: dict[str, Caller]) -> None:
    images = pb.CoveredRows(shape=[1, 3, 8, 12], values=bytes(WHOLE_LIMIT + (2 << 20)))
    with pytest.raises(ProtocolError, match="size limit"):
        callers["images"].call(CLASSIFY, pb.CoveredQuery(id=callers["images"].id, images=images))


def test_calls_for_another_task_or_level(callers: dict[str, Caller]) -> None:
    for name, method, match in (
        ("classify", EMBED, "for classify, not for embed"),
        ("embed", CLASSIFY, "for embed, not for classify"),
        ("generate", EMBED, "for generate"),
        ("rows", EMBED, "open a session"),
    ):
        with pytest.raises(InputError, match=match):
            callers[name].call(method, texts(3, id=callers[name].id))
    with pytest.raises(InputError, match="open a session"):
        callers["session"].call(GENERATE, prompt(callers["session"]))
    with pytest.raises(InputError, match="no sessions"):
        callers["generate"].session(pb.CoveredStep(open=pb.CoveredOpen(id=callers["generate"].id)))


def test_calls_for_the_model_of_another_key(callers: dict[str, Caller]) -> None:
    other = "0" * 32
    for name, method, request in (
        ("embed", EMBED, texts(3, id=other)),
        ("classify", CLASSIFY, texts(3)),
        ("generate", GENERATE, prompt(callers["generate"], id=other)),
        ("session", SESSION, iter([pb.CoveredStep(open=pb.CoveredOpen(id=other))])),
    ):
        with pytest.raises(MismatchError):
            callers[name].call(method, request)


def test_a_session_begins_with_its_opening(callers: dict[str, Caller]) -> None:
    for steps in ((), (pb.CoveredStep(rows=rows_of(1, WIDTH)),), (pb.CoveredStep(),)):
        with pytest.raises(ProtocolError, match="opening"):
            callers["session"].session(*steps)


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


def test_a_deadline_is_bounded_and_kept(callers: dict[str, Caller]) -> None:
    caller = callers["generate"]
    for timeout in (None, 1e6):
        assert len(caller.call(GENERATE, prompt(caller), timeout)) == 4
    with another_turn(caller.server.calls._turns), pytest.raises(DeadlineExceeded):
        caller.call(GENERATE, prompt(caller), 0.3)
    assert eventually(lambda: not caller.server.calls.entrances.sessions.running)
    assert len(caller.call(GENERATE, prompt(caller))) == 4


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
        steps[0].end()
        assert next(open_[0], None) is None
        assert eventually(lambda: server.calls.entrances.sessions.running == 1)
        assert caller.session(caller.variant(2), pb.CoveredStep(rows=rows_of(1, WIDTH)))
        open_[1].cancel()
        steps[1].end()
        assert eventually(lambda: not server.calls.entrances.sessions.running)


@pytest.mark.parametrize("left", ["cancel", "end", "idle", "stop"])
def test_a_session_leaves_no_cache_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str) -> None:
    held: list[weakref.ref[Any]] = []
    begin = running.Course.__init__

    def kept(course: running.Course, model: Any) -> None:
        begin(course, model)
        held.extend(weakref.ref(one) for one in (model, course._cache["cache"]))

    monkeypatch.setattr(running.Course, "__init__", kept)
    made = converted(tmp_path, "llama", "session")
    with serving(made.server, idle_seconds=1.0 if left == "idle" else 60.0) as server:
        caller, outgoing = Caller(made, server), Outgoing()
        call = caller.begin(SESSION, iter(outgoing))
        outgoing.put(caller.variant(0))
        outgoing.put(pb.CoveredStep(rows=rows_of(4, WIDTH)))
        assert next(call) == pb.CoveredRows()
        assert next(call).shape == [1, WIDTH]
        if left == "cancel":
            call.cancel()
        elif left == "end":
            outgoing.end()
        elif left == "stop":
            server.stop()
        if left in ("idle", "stop"):
            with pytest.raises(grpc.RpcError) as caught:
                next(call)
            kind = {"idle": DeadlineExceeded, "stop": Overloaded}[left]
            assert type(restore(caught.value, "server")) is kind
        assert eventually(lambda: not server.calls.entrances.sessions.running)
        outgoing.end()
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
    with pytest.raises(ConfigError, match=r"about\.json cannot be read"):
        Server(made.client, config)
    weights = made.server / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    with pytest.raises(IntegrityError, match="cut short or changed"):
        Server(made.server, config)
    weights.write_bytes(whole)
    about = made.server / "about.json"
    for said, match in ((b"{", "not JSON"), (b"[]", "format"), (b'{"format": 1}', "does not say")):
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
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    with serving(made.server, metrics_port=port), urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
        assert 'privinf_sessions{role="equivariant"} 0.0' in page.read().decode()


def test_a_server_that_stops_says_so(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "session")
    with serving(made.server) as server, client_of(made, server) as client:
        tokens = client.generate([1, 6, 9], stream=True, max_new_tokens=40)
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
        load(EquivariantConfig, environ={}, **options)


def test_the_servers_own_bound_on_tokens(tmp_path: Path) -> None:
    for level in ("cover", "session"):
        made = converted(tmp_path / level, "llama", level, eos_token_id=None)
        with serving(made.server, max_tokens=8) as server, client_of(made, server) as client:
            answer = client.generate([1, 6, 9, 4], max_new_tokens=20)
            assert len(answer.tokens) == 5  # the last is not read
            assert answer.finish_reason == "full"
            with pytest.raises(InputError):
                client.generate([1] * 9)


def test_more_texts_than_rows_are_refused_before_any_is_looked_at() -> None:
    query = pb.CoveredQuery(texts=[pb.CoveredIds()] * 501)
    with pytest.raises(InputError, match="501 times 1 rows are more than the 500"):
        wire.read_texts(query, 10, 10, 500)
