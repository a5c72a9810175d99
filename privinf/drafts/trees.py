"""The form of drafts that branch: the same whatever the text is, as the servers see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from privinf.drafts.speculation import Tree

Node = tuple[int, ...]  # ranks on the way to it: (0, 1) is the second guess behind the first
Rank = Callable[[Sequence[int], int], Sequence[int]]  # what may follow, likeliest first, and how many of it

LINE = 2 / 3  # of the drafts are each the likeliest behind the one before it
# The others, most often right first: counted on text that SmolLM2 wrote. Each is behind a node that is there before it.
ASIDE: tuple[Node, ...] = (
    (1,),
    (2,),
    (0, 1),
    (1, 0),
    (3,),
    (0, 0, 1),
    (0, 2),
    (2, 0),
    (1, 1),
    (0, 1, 0),
)


def form(count: int) -> list[Node]:
    """The nodes of a tree of so many drafts, each behind its parent."""
    aside = ASIDE[: count - round(count * LINE)]
    line = count - len(aside)
    nodes = [(0,) * depth for depth in range(1, line + 1)]
    return [*nodes, *aside]


def grown(rank: Rank, ids: Sequence[int], count: int) -> Tree:
    """Drafts in that form; where nothing is known a node repeats the last token, so that the form stays what it is."""
    nodes = form(count)
    rows = {node: row for row, node in enumerate([(), *nodes])}
    most = 1 + max((node[-1] for node in nodes), default=0)
    lines: dict[Node, list[int]] = {(): list(ids)}
    guesses: dict[Node, Sequence[int]] = {}
    tokens = list[int]()
    for node in nodes:
        parent, place = node[:-1], node[-1]
        if parent not in guesses:
            guesses[parent] = rank(lines[parent], most)
        known = guesses[parent]
        tokens.append(int(known[place]) if place < len(known) else int(ids[-1]))
        lines[node] = [*lines[parent], tokens[-1]]
    return Tree(tuple(tokens), tuple(rows[node[:-1]] for node in nodes))
