"""The command of a model's owner in the equivariant mode: cover."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from privinf.cli.output import JsonFlag, note, wrote
from privinf.options import changed, option


@dataclass(frozen=True)
class NoiseOptions:
    """How much noise, at that level."""

    alpha_e: float | None = option(None, "noise: on embeddings, in their standard deviations [0.1].")
    alpha_h: float | None = option(None, "noise: on the head, in its standard deviations [0.1].")
    padding: int | None = option(
        None, "noise, Llama: columns added to each half of a key matrix, at least [64]."
    )
    mixing: float | None = option(None, "noise, Llama: how far key matrices are from rotations [0.1].")


def cover(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A Hugging Face directory with BERT, GPT-2, Llama or ViT.")
    ],
    noise: NoiseOptions,
    out: Annotated[Path, typer.Option(help="A new directory for the client's and the server's part.")],
    level: str = option("cover", "tokens, cover, noise or session; SECURITY.md says what each hides."),
    task: str | None = option(
        None, "embed, classify or generate: refuse the model if it is for another task."
    ),
    variants: int | None = option(None, "session: how many covers to make; each session uses up one [4]."),
    as_json: JsonFlag = False,
) -> None:
    """Cover a model so that one server can run it at plain speed: weights for the server, a key for the client."""
    from privinf.equivariant.covering.convert import VARIANTS, Noise, convert
    from privinf.equivariant.levels import WARNING, level_of
    from privinf.errors import ConfigError

    if variants is not None and not level_of(level).local:
        raise ConfigError(
            "--variants is for the level session alone: leave it out, or choose --level session"
        )
    note(WARNING)
    covers = VARIANTS if variants is None else variants
    drawn = Noise(**changed(noise)) if changed(noise) else None
    done = convert(model, out, level, task=task, variants=covers, noise=drawn, progress=note)
    about = {name: getattr(done.about, name) for name in ("id", "level", "family", "task")}
    paths = {"client": str(done.client), "server": str(done.server)}
    document = {**about, **paths, "seconds": round(done.seconds, 3), "warning": WARNING}
    key = f"done in {done.seconds:.1f} s; the key is in {done.client}: never give that folder to a server"
    wrote(out, document, key, as_json=as_json)
