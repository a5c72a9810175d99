"""What clients answer: vectors, or labels and scores; and what it took."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from privinf.errors import InputError
from privinf.models.spec import Says
from privinf.sampling import softmax
from privinf.sdk.outcomes import Stats
from privinf.sdk.usage import Took

F32 = npt.NDArray[np.float32]
LIKELY = 0.5  # a label is given to a text above this score, where each may have any number of them


@dataclass(frozen=True, kw_only=True)
class Usage(Took):
    """What an answer took."""

    queries: int = 0
    session_ids: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.rounds} rounds; online {self.online_seconds:.2f} s, {self.online_bytes / 1e6:.1f} MB sent by a"
            f" party; offline {self.prepare_seconds:.2f} s, {self.offline_bytes / 1e6:.1f} MB to both"
        )

    def plus(self, stats: Stats) -> Self:
        """Add one query."""
        ids = (*self.session_ids, stats.session_id)
        return replace(self.counting([stats]), queries=self.queries + 1, session_ids=ids)


@dataclass(frozen=True)
class Embeddings:
    """`vectors` is (texts, width) float32, in the order of the texts."""

    vectors: F32 = field(repr=False)
    stats: Usage

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True)
class Classification:
    """`logits` is (texts, names) float32, as the model gives them; `names` are those of its labels.

    `says` is what the model was made for (problem_type in its config.json):
      label    one label of all: `labels`, and `scores` that add up to one (softmax)
      labels   any number of labels: `label_sets`, and a score from 0 to 1 for each (sigmoid)
      score    a single number: `scores` has one column, from 0 to 1 (sigmoid)
      measure  numbers in their own right (regression): `scores` are the logits
    """

    logits: F32 = field(repr=False)
    names: tuple[str, ...]
    says: Says
    stats: Usage

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def labels(self) -> tuple[str, ...]:
        """The most likely label of each text; InputError where the model does not choose one."""
        if self.says != "label":
            instead = "label_sets" if self.says == "labels" else "scores"
            raise InputError(f"this model does not choose one label for a text: read {instead}")
        return tuple(self.names[place] for place in self.logits.argmax(axis=-1))

    @property
    def label_sets(self) -> tuple[tuple[str, ...], ...]:
        """All labels of each text, likeliest first; InputError where the model gives none."""
        if self.says == "label":
            return tuple((label,) for label in self.labels)
        if self.says != "labels":
            raise InputError("this model gives scores, not labels: read scores")
        return tuple(
            tuple(self.names[place] for place in np.argsort(-row, kind="stable") if row[place] > LIKELY)
            for row in self.scores
        )

    @property
    def scores(self) -> F32:
        """(texts, names), as the text-classification pipeline of transformers gives them."""
        if self.says == "measure":
            return self.logits
        wide = self.logits.astype(np.float64)
        if self.says != "label":
            return np.exp(-np.logaddexp(0, -wide)).astype(np.float32)
        return softmax(wide).astype(np.float32)
