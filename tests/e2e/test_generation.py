"""Texts of decoders through real servers: what float32 says, however it is asked for, and what ends them."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count as counted
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import tiny_decoder as tiny
import toy
from deployment import DEADLINE, Deployment, in_this_process

from privinf.drafts.speculation import Tree
from privinf.errors import ConfigError, InputError
from privinf.models.programs import wire
from privinf.models.programs.passes import count
from privinf.models.programs.wire import Form, Values, split
from privinf.models.sharing import bundle
from privinf.options import Sampling
from privinf.protocols.contract import SessionShape
from privinf.sampling import Sampler
from privinf.sdk.client import Client
from privinf.sdk.completions import Completion

CERTAIN = tiny.TEXTS[2]  # the Llama's likeliest tokens are well ahead of the others
CERTAIN_GPT2 = tiny.TEXTS[3]
COUNT = 10


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return a Llama of one layer for conversations, weights and embeddings private, served."""
    folder = tmp_path_factory.mktemp("llama")
    source = tiny.checkpoint(folder / "tiny", "llama", chat=True, layers=1, seed=2)
    yield from _served(source, folder)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return a GPT-2 whose weights are public, served."""
    folder = tmp_path_factory.mktemp("gpt2")
    yield from _served(tiny.checkpoint(folder / "tiny", "gpt2"), folder, mode="public")


def _served(source: Path, folder: Path, **options: Any) -> Iterator[Deployment]:
    with in_this_process(source, tiny.share(source, folder / "shared", **options), folder) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def clear(llama: Deployment) -> tiny.Clear:
    return tiny.Clear(llama.source, llama.shared)


@pytest.fixture(scope="module")
def client(llama: Deployment) -> Iterator[Client]:
    with llama.client() as client:
        yield client


@pytest.fixture(scope="module")
def likeliest(clear: tiny.Clear) -> list[int]:
    """Return what float32 says to the certain prompt."""
    assert clear.lead(CERTAIN, COUNT) > 2 * tiny.NEAR
    return clear.greedy(CERTAIN, COUNT)


def _idle(client: Client) -> bool:
    return [status.sessions for status in client.status()] == [0, 0]


def _until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("prompt", [*tiny.TEXTS, "a" * 70])
def test_what_float32_says(client: Client, clear: tiny.Clear, prompt: str) -> None:
    answer = client.generate(prompt, max_new_tokens=6)
    assert clear.agrees(prompt, answer.tokens)
    assert answer.finish_reason == ("eos" if answer.tokens[-1] == tiny.ENDS["eos_token_id"] else "length")
    assert answer.text == clear.side.tokenizer.decode(answer.tokens)


@pytest.mark.slow
def test_with_public_weights(gpt2: Deployment) -> None:
    clear = tiny.Clear(gpt2.source, gpt2.shared)
    assert clear.lead(CERTAIN_GPT2, COUNT) > 2 * tiny.NEAR
    with gpt2.client() as client:
        assert client.generate(CERTAIN_GPT2, max_new_tokens=COUNT).tokens == tuple(
            clear.greedy(CERTAIN_GPT2, COUNT)
        )
        answer = client.generate(tiny.TEXTS[0], max_new_tokens=4, draft="lookup", drafts=2)
        assert clear.agrees(tiny.TEXTS[0], answer.tokens)
        knows = Branches(len(clear.ids(CERTAIN_GPT2)), clear.greedy(CERTAIN_GPT2, COUNT))
        answer = client.generate(CERTAIN_GPT2, max_new_tokens=COUNT, draft=knows, drafts=3)
        assert answer.tokens == tuple(clear.greedy(CERTAIN_GPT2, COUNT))
        assert answer.stats.passes < COUNT
        assert client.generate(CERTAIN_GPT2, max_new_tokens=3, secure_argmax=True).tokens == tuple(
            clear.greedy(CERTAIN_GPT2, 3)
        )
        with pytest.raises(ConfigError, match=r"holds no conversations.*use generate"):
            client.chat([{"role": "user", "content": "calm"}])


@pytest.mark.slow
@pytest.mark.parametrize("embeddings", ["private", "public"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_private_weights_behind_a_prefix(tmp_path: Path, family: tiny.Family, embeddings: str) -> None:
    options = {"prefix": "it was so: ", "embeddings": embeddings, "max_tokens": 64}
    for deployment in _served(tiny.checkpoint(tmp_path / "tiny", family), tmp_path, **options):
        clear = tiny.Clear(deployment.source, deployment.shared)
        with deployment.client() as client:
            answer = client.generate(CERTAIN, max_new_tokens=4)
            knows = Branches(len(clear.ids(CERTAIN)), answer.tokens)
            drafted = client.generate(CERTAIN, max_new_tokens=4, draft=knows, drafts=3)
        assert clear.agrees(CERTAIN, answer.tokens)
        assert clear.agrees(CERTAIN, drafted.tokens)
        assert drafted.stats.accepted
        for role in ("party0", "party1"):
            known = deployment.shared / role / "embed.safetensors"
            assert known.exists() == (embeddings == "public")
        assert not (deployment.model / "embed.safetensors").exists()


@pytest.mark.slow
def test_keys_that_select_no_row_end_the_session_and_no_other(
    client: Client, clear: tiny.Clear, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that changes one word of a later pass is told why, and both servers go on."""
    passes = counted()

    def changed(form: Form, values: Values) -> tuple[bytes, bytes]:
        first, second = split(form, values)
        return first, bytes([second[0] ^ (next(passes) > 0), *second[1:]])

    with monkeypatch.context() as patched:
        patched.setattr(wire, "split", changed)
        with pytest.raises(InputError, match="does not select one row"):
            client.generate(CERTAIN, max_new_tokens=4)
    _until(lambda: _idle(client))
    assert clear.agrees(CERTAIN, client.generate(CERTAIN, max_new_tokens=2).tokens)


def test_a_stream(client: Client, likeliest: list[int]) -> None:
    with client.stream(CERTAIN, max_new_tokens=6) as stream:
        tokens = list(stream)
    assert [token.id for token in tokens if token.id is not None] == likeliest[:6]
    assert "".join(token.text for token in tokens) == stream.completion.text
    assert [token.stats.tokens for token in tokens[:6]] == list(range(1, 7))
    assert stream.completion.finish_reason == "length"


def test_what_a_pass_takes_is_what_was_declared(llama: Deployment, client: Client) -> None:
    facts = bundle.read(llama.model)
    shape = SessionShape("generate", 32, 1)
    declared = [ctx.tally.total() for ctx in count(facts.layout, shape, 3)]
    stats = client.generate(CERTAIN, max_new_tokens=3).stats
    assert (stats.passes, stats.tokens) == (3, 3)
    assert stats.rounds == sum(cost.rounds for cost in declared)
    assert stats.online_bytes == sum(cost.online for cost in declared)
    assert stats.offline_bytes == sum(cost.prep0 + cost.prep1 for cost in declared)


@pytest.mark.slow
def test_a_conversation(client: Client, clear: tiny.Clear) -> None:
    messages = [{"role": "user", "content": "calm?"}, {"role": "assistant", "content": "so it is."}]
    messages.append({"role": "user", "content": "why?"})
    answer = client.chat(messages, max_new_tokens=4)
    assert clear.agrees(clear.side.conversation(messages), answer.tokens)
    with pytest.raises(InputError, match="is not the one that the model was shared with"):
        client.chat([{"role": "system", "content": "be calm."}, *messages])


@pytest.mark.slow
def test_raw_text_and_token_ids(client: Client, clear: tiny.Clear) -> None:
    ids = clear.side.prompt("calm", raw=True)
    assert clear.agrees(ids, client.generate("calm", raw=True, max_new_tokens=3).tokens)
    assert clear.agrees(ids, client.generate(ids, max_new_tokens=3).tokens)


def test_a_stop_sequence(client: Client, likeliest: list[int]) -> None:
    text = "".join(tiny.TOKENS[token] for token in likeliest)
    answer = client.generate(CERTAIN, max_new_tokens=COUNT, stop=[text[2:4]])
    assert (answer.text, answer.finish_reason) == (text[:2], "stop")
    assert answer.tokens == tuple(likeliest[:4])
    _until(lambda: _idle(client))


@pytest.mark.slow
def test_the_token_that_ends_a_text(llama: Deployment, likeliest: list[int], tmp_path: Path) -> None:
    other = Path(shutil.copytree(llama.model, tmp_path / "client"))
    (other / "generation_config.json").write_text(json.dumps({"eos_token_id": likeliest[3]}))
    with Client(other, parties=llama.addresses, tls=llama.tls, deadline=DEADLINE) as client:
        answer = client.generate(CERTAIN, max_new_tokens=COUNT)
        _until(lambda: _idle(client))
    assert (answer.finish_reason, answer.tokens) == ("eos", tuple(likeliest[:4]))
    assert answer.text == "".join(tiny.TOKENS[token] for token in likeliest[:3])


@pytest.mark.slow
def test_secure_argmax_is_greedy(client: Client, likeliest: list[int]) -> None:
    assert client.generate(CERTAIN, max_new_tokens=5, secure_argmax=True).tokens == tuple(likeliest[:5])
    with pytest.raises(InputError, match="secure_argmax only gives the most likely token"):
        client.generate(CERTAIN, secure_argmax=True, temperature=1.0)


class Knows:
    """A draft that foretells an answer, and errs at every third token."""

    def __init__(self, prompt: int, answer: Sequence[int]) -> None:
        self._prompt, self._answer = prompt, [*answer, *[0] * 8]

    def propose(self, ids: Sequence[int], count: int) -> Sequence[int]:
        at = len(ids) - self._prompt
        return [0 if place % 3 == 2 else self._answer[place] for place in range(at, at + count)]


@pytest.mark.slow
@pytest.mark.parametrize("argmax", [False, True])
def test_drafts_change_nothing(client: Client, clear: tiny.Clear, likeliest: list[int], argmax: bool) -> None:
    knows = Knows(len(clear.ids(CERTAIN)), likeliest)
    answer = client.generate(CERTAIN, max_new_tokens=COUNT, draft=knows, drafts=3, secure_argmax=argmax)
    assert answer.tokens == tuple(likeliest)
    assert 0 < answer.stats.accepted < answer.stats.drafted
    assert answer.stats.passes < COUNT


@pytest.mark.slow
@pytest.mark.parametrize("argmax", [False, True])
def test_drafts_from_the_prompt_change_nothing(client: Client, likeliest: list[int], argmax: bool) -> None:
    answer = client.generate(CERTAIN, max_new_tokens=5, draft="lookup", drafts=2, secure_argmax=argmax)
    assert answer.tokens == tuple(likeliest[:5])


class Branches(Knows):
    """The same, but of two guesses the second is the right one, and behind it a third."""

    def grow(self, ids: Sequence[int], count: int) -> Tree:
        right = super().propose(ids, 2)
        return Tree((right[0] ^ 1, right[0], right[1])[:count], (0, 0, 2)[:count])


@pytest.mark.slow
@pytest.mark.parametrize("argmax", [False, True])
def test_branches_change_nothing(
    client: Client, clear: tiny.Clear, likeliest: list[int], argmax: bool
) -> None:
    knows = Branches(len(clear.ids(CERTAIN)), likeliest)
    answer = client.generate(CERTAIN, max_new_tokens=COUNT, draft=knows, drafts=3, secure_argmax=argmax)
    assert answer.tokens == tuple(likeliest)
    assert answer.stats.accepted > 0
    assert answer.stats.passes < COUNT
    if not argmax:
        hidden = client.generate(CERTAIN, max_new_tokens=5, draft=knows, drafts=3, hide_accepted=True)
        assert hidden.tokens == tuple(likeliest[:5])


@pytest.mark.slow
def test_a_tree_that_changes_its_form_is_refused(client: Client) -> None:
    class Telling(Knows):
        def grow(self, ids: Sequence[int], count: int) -> Tree:
            return Tree((1, 2), (0, len(ids) % 2))

    with pytest.raises(InputError, match="trees of one form"):
        client.generate(CERTAIN, max_new_tokens=COUNT, draft=Telling(0, []), drafts=2)
    _until(lambda: _idle(client))


@pytest.mark.slow
def test_draws_are_the_same_with_drafts(client: Client, clear: tiny.Clear) -> None:
    options: dict[str, Any] = {"temperature": 0.8, "top_k": 6, "repetition_penalty": 1.1}
    seed, drawn = _robust(clear, options, 6)
    plain = client.generate(CERTAIN, max_new_tokens=6, seed=seed, **options)
    drafted = client.generate(CERTAIN, max_new_tokens=6, seed=seed, draft="lookup", drafts=3, **options)
    assert plain.tokens == drafted.tokens == drawn


def _robust(clear: tiny.Clear, options: dict[str, Any], count: int) -> tuple[int, tuple[int, ...]]:
    """A seed of which small errors of the logits make no other draws, and those draws."""
    noise = np.random.default_rng(2)

    def draws(seed: int, size: float) -> tuple[int, ...]:
        sampler, known = Sampler(Sampling(seed=seed, **options)), clear.ids(CERTAIN)
        for _ in range(count):
            row = clear.logits(known)[0]
            known.append(sampler.choose(row + noise.uniform(-size, size, row.shape), known))
        return tuple(known[-count:])

    for seed in range(100):
        drawn = draws(seed, 0.0)
        ends = tiny.ENDS["eos_token_id"] in drawn
        if not ends and all(draws(seed, tiny.NEAR / 2) == drawn for _ in range(6)):
            return seed, drawn
    raise AssertionError("no seed is robust")


@pytest.mark.parametrize(
    ("prompt", "options", "said"),
    [
        ("", {}, "the prompt is empty"),
        ([], {}, "the prompt is empty"),
        ("", {"raw": True}, "the prompt is empty"),
        ("a" * 200, {}, r"the prompt has 201 tokens, and 128 fit .*--max-tokens"),
        ("calm", {"max_new_tokens": 0}, "max_new_tokens must be 1 or more, not 0"),
        ("calm", {"max_new_tokens": -1}, "max_new_tokens must be 1 or more, not -1"),
        ([3, len(tiny.TOKENS)], {}, "place 1 of the prompt is not a token"),
        ([-1], {}, "place 0 of the prompt is not a token"),
        ([True], {}, "place 0 of the prompt is not a token"),
        ("calm", {"draft": "guess"}, "no draft 'guess'; choose one of none, lookup"),
        ("calm", {"draft": "lookup", "drafts": 32}, "drafts must be 0 to 31"),
        ("calm", {"stop": [""]}, "none of them empty"),
        ("calm", {"temperature": -1.0}, "temperature must be 0"),
        ("\ud800", {"raw": True}, "half of a surrogate pair"),
    ],
)
def test_what_cannot_be_asked(client: Client, prompt: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        client.generate(prompt, **options)
    _until(lambda: _idle(client))


def test_the_other_kind_of_model(client: Client, tmp_path: Path) -> None:
    for ask in (client.embed, client.classify):
        with pytest.raises(InputError, match=r"for generate, not for (embed|classify): use generate or chat"):
            ask(["calm"])
    source = toy.checkpoint(tmp_path / "toy")
    shared = toy.share(source, tmp_path / "shared")
    encoder = Client(shared / "client", parties=("127.0.0.1:1", "127.0.0.1:2"), insecure_no_tls=True)
    with pytest.raises(InputError, match="this model is for embed, not for generate: use embed"):
        encoder.generate("calm")
    with pytest.raises(InputError, match="this model is for embed"):
        encoder.chat([{"role": "user", "content": "calm"}])
    encoder.close()


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("how", ["close", "with", "forget"])
def test_leaving_a_stream_frees_both_parties(client: Client, likeliest: list[int], how: str) -> None:
    stream = client.stream(CERTAIN, max_new_tokens=100)
    assert next(stream).id == likeliest[0]
    assert not _idle(client)
    if how == "close":
        stream.close()
    elif how == "with":
        with stream:
            next(stream)
    else:
        del stream
    _until(lambda: _idle(client))
    assert client.generate(CERTAIN, max_new_tokens=2).tokens == tuple(likeliest[:2])


@pytest.mark.slow
def test_asyncio(llama: Deployment, client: Client, likeliest: list[int]) -> None:
    async def ask() -> tuple[list[int | None], Completion]:
        async with llama.async_client() as other:
            async with other.stream(CERTAIN, max_new_tokens=50) as stream:
                some = [token.id async for token in _first(stream, 3)]
            said = [{"role": "user", "content": "calm"}]
            streamed = [token.id async for token in other.stream_chat(said, max_new_tokens=3)]
            assert [x for x in streamed if x is not None] == list(
                (await other.chat(said, max_new_tokens=3)).tokens
            )
            task = asyncio.create_task(other.generate(CERTAIN, max_new_tokens=50))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return some, await other.generate(CERTAIN, max_new_tokens=3)

    some, whole = asyncio.run(ask())
    assert some == likeliest[:3] == list(whole.tokens)
    _until(lambda: _idle(client))


async def _first(stream: Any, count: int) -> Any:
    async for token in stream:
        yield token
        count -= 1
        if not count:
            return
