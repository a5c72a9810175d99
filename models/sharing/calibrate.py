"""Measures the ranges of every wire on real text, in the clear, before a model is shared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import resources

import numpy as np
import numpy.typing as npt

from privinf.errors import ModelError
from privinf.models.engines.observers import Ranges
from privinf.models.fold import F64
from privinf.models.orders import ORDERS, Limits
from privinf.models.parts import build
from privinf.models.plan.rings import Plan
from privinf.models.plan.tables import fingerprint
from privinf.models.programs.texts import Ids
from privinf.models.sharing.reach import reach
from privinf.models.spec import ModelSpec, Pool
from privinf.models.text.tokenizer import bucket

BATCH = 16
TEXTS = ("calibration.txt", "varied.txt")
PASSAGE, PASSAGES = 128, 8  # tokens of a passage made of the table's rows, and how many there are
SHORTEST = 2  # tokens of a text that is worth a look
F32 = npt.NDArray[np.float32]
Tick = Callable[[int], None]
Stage = Callable[[str, int], None]  # what begins now, and of how many passages; 0 where none are counted


def default_text() -> list[str]:
    """The calibration text that ships with privinf: prose, other scripts, numbers, code, and what is no language."""
    data = resources.files("privinf.models.text").joinpath("data")
    texts = (data.joinpath(name).read_text(encoding="utf-8") for name in TEXTS)
    return [line for text in texts for line in text.split("\n") if line.strip()]


def calibrate(
    spec: ModelSpec,
    weights: Mapping[str, F64],
    ids: Sequence[Ids],
    tick: Tick = lambda done: None,
    stage: Stage = lambda name, total: None,
) -> Plan:
    """Plan the rings of a model from its folded weights and tokenised text; `tick` counts texts done."""
    from privinf.models.clear import ClearEncoder

    ranges = Ranges()
    clear = ClearEncoder(spec, weights, ranges)
    odd = passages(weights["embed.token"], ids[0], spec.longest)
    texts_read = [*ids, *_long(ids, spec.longest), *odd]
    stage("calibrating", len(texts_read))
    for tokens, texts in batches(texts_read, spec.longest):
        clear.run(texts, tokens)
        tick(len(texts))
    stage("planning", 0)
    known = reach(weights["embed.token"], weights["embed.position"][: spec.longest])
    ranges.high |= {"embed.residual": known.largest, "embed.square": known.high}
    ranges.low["embed.square"] = known.low
    return planned(spec, ranges, Limits(spec.longest))


def calibrate_images(
    spec: ModelSpec,
    weights: Mapping[str, F64],
    pixels: F32,
    most: float,
    tick: Tick = lambda done: None,
    stage: Stage = lambda name, total: None,
) -> Plan:
    """Plan the rings of a model from images as its processor gives them; `most` is the largest pixel that it gives."""
    import torch

    from privinf.models.clear import ClearImages

    ranges = Ranges()
    clear = ClearImages(spec, weights, ranges)
    stage("calibrating", len(pixels))
    for start in range(0, len(pixels), BATCH):
        part = pixels[start : start + BATCH]
        clear.run(torch.from_numpy(part))
        tick(len(part))
    stage("planning", 0)
    return planned(spec, ranges, Limits(spec.max_tokens, pixels=most))


def planned(spec: ModelSpec, ranges: Ranges, limits: Limits) -> Plan:
    """The plan of a model's order, with the fingerprint of its tables."""
    plan = ORDERS[spec.order].plan(spec, ranges, limits)
    return replace(plan, spec=spec.digest, tables=fingerprint(build(spec, plan), limits.max_tokens))


def _long(ids: Sequence[Ids], tokens: int) -> list[Ids]:
    """Two passages of as many tokens as the model takes, made of the others: ranges grow with length too."""
    halves = [ids[: (len(ids) + 1) // 2], ids[len(ids) // 2 :]]
    bodies = [np.resize(np.concatenate([text[1:-1] for text in half]), tokens - 2) for half in halves]
    return [np.concatenate([ids[0][:1], body, ids[0][-1:]]).astype(np.int32) for body in bodies]


def passages(table: F64, example: Ids, most: int) -> list[Ids]:
    """What no language says: one token again and again, and tokens from all over the table."""
    first, body, last = example[:1], example[1:-1], example[-1:]
    size = min(most, PASSAGE) - 2
    some = np.arange(0, len(table), max(len(table) // (size * PASSAGES), 1))[: size * PASSAGES]
    bodies = [np.resize(body[:1], most - 2), *np.array_split(some, max(-(-len(some) // size), 1))]
    return [np.concatenate([first, row, last]).astype(np.int32) for row in bodies]


def batches(ids: Sequence[Ids], most: int) -> list[tuple[int, list[Ids]]]:
    """Texts of one length bucket together, at most BATCH at a time; no bucket beyond `most` tokens."""
    by_bucket: dict[int, list[Ids]] = defaultdict(list)
    for tokens in ids:
        by_bucket[min(bucket(len(tokens)), most)].append(tokens)
    return [
        (size, texts[at : at + BATCH])
        for size, texts in sorted(by_bucket.items())
        for at in range(0, len(texts), BATCH)
    ]


def calibrate_decoder(
    spec: ModelSpec,
    weights: Mapping[str, F64],
    ids: Sequence[Ids],
    prefix: Sequence[int],
    max_tokens: int,
    tick: Tick = lambda done: None,
    cache: str = "full",
    stage: Stage = lambda name, total: None,
) -> tuple[Plan, dict[str, F64]]:
    """Plan the rings of a model for sessions of up to `max_tokens`; return the prefix's tensors beside the plan.

    Every text is read behind the prefix, as a session is; `tick` counts texts done.
    """
    import torch

    from privinf.models.clear import ClearDecoder, prefix_cache

    room = max_tokens - len(prefix)
    if room < SHORTEST:
        raise ModelError(f"a prefix of {len(prefix)} tokens leaves no room in {max_tokens}")
    past, ranges = prefix_cache(spec, weights, prefix, cache), Ranges()
    decoder = ClearDecoder(spec, weights, ranges, cache)
    # Not passages of what no language says, as encoders read: with them SmolLM2's residual fits no ring of 64 bits.
    texts = [*_cut(ids, room), *_filled(ids, room)]
    stage("calibrating", len(texts))
    for text in texts:
        decoder.rewind(past)
        decoder.run(torch.from_numpy(text.astype(np.int64))[None])
        tick(1)
    stage("planning", 0)
    _see_all_tokens(spec, weights, ranges, max_tokens)
    tables = [weights[name] for name in ("embed.token", "embed.position") if name in weights]
    largest = max(float(np.abs(table).max()) for table in tables)
    plan = planned(spec, ranges, Limits(max_tokens, tuple(prefix), largest, cache))
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


def _cut(ids: Sequence[Ids], room: int) -> list[Ids]:
    return [text[:room] for text in ids if len(text) >= SHORTEST]


def _filled(ids: Sequence[Ids], room: int) -> list[Ids]:
    """Two passages as long as a session may be, made of the others: ranges grow with length too."""
    halves = [ids[: (len(ids) + 1) // 2], ids[len(ids) // 2 :]]
    return [np.resize(np.concatenate(half), room).astype(np.int32) for half in halves if half]


def clear_answers(spec: ModelSpec, weights: Mapping[str, F64], ids: Sequence[Ids]) -> npt.NDArray[np.float32]:
    """Float32 answers (texts, width or labels), in the order given: what private ones are compared with."""
    from privinf.models.clear import ClearEncoder

    clear, answers = ClearEncoder(spec, weights), []
    for tokens in ids:
        row = clear.run([tokens], max(len(tokens), 2))[:, 0].numpy()
        if isinstance(spec.head, Pool) and spec.head.unit:
            row = row / np.linalg.norm(row, axis=-1, keepdims=True)
        answers.append(row[0, : spec.answer_width])
    return np.stack(answers).astype(np.float32)
