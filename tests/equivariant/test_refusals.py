"""Bad input to the SDK of the equivariant mode: every case has a typed error that says what to do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
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

from privinf.equivariant import variants
from privinf.equivariant.covering.convert import Converted
from privinf.equivariant.key import Key
from privinf.equivariant.methods import ABOUT, CLASSIFY, EMBED, GENERATE, SESSION
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
from privinf.v1 import equivariant_pb2 as pb


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
        with pytest.raises(InputError, match="for generate: use generate or chat"):
            getattr(client, name)(["calm"])
    with pytest.raises(InputError, match="for generate"):
        client.check(["calm"])
    for kind, wrong, right in (("bert", "classify", "embed"), ("bert-classifier", "embed", "classify")):
        one = client_of(converted(tmp_path / kind, kind, "cover"), 1)  # nobody is there
        with pytest.raises(InputError, match=f"this model is for {right}: use {right}"):
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
    with pytest.raises(ConfigError, match=r"key\.safetensors cannot be read"):
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
        "gone": (ConfigError, "cannot be read"),
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


def test_a_copied_folder_sends_no_row_under_a_used_cover(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "session", eos_token_id=None)
    copy, prompt = copied(made, tmp_path / "copy"), [1, 6] * 40
    with serving(made.server) as server, Wire(server.port) as wire:
        with client_of(made, wire.port) as client:
            client.generate(prompt, max_new_tokens=1)
        rows = len(wire.sent)
        assert rows > 80 * 4 * tiny_models.WIDTH
        with client_of(copy, wire.port) as client:
            with pytest.raises(InputError, match="opened before"):
                client.generate(prompt, max_new_tokens=1)
            assert len(wire.sent) - rows < 2000
            assert len(client.generate(prompt, max_new_tokens=1).tokens) == 1  # with the next variant


def test_variants_of_another_conversion(tmp_path: Path) -> None:
    made, other = (
        converted(tmp_path, "llama", "session"),
        converted(tmp_path / "2", "llama", "session", seed=9),
    )
    shutil.rmtree(made.client / "variants")
    shutil.copytree(other.client / "variants", made.client / "variants")
    with asking(made) as (client, _), pytest.raises(IntegrityError, match="do not belong to this key"):
        client.generate([1, 6])


def test_no_session_is_left(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "session", variants=2, eos_token_id=None)
    with asking(made) as (client, _):
        assert client.sessions_left == 2
        for left in (1, 0):
            client.generate([1, 6], max_new_tokens=2)
            assert client.sessions_left == left
        with pytest.raises(ConfigError, match="more --variants"):
            client.generate([1, 6], max_new_tokens=2)


def test_what_is_refused_costs_no_session(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "session", eos_token_id=None)
    with asking(made) as (client, _):
        for bad in ({"max_new_tokens": 0}, {"stop": [""]}, {"draft": "lookup"}):
            with pytest.raises(InputError):
                client.generate([1, 6], **bad)
        assert client.sessions_left == 4
    other = converted(tmp_path / "other", "llama", "session")
    with serving(other.server) as server, pytest.raises(MismatchError):
        client_of(made, server).generate([1, 6])
    assert variants.left(made.client) == 4


def test_a_variant_is_marked_before_the_server_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, heard = converted(tmp_path, "llama", "session"), list[bool]()
    first = variants.all_variants(made.client)[0]
    monkeypatch.setattr(variants.os, "fsync", lambda descriptor: heard.append(False))
    with asking(made) as (client, _):
        begin = client._backend._link.session

        def watched(opened: pb.CoveredOpen, timeout: float | None) -> Any:
            assert opened.id == Key.load(first).about.id
            heard.append((first / variants.MARK).exists())
            return begin(opened, timeout)

        monkeypatch.setattr(client._backend._link, "session", watched)
        client.generate([1, 6], max_new_tokens=2)
    assert heard[:3] == [False, False, True]  # the file, its folder, and only then the call


TAKEN = """
import sys
from pathlib import Path
from privinf.equivariant import variants
print(sum(variants.mark(path) for path in variants.all_variants(Path(sys.argv[1]))))
"""


def test_two_processes_share_no_variant(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "session", variants=40)
    words = [sys.executable, "-c", TAKEN, str(made.client)]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sum(int(process.communicate()[0]) for process in both) == 40
    assert not variants.left(made.client)


def test_two_threads_take_two_variants(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "session", variants=8)
    taken: list[Path] = []
    threads = [threading.Thread(target=lambda: taken.append(variants.take(made.client))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(taken)) == 8
    assert not variants.left(made.client)


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
        guard = Guard("equivariant", False, Log("equivariant"))
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
