"""The clear interpreter computes what transformers computes: at once, behind a prefix, and row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from saved_decoders import tiny

from privinf.models.clear import ClearDecoder, prefix_cache
from privinf.models.engines.clear import Past
from privinf.models.engines.observers import Ranges
from privinf.models.fold import fold
from privinf.models.source.checkpoint import load

PREFIX = (7, 0, 13)
IDS = [3, 1, 4, 1, 5, 9, 2, 6]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {}),
    "gpt2 gelu": ("gpt2", {"activation_function": "gelu"}),
    "gpt2 relu": ("gpt2", {"activation_function": "relu", "n_inner": 10}),
    "llama": ("llama", {}),
    "llama of one key head": ("llama", {"num_key_value_heads": 1, "rope_theta": 50.0}),
    "llama without groups": ("llama", {"num_key_value_heads": 4, "head_dim": None}),
    "llama gelu": ("llama", {"hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": True}),
}
EVERY = pytest.mark.parametrize("case", CASES)


def both(folder: Path, case: str, ids: list[int], ranges: Ranges | None = None) -> tuple[ClearDecoder, Any]:
    """Our model, and the logits (tokens, vocab) of transformers'."""
    kind, options = CASES[case]
    model = tiny(folder, kind, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.4)
    model.save_pretrained(folder)
    spec, weights = load(folder)
    with torch.inference_mode():
        wanted = model(torch.tensor([ids])).logits[0].numpy()
    assert np.abs(wanted).max() > 0.5
    return ClearDecoder(spec, fold(spec, weights), ranges), wanted


def near(mine: Any, wanted: Any) -> None:
    np.testing.assert_allclose(mine[0].numpy(), wanted, rtol=0, atol=2e-5)


@EVERY
def test_all_rows_at_once(tmp_path: Path, case: str) -> None:
    decoder, wanted = both(tmp_path, case, IDS)
    near(decoder.run(torch.tensor([IDS])), wanted)
    assert decoder.slots == len(IDS)


@EVERY
def test_behind_a_prefix(tmp_path: Path, case: str) -> None:
    decoder, wanted = both(tmp_path, case, [*PREFIX, *IDS])
    weights = {name: value.double().numpy() for name, value in decoder._weights.items()}
    past = prefix_cache(decoder.spec, weights, PREFIX)
    assert [k.shape for k, _ in past] == [(1, decoder.spec.kv_heads, 3, decoder.spec.head_width)] * 2
    for _ in range(2):
        decoder.rewind(past)
        near(decoder.run(torch.tensor([IDS])), wanted[len(PREFIX) :])
    assert prefix_cache(decoder.spec, weights, ()) == Past()


@EVERY
def test_pass_after_pass(tmp_path: Path, case: str) -> None:
    decoder, wanted = both(tmp_path, case, IDS)
    decoder.read(torch.tensor([IDS[:3]]))
    assert decoder.slots == 3
    for start, end, rows in ((3, 4, 1), (4, 7, 2), (7, 8, 1)):
        near(decoder.run(torch.tensor([IDS[start:end]]), rows), wanted[end - rows : end])
    assert decoder.slots == 8


def test_a_batch_is_answered_as_one_by_one(tmp_path: Path) -> None:
    decoder, wanted = both(tmp_path, "llama", [*PREFIX, *IDS])
    decoder.read(torch.tensor([list(PREFIX)]))
    decoder.rewind(decoder.past, 2)
    answers = decoder.run(torch.tensor([IDS, IDS[::-1]]))
    near(answers[:1], wanted[3:])
    assert not torch.allclose(answers[0], answers[1])


def test_ranges_are_of_what_a_row_may_attend_to(tmp_path: Path) -> None:
    """A recorder changes no answer, and sees every site that a plan asks for."""
    ranges = Ranges()
    decoder, wanted = both(tmp_path, "llama", IDS, ranges)
    near(decoder.run(torch.tensor([IDS])), wanted)
    sites = {f"layer{i}.attn.{s}" for i in (0, 1) for s in ("residual", "q", "k", "v", "scores", "attended")}
    sites |= {f"layer{i}.ffn.{s}" for i in (0, 1) for s in ("residual", "gate", "up", "hidden")}
    assert sites | {"head.residual", "head.out"} <= set(ranges.high)
    assert {f"layer{i}.{part}.square" for i in (0, 1) for part in ("attn", "ffn")} <= set(ranges.low)
    assert ranges.high["head.out"] == pytest.approx(np.abs(wanted).max(), abs=1e-4)
