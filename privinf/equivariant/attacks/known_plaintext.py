"""A3: some tokens are known with what stands for them; a linear map learnt from those reads all others.

Where so few are known that no map can be learnt, distances from them are matched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from privinf.equivariant.attacks.matching import Array
from privinf.equivariant.attacks.regression import expand
from privinf.equivariant.attacks.signatures import F64, matched
from privinf.equivariant.attacks.texts import front
from privinf.equivariant.attacks.view import Findings, Guess, Leak, View, joined

SEEDS = (0.25, 0.5, 1.0, 2.0)  # in widths of the model
PREFIX = "constant prefix"
FEW = 8  # rows, of which no map is learnt: a rotation keeps every row's distance from them


def known_plaintext(view: View, leak: Leak) -> Findings:
    """With ever more seeds, a session's most frequent tokens first; seeds are not scored."""
    guesses, seeds, most = dict[str, list[Guess]](), dict[str, int](), 0
    for session in view.sessions():
        told = leak.of(session.traffic.frequent) if len(leak.symbols) else leak
        most = max(most, len(told.symbols))
        for name, known in _known(session, told):
            read = _by_distance if len(known.symbols) < FEW else expand
            guesses.setdefault(name, []).append(read(session, known))
            seeds[name] = len(known.symbols)
    if not guesses:
        least = round(SEEDS[0] * view.spec.width) + 1
        return Findings(
            skipped=f"{most} different tokens are too few to know some and read others; at least {least}"
        )
    names = sorted(seeds, key=lambda name: seeds[name])
    facts = {"seeds": {name: seeds[name] for name in names}, "width": view.spec.width}
    if view.traffic.sessions:
        facts["sessions"] = {name: len(guesses[name]) for name in names}
    return Findings({name: joined(guesses[name]) for name in names}, facts=facts)


def _known(session: View, told: Leak) -> Iterator[tuple[str, Leak]]:
    """By name; as long as they leave something to be read."""
    prefix = _prefix(session)
    if len(prefix.symbols):
        yield PREFIX, prefix
    for widths in SEEDS:
        count = round(widths * session.spec.width)
        if count < len(told.symbols):
            yield f"{widths:g} d seeds", told.of(told.symbols[:count])


def _by_distance(view: View, known: Leak) -> Guess:
    """The tokens that are as far from the known ones as each covered row is from theirs."""
    targets = np.setdiff1d(view.traffic.targets, known.symbols)
    ours = _distances(view.table[targets], view.table[known.symbols])
    seeds = view.plain_rows(known)
    guess, _ = view.closest(targets, ours, lambda plain: _distances(plain, seeds), matched)
    return replace(guess, told=known.symbols, texts=view.traffic.texts)


def _distances(rows: Array, known: Array) -> F64:
    """Squared, (rows, known)."""
    wide = rows.astype(np.float64)
    return np.stack([np.square(wide - row).sum(1) for row in known.astype(np.float64)], axis=1)


def _prefix(session: View) -> Leak:
    """What every text begins with, as the tokenizer says: nobody has to be told."""
    plain, texts = front(session.plain.folder), session.traffic.texts
    symbols = texts[0][: len(plain)]
    if any(not np.array_equal(text[: len(plain)], symbols) for text in texts) or len(symbols) < len(plain):
        return Leak(symbols[:0], plain[:0])
    _, first = np.unique(plain, return_index=True)
    return Leak(symbols[first], plain[first])
