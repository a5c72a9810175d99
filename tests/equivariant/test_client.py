"""The SDK of the equivariant mode: the plain model's answers at every level, streams, stops, and honest counts."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from serving import asking, classified, client_of, converted, embedded, eventually, greedy, plain_of, serving

from privinf import AsyncClient, Client
from privinf.equivariant.asking import texts
from privinf.equivariant.covering.convert import Converted, convert
from privinf.equivariant.levels import WARNING, warn_once
from privinf.equivariant.serving import running
from privinf.equivariant.serving.server import Server
from privinf.errors import ConfigError, InputError
from privinf.sdk.room import RoomWarning

EXACT = ("tokens", "cover", "session")
TEXTS = [
    "the sea is deep",
    "calm",
    "call me a ship who rides the wind",
    "the night is calm and so is the sea",
]
PROMPT = [1, 6, 9, 12, 20, 7]
WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "typer"):
    sys.modules[name] = None  # importing it fails
from privinf import Client
with Client(sys.argv[1], mode="equivariant", server=sys.argv[2], insecure_no_tls=True) as client:
    print(client.generate([1, 6, 9], max_new_tokens=3).tokens)
    print(client.generate([1, 6, 9], max_new_tokens=3).finish_reason)
"""


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("level", EXACT)
@pytest.mark.parametrize("kind", ["gpt2", "llama-groups"])
def test_continuations_are_those_of_the_plain_model(tmp_path: Path, kind: str, level: str) -> None:
    made = converted(tmp_path, kind, level, eos_token_id=None)
    want = greedy(plain_of(made), PROMPT, 24)
    assert len(set(want)) > 3
    with asking(made) as (client, _):
        answer = client.generate(PROMPT, max_new_tokens=24)
    assert list(answer.tokens) == want
    assert answer.finish_reason == "length"
    assert answer.text


@pytest.mark.parametrize("level", EXACT)
def test_embeddings_are_those_of_the_plain_model(tmp_path: Path, level: str) -> None:
    made, told = converted(tmp_path, "bert", level), list[int]()
    with asking(made, max_rows=16) as (client, _):
        answer = client.embed(TEXTS, progress=told.append)
    want = embedded(plain_of(made), made.client, TEXTS)
    assert np.abs(answer.vectors - want).max() < 1e-5
    assert np.abs(want[0] - want[1]).max() > 0.01  # in the order of the texts
    assert answer.stats.queries == len(told) > 1
    assert sum(told) == len(TEXTS)


@pytest.mark.parametrize("level", EXACT)
def test_classes_of_texts_are_those_of_the_plain_model(tmp_path: Path, level: str) -> None:
    made = converted(tmp_path, "bert-classifier", level)
    with asking(made) as (client, _):
        answer = client.classify(TEXTS)
    want = classified(plain_of(made), made.client, TEXTS)
    assert np.abs(answer.logits - want).max() < 1e-4
    assert answer.labels == tuple(tiny_models.LABELS[i] for i in want.argmax(-1))


@pytest.mark.parametrize("level", EXACT)
def test_classes_of_images_are_those_of_the_plain_model(tmp_path: Path, level: str) -> None:
    made = converted(tmp_path, "vit", level)
    images = np.random.default_rng(0).normal(size=(5, 3, 8, 12)).astype(np.float32)
    with asking(made, max_rows=14) as (client, _):  # two images of six patches and a row in front
        answer = client.classify(images)
    want = classified(plain_of(made), made.client, images)
    assert np.abs(answer.logits - want).max() < 1e-4
    assert answer.stats.queries == 3


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("level", ["cover", "session"])
def test_draws_follow_the_seed(tmp_path: Path, level: str) -> None:
    options = {
        "max_new_tokens": 12,
        "temperature": 1.0,
        "top_k": 20,
        "top_p": 0.95,
        "repetition_penalty": 1.2,
    }
    with asking(converted(tmp_path, "llama", level)) as (client, _):
        first, again, other = (client.generate(PROMPT, seed=seed, **options).tokens for seed in (3, 3, 4))
    assert first == again != other


def test_a_repetition_penalty_counts_prompt_and_answer(tmp_path: Path) -> None:
    with asking(converted(tmp_path, "llama", "cover", eos_token_id=None)) as (client, _):
        plain = client.generate(PROMPT, max_new_tokens=12).tokens
        punished = client.generate(PROMPT, max_new_tokens=12, repetition_penalty=100.0).tokens
    assert len({*punished, *PROMPT}) == len(punished) + len(PROMPT)
    assert len(set(plain)) < len(plain)


def test_tokens_come_one_by_one_and_add_up(tmp_path: Path) -> None:
    with asking(converted(tmp_path, "llama", "cover")) as (client, _):
        with client.stream("the sea", max_new_tokens=8) as tokens:
            seen = list(tokens)
        whole = client.generate("the sea", max_new_tokens=8)
    answer = tokens.completion
    assert "".join(token.text for token in seen) == answer.text == whole.text
    assert answer.stats.tokens == len(answer.tokens)
    assert 0 < answer.stats.first_seconds <= answer.stats.seconds
    assert answer.stats.query_bytes > 0
    assert answer.stats.result_bytes >= 2 * len(answer.tokens)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("level", ["cover", "session"])
def test_several_prompts_are_answered_in_turn(tmp_path: Path, level: str) -> None:
    """Each as it is alone, with its own number of tokens."""
    prompts: list[str | Sequence[int]] = ["the sea", PROMPT]
    each: Any = [{"max_new_tokens": 3}, {}]
    with asking(converted(tmp_path, "llama", level)) as (client, _):
        answers = client.generate(prompts, max_new_tokens=5, each=each)
        alone = [client.generate(prompts[0], max_new_tokens=3), client.generate(PROMPT, max_new_tokens=5)]
        if (left := client.sessions_left) is not None:
            with pytest.raises(InputError, match=f"{left + 1} prompts, and {left} sessions are left"):
                client.generate([PROMPT] * (left + 1))
            assert client.sessions_left == left
    assert [answer.tokens for answer in answers] == [answer.tokens for answer in alone]


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("level", ["cover", "session"])
def test_an_end_token_or_a_stop_frees_the_server(tmp_path: Path, level: str) -> None:
    folder = tmp_path / "plain"
    want = greedy(plain_of(converted(folder, "llama", "tokens")), PROMPT, 12)
    end = next(token for place, token in enumerate(want) if place > 3 and token not in want[:place])
    made = converted(tmp_path, "llama", level, eos_token_id=end)
    with asking(made) as (client, server):
        ended = client.generate(PROMPT, max_new_tokens=60)
        shown = client.generate(PROMPT, max_new_tokens=4).text
        stopped = client.generate(PROMPT, max_new_tokens=60, stop=shown[1:3])
        assert eventually(lambda: not server.calls.entrances.sessions.running)
    assert ended.finish_reason == "eos"
    assert list(ended.tokens) == want[: want.index(end) + 1]
    assert stopped.finish_reason == "stop"
    assert stopped.text == shown[: shown.index(shown[1:3])]


def test_a_model_with_a_template_answers(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "cover", chat=True, eos_token_id=None)
    with asking(made) as (client, _):
        said = client.chat([{"role": "user", "content": "call me"}], max_new_tokens=6)
        asked = client.generate("call me", max_new_tokens=6)
        raw = client.generate("call me", raw=True, max_new_tokens=6)
        ids = client._backend._side.tokenizer.encode(
            client._backend._side.tokenizer.script("<user>call me<bot>", True)
        )
    assert said.tokens == asked.tokens == tuple(greedy(plain_of(made), ids, 6))
    assert raw.tokens == tuple(greedy(plain_of(made), ids[1:-1], 6))


def test_an_answer_ends_where_the_model_is_full(tmp_path: Path) -> None:
    made = converted(tmp_path, "gpt2", "session", eos_token_id=None)
    told = pytest.warns(RoomWarning, match="max_new_tokens is 50, and 3 fit after this prompt")
    with asking(made) as (client, _), told:
        answer = client.generate([5] * (tiny_models.POSITIONS - 2), max_new_tokens=50)
    assert len(answer.tokens) == 3
    assert answer.finish_reason == "full"


def test_one_face_for_both_modes(tmp_path: Path) -> None:
    made = converted(tmp_path, "bert", "cover")
    with serving(made.server) as server:
        client = client_of(made, server)
        assert isinstance(client, Client)
        with pytest.raises(AttributeError, match="is now called facts"):
            _ = client.identity
        assert (client.facts.mode, client.facts.task, client.facts.level) == ("equivariant", "embed", "cover")
        assert client.sessions_left is None
        with pytest.raises(InputError, match="status: the equivariant mode"):
            client.status()
        client.close()
        client.close()
    with pytest.raises(ConfigError, match="mode 'secret' is unknown; choose one of equivariant, private"):
        Client(made.client, mode="secret")  # type: ignore[arg-type]
    with pytest.raises(InputError, match='mode="equivariant"'):
        Client(made.client, server="127.0.0.1:1")
    with pytest.raises(ConfigError, match="certificates are missing"):
        Client(made.client, mode="equivariant", server="127.0.0.1:1")
    with pytest.raises(ConfigError, match="lacks server"):
        Client(made.client, mode="equivariant", insecure_no_tls=True)


def test_asyncio_has_this_mode_too(tmp_path: Path) -> None:
    encoder, decoder = (
        converted(tmp_path / "bert", "bert", "cover"),
        converted(tmp_path / "llama", "llama", "session"),
    )

    async def ask(server: Server, made: Converted) -> tuple[Any, ...]:
        address = f"127.0.0.1:{server.port}"
        async with AsyncClient(
            made.client, mode="equivariant", server=address, insecure_no_tls=True
        ) as client:
            if made is encoder:
                return tuple(await asyncio.gather(*(client.embed([text]) for text in ("a b", "the sea"))))
            async with client.stream(PROMPT, max_new_tokens=30) as stream:
                some = [token.id async for token in _first(stream, 3)]
            task = asyncio.create_task(client.generate(PROMPT, max_new_tokens=80))
            await asyncio.to_thread(eventually, lambda: server.calls.entrances.sessions.running)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(eventually, lambda: not server.calls.entrances.sessions.running)
            return some, (await client.generate(PROMPT, max_new_tokens=3)).tokens

    with serving(encoder.server) as server, client_of(encoder, server) as client:
        answers = asyncio.run(ask(server, encoder))
        assert np.allclose(
            np.concatenate([a.vectors for a in answers]), client.embed(["a b", "the sea"]).vectors, atol=1e-5
        )
    with serving(decoder.server) as server:
        some, tokens = asyncio.run(ask(server, decoder))
        assert tuple(some) == tokens
        assert eventually(lambda: not server.calls.entrances.sessions.running)


async def _first(stream: Any, count: int) -> Any:
    async for token in stream:
        yield token
        count -= 1
        if not count:
            return


def test_the_first_use_says_what_this_mode_is(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = converted(tmp_path, "bert", "cover")
    warn_once.cache_clear()
    for _ in range(2):
        client_of(made, 1).close()
    assert capfd.readouterr().err.count(WARNING) == 1


def test_the_client_needs_no_torch(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "session", eos_token_id=None)
    want = greedy(plain_of(made), [1, 6, 9], 3)
    with serving(made.server) as server:
        words = [sys.executable, "-c", WITHOUT_TORCH, str(made.client), f"127.0.0.1:{server.port}"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tuple(want)), "length"]
    assert WARNING in done.stderr


@pytest.mark.parametrize("level", ["cover", "session"])
def test_long_prompts_are_read_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    made, prompt = converted(tmp_path, "gpt2", level, eos_token_id=None), [1, *range(5, 35), *range(9, 30)]
    monkeypatch.setattr(running, "PIECE", 5)
    monkeypatch.setattr(texts, "MOST_ROWS", 7)
    with asking(made) as (client, _):
        answer = client.generate(prompt, max_new_tokens=8)
    assert list(answer.tokens) == greedy(plain_of(made), prompt, 8)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("level", ["cover", "session"])
@pytest.mark.parametrize(("kind", "dtype"), [("llama", "BF16"), ("gpt2", "BF16"), ("llama", "F16")])
def test_checkpoints_of_half_the_bits(tmp_path: Path, kind: str, dtype: str, level: str) -> None:
    folder = tiny_models.write_model(tmp_path / "model", kind, seed=6, eos_token_id=None)
    stored, types = load_file(folder / "model.safetensors"), {"BF16": torch.bfloat16, "F16": torch.float16}
    save_file({name: one.to(types[dtype]) for name, one in stored.items()}, folder / "model.safetensors")
    made = convert(folder, tmp_path / "out", level)
    with asking(made) as (client, _):
        answer = client.generate(PROMPT, max_new_tokens=16)
    assert list(answer.tokens) == greedy(plain_of(made), PROMPT, 16)


def test_a_pooling_may_lie_elsewhere(tmp_path: Path) -> None:
    folder = tiny_models.write_model(tmp_path / "model", "bert", seed=6)
    (folder / "1_Pooling").rename(folder / "pool")
    modules = folder / "modules.json"
    modules.write_text(modules.read_text().replace("1_Pooling", "pool"))
    made = convert(folder, tmp_path / "out")
    with asking(made) as (client, _):
        vectors = client.embed(TEXTS).vectors
    assert np.abs(vectors - embedded(plain_of(made), made.client, TEXTS)).max() < 1e-5


def test_a_template_that_is_null_is_none(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "cover", eos_token_id=None)
    path = made.client / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": None}))
    with asking(made) as (client, _):
        assert client.generate("the sea", max_new_tokens=3).text
