"""Converts a model for the equivariant mode: covered weights for the server, a key for the client."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from privinf.equivariant.asking.own_part import write_own_part
from privinf.equivariant.asking.sides import side_of
from privinf.equivariant.covering.covered import Covered
from privinf.equivariant.covering.decoders import cover_decoder, cover_decoder_layers
from privinf.equivariant.covering.draw import Draw
from privinf.equivariant.covering.encoders import cover_encoder, cover_encoder_layers
from privinf.equivariant.covering.noise import Noise
from privinf.equivariant.covering.plain import Plain, fingerprint, read_plain
from privinf.equivariant.covering.relabel import relabel
from privinf.equivariant.covering.server_folder import write_about, write_server
from privinf.equivariant.covering.vision import cover_vision, cover_vision_layers
from privinf.equivariant.key import Key, KeyAbout
from privinf.equivariant.levels import DEFAULT, Level, level_of
from privinf.equivariant.variants import FOLDER
from privinf.errors import ConfigError
from privinf.formats.directory import require_new
from privinf.models.sharing.bundle import CLIENT_FILES, PUBLIC_FILES
from privinf.models.sharing.folder import copy
from privinf.models.source.sentences import pooling_files
from privinf.options import changed

__all__ = ["Converted", "Noise", "convert", "fingerprint"]

Whole = Callable[[Plain, Draw, Noise | None], Covered]
Layers = Callable[[Plain, Draw], Covered]
VARIANTS, MOST_VARIANTS = 4, 10_000


@dataclass(frozen=True)
class Converted:
    """Where both parts are, and how long it took."""

    client: Path
    server: Path
    seconds: float
    about: KeyAbout


def convert(
    model: Path,
    out: Path,
    level: str = DEFAULT,
    *,
    task: str | None = None,
    variants: int = VARIANTS,
    noise: Noise | None = None,
    progress: Callable[[str], None] | None = None,
) -> Converted:
    """Write out/client and out/server; every call draws fresh covers.

    Args:
        model: a Hugging Face directory of BERT, GPT-2, Llama or ViT.
        out: a new directory.
        level: a name in LEVELS.
        task: must be the model's own, where given.
        variants: sessions' covers, at the level `session`; the other levels have one.
        noise: at the level `noise` alone.
        progress: told what is being done.

    Raises:
        ModelError: an unsupported architecture or setting, or a tokenizer that is missing or lacks special tokens; the
            message says what would be accepted.
        ConfigError: `out` is not empty, or options do not fit.
    """
    began, say = time.monotonic(), progress or (lambda text: None)
    kind = level_of(level)
    require_new(out)
    if not 1 <= variants <= MOST_VARIANTS:
        raise ConfigError(f"variants is a number from 1 to {MOST_VARIANTS}, not {variants}")
    say(f"reading {model}")
    plain = read_plain(model, task)
    _check_noise(kind, plain, noise)
    job = _Job(plain, level, fingerprint(model), out / "client", out / "server", say)
    job.check_client(model)
    with _whole(out):
        job.client.mkdir(mode=0o700, parents=True)
        _copy(model, job.client)
        about = job.sessions(variants) if kind.local else job.static(noise or Noise())
    return Converted(job.client, job.server, time.monotonic() - began, about)


@dataclass(frozen=True)
class _Job:
    """One conversion under way."""

    plain: Plain
    level: str
    model: str
    client: Path
    server: Path
    say: Callable[[str], None]

    def check_client(self, model: Path) -> None:
        """Refuse a model that no client could ask about, as a client would: all but its own part is there already."""
        side_of(model, replace(self._about(self.plain.spec.width), level=DEFAULT))

    def static(self, noise: Noise) -> KeyAbout:
        """One cover for good."""
        self.say(f"covering {self.plain.spec.layers} layers")
        return self._write(_cover(self.plain, level_of(self.level), noise), self.client, self.server)

    def sessions(self, variants: int) -> KeyAbout:
        """The client's own part, and covers of which each session uses another; the folder's key holds none itself."""
        own = write_own_part(self.client, self.plain.weights, self.plain.tied)
        about = replace(self._about(self.plain.spec.width), own_sha256=own)
        Key(about).save(self.client)
        _, cover_layers = _covers(self.plain)
        for i in range(variants):
            self.say(f"covering {self.plain.spec.layers} layers, variant {i + 1} of {variants}")
            place = Path(FOLDER) / f"{i:04}"
            self._write(cover_layers(self.plain, Draw()), self.client / place, self.server / place)
        write_about(self.server, about, variants=variants)
        return about

    def _write(self, covered: Covered, client: Path, server: Path) -> KeyAbout:
        about = self._about(covered.width)
        Key(about, **covered.arrays()).save(client)
        self.say(f"writing {server}")
        write_server(server, self.plain, covered, about)
        return about

    def _about(self, server_width: int) -> KeyAbout:
        plain = self.plain
        return KeyAbout(
            id=secrets.token_hex(16),
            level=self.level,
            family=plain.spec.family,
            task=plain.spec.task,
            model=self.model,
            vocab=plain.spec.vocab,
            width=plain.spec.width,
            server_width=server_width,
            context=plain.spec.max_tokens,
            labels=plain.spec.labels,
        )


def _cover(plain: Plain, level: Level, noise: Noise) -> Covered:
    if not level.covers:
        return relabel(plain, Draw())
    cover, _ = _covers(plain)
    return cover(plain, Draw(), noise if level.noisy else None)


def _covers(plain: Plain) -> tuple[Whole, Layers]:
    """What covers all of such a model, and what covers its layers alone."""
    if plain.spec.vocab == 0:
        return cover_vision, cover_vision_layers
    return (cover_encoder, cover_encoder_layers) if plain.post_norm else (cover_decoder, cover_decoder_layers)


def _check_noise(level: Level, plain: Plain, noise: Noise | None) -> None:
    """Refuse settings that would do nothing."""
    if noise is None:
        return
    if not level.noisy:
        raise ConfigError("settings of noise are only for the level noise: leave them out, or choose it")
    if plain.spec.norm != "rms" and (given := sorted(changed(noise).keys() & {"padding", "mixing"})):
        raise ConfigError(f"{', '.join(given)}: only models with RMSNorm take key matrices; leave it out")


@contextmanager
def _whole(out: Path) -> Iterator[None]:
    """Leave nothing behind where a conversion fails, as half a key looks like one."""
    parts = (out / "client", out / "server") if out.exists() else (out,)
    try:
        yield
    except BaseException:
        for part in parts:
            shutil.rmtree(part, ignore_errors=True)
        raise


def _copy(model: Path, client: Path) -> None:
    """What the client reads of the plain model: its tokenizer and its public facts, no weights."""
    for name in (*PUBLIC_FILES, *CLIENT_FILES, "preprocessor_config.json", *pooling_files(model)):
        if (model / name).is_file():
            copy(model / name, client / name)
