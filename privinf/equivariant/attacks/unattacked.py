"""Names what no attack of a result tries, so that silence is not taken for safety."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Result = Mapping[str, Any]

ATTENTION = (
    "attention scores (A9). They are the plain model's, {how}up to the order of heads: who attends to whom is not"
    " hidden."
)
OPEN = (
    "element differences, which reflections leave as they are (A2c, EDNN).",
    "decoding of whole texts that fits the noise and reads with a language model (A8, BeamClean): it may read"
    " more at `noise`, where A5 settles one token after another.",
    "an inverter that is trained without pairs, and inputs that are optimised until hidden states fit (A7, IMA"
    " and ISA); the regression of this suite is told pairs.",
    "substitution ciphers solved by a language model: A6 counts single tokens and pairs of neighbours.",
    "a chat template's constant text as known plaintext: what is sent here has special tokens and no template.",
    "covers of labels, and what answers of classifiers give away.",
    "images: no attack here runs on ViT.",
)
LINKING = {
    "rms": "sessions linked by the weights of two variants: the lengths of rows link them already.",
    "post": "rows linked over calls: a call with many texts is counted by itself.",
    "layer": "counting over GPT-2's sessions: rows link them place by place, but only weights tell which places belong"
    " together, and with those A2 reads everything anyway.",
}


def unattacked(result: Result) -> Iterator[str]:
    """One line each."""
    yield f"* {ATTENTION.format(how='nearly and ' if result['level'] == 'noise' else '')}"
    yield from (f"* {text}" for text in OPEN)
    if result["level"] == "session":
        yield f"* {LINKING[result['kind']]}"
