"""What AloePri's authors print about attacks on their scheme, and how that differs from what is measured here."""

from __future__ import annotations

KEYED = "rms"  # the kind that takes key matrices: nothing of theirs compares with others
SETTING = "alpha_e 1, alpha_h 0.2, padding 128, mixing 0.3"
MODEL = "Qwen2.5-14B"
PRINTED = (
    f"AloePri's authors print for {MODEL} at {SETTING}: weight matching 13.5 % (25 % for Qwen3-14B), invariants 6 %,"
    " trained inversion, optimised inputs and nearest neighbours 0 %, frequency 3.2 % among the first ten guesses and"
    " 16.5 % among a hundred, counted in text of the same distribution. They test no known plaintext."
)
