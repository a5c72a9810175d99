"""The server of the equivariant mode against what no client of ours would send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tiny_models
from callers import MADE, Caller, prompt, rows_of, texts
from serving import another_turn, converted, eventually

from privinf.config import EquivariantConfig
from privinf.equivariant import wire
from privinf.equivariant.methods import ABOUT, CLASSIFY, EMBED, GENERATE, SESSION
from privinf.equivariant.serving.server import Server
from privinf.errors import (
    DeadlineExceeded,
    InputError,
    MismatchError,
    ProtocolError,
)
from privinf.parties.rpc.parts import WHOLE_LIMIT
from privinf.v1 import equivariant_pb2 as pb

VOCAB = len(tiny_models.DECODER_VOCAB)
WIDTH, POSITIONS = tiny_models.WIDTH, tiny_models.POSITIONS


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


def test_a_deadline_is_bounded_and_kept(callers: dict[str, Caller]) -> None:
    caller = callers["generate"]
    for timeout in (None, 1e6):
        assert len(caller.call(GENERATE, prompt(caller), timeout)) == 4
    with another_turn(caller.server.calls._turns), pytest.raises(DeadlineExceeded):
        caller.call(GENERATE, prompt(caller), 0.3)
    assert eventually(lambda: not caller.server.calls.entrances.sessions.running)
    assert len(caller.call(GENERATE, prompt(caller))) == 4


def test_more_texts_than_rows_are_refused_before_any_is_looked_at() -> None:
    query = pb.CoveredQuery(texts=[pb.CoveredIds()] * 501)
    with pytest.raises(InputError, match="501 times 1 rows are more than the 500"):
        wire.read_texts(query, 10, 10, 500)
