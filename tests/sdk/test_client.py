"""The SDK against servers of this process: without torch, in the texts' order, with honest counts."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from deployment import Deployment, in_this_process

from privinf import AsyncClient, Client, Tls
from privinf.errors import ConfigError, ConnectError, InputError, ModelError, OptionError
from privinf.models.text.tokenizer import Tokenizer, bucket
from privinf.sdk.encoder_client import MAX_TOKENS
from privinf.sdk.options import Reading

TEXTS = ["whales", "a storm is near, and so is the reef", "calm", "the sea is deep, and so is the night"]
WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "typer", "prometheus_client"):
    sys.modules[name] = None  # importing it fails
import json
from privinf import Client
model, config, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
with Client(model, config=config) as client:
    answer = client.embed(texts)
print(json.dumps(answer.vectors.tolist()))
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return an embedding model with private weights, served."""
    folder = tmp_path_factory.mktemp("served")
    source = toy.checkpoint(folder / "toy")
    with in_this_process(source, toy.share(source, folder / "shared"), folder) as deployment:
        yield deployment


def _agree(vectors: np.ndarray, served: Deployment, texts: list[str]) -> bool:
    return bool(((vectors * toy.clear(served.source, texts)).sum(axis=-1) > 0.9999).all())


def test_a_whole_query_without_torch(served: Deployment, tmp_path: Path) -> None:
    words = [str(served.model), served.toml(tmp_path / "client.toml"), json.dumps(TEXTS)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert _agree(np.array(json.loads(done.stdout)), served, TEXTS)


def test_answers_come_in_the_order_of_the_texts(served: Deployment) -> None:
    told = list[int]()
    with served.client() as client:
        answer = client.embed(TEXTS, progress=told.append)
    assert _agree(answer.vectors, served, TEXTS)
    assert len(answer) == sum(told) == len(TEXTS)
    buckets = {bucket(len(ids)) for ids in Tokenizer(served.model).encode(TEXTS)}
    assert 1 < len(buckets) < len(TEXTS)
    assert answer.stats.queries == len(told) == len(set(answer.stats.session_ids)) == len(buckets)


def test_more_texts_than_fit_one_query(served: Deployment) -> None:
    texts = [f"{letter} ship, a {letter}" for letter in toy.LETTERS[:26]]
    with served.client() as client:
        answer = client.embed(texts)
    at_most = MAX_TOKENS // 16
    assert answer.stats.queries == -(-len(texts) // at_most)
    assert _agree(answer.vectors, served, texts)


def test_usage_adds_up(served: Deployment) -> None:
    with served.client() as client:
        one, two = client.embed(["whales"]).stats, client.embed(["whales", TEXTS[1]]).stats
        other = client.embed([TEXTS[1]]).stats
    for name in ("queries", "rounds", "online_bytes", "offline_bytes", "query_bytes"):
        assert asdict(one)[name] + asdict(other)[name] == asdict(two)[name], name
    assert one.seconds > one.online_seconds > 0


def test_the_same_text_is_never_sent_the_same_way(served: Deployment) -> None:
    with served.client() as client:
        request = next(client._backend._asked("embed").requests("embed", ["whales"], Reading()))
        (seed, rest), (again, other) = (
            client._backend._asked("embed").shares(request),
            client._backend._asked("embed").shares(request),
        )
    assert seed != again
    assert rest != other


def test_what_is_printed_holds_no_text_and_no_answer(served: Deployment) -> None:
    with served.client() as client:
        answer = client.embed(["whales"])
        request = next(client._backend._asked("embed").requests("embed", ["whales"], Reading()))
    assert "vectors" not in repr(answer)
    assert "rows" not in repr(request)
    assert str(served.tls.key) not in repr(served.tls)


@pytest.mark.parametrize("bad", [None, [""], ["calm", " "], ["a " * toy.MAX_TOKENS]])
def test_bad_texts_are_refused_before_anything_is_sent(served: Deployment, bad: list[str]) -> None:
    client = served.client(parties=("127.0.0.1:1", "127.0.0.1:1"))  # nobody is there
    with pytest.raises(InputError):
        client.embed(bad)
    with pytest.raises(InputError):
        client.check(bad)
    client.close()


def test_a_client_can_be_used_without_with_and_closed_twice(served: Deployment) -> None:
    client = served.client()
    assert len(client.embed(["calm"])) == 1
    client.close()
    client.close()
    with pytest.raises(ConnectError, match="closed"):
        client.embed(["calm"])


def test_asyncio(served: Deployment) -> None:
    async def ask() -> np.ndarray:
        async with served.async_client() as client:
            with pytest.raises(InputError):
                await client.embed([""])
            assert [status.role for status in await client.status()] == ["party0", "party1"]
            return (await client.embed(TEXTS)).vectors

    assert _agree(asyncio.run(ask()), served, TEXTS)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_two_parties_are_needed(served: Deployment, kind: type[Client | AsyncClient]) -> None:
    with pytest.raises(ConfigError, match="two addresses are needed"):
        kind(served.model, parties=["127.0.0.1:1"], tls=served.tls)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("slip", "meant"), [("partys", "parties"), ("configuration", "config"), ("dead_line", "deadline")]
)
def test_a_slip_of_a_keyword_is_named_with_what_was_meant(
    tmp_path: Path, kind: type[Client | AsyncClient], slip: str, meant: str
) -> None:
    given: Any = {slip: "x"}
    with pytest.raises(
        OptionError, match=f"{slip} is no option here: mode, parties, .* are; did you mean {meant}"
    ):
        kind(tmp_path, **given)


def test_certificates_are_needed(served: Deployment) -> None:
    with pytest.raises(ConfigError, match="certificates are missing"):
        Client(served.model, parties=served.addresses)


def test_arguments_win_over_the_environment_and_that_over_the_file(
    served: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = tmp_path / "lost.pem"
    config = served.toml(tmp_path / "c.toml", tls=Tls(lost, lost, lost), addresses=("nowhere:1", "nowhere:2"))
    monkeypatch.setenv("PRIVINF_PARTIES", ",".join(served.addresses))
    monkeypatch.setenv("PRIVINF_CA", str(served.tls.ca))
    with Client(served.model, config=config, tls={"cert": served.tls.cert, "key": served.tls.key}) as client:
        assert len(client.embed(["calm"])) == 1


def test_a_model_of_a_role_that_asks_nothing(served: Deployment) -> None:
    with pytest.raises(ModelError, match=r"is dealer's folder, not client's"):
        Client(served.shared / "dealer", parties=served.addresses, tls=served.tls)
