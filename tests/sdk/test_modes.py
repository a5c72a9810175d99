"""A mode of one's own needs no other file: both clients have all its verbs, and refuse what it does not know."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privinf import AsyncClient, Client
from privinf.errors import ConnectError, InputError
from privinf.sdk.answers import Classification, Embeddings, Usage
from privinf.sdk.asked import listed
from privinf.sdk.backend import Begin, Conversation, Facts, Items, Prompt, Texts, lacks
from privinf.sdk.call import Call
from privinf.sdk.completions import TokenStream
from privinf.sdk.connection import Connection
from privinf.sdk.decoding import PassTokens
from privinf.sdk.modes import MODES, Mode
from privinf.sdk.options import GenerationOptions, Reading
from privinf.sdk.outcomes import PartyStats, Stats
from privinf.sdk.threads import ASYNC_CALLS

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
                yield PassTokens((int(token),), 0, 0, (Stats("", 0.0, 0, 0, (NONE, NONE)),))

        options = replace(options, max_new_tokens=min(options.max_new_tokens, len(ids)))
        return lambda call: TokenStream(steps(), str, options, (), lambda clean: None)


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


def test_several_prompts_are_asked_in_turn_where_a_mode_knows_no_better(echo: Any, tmp_path: Path) -> None:
    client = Client(tmp_path, mode=echo)
    each: Any = [{}, {"max_new_tokens": 1}]
    answers = client.generate([[4, 5], [6, 7]], each=each)
    assert [answer.tokens for answer in answers] == [(4, 5), (6,)]
    assert [(token.index, token.id) for token in client.stream([[4, 5], [6]])] == [(0, 4), (0, 5), (1, 6)]
    talks = [[{"role": "user", "content": "78"}], [{"role": "user", "content": "9"}]]
    assert [answer.tokens for answer in client.chat(talks)] == [(7, 8), (9,)]
    assert [token.index for token in client.stream_chat(talks)] == [0, 0, 1]
    with pytest.raises(InputError, match="prompt 1: the prompt is empty"):
        client.stream([[4], []])
    with pytest.raises(InputError, match="temperature: only the private mode supports that"):
        client.stream([[4], [5]], each=[{}, {"temperature": 1.0}])
    left = client.stream([[4, 5], [6]])
    next(left)
    left.close()
    assert list(left) == []
    assert [answer.tokens for answer in left.completions] == [(4,), ()]


def test_several_prompts_in_turn_for_asyncio(echo: Any, tmp_path: Path) -> None:
    async def ask() -> None:
        async with AsyncClient(tmp_path, mode=echo) as client:
            assert [answer.tokens for answer in await client.generate([[4, 5], [6]])] == [(4, 5), (6,)]
            talks = [[{"role": "user", "content": "78"}], [{"role": "user", "content": "9"}]]
            assert [answer.tokens for answer in await client.chat(talks)] == [(7, 8), (9,)]
            stream = client.stream_chat(talks)
            assert stream.completions == []
            assert [token.index async for token in stream] == [0, 0, 1]

    asyncio.run(ask())


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


class Held(Echo):
    """Every step of its streams waits until it is let go."""

    go = threading.Event()

    def write(
        self, prompt: Prompt | Conversation, options: GenerationOptions, raw: bool, special_tokens: bool
    ) -> Begin:
        def steps() -> Iterator[PassTokens]:
            assert self.go.wait(60)
            yield from ()

        return lambda call: TokenStream(steps(), str, options, (), lambda clean: None)

    def status(self) -> Any:
        return "ready"


def test_streams_that_wait_keep_nothing_else_waiting(tmp_path: Path) -> None:
    """Neither what a program does in the loop's own threads, nor the client's status and close."""
    Held.go.clear()
    MODES.register("held", Mode(frozenset(), Held))

    async def ask() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        client: Any = AsyncClient(tmp_path, mode="held")  # type: ignore[arg-type]
        tasks = [asyncio.create_task(client.generate([1])) for _ in range(2 * ASYNC_CALLS)]
        for _ in range(100):
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout(30):
                assert await asyncio.to_thread(lambda: 1) == 1
                await client.__aenter__()
                assert await client.status() == "ready"
                await client.close()
        finally:
            Held.go.set()
            await asyncio.gather(*tasks, return_exceptions=True)

    try:
        asyncio.run(ask())
    finally:
        del MODES._entries["held"]


def test_a_closed_client_says_so(echo: Any, tmp_path: Path) -> None:
    async def ask() -> None:
        client = AsyncClient(tmp_path, mode=echo)
        begun = aiter(client.stream([4, 5]))
        await anext(begun)
        await client.close()
        await client.close()
        for call in (client.embed("a"), client.classify("a"), client.generate([4]), anext(begun)):
            with pytest.raises(ConnectError, match="this client is closed"):
                await call

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
    with pytest.raises(InputError, match=r"max_tokens is no option here: temperature, .*max_new_tokens"):
        client.stream([1], max_tokens=3)
    for draft in (5, object(), ["lookup"]):
        with pytest.raises(InputError, match="draft must be"):
            client.stream([1], draft=draft)
    with pytest.raises(InputError, match="cut, prompt are no options here: truncate, prompt_name"):
        client.check("a", prompt="query", cut=True)


def test_a_keyword_that_is_no_option_of_reading_is_refused(echo: Any, tmp_path: Path) -> None:
    client, other = Client(tmp_path, mode=echo), AsyncClient(tmp_path, mode=echo)
    wrong: Any = {"truncated": True}
    for ask in (client.embed, client.classify):
        with pytest.raises(InputError, match="truncated is no option here: truncate"):
            ask("a", **wrong)
    for begin in (other.embed, other.classify):
        with pytest.raises(InputError, match="truncated is no option here: truncate"):
            asyncio.run(begin("a", **wrong))


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), "5", True])
def test_a_timeout_that_is_none_is_refused(echo: Any, tmp_path: Path, timeout: Any) -> None:
    with pytest.raises(InputError, match="timeout must be a number of seconds"):
        Client(tmp_path, mode=echo).embed("a", timeout=timeout)
