"""The command that brings a decoder from another format: convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privinf.cli.output import JsonFlag, wrote
from privinf.options import option


def convert(
    source: Annotated[
        Path, typer.Argument(help="A GGUF file of the Llama architecture, or a llama2.c checkpoint.")
    ],
    out: Annotated[Path, typer.Option(help="A new directory for the Hugging Face model.")],
    tokenizer: Path | None = option(None, "tokenizer.bin of llama2.c, if it is a separate file."),
    as_json: JsonFlag = False,
) -> None:
    """Convert a decoder in another format to a Hugging Face directory with float32 weights."""
    from privinf.formats.convert import convert as run
    from privinf.models.source.checkpoint import read_spec

    path = run(source, out, tokenizer=tokenizer)
    spec = read_spec(path)
    sizes = {name: getattr(spec, name) for name in ("family", "layers", "width", "vocab", "max_tokens")}
    wrote(path, {"path": str(path), **sizes}, as_json=as_json)
