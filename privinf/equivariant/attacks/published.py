"""What AloePri's authors print about attacks on their scheme, and how that differs from what is measured here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

KEYED = "rms"  # the kind that takes key matrices: nothing of theirs compares with others
SETTING = "alpha_e 1, alpha_h 0.2, padding 128, mixing 0.3"
MODEL = "Qwen2.5-14B"


@dataclass(frozen=True)
class Theirs:
    """One attack of theirs beside ours of a name."""

    printed: str
    differs: str


THEIRS: Mapping[str, Theirs] = {
    "weights": Theirs(
        "13.5 % (Qwen3-14B: 25 %)", "the same idea: products of weights, their rows sorted, and a vote"
    ),
    "invariants": Theirs("6 %", "theirs are invariants of attention and gates, ours of whole rows"),
    "known-plaintext": Theirs("-", "they test no attacker who was told a token"),
    "vocabulary": Theirs("0 %", "theirs optimises inputs until hidden states fit; ours tries every token"),
    "frequency": Theirs(
        "3.2 % among ten, 16.5 % among a hundred",
        "theirs counts in text of the same distribution; ours looks at neighbours too, and its first guess counts",
    ),
    "inversion": Theirs(
        "0 %",
        "theirs trains a small transformer without pairs of this key; ours is a regression on pairs that it was told",
    ),
}
NOT_THEIRS = Theirs("-", "they print none")

PRINTED = (
    f"AloePri's authors print for {MODEL} at {SETTING}: weight matching 13.5 % (25 % for Qwen3-14B), invariants 6 %,"
    " trained inversion, optimised inputs and nearest neighbours 0 %, frequency 3.2 % among the first ten guesses and"
    " 16.5 % among a hundred, counted in text of the same distribution. They test no known plaintext."
)
