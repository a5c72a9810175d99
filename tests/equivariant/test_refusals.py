"""Bad input to the SDK of the equivariant mode: every case has a typed error that says what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tiny_models
import tokenizers
from serving import Wire, another_turn, asking, client_of, converted, eventually, serving

from privinf.equivariant.about import read_about
from privinf.equivariant.covering.convert import Converted
from privinf.equivariant.key import Key
from privinf.equivariant.methods import ABOUT, CLASSIFY, EMBED, GENERATE, SESSION
from privinf.equivariant.serving.running import load_model
from privinf.equivariant.wire import rows_message
from privinf.errors import (
    ConfigError,
    ConnectError,
    DeadlineExceeded,
    InputError,
    IntegrityError,
    MismatchError,
    ModelError,
    PeerLost,
    ProtocolError,
)
from privinf.parties.logs import Log
from privinf.parties.rpc.guard import Guard
from privinf.parties.rpc.life import Bounds
from privinf.v1 import equivariant_pb2 as pb

pytestmark = pytest.mark.fast_cases(6)  # of each test


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    return converted(tmp_path_factory.mktemp("decoder"), "llama", "cover", eos_token_id=None)


@pytest.fixture(scope="module")
def client(decoder: Converted) -> Iterator[Any]:
    with asking(decoder) as (one, _):
        yield one


def copied(made: Converted, folder: Path) -> Converted:
    """The same with a client's part that may be damaged."""
    shutil.copytree(made.client, folder / "client")
    return Converted(folder / "client", made.server, 0.0, made.about)


@pytest.mark.parametrize(
    ("asked", "options", "match"),
    [
        ("", {}, "the prompt is empty"),
        ([], {}, "the prompt is empty"),
        ("a" * (tiny_models.POSITIONS + 1), {}, "97 tokens and the model takes 96"),
        ([1] * (tiny_models.POSITIONS + 1), {}, "97 tokens and the model takes 96"),
        ([1, len(tiny_models.DECODER_VOCAB)], {}, "place 1 of the prompt is not a token"),
        ([1, -1], {}, "place 1 of the prompt is not a token"),
        ([True], {}, "place 0 of the prompt is not a token"),
        ("\ud800", {}, "surrogate"),
        ("the sea", {"max_new_tokens": -1}, "max_new_tokens must be 1 or more"),
        ("the sea", {"max_new_tokens": 0}, "max_new_tokens must be 1 or more"),
        ("the sea", {"max_new_tokens": 2**40}, "fit 32 bits"),
        ("the sea", {"seed": 2**70}, "fit 32 bits, and seed"),
        ("the sea", {"temperature": -0.1}, "temperature"),
        ("the sea", {"top_p": 2.0}, "top_p"),
        ("the sea", {"stop": ["x", ""]}, "stop must be a list"),
        ("the sea", {"draft": "lookup"}, "only the private mode supports that"),
        ("the sea", {"secure_argmax": True}, "only the private mode supports that"),
    ],
)
def test_prompts_and_options(client: Any, asked: Any, options: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        client.generate(asked, **options)


def test_a_conversation_without_a_template(client: Any) -> None:
    with pytest.raises(ConfigError, match="no chat template"):
        client.chat([{"role": "user", "content": "call me"}])


def test_the_wrong_question_for_a_model(client: Any, tmp_path: Path) -> None:
    for name in ("embed", "classify"):
        with pytest.raises(InputError, match=f"for generate, not for {name}: use generate or chat"):
            getattr(client, name)(["calm"])
    with pytest.raises(InputError, match="for generate"):
        client.check(["calm"])
    for kind, wrong, right in (("bert", "classify", "embed"), ("bert-classifier", "embed", "classify")):
        one = client_of(converted(tmp_path / kind, kind, "cover"), 1)  # nobody is there
        with pytest.raises(InputError, match=f"this model is for {right}, not for {wrong}: use {right}"):
            getattr(one, wrong)(["calm"])
        with pytest.raises(InputError, match=f"use {right}"):
            one.generate("calm")


@pytest.mark.parametrize("texts", [[""], ["calm", "  "], ["calm " * 200], [b"calm"], ["\ud800"]])
def test_texts(tmp_path: Path, texts: Any) -> None:
    one = client_of(converted(tmp_path, "bert", "cover"), 1)  # nobody is there
    with pytest.raises(InputError):
        one.embed(texts)
    with pytest.raises(InputError):
        one.check(texts)
    one.close()


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((0, 3, 8, 12)),
        np.zeros((3, 8, 12)),
        np.zeros((1, 3, 12, 8)),
        np.full((1, 3, 8, 12), np.nan),
        [["calm"]],
        ["calm"],
    ],
)
def test_images(tmp_path: Path, images: Any) -> None:
    one = client_of(converted(tmp_path, "vit", "cover"), 1)  # nobody is there
    with pytest.raises(InputError, match="images"):
        one.classify(images)


def test_the_key_of_another_model(decoder: Converted, tmp_path: Path) -> None:
    other = converted(tmp_path, "gpt2", "cover")
    with serving(other.server) as server, pytest.raises(MismatchError, match="key of another model"):
        client_of(decoder, server).__enter__()


def test_a_key_beside_another_models_facts(decoder: Converted, tmp_path: Path) -> None:
    made = copied(decoder, tmp_path)
    config = made.client / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"vocab_size": 500}))
    with pytest.raises(IntegrityError, match="of different models"):
        client_of(made, 1)


def test_a_key_cut_short(decoder: Converted, tmp_path: Path) -> None:
    made = copied(decoder, tmp_path)
    path = made.client / "key.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(IntegrityError, match="cut short or changed"):
        client_of(made, 1)
    path.unlink()
    with pytest.raises(ConfigError, match=r"key\.safetensors is missing"):
        client_of(made, 1)
    with pytest.raises(ConfigError, match=r"`privinf cover` writes it"):
        client_of(Converted(decoder.server, decoder.server, 0.0, decoder.about), 1)


@pytest.mark.parametrize("damage", ["cut", "gone", "other"])
def test_the_clients_own_part_damaged(tmp_path: Path, damage: str) -> None:
    made = converted(tmp_path, "llama", "session")
    path = made.client / "local.safetensors"
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        other = converted(tmp_path / "other", "bert", "session")
        shutil.copy(other.client / "local.safetensors", path)
    kind, match = {
        "cut": (IntegrityError, "cut short"),
        "gone": (ConfigError, "is missing"),
        "other": (IntegrityError, "not of this key"),
    }[damage]
    with pytest.raises(kind, match=match):
        client_of(made, 1)


@pytest.mark.parametrize("special", ["<s>", "</s>"])
def test_a_decoders_special_tokens_are_missing(tmp_path: Path, special: str) -> None:
    made = converted(tmp_path, "llama", "cover")
    path = made.client / "tokenizer.json"
    rules = json.loads(path.read_text())
    rules["added_tokens"] = [one for one in rules["added_tokens"] if one["content"] != special]
    del rules["model"]["vocab"][special]
    path.write_text(json.dumps(rules))
    with pytest.raises(ModelError, match="has no token"):
        client_of(made, 1)


def test_an_encoders_special_tokens_are_missing(tmp_path: Path) -> None:
    made = converted(tmp_path, "bert", "cover")
    path = made.client / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"post_processor": None}))
    assert not tokenizers.Tokenizer.from_file(str(path)).num_special_tokens_to_add(False)
    with pytest.raises(ModelError, match="adds no special tokens"):
        client_of(made, 1)


def test_a_tokenizer_with_more_tokens_than_the_model(decoder: Converted, tmp_path: Path) -> None:
    made = copied(decoder, tmp_path)
    rules = tokenizers.Tokenizer.from_file(str(made.client / "tokenizer.json"))
    rules.add_tokens([f"more{i}" for i in range(9)])
    rules.save(str(made.client / "tokenizer.json"))
    with pytest.raises(ModelError, match="do not match"):
        client_of(made, 1)


@pytest.mark.parametrize("level", ["cover", "session"])
def test_a_server_gone_amid_an_answer(tmp_path: Path, level: str) -> None:
    made = converted(tmp_path, "llama", level, eos_token_id=None, max_position_embeddings=4000)
    with serving(made.server) as server, Wire(server.port) as wire:
        client = client_of(made, wire.port)
        tokens = client.stream([1, 6, 9], max_new_tokens=3000)
        seen = [next(tokens)]
        wire.cut()
        with pytest.raises(PeerLost, match="went away"):
            seen += tokens
        assert tokens.completion.tokens == tuple(token.id for token in seen)
        assert eventually(lambda: not server.calls.entrances.sessions.running)
        client.close()


def test_nobody_there(decoder: Converted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIVINF_CONNECT_SECONDS", "0.2")
    client = client_of(decoder, 1)
    with pytest.raises(ConnectError, match="cannot be reached"):
        client.generate([1, 6])
    client.close()
    with pytest.raises(ConnectError, match="closed"):
        client.generate([1, 6])


def test_an_answer_too_late(decoder: Converted) -> None:
    with serving(decoder.server) as server, client_of(decoder, server) as client:
        with another_turn(server.calls._turns), pytest.raises(DeadlineExceeded):
            client.generate([1, 6], timeout=0.3)
        assert len(client.generate([1, 6], max_new_tokens=2).tokens) == 2


@pytest.mark.parametrize("level", ["cover", "session"])
def test_an_embedding_too_late(tmp_path: Path, level: str) -> None:
    """The deadline is that of each query, also where a session holds them all."""
    with asking(converted(tmp_path, "bert", level)) as (client, server):
        with another_turn(server.calls._turns), pytest.raises(DeadlineExceeded):
            client.embed(["calm"], timeout=0.3)
        assert eventually(
            lambda: not server.calls.entrances.sessions.running + server.calls.entrances.queries.running
        )
        assert len(client.embed(["calm"]).vectors) == 1


def test_a_server_in_anothers_place_is_refused_and_checked_anew(decoder: Converted, tmp_path: Path) -> None:
    other = converted(tmp_path, "llama", "cover")
    with serving(decoder.server) as server:
        client, port = client_of(decoder, server), server.port
        client.generate([1, 6], max_new_tokens=2)
    with serving(other.server, listen=f"127.0.0.1:{port}"):
        with pytest.raises(MismatchError):
            client.generate([1, 6], max_new_tokens=2)
        with pytest.raises(MismatchError, match="this is the key of another model"):  # nothing was sent
            client.generate([1, 6], max_new_tokens=2)
    client.close()


class Lying:
    """A server that answers whatever it likes."""

    def __init__(self, made: Converted, replies: list[Any]) -> None:
        about = Key.load(made.client).about
        said = pb.CoveredAbout(
            id=about.id,
            level=about.level,
            family=about.family,
            task=about.task,
            context=about.context,
            max_rows=100,
        )
        guard = Guard("equivariant", False, Log("equivariant"), 64, Bounds(60.0, 60.0, 20.0, 60.0, 60.0))
        self._server = grpc.server(ThreadPoolExecutor(4))
        calls = {
            ABOUT: lambda request, context, caller: said,
            EMBED: lambda request, context, caller: replies[0],
            CLASSIFY: lambda request, context, caller: replies[0],
            GENERATE: lambda request, context, caller: iter(replies),
            SESSION: lambda requests, context, caller: iter(replies),
        }
        self._server.add_generic_rpc_handlers((guard.handlers(calls),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> Lying:
        self._server.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._server.stop(None).wait()


@pytest.mark.parametrize("ids", [[], [999], [1, 2]])
def test_a_server_that_sends_no_token(decoder: Converted, ids: list[int]) -> None:
    with (
        Lying(decoder, [pb.CoveredTokens(ids=ids)]) as server,
        client_of(decoder, server.port) as client,
        pytest.raises(ProtocolError, match="not a token"),
    ):
        client.generate([1, 6])


@pytest.mark.parametrize(
    "replies",
    [
        [],
        [pb.CoveredRows()],
        [pb.CoveredRows(), pb.CoveredRows()],
        [pb.CoveredRows(), pb.CoveredRows(shape=[1, 7], values=bytes(28))],
        [pb.CoveredRows(), pb.CoveredRows(shape=[1, 32], values=b"\xff" * 128)],
        [pb.CoveredRows(), rows_message(np.full((1, 32), 3e38))],
    ],
)
def test_a_server_that_sends_no_row(tmp_path: Path, replies: list[pb.CoveredRows]) -> None:
    made = converted(tmp_path, "llama", "session")
    with (
        Lying(made, replies) as server,
        client_of(made, server.port) as client,
        pytest.raises(ProtocolError, match="server: "),
    ):
        client.generate([1, 6])


def test_an_answer_cut_short_is_no_answer(decoder: Converted) -> None:
    with Lying(decoder, [pb.CoveredTokens(ids=[3])]) as server, client_of(decoder, server.port) as client:
        tokens = client.stream([1, 6], max_new_tokens=50)
        next(tokens)
        with pytest.raises(ProtocolError, match="ended before all of it had come"):
            next(tokens)


@pytest.mark.parametrize("value", [0.0, 3e38])
def test_embeddings_that_are_none(tmp_path: Path, value: float) -> None:
    made = converted(tmp_path, "bert", "cover")
    rows = rows_message(np.full((1, tiny_models.WIDTH), value))
    with (
        Lying(made, [rows]) as server,
        client_of(made, server.port) as client,
        pytest.raises(ProtocolError, match="server: "),
    ):
        client.embed(["calm"])


def test_logits_beyond_all_reason(tmp_path: Path) -> None:
    made = converted(tmp_path, "bert-classifier", "cover")
    rows = rows_message(np.full((1, len(tiny_models.LABELS)), -3e38))
    with (
        Lying(made, [rows]) as server,
        client_of(made, server.port) as client,
        pytest.raises(ProtocolError, match="which no model gives"),
    ):
        client.classify(["calm"])


def test_a_server_whose_configuration_names_no_model(decoder: Converted, tmp_path: Path) -> None:
    """A class that transformers knows, and that has no base model of its own."""
    folder = tmp_path / "server"
    shutil.copytree(decoder.server, folder)
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "blip_text_model"}))
    with pytest.raises(ModelError, match="BlipTextConfig has no base model: cover the model again"):
        load_model(folder, read_about(folder))
