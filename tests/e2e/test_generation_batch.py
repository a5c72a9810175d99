"""Several prompts at once through real servers: each is answered as it is alone, for the rounds of one."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import tiny_decoder as tiny
from deployment import DEADLINE, Deployment, in_this_process

from privinf.cli import main
from privinf.errors import InputError, ProtocolError
from privinf.models.programs.passes import count
from privinf.models.sharing import bundle
from privinf.protocols.contract import Advance, SessionShape
from privinf.sdk.client import Client
from privinf.sdk.completions import Completion
from privinf.sdk.connection import Connection
from privinf.sdk.modes.private import Private
from privinf.sdk.transport import Link

PROMPTS = [tiny.TEXTS[2], "so", tiny.TEXTS[1]]  # the likeliest tokens are well ahead of the others
COUNT = 5
LIMIT = 3


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return a Llama of one layer for conversations, served by parties of which one takes fewer prompts together."""
    folder = tmp_path_factory.mktemp("served")
    source = tiny.checkpoint(folder / "tiny", "llama", chat=True, endless=True, layers=1, seed=2)
    shared = tiny.share(source, folder / "shared")
    with in_this_process(source, shared, folder, party1={"max_batch": LIMIT}) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def client(served: Deployment) -> Iterator[Client]:
    with served.client() as client:
        yield client


@pytest.fixture(scope="module")
def alone(client: Client) -> list[Completion]:
    """Return what each prompt is answered by itself."""
    return [client.generate(prompt, max_new_tokens=COUNT) for prompt in PROMPTS]


def _until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def _idle(client: Client) -> bool:
    return [status.sessions for status in client.status()] == [0, 0]


def _texts(answers: list[Completion]) -> list[tuple[str, tuple[int, ...], str]]:
    return [(answer.text, answer.tokens, answer.finish_reason) for answer in answers]


def test_each_is_answered_as_it_is_alone(served: Deployment, client: Client, alone: list[Completion]) -> None:
    """In one session, whose later passes take the rounds of one prompt, and which costs what was declared."""
    answers = client.generate(PROMPTS, max_new_tokens=COUNT)
    assert _texts(answers) == _texts(alone)
    facts = bundle.read(served.model)
    shape = SessionShape("generate", 32, 1, LIMIT)
    passes = facts.layout.passes(shape) + COUNT - 1
    declared = [ctx.tally.total() for ctx in count(facts.layout, shape, passes)]
    one = count(facts.layout, replace(shape, batch=1), 2)[1]
    assert all(cost.rounds == one.rounds for cost in declared[-COUNT + 1 :])
    for answer in answers:
        stats = answer.stats
        assert (stats.batch, stats.passes, stats.tokens) == (LIMIT, passes, COUNT)
        assert stats.rounds == sum(cost.rounds for cost in declared)
        assert stats.online_bytes == sum(cost.online for cost in declared)
        assert stats.offline_bytes == sum(cost.prep0 + cost.prep1 for cost in declared)
    assert len({answer.stats.session_id for answer in answers}) == 1


def test_more_than_the_servers_take_are_asked_in_parts(client: Client, alone: list[Completion]) -> None:
    answers = client.generate([*PROMPTS, PROMPTS[0], PROMPTS[1]], max_new_tokens=COUNT)
    assert _texts(answers) == _texts([*alone, alone[0], alone[1]])
    assert sorted(answer.stats.batch for answer in answers) == [2, 2, 3, 3, 3]
    assert len({answer.stats.session_id for answer in answers}) == 2


def test_one_that_ends_early_goes_on_as_padding(client: Client, alone: list[Completion]) -> None:
    """By its own number of tokens, or by a stop of its own; the others are not disturbed."""
    stop = alone[2].text[1:2]
    each: Any = [{"max_new_tokens": 2}, {}, {"stop": stop}]
    first, second, third = client.generate(PROMPTS, max_new_tokens=COUNT, each=each)
    assert (first.tokens, first.finish_reason) == (alone[0].tokens[:2], "length")
    assert (second.tokens, second.finish_reason) == (alone[1].tokens, "length")
    assert (third.text, third.finish_reason) == (alone[2].text[: alone[2].text.index(stop)], "stop")
    assert second.stats.passes - first.stats.passes == COUNT - 2
    assert first.stats.passes <= third.stats.passes < second.stats.passes
    _until(lambda: _idle(client))


def test_tokens_come_with_the_index_of_their_prompt(client: Client, alone: list[Completion]) -> None:
    with client.stream(PROMPTS, max_new_tokens=3) as stream:
        tokens = list(stream)
    assert [token.index for token in tokens if token.id is not None] == [0, 1, 2] * 3
    for place, answer in enumerate(alone):
        mine = [token.id for token in tokens if token.index == place and token.id is not None]
        assert mine == list(answer.tokens[:3])
    assert [answer.tokens for answer in stream.completions] == [answer.tokens[:3] for answer in alone]
    assert stream.over


@pytest.mark.slow
def test_the_likeliest_tokens_alone(client: Client, alone: list[Completion]) -> None:
    answers = client.generate(PROMPTS, max_new_tokens=3, secure_argmax=True)
    assert [answer.tokens for answer in answers] == [answer.tokens[:3] for answer in alone]


def test_drafts_are_for_hidden_acceptance(client: Client, alone: list[Completion]) -> None:
    with pytest.raises(InputError, match="hide_accepted"):
        client.generate(PROMPTS, max_new_tokens=COUNT, draft="lookup")
    hidden: Any = {"max_new_tokens": COUNT, "draft": "lookup", "drafts": 2, "hide_accepted": True}
    assert _texts(client.generate(PROMPTS, **hidden)) == _texts(alone)
    assert _idle(client)


def test_conversations(client: Client) -> None:
    talks = [[{"role": "user", "content": text}] for text in PROMPTS]
    answers = client.chat(talks, max_new_tokens=2)
    assert _texts(answers) == _texts([client.chat(talk, max_new_tokens=2) for talk in talks])


def test_a_batch_that_is_left_frees_both_parties(client: Client, alone: list[Completion]) -> None:
    stream = client.stream([*PROMPTS, *PROMPTS], max_new_tokens=40)
    assert {next(stream).index for _ in range(3)}
    assert not stream.over
    stream.close()
    assert stream.over
    _until(lambda: _idle(client))
    assert client.generate(PROMPTS[0], max_new_tokens=2).tokens == alone[0].tokens[:2]


def test_the_same_for_asyncio(served: Deployment, alone: list[Completion]) -> None:
    async def ask() -> None:
        async with served.async_client() as client:
            answers = await client.generate(PROMPTS, max_new_tokens=3)
            assert [answer.tokens for answer in answers] == [answer.tokens[:3] for answer in alone]
            stream = client.stream(PROMPTS, max_new_tokens=2)
            assert [token.index async for token in stream if token.id is not None] == [0, 1, 2] * 2
            assert [len(answer.tokens) for answer in stream.completions] == [2, 2, 2]
            left = client.stream(PROMPTS, max_new_tokens=40)
            async with left:
                async for _ in left:
                    break

    asyncio.run(ask())
    with served.client() as client:
        _until(lambda: _idle(client))


@pytest.mark.parametrize(
    ("prompts", "given", "why"),
    [
        (["calm", ""], {}, "prompt 1: the prompt is empty"),
        ([[5, 6], [5, 10**6]], {}, "prompt 1: place 1 of the prompt is not a token"),
        (["calm", "a" * 500], {}, "prompt 1: the prompt has"),
        (["calm", 5], {}, "a list holds the token ids of one prompt, or prompts"),
        (["calm", "so"], {"each": [{}]}, "each: options of 1 prompts, and there are 2"),
        (["calm", "so"], {"each": [{}, {"drafts": 1}]}, "drafts: of one prompt may be said"),
        ("calm", {"each": [{}]}, "each: this is for several prompts"),
    ],
)
def test_what_cannot_be_asked_says_which_prompt(client: Client, prompts: Any, given: Any, why: str) -> None:
    with pytest.raises(InputError, match=why):
        client.generate(prompts, **given)
    assert _idle(client)


def _session(served: Deployment, batch: int) -> tuple[Any, Link, SessionShape]:
    backend = Private(served.model, Connection(served.addresses, None, served.tls, DEADLINE, None, None))
    return backend._decoder.bundle, backend._link, SessionShape("generate", 8, 1, batch)


@pytest.mark.parametrize(("said", "sent"), [(2, 3), (3, 2), (2, 1), (1, 2)])
def test_shares_of_another_batch_are_refused(served: Deployment, said: int, sent: int) -> None:
    """The size of what comes follows from the shape that both parties compared, and from nothing else."""
    facts, link, shape = _session(served, said)
    sizes = [facts.layout.form(replace(shape, batch=sent), 0).nbytes(party) for party in (0, 1)]
    with (
        link,
        link.generate(shape) as generation,
        pytest.raises((ProtocolError, InputError)),
    ):
        generation.step(Advance(), [bytes(size) for size in sizes])


def test_the_command(served: Deployment, tmp_path: Path, capsys: Any, alone: list[Completion]) -> None:
    """A line for each answer, as it ends."""
    config, file = served.toml(tmp_path / "client.toml"), tmp_path / "prompts.txt"
    file.write_text("\n".join(PROMPTS))
    words = ["generate", "--model", str(served.model), "--config", config, "--max-new-tokens", "3"]
    for given in (PROMPTS, ["--file", str(file), "--lines"]):
        assert main([*words, *given, "--json"]) == 0
        said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [document["index"] for document in said] == [0, 1, 2]
        assert [tuple(document["tokens"]) for document in said] == [answer.tokens[:3] for answer in alone]
    assert main([*words, *PROMPTS]) == 0
    assert [line[:4] for line in capsys.readouterr().out.splitlines()] == ["[0] ", "[1] ", "[2] "]


def test_the_plan_of_a_batch(served: Deployment, capsys: Any) -> None:
    facts = bundle.read(served.model)
    words = ["plan", str(served.shared), "--prompt", "20", "--generated", "2", "--batch", "3"]
    shape = SessionShape("generate", 24, 1, 3)
    *reading, _, declared = [ctx.tally.total() for ctx in count(facts.layout, shape, 4)]
    assert len(reading) == facts.layout.passes(shape) == 2
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["batch"], document["rounds"]) == (3, declared.rounds)
    assert document["online_bytes"] == declared.online
    assert document["offline_bytes"] == declared.prep0 + declared.prep1
    assert document["prompt"]["online_bytes"] == sum(cost.online for cost in reading)
    assert main(words) == 0
    assert "of each of 3 prompts" in " ".join(capsys.readouterr().out.split())
