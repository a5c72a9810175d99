"""Chooses the next token from a row of logits as Hugging Face's generate does, with numpy alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from privinf.errors import InputError
from privinf.options import Sampling

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
_LIMIT = 1e30  # leaves room in float32 for any penalty


class Sampler:
    """Draws tokens for one generation; equal seeds and logits give equal tokens."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._random = np.random.default_rng(sampling.seed)

    def distribution(self, logits: F32, seen: Sequence[int]) -> F64:
        """The probability of each token, (vocab,), if not greedy; `seen` are the ids of prompt and answer so far."""
        scores = _tempered(self._penalised(logits, seen), self.sampling.temperature)
        return _top_p(_top_k(scores, self.sampling.top_k), self.sampling.top_p)

    def choose(self, logits: F32, seen: Sequence[int]) -> int:
        """The next token; one random number is drawn for it, none if greedy."""
        if self.sampling.greedy:
            return int(self._penalised(logits, seen).argmax())
        return self.draw(self.distribution(logits, seen))

    def draw(self, probabilities: F64) -> int:
        """A token drawn from `probabilities`, never one of probability 0."""
        below = probabilities.cumsum()
        return int(below.searchsorted(self._random.random() * below[-1], side="right"))

    def _penalised(self, logits: F32, seen: Sequence[int]) -> F64:
        row = _checked(logits)
        penalty = self.sampling.repetition_penalty
        if penalty != 1:
            ids = _known(seen, len(row))
            row = row.copy()
            # In float32, as transformers does: a tie there must be a tie here.
            with np.errstate(over="ignore"):
                row[ids] = np.where(row[ids] < 0, row[ids] * penalty, row[ids] / penalty)
        return row.astype(np.float64)


def _checked(logits: F32) -> F32:
    row = np.asarray(logits, dtype=np.float32)
    if row.ndim != 1 or not row.size:
        raise InputError(f"logits of shape (vocab,) are needed, not {row.shape}")
    if not abs(row.max()) < _LIMIT:  # nor if it is no number
        raise InputError(f"the largest of the logits must be a number within {_LIMIT:g} of 0")
    return row


def _known(seen: Sequence[int], vocab: int) -> npt.NDArray[np.int64]:
    """The ids once each; a tokenizer may know more of them than the model has logits for."""
    ids = np.unique(np.asarray(seen, dtype=np.int64))
    if len(ids) and ids[0] < 0:
        raise InputError("token ids are counted from 0")
    return ids[ids < vocab]


def _tempered(scores: F64, temperature: float) -> F64:
    with np.errstate(over="ignore"):  # near temperature 0 all but the likeliest may go to -inf
        tempered: F64 = (scores - scores.max()) / temperature
    return tempered


def _top_k(scores: F64, top_k: int | None) -> F64:
    if top_k is None or top_k >= len(scores):
        return scores
    least = np.partition(scores, -top_k)[-top_k]
    return np.where(scores < least, -np.inf, scores)


def _top_p(scores: F64, top_p: float | None) -> F64:
    probabilities = softmax(scores)
    if top_p is None or top_p == 1:
        return probabilities
    order = scores.argsort(kind="stable")
    dropped = order[:-1][probabilities[order].cumsum()[:-1] <= 1 - top_p]
    probabilities[dropped] = 0
    kept: F64 = probabilities / probabilities.sum()
    return kept


def softmax(scores: F64) -> F64:
    """Probabilities of what is scored along the last axis."""
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    probabilities: F64 = weights / weights.sum(axis=-1, keepdims=True)
    return probabilities
