"""The command that makes a draft of public text: what a client guesses with while it generates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privinf.cli._options import Model
from privinf.cli.generate import SPECIAL_TOKENS
from privinf.cli.output import JsonFlag, read_text, wrote


def draft(
    files: Annotated[list[Path], typer.Argument(help="UTF-8 text that resembles the answers you expect.")],
    model: Model,
    out: Annotated[Path, typer.Option(help="Where to write it, such as draft.npz.")],
    special_tokens: bool = SPECIAL_TOKENS,
    as_json: JsonFlag = False,
) -> None:
    """Learn from text what usually comes next, for `generate --draft FILE`. The file stays with the client."""
    from privinf.drafts.ngrams import NgramDraft
    from privinf.sdk.decoder_client import DecoderSide

    side = DecoderSide(model)
    rules = side.tokenizer
    texts = [rules.encode(rules.script(read_text(file), special_tokens)) for file in files]
    NgramDraft.learn(texts, side.vocab).save(out)
    tokens = sum(map(len, texts))
    document = {"path": str(out), "tokens": tokens, "bytes": out.stat().st_size}
    wrote(out, document, f"learned from {tokens} tokens; use it with --draft {out}", as_json=as_json)
