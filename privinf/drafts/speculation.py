"""Guesses several tokens ahead, so that one pass of the servers may yield more than one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from privinf.drafts.copies import matches
from privinf.drafts.draft import Draft
from privinf.errors import InputError
from privinf.sampling import F32, Sampler

LONGEST = 3  # tokens of a match that PromptLookup looks for


@dataclass(frozen=True)
class Tree:
    """Drafts that branch: `tokens`, each behind the row in `after`; row 0 is what is known, row j draft j - 1."""

    tokens: tuple[int, ...] = field(default=(), repr=False)
    after: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.after) or any(not 0 <= r <= j for j, r in enumerate(self.after)):
            raise InputError("every draft of a tree follows a row before it")

    @classmethod
    def line(cls, tokens: Sequence[int]) -> Tree:
        """Drafts each of which follows the one before it."""
        return cls(tuple(int(token) for token in tokens), tuple(range(len(tokens))))

    @property
    def straight(self) -> bool:
        """Whether nothing branches."""
        return self.after == tuple(range(len(self.after)))

    def filled(self, count: int, filler: int) -> Tree:
        """The same with drafts of no meaning up to `count`, each behind the one before it."""
        missing = range(len(self.tokens), count)
        return Tree((*self.tokens, *(filler for _ in missing)), (*self.after, *missing))

    def followed(self, row: int, token: int) -> int | None:
        """The row of the draft that says so behind `row`, if there is one."""
        drafts = enumerate(zip(self.after, self.tokens, strict=True), 1)
        return next((place for place, draft in drafts if draft == (row, token)), None)

    def places(self) -> list[int]:
        """How far each row is from row 0."""
        places = [0]
        for above in self.after:
            places.append(places[above] + 1)
        return places


@runtime_checkable
class Branching(Protocol):
    """A draft that proposes several tokens for one place."""

    def grow(self, ids: Sequence[int], count: int) -> Tree:
        """Exactly `count` drafts; the servers see which follows which, so the form must be the same for every text."""


class NoDraft:
    """Proposes nothing: every pass yields one token."""

    def propose(self, ids: Sequence[int], count: int) -> Sequence[int]:
        """No token."""
        return ()


class PromptLookup:
    """Proposes what followed the last tokens when they came before, in prompt or answer."""

    def propose(self, ids: Sequence[int], count: int) -> Sequence[int]:
        """At most `count` tokens from behind the most recent of the longest matches.

        Of equally long matches the latest foretold more than the first in code, documentation and prose.
        """
        found = list(matches(ids, LONGEST))
        if not found:
            return ()
        # Past its end a match goes on with what it proposed itself: a loop is continued as a loop.
        start = int(found[-1][-1])
        period = len(ids) - start
        return [int(ids[start + place % period]) for place in range(count)]


def drafted_by(draft: Draft, ids: Sequence[int], count: int, *, straight: bool = False) -> Tree:
    """At most `count` drafts behind `ids`, in a line unless the draft branches and may.

    Raises:
        InputError: a draft that branches gives more or fewer than it was asked for, which would tell what it knows.
    """
    if count and isinstance(draft, Branching) and not straight:
        tree = draft.grow(ids, count)
        if len(tree.tokens) != count:
            raise InputError(
                f"a draft that branches gives as many as it is asked for: {count}, not {len(tree.tokens)}"
            )
        return tree
    return Tree.line(draft.propose(ids, count)[:count])


@dataclass(frozen=True)
class Verdict:
    """`rows` are row 0 and the drafts that were right; `tokens` those drafts and one more, which none foretold."""

    rows: tuple[int, ...]
    tokens: tuple[int, ...] = field(repr=False)

    @property
    def accepted(self) -> int:
        return len(self.rows) - 1


def verify(sampler: Sampler, logits: F32, drafts: Tree, seen: Sequence[int]) -> Verdict:
    """Accept the drafts that the sampler chooses itself.

    Every token is the sampler's own choice from its own row, so the tokens are those of a generation without
    drafts: the same ones, draw for draw, if the logits are the same. A draft x is thus accepted with
    probability p(x) and else replaced by a draw from p without x, which is the rejection sampling of
    Leviathan et al. (arXiv 2211.17192) for a proposal that is certain of x.

    Args:
        sampler: the one of this generation.
        logits: (1 + drafts, vocab); row 0 follows the last of `seen`, row j follows draft j - 1 and what that follows.
        drafts: what was proposed.
        seen: ids of prompt and answer so far.
    """
    count = len(drafts.tokens)
    if np.ndim(logits) != 2 or len(logits) != 1 + count:
        raise InputError(
            f"logits of shape ({1 + count}, vocab) are needed for {count} drafts, not {np.shape(logits)}"
        )
    known = list(seen)

    def choose(row: int) -> int:
        known.append(sampler.choose(logits[row], known))
        return known[-1]

    return walk(drafts, choose)


def walk(drafts: Tree, choose: Callable[[int], int]) -> Verdict:
    """Follow the choices behind row after row, as far as drafts foretold them."""
    row: int | None = 0
    rows, tokens = [], []
    while row is not None:
        rows.append(row)
        tokens.append(choose(row))
        row = drafts.followed(row, tokens[-1])
    return Verdict(tuple(rows), tuple(tokens))
