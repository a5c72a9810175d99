"""A5: token after token, every candidate is run through the public weights until the values that were seen come out.

After "Hidden No More" (2025): a permutation of channels is undone by sorting; candidates share the cache of what was
decoded before; the model's own predictions say which to try first; a close one is taken at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch

from privinf.equivariant.attacks.causal import PIECE, CausalModel, Layer
from privinf.equivariant.attacks.denoised import Denoising, itself, ordered
from privinf.equivariant.attacks.matching import Ids
from privinf.equivariant.attacks.view import Findings, Leak, View
from privinf.equivariant.attacks.weights import F32
from privinf.equivariant.serving.running import load_model

CLOSE = 5e-6  # of the values' mean magnitude: nearer than this, a candidate is taken at once
STEPS = (64, 512, 4096)  # candidates tried, unless a close one comes up before
NOISY = 4  # prompts where nothing is ever close
ORDERED = 24  # prompts, where columns are in order
OWN = 4  # prompts read by the covered weights themselves


@dataclass(frozen=True)
class Reading:
    """How prompts are decoded from values of a layer.

    Attributes:
        first: all tokens, the likeliest to begin a prompt first.
        scaled: the length of each row is unknown too, as a norm over wider rows takes it for another.
    """

    layer: Layer
    first: Ids
    scaled: bool = False

    def decode(self, model: CausalModel, seen: F32) -> tuple[Ids, int]:
        """The tokens behind values (tokens, values), and how many candidates that took."""
        predictor, order, found, tried = model.predictor(), self.first, list[int](), 0
        for row in seen:
            token, count = self._token(predictor.past, order, row)
            found.append(token)
            tried += count
            order = self._order(predictor.run(torch.tensor([[token]]), 1)[0, -1].numpy())
        return np.array(found), tried

    def _order(self, logits: F32) -> Ids:
        """What the model predicts and what is frequent, taking turns: the order of an order is each one's rank."""
        return np.argsort(np.minimum(np.argsort(np.argsort(-logits)), np.argsort(self.first)), kind="stable")

    def _token(self, past: Any, order: Ids, row: F32) -> tuple[int, int]:
        wanted = self._sorted(row[None])
        close = CLOSE * float(np.abs(wanted).mean())
        best, distance, start = -1, np.inf, 0
        for stop in (*(step for step in STEPS if step < len(order)), len(order)):
            pieces = self.layer.candidates(past, order[start:stop])
            for place, values in zip(range(start, stop, PIECE), pieces, strict=True):
                apart = np.abs(self._sorted(values) - wanted).mean(1)
                nearest = int(apart.argmin())
                if apart[nearest] < distance:
                    best, distance = int(order[place + nearest]), float(apart[nearest])
            start = stop
            if distance < close:
                break
        return best, start

    def _sorted(self, values: F32) -> F32:
        if self.scaled:
            values = values * (np.sqrt(values.shape[1]) / np.linalg.norm(values, axis=1, keepdims=True))
        return np.sort(values, axis=1)


def activations(view: View, leak: Leak) -> Findings:
    """What the server's own feed-forward layer computes on prompts, decoded by the public weights."""
    if not view.decoder:
        return Findings(skipped="every token attends to every other one: none can be decoded before the rest")
    if not view.traffic.prompts:
        return Findings(skipped="no text is long enough for a prompt")
    found = _decoded(view)
    facts = {"layer": 1, "site": "inner", **found.facts}
    if not view.local:
        facts["covered_ids_by_covered_weights"] = _own(view)
    return replace(found, facts=facts)


def _decoded(view: View) -> Findings:
    """The plain weights are let go at its end, before others are loaded."""
    model = CausalModel(view.plain.folder)
    ordering = ordered(view, model) if view.about.what.noisy else None
    return _sorted(view, model) if ordering is None else _ordered(view, ordering)


def _sorted(view: View, model: CausalModel) -> Findings:
    """By values in order of size: nobody knows whose they are."""
    noisy = view.about.what.noisy  # nothing comes close, and every token takes all candidates
    prompts = view.traffic.prompts[: NOISY if noisy else None]
    scaled = noisy and view.spec.gated
    reading = Reading(model.layer(1, "inner"), frequent(view), scaled)
    decoded, tried = zip(*(reading.decode(model, values) for values in observe(view, prompts)), strict=True)
    facts = {"candidates_per_token": sum(tried) / sum(map(len, prompts))}
    return Findings(prompts={"values inside the first feed-forward layer": list(decoded)}, facts=facts)


def _ordered(view: View, ordering: Denoising) -> Findings:
    """By values whose columns are known, and then by what the model expects as well."""
    seen = observe(view, view.traffic.prompts[:ORDERED])
    closest, apart = ordering.decode(seen)
    likeliest, _ = ordering.decode(seen, apart)
    facts = {
        "matched_columns": int(ordering.used.sum()),
        "candidates_run_per_token": ordering.limit,
        "noise": apart**0.5,
    }
    return Findings(
        prompts={"inner values, columns in order": closest, "and what the model expects": likeliest},
        facts=facts,
    )


@torch.inference_mode()
def observe(view: View, prompts: Sequence[Ids]) -> list[F32]:
    """Of each prompt, what the first linear layer of the first feed-forward part gives: the server computes it."""
    model = load_model(view.server.folder, view.about)
    body = getattr(model, model.base_model_prefix, model)
    inner = body.layers[0].mlp.gate_proj if view.spec.gated else body.h[0].mlp.c_fc
    kept: list[F32] = []
    hook = inner.register_forward_hook(lambda layer, given, result: kept.append(result[0].numpy()))
    for prompt in prompts:
        if view.traffic.table is None:
            model(input_ids=torch.from_numpy(prompt)[None])
        else:
            model(inputs_embeds=torch.from_numpy(view.traffic.table[prompt])[None])
    hook.remove()
    return kept


def frequent(view: View) -> Ids:
    """All tokens, the most frequent of public text first."""
    texts = np.concatenate(list(chain(*view.reference.values())))
    return np.argsort(-np.bincount(texts, minlength=view.spec.vocab), kind="stable")


def _own(view: View) -> dict[str, Any]:
    """Covered ids from the same values by covered weights: whoever sees but values finds what ids the server saw."""
    prompts = view.traffic.prompts[:OWN]
    decoded, _ = itself(CausalModel(view.server.folder)).decode(observe(view, prompts))
    right = [np.array_equal(ids, prompt) for ids, prompt in zip(decoded, prompts, strict=True)]
    return {"exact_prompts": float(np.mean(right)), "prompts": len(prompts)}
