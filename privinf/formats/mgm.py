"""Reads MGM, a GPT-2 over genera of microbes, without running what its pickles may hold."""

from __future__ import annotations

import csv
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from privinf.errors import ModelError
from privinf.formats.directory import Array, Converted
from privinf.formats.tokenizers import start_with, words
from privinf.models.source.reading import read_object

MODEL, GENERA = "general_model", "phylogeny.csv"
# Its pickled tokenizer numbers these first, then the genera in the order of the table.
PAD, MASK, BOS, EOS = SPECIALS = ("<pad>", "<mask>", "<bos>", "<eos>")


def read_mgm(folder: Path) -> Converted:
    """Reads the resources folder of the package; an unknown genus becomes the mask, which training never saw."""
    config = read_object(folder / MODEL / "config.json")
    tokens = [*SPECIALS, *_genera(folder / GENERA)]
    if config.get("vocab_size") != len(tokens):
        raise ModelError(f"{folder}: {len(tokens)} tokens, where config.json has {config.get('vocab_size')}")
    rules = words(tokens, SPECIALS, unknown=MASK)
    start_with(rules, tokens.index(BOS))
    return Converted(
        config=config,
        tensors=_weights(folder / MODEL / "pytorch_model.bin"),
        tokenizer=rules,
        special={"pad": 0, "unk": 1, "bos": 2, "eos": 3},
        ends=(3,),
    )


def _genera(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row["#SampleID"] for row in csv.DictReader(file)]


def _weights(path: Path) -> dict[str, Array]:
    import torch

    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise ModelError(f"{path} is cut short or holds more than weights ({error})") from None
    if torch.equal(state["lm_head.weight"], state["transformer.wte.weight"]):
        del state["lm_head.weight"]  # tied, and so stored once
    return {name: np.array(value.float().numpy()) for name, value in state.items()}
