"""What queries and passes cost, and a warning before one needs gigabytes, or longer than its deadline."""

from __future__ import annotations

from collections.abc import Iterator

from privinf.models.programs.layout import CHUNK, TASKS, ImageLayout, QueryLayout, SessionLayout
from privinf.models.sharing.bundle import Bundle
from privinf.models.text.tokenizer import BUCKETS
from privinf.protocols.contract import QueryShape, SessionShape
from privinf.protocols.cost import NETWORKS, Cost, Network, Tally
from privinf.speed import Speed

LARGE = 10**9  # bytes of both parties' preparations
SMALL_ROWS = 64  # no model needs gigabytes for so few: not counted


class CostWarning(UserWarning):
    """A query is dearer than its asker may think."""


def query_cost(bundle: Bundle[QueryLayout], shape: QueryShape) -> Cost:
    """Declared rounds and bytes of a query, exact."""
    return query_tally(bundle, shape).total()


def query_tally(bundle: Bundle[QueryLayout], shape: QueryShape) -> Tally:
    """The same layer by layer, as the folder's protocol counts it."""
    return bundle.scheme.count_query(bundle.layout, shape)


def expected(cost: Cost, speed: Speed, network: Network) -> float:
    """Seconds of a query whose preparation is made on demand, at roles as fast as this machine."""
    computed = sum(speed.seconds(cost).values())
    return computed + network.seconds(cost) + max(cost.prep0, cost.prep1) / network.bandwidth


def warning(shape: QueryShape, cost: Cost, deadline: float, speed: Speed | None) -> str | None:
    """What the asker of a query should know, if anything."""
    total = cost.prep0 + cost.prep1
    said = []
    if total >= LARGE:
        said.append(f"needs {gigabytes(total)} of preparations, {gigabytes(cost.prep1)} of them at party 1")
    if speed is not None and (seconds := expected(cost, speed, NETWORKS["lan"])) > deadline:
        said.append(f"takes about {seconds:.0f} s unless one is ready, and its deadline is {deadline:.0f} s")
    if not said:
        return None
    return f"{_named(shape)} {', and '.join(said)}; `privinf plan` shows what shorter ones need"


def large_lengths(bundle: Bundle[QueryLayout], task: str) -> Iterator[tuple[int, Cost]]:
    """The lengths at which one text needs gigabytes."""
    longest = bundle.layout.max_tokens
    shorter = () if isinstance(bundle.layout, ImageLayout) else BUCKETS  # images have one size
    for tokens in (*(b for b in shorter if SMALL_ROWS < b < longest), longest):
        cost = query_cost(bundle, QueryShape(task, 1, tokens))
        if cost.prep0 + cost.prep1 >= LARGE:
            yield tokens, cost


def large_prompts(bundle: Bundle[SessionLayout]) -> Iterator[tuple[int, Cost]]:
    """The shortest of some lengths of prompts, in rows, that needs gigabytes; longer ones are not counted."""
    longest, rows = bundle.layout.room - 1, min(CHUNK, bundle.layout.room - 1)
    while (cost := prompt_cost(bundle, rows)).prep0 + cost.prep1 < LARGE:
        if rows == longest:
            return
        rows = min(2 * rows, longest)
    yield rows, cost


def prompt_cost(bundle: Bundle[SessionLayout], rows: int) -> Cost:
    """Declared rounds and bytes of the passes that read a prompt, exact."""
    shape = SessionShape(TASKS[0], rows, 1)
    return sum((tally.total() for tally in bundle.scheme.count_prompt(bundle.layout, shape)), Cost())


def session_tallies(
    bundle: Bundle[SessionLayout], shape: SessionShape, later: int
) -> tuple[list[Tally], Tally]:
    """Of the passes that read the prompt, and of one that finds `later` further slots in the cache, exact."""
    return bundle.scheme.count_session(bundle.layout, shape, later)


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _named(shape: QueryShape) -> str:
    texts = "a query" if shape.batch == 1 else f"a query of {shape.batch} texts"
    return f"{texts} of {shape.tokens} tokens"
