"""Answers of real processes over TLS equal float32's, and what they took equals what was declared."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import toy
from deployment import Deployment, of_processes

from privinf.errors import InputError
from privinf.local import LocalParties
from privinf.models.programs import query
from privinf.models.sharing import bundle
from privinf.protocols.contract import QueryShape

pytestmark = pytest.mark.processes
CLOSE = 0.9999  # cosine to float32
LONG = ["a storm is near, we reef; ", "so it was written: "]


def _cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.asarray((first * second).sum(axis=-1))


def test_private_weights(private: Deployment) -> None:
    texts = [*toy.TEXTS, LONG[0] * 3]  # several length buckets
    with private.client() as client:
        answer = client.embed(texts)
    assert answer.vectors.shape == (len(texts), 32)
    assert _cosines(answer.vectors, toy.clear(private.source, texts)).min() > CLOSE


def test_what_a_query_takes_is_what_was_declared(private: Deployment) -> None:
    texts = ["one ship", "two winds", "calm wind"]
    facts = bundle.read(private.model)
    with private.client() as client:
        stats = client.embed(texts).stats
    declared = query.count(facts.layout, QueryShape("embed", 3, 16)).tally.total()
    assert (stats.queries, stats.rounds) == (1, declared.rounds)
    assert stats.online_bytes == declared.online
    assert stats.offline_bytes == declared.prep0 + declared.prep1


def test_public_weights(encoder: Path, tmp_path: Path) -> None:
    shared = toy.share(encoder, tmp_path / "shared", "public")
    with (
        LocalParties(shared, tmp_path / "run") as local,
        of_processes(encoder, shared, local).client() as client,
    ):
        vectors = client.embed(toy.TEXTS).vectors
    assert _cosines(vectors, toy.clear(encoder, toy.TEXTS)).min() > CLOSE


def test_classes(tmp_path: Path) -> None:
    source = toy.checkpoint(tmp_path / "toy", head=True)
    shared = toy.share(source, tmp_path / "shared")
    with (
        LocalParties(shared, tmp_path / "run") as local,
        of_processes(source, shared, local).client() as client,
    ):
        answer = client.classify(toy.TEXTS)
        with pytest.raises(InputError, match="for classify, not for embed"):
            client.embed(toy.TEXTS)
    logits = toy.clear(source, toy.TEXTS)
    assert np.abs(answer.logits - logits).max() < 0.01
    assert answer.labels == tuple(toy.LABELS[i] for i in logits.argmax(axis=-1))


def test_asyncio_asks_more_at_once_than_the_parties_take(private: Deployment) -> None:
    async def ask() -> list[np.ndarray]:
        async with private.async_client() as client:
            answers = await asyncio.gather(*(client.embed(["a b"], timeout=200) for _ in range(32)))
            return [answer.vectors[0] for answer in answers]

    vectors = np.stack(asyncio.run(ask()))
    assert np.abs(vectors - vectors[0]).max() < 0.01


def test_asyncio_asks_side_by_side(private: Deployment) -> None:
    async def ask() -> list[np.ndarray]:
        async with private.async_client() as client:
            answers = await asyncio.gather(*(client.embed([text]) for text in toy.TEXTS))
            return [answer.vectors[0] for answer in answers]

    vectors = np.stack(asyncio.run(ask()))
    assert _cosines(vectors, toy.clear(private.source, toy.TEXTS)).min() > CLOSE


def test_a_cancelled_task_leaves_the_parties_serving(private: Deployment) -> None:
    async def ask() -> np.ndarray:
        async with private.async_client() as client:
            task = asyncio.create_task(client.embed([LONG[0] * 4, LONG[1] * 5]))
            while not any([status.sessions for status in await client.status()]):
                assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return (await client.embed(["calm"])).vectors

    vectors = asyncio.run(ask())
    assert _cosines(vectors, toy.clear(private.source, ["calm"])).min() > CLOSE
