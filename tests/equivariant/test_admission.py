"""What the server of this mode takes in: messages no larger than its model can take, and calls that wait their turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from serving import client_of, converted, eventually, serving

from privinf.config import EquivariantConfig
from privinf.equivariant.about import ServerAbout, read_about
from privinf.equivariant.methods import ABOUT, CLASSIFY, EMBED, GENERATE, SESSION
from privinf.equivariant.serving.limits import MOST, limits
from privinf.equivariant.serving.server import Server
from privinf.errors import Overloaded, PrivinfError, ProtocolError
from privinf.parties.rpc.credentials import dial
from privinf.parties.rpc.deadline import Deadline
from privinf.parties.rpc.frames import CHUNK
from privinf.parties.rpc.methods import Method
from privinf.parties.rpc.parts import cut
from privinf.parties.rpc.status import restore

WIDTH = tiny_models.WIDTH
BUSY: dict[str, Any] = {"max_waiting": 2, "max_waiting_each": 2, "wait_seconds": 60.0}


def refused(server: Server, method: Method, messages: Iterator[bytes]) -> PrivinfError:
    """What a call of these bytes ends with."""
    peer = dial(f"127.0.0.1:{server.port}", "equivariant", None, "client")
    try:
        list(peer.channel.stream_stream(method.path)(messages, timeout=60, metadata=peer.metadata))
    except Exception as error:
        return restore(error, "server")  # type: ignore[arg-type]
    finally:
        peer.close()
    raise AssertionError("it was answered")


@pytest.mark.fast_cases(3)
@pytest.mark.parametrize(
    ("kind", "level", "method"),
    [
        ("bert", "cover", EMBED),
        ("bert-classifier", "cover", CLASSIFY),
        ("vit", "cover", CLASSIFY),
        ("llama", "cover", GENERATE),
        ("llama", "session", SESSION),
        ("bert", "session", SESSION),
        ("bert", "cover", ABOUT),
    ],
)
def test_a_message_is_no_larger_than_its_model_can_take(
    tmp_path: Path, kind: str, level: str, method: Method
) -> None:
    made, config = converted(tmp_path, kind, level), EquivariantConfig(insecure_no_tls=True)
    image = 3 * 8 * 12 if kind == "vit" else 0
    most = limits(read_about(made.server), config, image)[method]
    assert most < 4 << 20  # of tiny models: 64 MiB before
    whole = bytes(most + 1)
    with serving(made.server) as server:
        error = refused(server, method, cut(whole) if method.parts[0] else iter([whole]))
    assert isinstance(error, ProtocolError)
    assert f"size limit of {most} bytes" in str(error)


def test_limits_follow_from_the_model() -> None:
    config = EquivariantConfig(insecure_no_tls=True, max_rows=1000)
    about = ServerAbout("", "session", "bert", "embed", 384, 0, 512)
    assert 1000 * 384 * 4 < limits(about, config)[SESSION] < 2_000_000
    wide = ServerAbout("", "session", "llama", "generate", 4096, 0, 131072)
    assert limits(wide, config)[SESSION] == MOST
    images = ServerAbout("", "cover", "vit", "classify", 768, 0, 197)
    assert 5 * 150528 * 4 < limits(images, config, 150528)[CLASSIFY] < 5 * 150528 * 4 + 8192


def test_larger_messages_leave_fewer_places(tmp_path: Path) -> None:
    made = converted(tmp_path, "vit", "cover")
    with serving(made.server, max_calls=32, max_rows=1_000_000) as server:
        assert server.calls.entrances.queries._room.places == 8  # of 32 MiB each
    with serving(made.server, max_calls=32) as server:
        assert server.calls.entrances.queries._room.places == 32


def test_what_waits_for_a_place_is_not_collected(tmp_path: Path) -> None:
    """Callers that send slowly: those that have no place leave their messages where they are."""
    made = converted(tmp_path, "vit", "cover")
    stop = threading.Event()

    def slowly() -> Iterator[bytes]:
        yield b"\x00" + bytes(CHUNK)
        stop.wait()

    with serving(made.server, max_calls=2, max_rows=100_000) as server, client_of(made, server) as client:
        peer = dial(f"127.0.0.1:{server.port}", "equivariant", None, "client")
        make, queries = peer.channel.stream_stream(CLASSIFY.path), server.calls.entrances.queries
        calls = [make(slowly(), metadata=peer.metadata) for _ in range(6)]
        assert eventually(lambda: (queries.running, queries.waiting) == (1, 5))
        calls[0].cancel()
        stop.set()
        for call in calls[1:]:
            with pytest.raises(Exception) as ended:
                list(call)
            assert isinstance(restore(ended.value, "server"), ProtocolError)  # it ended within a message
        assert client.classify(np.zeros((1, 3, 8, 12), np.float32)).logits.shape[0] == 1
        assert eventually(lambda: not queries.running)
        peer.close()


def test_many_at_once_are_all_answered(tmp_path: Path) -> None:
    made = converted(tmp_path, "bert", "cover")
    with serving(made.server, max_calls=1, **BUSY) as server, client_of(made, server) as client:
        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(lambda _: client.embed(["a b"], timeout=100), range(32)))
        assert len(answers) == 32
        assert np.ptp([answer.vectors for answer in answers], axis=0).max() == 0


@pytest.mark.parametrize("level", ["cover", "session"])
def test_a_generation_waits_for_room(tmp_path: Path, level: str) -> None:
    made = converted(tmp_path, "llama", level, eos_token_id=None)
    options: dict[str, Any] = {"max_sessions": 1, "max_sessions_each": 1, "wait_seconds": 0.05}
    with serving(made.server, **options) as server, client_of(made, server) as client:
        want, left = client.generate([1, 6, 9], max_new_tokens=8).tokens, client.sessions_left
        first = client.stream([1, 6], max_new_tokens=80)
        next(first)
        refusals = eventually_refused(server)
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(lambda: client.generate([1, 6, 9], max_new_tokens=8, timeout=100).tokens)
            if level == "session":  # one that chooses itself keeps its place until it is closed
                assert refusals.wait(60)
            first.close()
            assert second.result() == want
        assert left is None or client.sessions_left == left - 2  # one for each, however often it was opened


def eventually_refused(server: Server) -> threading.Event:
    """Set once a call was sent away for want of room."""
    refusals = threading.Event()
    server.calls.entrances.sessions._refused = refusals.set
    return refusals


def test_who_has_no_more_time_is_told_that_there_is_no_room(tmp_path: Path) -> None:
    made = converted(tmp_path, "bert", "cover")
    with serving(made.server, max_calls=1, wait_seconds=0.05) as server, client_of(made, server) as client:
        with ThreadPoolExecutor(1) as pool, server.calls._turns.of(Deadline.after(100), lambda: True)():
            first = pool.submit(client.embed, ["a b"])
            assert eventually(lambda: server.calls.entrances.queries.running == 1)
            with pytest.raises(Overloaded, match="no free place"):
                client.embed(["a b"], timeout=3)
        assert first.result().vectors.shape[0] == 1
