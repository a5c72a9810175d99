"""Ways to look a token up in a private table, beside each other: bytes of client and parties, rounds, seconds."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import machine
from benchmarks.harness.pass_costs import spread
from benchmarks.report.table import grid
from privinf.models.engines.stores import DealerStore, PartyStore, mask_tensor
from privinf.models.plan.scales import POST
from privinf.models.programs.keys import KeyForm
from privinf.protocols import kernels, prg, ring
from privinf.protocols.kernels.prg import BLOCK
from privinf.protocols.masked.gates.linear import MatMul
from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.party import Party
from privinf.protocols.masked.wires import Share, map_share, narrow, subtract
from privinf.protocols.ring import U64
from privinf.protocols.testing import lockstep

WIDTH, VOCABULARIES = 576, (32_000, 49_152)
EMBED_BITS, RESIDUAL_BITS = 19, 48  # rings of SmolLM2's plan
TABLE, SHARING = "embed.token", "benchmark"
Program = Callable[..., Share]


@dataclass(frozen=True)
class Table:
    """A random table as each role holds it, its rows laid out `beside` each other."""

    value: U64  # (rows, columns)
    beside: int
    stores: tuple[PartyStore, PartyStore, DealerStore]

    @classmethod
    def of(cls, table: U64, beside: int) -> Table:
        """Masked, and warm as a server's is."""
        rows = -(-len(table) // beside)
        padded = np.zeros((rows * beside, table.shape[1]), dtype=np.uint64)
        padded[: len(table)] = table
        laid = padded.reshape(rows, beside * table.shape[1])
        seeds = prg.fresh_seed(), prg.fresh_seed()
        opened = {TABLE: mask_tensor(laid, seeds, SHARING, TABLE)}
        parties = [PartyStore(opened, seed, SHARING, lambda _: POST.embed) for seed in seeds]
        for party, store in enumerate(parties):
            store.warm(party)
        dealer = DealerStore({TABLE: laid.shape}, seeds, SHARING, lambda _: POST.embed)
        dealer.warm()
        return cls(laid, beside, (parties[0], parties[1], dealer))


@dataclass(frozen=True)
class Case:
    """One construction: its program, the client's message to both parties, what the client shares additively."""

    name: str
    program: Program
    inputs: list[Share]
    client_bytes: tuple[int, int]


def additive(table: Table, token: int) -> Case:
    """The client shares the whole one-hot: party 0 is sent a seed."""
    rows = len(table.value)

    def program(ctx: Interpreter, onehot: Share) -> Share:
        row = ctx.run(MatMul(), ctx.open(onehot), ctx.weight(TABLE))
        return _lifted(ctx, row)

    share = _onehot(rows, token)
    return Case("additive one-hot", program, [share], (prg.SEED_BYTES, _packed(share)))


def point(table: Table, token: int) -> Case:
    """What is shipped: a point-function key, and a bit that says whether the parties' bits differ by minus one."""
    rows = len(table.value)
    spread_, sign = _point(rows, token)

    def program(ctx: Interpreter, shared_bit: Share) -> Share:
        onehot, negated = ctx.open(spread_(ctx)), ctx.open(shared_bit)
        row = ctx.open(narrow(ctx.run(MatMul(), onehot, ctx.weight(TABLE)), EMBED_BITS))
        twice = ctx.run(Product(RESIDUAL_BITS), negated, row)
        row_share = ctx.run(Product(RESIDUAL_BITS), row)
        return _held(ctx, subtract(row_share, map_share(twice, twice.shape, lambda v: v * np.uint64(2))))

    share = Share((1, 1, 1), 1, 0, (sign.view(np.int64) < 0).astype(np.uint64))
    words = prg.QUERY_ID_BYTES + KeyForm(TABLE, (1, 1), rows).words_bytes
    return Case(
        "point-function key", program, [share], (prg.SEED_BYTES + words, words + BLOCK + _packed(share))
    )


def two_levels(table: Table, token: int) -> Case:
    """A one-hot chooses a block of rows, which is opened again, and a second one the row within it."""
    rows, beside = len(table.value), table.beside
    width = table.value.shape[1] // beside
    spread_, sign = _point(rows, token // beside)
    inner = _onehot(beside, token % beside, int(np.int64(sign.reshape(-1)[0].view(np.int64))))

    def program(ctx: Interpreter, second: Share) -> Share:
        chosen, onehot = ctx.open(second), ctx.open(spread_(ctx))
        block = narrow(ctx.run(MatMul(), onehot, ctx.weight(TABLE)), EMBED_BITS)
        shaped = ctx.open(map_share(block, (1, beside, width), lambda v: v.reshape(1, beside, width)))
        return _lifted(ctx, ctx.run(MatMul(), chosen, shaped))

    words = prg.QUERY_ID_BYTES + KeyForm(TABLE, (1, 1), rows).words_bytes
    sent = prg.SEED_BYTES + words, words + BLOCK + _packed(inner)
    return Case(f"two levels, {rows} x {beside}", program, [inner], sent)


def _point(rows: int, token: int) -> tuple[Callable[[Interpreter], Share], U64]:
    """Expands a party's share of plus or minus a one-hot, and that sign."""
    roots = tuple(prg.roots(prg.fresh_seed(), "roots", 1) for _ in range(2))
    tree = prg.sent_tree(prg.fresh_query_id(), "token")
    words, leaf = kernels.default().dpf_gen(
        tree, np.array([token], dtype=np.uint64), ring.index_bits(rows), *roots
    )

    def expand(ctx: Interpreter) -> Share:
        share = Share((1, 1, rows), EMBED_BITS, 0)
        if isinstance(ctx, Party):
            points = np.arange(rows, dtype=np.uint64)[:, None]
            bits = kernels.default().dpf_bit(
                tree, ctx.index, roots[ctx.index], words, ring.index_bits(rows), points
            )
            own = np.ascontiguousarray(bits.T).astype(np.uint64)[None]
            share.data = np.uint64(0) - own if ctx.index else own
        return share

    return expand, (np.uint64(2) * leaf.astype(np.uint64) - np.uint64(1)).reshape(1, 1, 1)


def _onehot(size: int, place: int, value: int = 1) -> Share:
    data = np.zeros((1, 1, size), dtype=np.uint64)
    data[0, 0, place] = np.int64(value).view(np.uint64)
    return Share(data.shape, EMBED_BITS, 0, ring.low(data, EMBED_BITS))


def _packed(share: Share) -> int:
    return ring.packed_bytes(ring.size_of(share.shape), share.bits)


def _lifted(ctx: Interpreter, row: Share) -> Share:
    return _held(ctx, ctx.run(Product(RESIDUAL_BITS), ctx.open(narrow(row, EMBED_BITS))))


def _held(ctx: Interpreter, share: Share) -> Share:
    ctx.flush()
    return share


def measure(case: Case, table: Table, token: int, repeat: int) -> dict[str, Any]:
    """Costs of a case, whose answer must be the row exactly."""
    spent: list[float] = []

    def timed(ctx: Interpreter, *inputs: Share) -> Share:
        began = time.perf_counter()
        result = case.program(ctx, *inputs)
        if isinstance(ctx, Party):
            spent.append(time.perf_counter() - began)
        return result

    exact = True
    for _ in range(repeat + 1):
        seeds = prg.fresh_seed(), prg.fresh_seed()
        done = lockstep.run(timed, case.inputs, seeds, weights=table.stores)
        total = np.asarray(done.results[0].value + done.results[1].value)
        width = table.value.shape[1] // table.beside
        row = table.value.reshape(-1, width)[token]
        exact = exact and bool(
            (ring.low(total.reshape(-1), RESIDUAL_BITS) == ring.low(row, RESIDUAL_BITS)).all()
        )
    cost, dealt = done.tallies[0].total(), done.dealer_tally.total()
    slower = [max(pair) for pair in zip(spent[2::2], spent[3::2], strict=True)]
    return {
        "construction": case.name,
        "client_bytes": list(case.client_bytes),
        "online_bytes": cost.online,
        "preparation_bytes": [dealt.prep0, dealt.prep1],
        "rounds": cost.rounds,
        "seconds": spread(slower),
        "exact": exact,
    }


def compare(vocab: int, repeat: int) -> list[dict[str, Any]]:
    """All constructions at one vocabulary; the second level once of a square root, once as small as bytes allow."""
    draw = np.random.default_rng(7)
    plain = ring.encode(draw.normal(0.0, 0.1, (vocab, WIDTH)), POST.embed)
    token, rows = vocab - 17, list[dict[str, Any]]()
    square, least = math.isqrt(vocab), max(round(vocab / math.sqrt(vocab * WIDTH)), 1)
    makers: Mapping[int, tuple[Callable[[Table, int], Case], ...]] = {
        1: (additive, point),
        square: (two_levels,),
        least: (two_levels,),
    }
    for beside, made in makers.items():
        table = Table.of(plain, beside)
        for make in made:
            found = measure(make(table, token), table, token, repeat)
            rows.append({"vocab": vocab, "width": WIDTH, **found})
            print(f"{vocab}, {found['construction']}: {found['seconds']['median']:.4f} s", file=sys.stderr)
    return rows


def main() -> None:
    """Write benchmarks/results/lookup.json, and print it as a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure.lookup", description=__doc__)
    parser.add_argument("--vocab", type=int, nargs="+", default=list(VOCABULARIES))
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path, default=machine.RESULTS / "lookup.json")
    given = parser.parse_args()
    about = machine.about()
    rows = [row for vocab in given.vocab for row in compare(vocab, given.repeat)]
    how = "dealer and both parties in one process; seconds of the slower party, expansion of its key included"
    rings = {"embed_bits": EMBED_BITS, "residual_bits": RESIDUAL_BITS}
    machine.write(given.json, {"benchmark": "token lookup", **about, "how": how, **rings, "rows": rows})
    print("\n".join(lines(rows)))


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """The table of docs/decisions/0016-token-lookup-decoding.md."""
    head = ("vocabulary", "construction", "client, bytes", "online, bytes", "prepared, bytes", "rounds", "ms")
    body = [
        (
            f"{row['vocab']:,}",
            row["construction"],
            f"{sum(row['client_bytes']):,}",
            f"{row['online_bytes']:,}",
            f"{max(row['preparation_bytes']):,}",
            str(row["rounds"]),
            f"{1e3 * row['seconds']['median']:.0f}",
        )
        for row in rows
    ]
    return grid(head, body)


if __name__ == "__main__":
    main()
