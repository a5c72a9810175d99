"""A mode of one's own needs no other file: both clients have all its verbs, and refuse what it does not know."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privinf import AsyncClient, Client
from privinf.errors import InputError
from privinf.sdk.answers import Classification, Embeddings, Usage
from privinf.sdk.asked import listed
from privinf.sdk.backend import Begin, Conversation, Facts, Items, Prompt, Texts, lacks
from privinf.sdk.call import Call
from privinf.sdk.completions import TokenStream
from privinf.sdk.connection import Connection
from privinf.sdk.decoding import PassTokens
from privinf.sdk.modes import MODES, Mode
from privinf.sdk.options import GenerationOptions, Reading
from privinf.sdk.outcomes import PartyStats
from privinf.sdk.passes import PassStats

NONE = PartyStats(0, 0.0, 0.0, 0.0, 0, 0, 0)


class Echo:
    """Embeds a text as its length, and continues a prompt of ids with itself."""

    facts, sessions_left = Facts("echo", "embed", "echo"), None

    def __init__(self, model: Path, connection: Connection) -> None:
        self.open = False

    def connect(self) -> None:
        self.open = True

    def close(self) -> None:
        self.open = False

    def status(self) -> Any:
        lacks("echo", "status")

    def check(self, texts: Texts, reading: Reading) -> None:
        if not all(listed(texts)):
            raise InputError("an empty text")

    def embed(self, texts: Texts, reading: Reading, call: Call) -> Embeddings:
        call.progress(len(listed(texts)))
        return Embeddings(np.array([[len(text)] for text in listed(texts)], dtype=np.float32), Usage())

    def classify(self, items: Items, reading: Reading, call: Call) -> Classification:
        lacks("echo", "classify")

    def write(
        self, prompt: Prompt | Conversation, options: GenerationOptions, raw: bool, special_tokens: bool
    ) -> Begin:
        ids = prompt.messages[0]["content"] if isinstance(prompt, Conversation) else prompt
        if not ids:
            raise InputError("the prompt is empty")

        def steps() -> Iterator[PassTokens]:
            for token in ids:
                yield PassTokens((int(token),), 0, 0, (PassStats("", 0.0, 0, 0, (NONE, NONE), 0),))

        most = min(options.max_new_tokens, len(ids))
        return lambda call: TokenStream(steps(), str, options.stops, (), most, lambda clean: None)


@pytest.fixture
def echo() -> Iterator[Any]:
    MODES.register("echo", Mode(frozenset({"max_new_tokens"}), Echo))
    yield "echo"
    del MODES._entries["echo"]


def test_a_mode_of_ones_own(echo: Any, tmp_path: Path) -> None:
    told = list[int]()
    with Client(tmp_path, mode=echo) as client:
        assert client.embed(["a", "bcd"], progress=told.append).vectors.tolist() == [[1.0], [3.0]]
        assert client.generate([4, 5, 6], max_new_tokens=2).tokens == (4, 5)
        assert client.chat([{"role": "user", "content": "789"}]).tokens == (7, 8, 9)
        assert [token.id for token in client.stream([4, 5])] == [4, 5]
        assert client.facts.mode == "echo"
        assert told == [2]


def test_the_same_for_asyncio(echo: Any, tmp_path: Path) -> None:
    async def ask() -> None:
        async with AsyncClient(tmp_path, mode=echo) as client:
            assert (await client.embed(["a", "bcd"])).vectors.tolist() == [[1.0], [3.0]]
            assert (await client.generate([4, 5, 6], max_new_tokens=2)).tokens == (4, 5)
            assert (await client.chat([{"role": "user", "content": "789"}])).tokens == (7, 8, 9)
            stream = client.stream([4, 5])
            assert [token.id async for token in stream] == [4, 5]
            with pytest.raises(InputError, match="only be iterated once"):
                [token async for token in stream]
            left = client.stream([4, 5])
            left.close()
            assert [token async for token in left] == []
            with pytest.raises(InputError, match="classify: the echo mode has no such thing"):
                await client.classify("a")
            with pytest.raises(InputError, match="status: the echo mode"):
                await client.status()

    asyncio.run(ask())


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_what_is_wrong_is_said_before_anything_is_asked(echo: Any, tmp_path: Path, kind: Any) -> None:
    client = kind(tmp_path, mode=echo)
    with pytest.raises(InputError, match="temperature, seed: only the private mode supports that"):
        client.stream([1], temperature=0.5, seed=3)
    with pytest.raises(InputError, match="call `stream`, or `stream_chat`"):
        client.stream([1], stream=True)
    with pytest.raises(InputError, match="max_new_tokens must be 1 or more"):
        client.stream([1], max_new_tokens=0)
    with pytest.raises(InputError, match="the prompt is empty"):
        client.stream_chat([{"role": "user", "content": ""}])
    with pytest.raises(TypeError, match="max_tokens"):
        client.stream([1], max_tokens=3)


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), "5", True])
def test_a_timeout_that_is_none_is_refused(echo: Any, tmp_path: Path, timeout: Any) -> None:
    with pytest.raises(InputError, match="timeout must be a number of seconds"):
        Client(tmp_path, mode=echo).embed("a", timeout=timeout)
