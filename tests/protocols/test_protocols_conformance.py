"""The protocols that there are conform: masked wires with a dealer, and three parties that add without one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adding import TASK, Adder

from privinf.protocols.contract import Channel, DealerProgram, PartyProgram, QueryShape, Stock, StockSizes
from privinf.protocols.ring import U64
from privinf.protocols.testing.programs import ProtocolSuite


class TestThreeThatAdd(ProtocolSuite):
    """No dealer, three parties, and sums of sixteen rows."""

    shape = QueryShape(TASK, 16, 3)
    adder: type[Adder] = Adder

    def programs(self) -> tuple[Sequence[PartyProgram], DealerProgram | None]:
        return [self.adder(index).program() for index in range(3)], None

    def queries(self) -> Sequence[U64]:
        rows = ([0, 0, 0], [2**64 - 1] * 3, [1, 2**63, 7])
        return [np.array([numbers] * 16, np.uint64) for numbers in rows]

    def share(self, query: U64) -> Sequence[bytes]:
        first, second = (np.frombuffer(os.urandom(query.nbytes), np.uint64) for _ in range(2))
        rest = query.reshape(-1) - first - second
        return [part.tobytes() for part in (first, second, rest)]

    def right(self, query: U64, answers: Sequence[bytes]) -> None:
        total = sum(np.frombuffer(answer, np.uint64) for answer in answers)
        np.testing.assert_array_equal(total, query.sum(axis=1, dtype=np.uint64))


class Half(Adder):
    """Masks that are short of range."""

    def draw(self, nbytes: int) -> bytes:
        return bytes(byte >> 1 for byte in super().draw(nbytes))


class Constant(Adder):
    """Masks that come again."""

    def draw(self, nbytes: int) -> bytes:
        return hashlib.shake_128(bytes([self.index])).digest(nbytes)


class Wrong(Adder):
    """One too many at party 2."""

    def evaluate(self, shape: QueryShape, query: memoryview, stock: Stock | None, channel: Channel) -> bytes:
        share = np.frombuffer(super().evaluate(shape, query, stock, channel), np.uint64)
        return (share + np.uint64(self.index == 2)).tobytes()


class Greedy(Adder):
    """Says that it prepares what it does not."""

    def stock_sizes(self, shape: QueryShape) -> StockSizes:
        return StockSizes(8)


class Talkative(Adder):
    """Sends the numbers' length: a round more where a share is odd."""

    def evaluate(self, shape: QueryShape, query: memoryview, stock: Stock | None, channel: Channel) -> bytes:
        answer = super().evaluate(shape, query, stock, channel)
        links = [channel.to(peer) for peer in range(3) if peer != self.index]
        for link in links:
            link.push(bytes(1 + len(self.used) % 2))
        for link in links:
            link.pull([1 + len(self.used) % 2])
        return answer


@pytest.mark.parametrize(
    ("adder", "test"),
    [
        (Half, "test_messages_are_uniform"),
        (Constant, "test_no_randomness_serves_twice"),
        (Wrong, "test_answers_are_right"),
        (Greedy, "test_answers_are_right"),
        (Talkative, "test_messages_say_nothing_of_the_query"),
    ],
)
def test_what_does_not_conform_is_found(adder: type[Adder], test: str) -> None:
    suite = TestThreeThatAdd()
    suite.adder = adder
    with pytest.raises(AssertionError):
        getattr(suite, test)()


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Share a tiny model once; return it, and where its folders are."""
    pytest.importorskip("torch")
    from tiny import load_tiny, write_model

    folder = tmp_path_factory.mktemp("masked")
    out = folder / "shared"
    return load_tiny(write_model(folder / "model", "embed")).share(out, "private"), out


class TestMasked(ProtocolSuite):
    """A tiny encoder on masked wires: private weights, and texts that fill the shape or are a word."""

    shape = QueryShape("embed", 1, 8)
    model: Any
    out: Path

    @pytest.fixture(autouse=True)
    def _given(self, masked: tuple[Any, Path]) -> None:
        self.model, self.out = masked

    def programs(self) -> tuple[Sequence[PartyProgram], DealerProgram | None]:
        from privinf.models.sharing.bundle import dealer_program, party_program

        parties = [party_program(self.out / f"party{index}", index) for index in (0, 1)]
        return parties, dealer_program(self.out / "dealer")

    def queries(self) -> Sequence[Any]:
        ids = self.model.tiny.tokenizer.encode(["they were not", "z"])
        return [self.model.rows(self.shape, [row]) for row in ids]

    def share(self, query: Any) -> Sequence[bytes]:
        client = self.model.client
        parts: Sequence[bytes] = client.scheme.share(client.layout.form(self.shape), query.values)
        return parts

    def right(self, query: Any, answers: Sequence[bytes]) -> None:
        from privinf.models.programs.texts import decode
        from privinf.models.sharing import calibrate

        client = self.model.client
        total = client.scheme.add_up(client.layout.result(self.shape), answers)
        (row,) = decode(client.layout, self.shape, query, total)
        tiny = self.model.tiny
        ids = [query.tokens[0, query.real[0]].astype(np.int32)]
        (clear,) = calibrate.clear_answers(tiny.spec, tiny.folded, ids)
        assert float(row @ clear / np.linalg.norm(row) / np.linalg.norm(clear)) > 0.999
