"""The levels of the equivariant mode by name: what is covered, what it costs, what the server still sees."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache

from privinf.errors import OptionError

WARNING = (
    "equivariant mode is obfuscation, not encryption: the server computes on covered values that published attacks "
    "undo; SECURITY.md says which, with measured numbers"
)


@dataclass(frozen=True)
class Level:
    """What one level does.

    covers: hidden values, heads and feed-forward parts are covered beside the tokens. BERT's hidden values only change
        places: the gains of its norms stand on the residual stream, and nothing else goes through them.
    noisy: weights carry noise, so that answers are no longer exact.
    local: the client embeds tokens and chooses them itself; the server sees neither ids nor logits, and each session
    has covers of its own.
    """

    says: str
    covers: bool = True
    noisy: bool = False
    local: bool = False


LEVELS = {
    "tokens": Level("a permutation of the vocabulary and of the labels, and nothing else", covers=False),
    "cover": Level("also covers of hidden values, heads, feed-forward parts and positions, without noise"),
    "noise": Level(
        "also noise on embedding and head; for Llama, key matrices wider than the model", noisy=True
    ),
    "session": Level(
        "embedding, positions and head stay with the client; every session has fresh covers", local=True
    ),
}
DEFAULT = "cover"


def level_of(name: str) -> Level:
    """The level of that name."""
    if name not in LEVELS:
        raise OptionError(f"{name!r} is not a level; choose one of {', '.join(LEVELS)}")
    return LEVELS[name]


@cache
def warn_once() -> None:
    """Say on stderr what this mode is, at its first use in a process."""
    print(f"WARNING: {WARNING}", file=sys.stderr, flush=True)
