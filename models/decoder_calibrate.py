"""Measures a decoder's ranges on real text after its public prefix, and computes that prefix's keys and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from privinf.errors import ModelError
from privinf.models.calibrate import Tick, planned
from privinf.models.engines.observers import Ranges
from privinf.models.fold import F64
from privinf.models.orders import Limits
from privinf.models.plan.rings import Plan
from privinf.models.query import Ids
from privinf.models.reach import reach
from privinf.models.spec import ModelSpec

SHORTEST = 2  # tokens of a text that is worth a look


def calibrate_decoder(
    spec: ModelSpec,
    weights: Mapping[str, F64],
    ids: Sequence[Ids],
    prefix: Sequence[int],
    max_tokens: int,
    tick: Tick = lambda done: None,
) -> tuple[Plan, dict[str, F64]]:
    """Plan the rings of a model for sessions of up to `max_tokens`; return the prefix's tensors beside the plan.

    Every text is read behind the prefix, as a session is; `tick` counts texts done.
    """
    import torch

    from privinf.models.clear import ClearDecoder, prefix_cache

    room = max_tokens - len(prefix)
    if room < SHORTEST:
        raise ModelError(f"a prefix of {len(prefix)} tokens leaves no room in {max_tokens}")
    past, ranges = prefix_cache(spec, weights, prefix), Ranges()
    decoder = ClearDecoder(spec, weights, ranges)
    # Not passages of what no language says, as encoders read: with them SmolLM2's residual fits no ring of 64 bits.
    for text in [*_short(ids, room), *_long(ids, room)]:
        decoder.rewind(past)
        decoder.run(torch.from_numpy(text.astype(np.int64))[None])
        tick(1)
    _see_all_tokens(spec, weights, ranges, max_tokens)
    tables = [weights[name] for name in ("embed.token", "embed.position") if name in weights]
    largest = max(float(np.abs(table).max()) for table in tables)
    plan = planned(spec, ranges, Limits(max_tokens, tuple(prefix), largest))
    tensors = {
        f"layer{i}.attn.prefix.{part}": np.ascontiguousarray(tensor.numpy().astype(np.float64))
        for i, layer in enumerate(past)
        for part, tensor in zip("kv", layer, strict=True)
    }
    return plan, tensors


def _see_all_tokens(spec: ModelSpec, weights: Mapping[str, F64], ranges: Ranges, max_tokens: int) -> None:
    """What any token brings into the first layer is known, and stays in the residual up to the head."""
    places = weights.get("embed.position")
    known = reach(weights["embed.token"], None if places is None else places[:max_tokens])
    ranges.low["layer0.attn.square"] = min(ranges.low["layer0.attn.square"], known.low)
    for site in (*(f"layer{i}.{part}" for i in range(spec.layers) for part in ("attn", "ffn")), "head"):
        ranges.high[f"{site}.residual"] = max(ranges.high[f"{site}.residual"], known.largest)
        ranges.high[f"{site}.square"] = max(ranges.high[f"{site}.square"], known.high)


def _short(ids: Sequence[Ids], room: int) -> list[Ids]:
    return [text[:room] for text in ids if len(text) >= SHORTEST]


def _long(ids: Sequence[Ids], room: int) -> list[Ids]:
    """Two passages as long as a session may be, made of the others: ranges grow with length too."""
    halves = [ids[: (len(ids) + 1) // 2], ids[len(ids) // 2 :]]
    return [np.resize(np.concatenate(half), room).astype(np.int32) for half in halves if half]
