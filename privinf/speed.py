"""What this machine computes in a second, measured on a made-up layer, and from it the seconds of any declared cost."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import Queue

import numpy as np

from privinf.errors import FileError
from privinf.formats.fetch import home
from privinf.models.engines.observers import Ranges
from privinf.models.engines.stores import DealerStore, PartyStore
from privinf.models.orders import ORDERS, Limits
from privinf.models.programs.layout import QueryLayout
from privinf.models.programs.query import QueryDealer, QueryParty, count
from privinf.models.programs.texts import lay_out
from privinf.models.programs.wire import split
from privinf.models.spec import BlockSpec, ModelSpec, Pool, Tokens
from privinf.protocols import kernels, prg
from privinf.protocols.contract import ALL, ID_BYTES, QueryShape, Stock
from privinf.protocols.cost import Cost
from privinf.protocols.testing import lockstep

FILE = "speed.json"
PHASES = ("deal", "prepare", "answer")
SHAPES = (QueryShape("embed", 1, 8), QueryShape("embed", 1, 128))  # one for its rounds, one for its bytes
SITES = {
    "attn.v": 4,
    "attn.residual": 5,
    "attn.scores": 6,
    "attn.attended": 2,
    "ffn.up": 6,
    "ffn.residual": 9,
}


def made_up(layers: int, width: int, heads: int, tokens: int, vocab: int) -> ModelSpec:
    """Layers as BERT has them, without a checkpoint."""
    return ModelSpec(
        family="made up",
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        ffn=4 * width,
        max_tokens=tokens,
        order="post",
        norm="layer",
        eps=1e-12,
        blocks=(BlockSpec("gelu"),) * layers,
        inputs=Tokens(vocab, places=tokens),
        head=Pool("mean"),
        biases=frozenset(("qkv", "out", "ffn", "norm")),
        embed_norm=True,
    )


SPEC = made_up(1, 384, 12, 128, 128)


@dataclass(frozen=True)
class Rate:
    """Seconds of one core: for each round, and for each byte of both parties' preparations."""

    round: float
    byte: float

    def seconds(self, cost: Cost) -> float:
        return self.round * cost.rounds + self.byte * (cost.prep0 + cost.prep1)


@dataclass(frozen=True)
class Speed:
    """Rates of the dealer, of what a party computes ahead, and of a party's query; the network apart."""

    deal: Rate
    prepare: Rate
    answer: Rate
    kernels: str
    measured: str  # the day

    def seconds(self, cost: Cost) -> dict[str, float]:
        """Of a core: dealing, at each party ahead of the query, and at each party for the query."""
        return {phase: getattr(self, phase).seconds(cost) for phase in PHASES}


def path() -> Path:
    """Where this machine's speed is kept."""
    return home() / FILE


def stored() -> Speed | None:
    """What was measured on this machine with these kernels, if anything was."""
    try:
        raw = json.loads(path().read_text("utf-8"))
        deal, prepare, answer = (Rate(float(raw[p]["round"]), float(raw[p]["byte"])) for p in PHASES)
        speed = Speed(deal, prepare, answer, str(raw["kernels"]), str(raw["measured"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return speed if speed.kernels == kernels.default().name else None


def measure() -> Speed:
    """Deal, prepare and answer two queries of a made-up layer in this process, and keep what came of it."""
    costs, spent = zip(*(_run(shape) for shape in SHAPES), strict=True)
    deal, prepare, answer = (_rate(costs, [seconds[phase] for seconds in spent]) for phase in PHASES)
    day = datetime.now(UTC).date().isoformat()
    speed = Speed(deal, prepare, answer, kernels.default().name, day)
    try:
        path().parent.mkdir(parents=True, exist_ok=True)
        path().write_text(json.dumps(asdict(speed), indent=1), encoding="utf-8")
    except OSError as error:
        raise FileError(f"{FileError.unwritten(path(), error)}; set PRIVINF_HOME") from error
    return speed


def _rate(costs: Sequence[Cost], seconds: Sequence[float]) -> Rate:
    """The line through both; neither rate is less than nothing."""
    (few, many), (short, long) = costs, seconds
    small, large = few.prep0 + few.prep1, many.prep0 + many.prep1
    byte = max((long - short) / (large - small), 0.0)
    return Rate(max(short - byte * small, 0.0) / few.rounds, byte)


def _layout() -> QueryLayout:
    high = {"embed.residual": 1.5, "pool.result": 4.0} | {f"layer0.{s}": float(v) for s, v in SITES.items()}
    squares = [f"{site}.square" for site in ("embed", "layer0.attn", "layer0.ffn")]
    ranges = Ranges(dict.fromkeys(squares, 0.02), high | dict.fromkeys(squares, 4.0))
    plan = ORDERS[SPEC.order].plan(SPEC, ranges, Limits(SPEC.max_tokens))
    return QueryLayout(SPEC, plan, public=False, embedded=False)


def _run(shape: QueryShape) -> tuple[Cost, dict[str, float]]:
    """One query's declared cost, and the seconds of a core that each phase took."""
    layout = _layout()
    shapes = layout.model.shapes()
    seeds, own = (prg.fresh_seed(), prg.fresh_seed()), (prg.fresh_seed(), prg.fresh_seed())
    opened = {name: np.ones(size, dtype=np.uint64) for name, size in shapes.items()}
    dealer = QueryDealer(layout, DealerStore(shapes, own, "measured", layout.scale))
    stores = [PartyStore(opened, seed, "measured", layout.scale) for seed in own]
    parties = [QueryParty(b, layout, stores[b]) for b in (0, 1)]
    preparation = secrets.token_bytes(ID_BYTES)
    tapes: tuple[list[bytes], list[bytes]] = ([], [])
    rooms = [memoryview(bytearray(party.stock_sizes(shape).precomputed)) for party in parties]

    def deal() -> None:
        for to, data in dealer.deal(shape, preparation, seeds):
            for b in (0, 1) if to == ALL else (to,):
                tapes[b].append(bytes(data))

    def prepare() -> None:
        for party, tape, seed, room in zip(parties, tapes, seeds, rooms, strict=True):
            party.prepare(shape, lockstep.Tape(tape), seed, room)

    def answer() -> None:
        boxes: tuple[Queue[bytes], Queue[bytes]] = (Queue(), Queue())
        ends = [lockstep.Loop(b, boxes[b], boxes[1 - b], None) for b in (0, 1)]
        stocks = [Stock(preparation, seeds[b], lockstep.Tape(tapes[b]), rooms[b]) for b in (0, 1)]
        ids = [np.zeros(shape.tokens, dtype=np.int32)]
        shares = split(layout.form(shape), lay_out(layout, shape, ids).values)

        def evaluate(b: int) -> None:
            parties[b].evaluate(shape, memoryview(shares[b]), stocks[b], ends[b])

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(evaluate, (0, 1)))

    spent = {"deal": _core(deal), "prepare": _core(prepare) / 2, "answer": _core(answer) / 2}
    return count(layout, shape).tally.total(), spent


def _core(work: Callable[[], None]) -> float:
    """Seconds that this process computed for: what others do meanwhile does not count."""
    began = time.process_time()
    work()
    return time.process_time() - began
