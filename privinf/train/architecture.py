"""Architectures: what each head and each feed-forward part is, as a short name that folders and tables carry."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from privinf.errors import ConfigError

HEADS = {"x": "softmax", "r": "relu_softmax", "s": "scaling", "q": "quad"}
BENDS = {"g": "gelu", "r": "relu", "l": "linear"}
LETTERS = {name: letter for letter, name in HEADS.items()}
BEND_LETTERS = {name: letter for letter, name in BENDS.items()}
LONGEST = 100  # of a folder's name
Bend = str | tuple[str, ...]  # of a layer, or of each of its rows
LAYER = re.compile(f"([{''.join(HEADS)}]+)(?:\\.([{''.join(BENDS)}]+))?")


@dataclass(frozen=True)
class Architecture:
    """heads: a variant for each head of each layer. bends: an activation for each layer, or for each of its rows."""

    heads: tuple[tuple[str, ...], ...]
    bends: tuple[Bend, ...]

    @property
    def name(self) -> str:
        """A letter a head, layer by layer; behind a dot the activation where it is not GELU: rrss-ssss.l-rsss."""
        return "-".join(map(_layer, self.heads, self.bends))

    @property
    def folder(self) -> str:
        """The name, or where that is too long for a folder's a digest of it."""
        name = self.name
        return name if len(name) <= LONGEST else hashlib.sha256(name.encode()).hexdigest()[:32]

    @property
    def layers(self) -> int:
        return len(self.heads)

    def count(self, variant: str) -> int:
        """Heads of a kind."""
        return sum(heads.count(variant) for heads in self.heads)


def _layer(heads: tuple[str, ...], bend: Bend) -> str:
    letters = "".join(LETTERS[head] for head in heads)
    bends = BEND_LETTERS[bend] if isinstance(bend, str) else "".join(BEND_LETTERS[row] for row in bend)
    return letters if bends == "g" else f"{letters}.{bends}"


def uniform(layers: int, heads: int, variant: str, bend: str = "gelu") -> Architecture:
    """The same everywhere."""
    return Architecture(((variant,) * heads,) * layers, (bend,) * layers)


def parse(name: str, layers: int, heads: int, rows: int) -> Architecture:
    """The architecture that a name says; ConfigError where it is none of a model of these sizes."""
    parts = [LAYER.fullmatch(part) for part in name.split("-")]
    if len(parts) != layers or any(part is None or len(part[1]) != heads for part in parts):
        raise ConfigError(
            f"{name!r} is no architecture of {layers} layers of {heads} heads: write a letter of "
            f"{', '.join(f'{letter} ({what})' for letter, what in HEADS.items())} a head, and - between layers"
        )
    found = [part for part in parts if part is not None]
    bends = [_bends(name, part[2] or "g", rows) for part in found]
    return Architecture(tuple(tuple(HEADS[letter] for letter in part[1]) for part in found), tuple(bends))


def _bends(name: str, letters: str, rows: int) -> Bend:
    if len(letters) == 1:
        return BENDS[letters]
    if len(letters) != rows:
        raise ConfigError(f"{name!r}: activations are one letter a layer, or one for each of {rows} rows")
    return tuple(BENDS[letter] for letter in letters)


def kept(values: Sequence[Sequence[float]], part: float) -> list[list[bool]]:
    """The paper's choice: the least int((1 - part) n) of all layers' values are not kept, of equals the later ones."""
    places = [(i, j) for i, row in enumerate(values) for j in range(len(row))]
    lost = int((1 - part) * len(places) + 1e-9)
    order = sorted(places, key=lambda at: (values[at[0]][at[1]], (-at[0], -at[1])))
    gone = set(order[:lost])
    return [[(i, j) not in gone for j in range(len(row))] for i, row in enumerate(values)]


def best(values: Sequence[Sequence[float]], counts: Sequence[int]) -> list[list[bool]]:
    """So many of each layer: those of the largest values, of equals the earlier."""
    made = []
    for row, count in zip(values, counts, strict=True):
        order = sorted(range(len(row)), key=lambda j: (-row[j], j))
        made.append([j in order[:count] for j in range(len(row))])
    return made
