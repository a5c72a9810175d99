"""A5 where weights carry noise: the layer's columns are put in order first, and no value has to come out exactly.

The columns are those that `body` matches. With their order known, what the server computes inside its first layer gives
back the row that the layer read, up to its length: the token's own row, what attention added, and noise around both.
Where what attention adds hardly depends on the token itself, a guess of it ranks the whole vocabulary. The best are run
through the public weights, as many as a bound on work allows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from privinf.equivariant.attacks.body import uncover
from privinf.equivariant.attacks.causal import CausalModel
from privinf.equivariant.attacks.matching import Array, Ids
from privinf.equivariant.attacks.signatures import RANK
from privinf.equivariant.attacks.view import View
from privinf.equivariant.attacks.weights import F32
from privinf.models.engines.clear import Past

CLEAR = 0.1  # of the covered columns is not explained by the plain ones, at most
FIRST = 256  # candidates run by a guess of what attention adds; others by what it adds to the best of these
WORK = 5e9  # multiplications for the candidates of one token, about
SURE = 1e-6  # so near, where there is no noise, that no other candidate is tried
MIXED = 0.5  # of a token's probability comes from the model, the rest from how frequent it is

TINY = 1e-20


class Denoising:
    """Reads prompts from inner values of the first layer.

    Args:
        used: the values whose plain columns are known, and `order` those columns.
        usual: the probability of each token in public text.
    """

    def __init__(self, model: CausalModel, used: npt.NDArray[np.bool_], order: Ids, usual: Array) -> None:
        self.model, self.used, self.order, self.usual = model, used, order, usual
        # Candidates run for a token.
        self.limit = min(len(usual), max(2 * FIRST, round(WORK / (5 * model.spec.width**2))))
        self._layer = model.layer(1, "between")
        weight, bias = model.inner()
        weight, self._bias = weight[:, order], bias[order]
        self._inverse = np.linalg.pinv(weight.astype(np.float64), rcond=RANK).astype(np.float32)
        # Takes off what the layer does not read, where a gain before it is zero.
        self._seen: F32 = weight @ self._inverse
        self._table = model.tokens() @ self._seen
        self._squares = np.einsum("ij,ij->i", self._table, self._table)
        # Of each token where it begins a text.
        self._alone = _unit(self._run(Past(), np.arange(len(usual))))

    def decode(self, prompts: Sequence[F32], noise: float | None = None) -> tuple[list[Ids], float]:
        """Tokens of each prompt, and the median squared distance of what was seen from what they give.

        Args:
            prompts: inner values of each, (tokens, values).
            noise: such a distance; with it, what the model expects counts as well.
        """
        found, apart = [], list[float]()
        for values in prompts:
            tokens, distances = self._prompt(self._rows(values), noise)
            found.append(tokens)
            apart += distances
        return found, float(np.median(apart))

    def _prompt(self, rows: F32, noise: float | None) -> tuple[Ids, list[float]]:
        predictor, expected = self.model.predictor(), self.usual
        tokens, distances = list[int](), list[float]()
        for row in rows:
            # Normal noise of that length: a token's log probability against its squared distance.
            penalty = np.zeros(1) if noise is None else -2 * noise / len(row) * np.log(expected)
            token, distance = self._token(predictor.past, row, penalty)
            tokens.append(token)
            distances.append(distance)
            logits = predictor.run(torch.tensor([[token]]), 1)[0, -1]
            expected = MIXED * torch.softmax(logits.double(), 0).numpy() + (1 - MIXED) * self.usual
        return np.array(tokens), distances

    def _token(self, past: Past, row: F32, penalty: Array) -> tuple[int, float]:
        """The token of least cost of all, and its squared distance."""
        if not past:  # nothing to attend to but itself: one table serves every prompt
            apart = 2 - 2 * self._alone @ row
            token = int((apart + penalty).argmin())
            return token, float(apart[token])
        costs, apart = np.full((2, len(self.usual)), np.inf)
        token = int(self.usual.argmax())
        for count in (FIRST, self.limit - FIRST):
            if apart[token] < SURE and not penalty.any():
                break
            rough = self._rough(row, self._run(past, np.array([token]))[0] - self._table[token]) + penalty
            rough[np.isfinite(costs)] = np.inf
            tokens = (
                np.argpartition(rough, count)[:count] if 0 < count < len(rough) else np.arange(len(rough))
            )
            apart[tokens] = 2 - 2 * _unit(self._run(past, tokens)) @ row
            costs[tokens] = apart[tokens] + np.broadcast_to(penalty, len(costs))[tokens]
            token = int(costs.argmin())
        return token, float(apart[token])

    def _rough(self, row: F32, added: F32) -> Array:
        """The squared distance of every token, were this added to it."""
        lengths = np.sqrt(np.maximum(self._squares + 2 * self._table @ added + added @ added, TINY))
        return np.asarray(2 - 2 * (self._table @ row + added @ row) / lengths)

    def _run(self, past: Past, tokens: Ids) -> F32:
        """What the layer's feed-forward part reads of each candidate, before its norm, as far as it reads it."""
        return np.concatenate(list(self._layer.candidates(past, tokens))) @ self._seen

    def _rows(self, values: F32) -> F32:
        return _unit((values[:, self.used] - self._bias) @ self._inverse)


def ordered(view: View, model: CausalModel) -> Denoising | None:
    """None where the columns' order is not found."""
    found = uncover(view)
    if found is None or found.sure.sum() <= view.spec.width or found.residual > CLEAR:
        return None
    usual = np.exp(-view.rarity)
    return Denoising(model, found.sure, found.order[found.sure], usual / usual.sum())


def itself(model: CausalModel) -> Denoising:
    """For values of the very same weights, whose columns need no order."""
    values, vocab = model.inner()[0].shape[1], model.spec.vocab
    return Denoising(model, np.ones(values, dtype=bool), np.arange(values), np.full(vocab, 1 / vocab))


def _unit(rows: Array) -> F32:
    lengths = np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), TINY)
    return np.asarray(rows / lengths, dtype=np.float32)
