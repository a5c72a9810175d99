"""Turns a decoder in another format into a plain Hugging Face directory."""

from __future__ import annotations

import os
import tempfile
from importlib import util
from pathlib import Path

from privinf.errors import ConfigError, FileError, MissingExtra
from privinf.formats.directory import Converted, occupied
from privinf.formats.llama2c import read_llama2c

Where = str | os.PathLike[str]

GGUF = b"GGUF"


def convert(source: Where, out_dir: Where, *, tokenizer: Where | None = None) -> Path:
    """Convert a GGUF file or a checkpoint of llama2.c into the new or empty directory `out_dir`.

    Args:
        source: a GGUF file of the Llama architecture, or a float32 checkpoint of llama2.c.
        out_dir: gets config.json, generation_config.json, model.safetensors and the tokenizer's files.
        tokenizer: tokenizer.bin of llama2.c, where it is not joined to the checkpoint.
    """
    out = Path(out_dir)
    if occupied(out):
        raise ConfigError(f"{out} holds something else; choose an empty or a new directory")
    model = read(Path(source), Path(tokenizer) if tokenizer is not None else None)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            model.write(made)
            made.rename(out)
    except OSError as error:
        raise FileError.unwritten(out, error) from error
    return out


def read(source: Path, tokenizer: Path | None = None) -> Converted:
    """The model in `source`, which says itself what format it has."""
    try:
        with source.open("rb") as file:
            first = file.read(len(GGUF))
    except OSError as error:
        raise FileError.unread(source, error) from None
    if first != GGUF:
        return read_llama2c(source, tokenizer)
    if tokenizer is not None:
        raise ConfigError(f"{source} is GGUF and holds its tokenizer: leave --tokenizer out")
    if util.find_spec("gguf") is None:
        raise MissingExtra('GGUF files need the gguf package: pip install "privinf[convert]"')
    from privinf.formats.gguf import read_gguf

    return read_gguf(source)
