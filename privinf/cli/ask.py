"""Commands of a client in every mode: embed and classify, of texts given as arguments or in a file, or of images."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privinf.cli._options import ClientOptions, Model, refuse
from privinf.cli.output import JsonFlag, emit_json, note, progress
from privinf.options import option
from privinf.sdk.options import Reading

if TYPE_CHECKING:
    from privinf.sdk.answers import F32, Classification
    from privinf.sdk.batch import Report
    from privinf.sdk.client import Client

Texts = Annotated[list[str] | None, typer.Argument(help="Texts.")]
File = Annotated[Path | None, typer.Option(help="UTF-8 text, one text a line; - is stdin.")]


def embed(
    model: Model,
    reading: Reading,
    reach: ClientOptions,
    texts: Texts = None,
    file: File = None,
    out: Path | None = option(None, "Write vectors here as .npy; run again to resume."),
    force: bool = option(False, "Ask again for what --out already holds.", flag="--force/--no-force"),
    as_json: JsonFlag = False,
) -> None:
    """Embed texts."""
    lines = asked_texts(texts, file)
    if force and out is None:
        refuse(["force"], "--out")
    with closing(reach.client(model)) as client, progress("embedding", len(lines)) as tick:
        if out is not None:
            report = _embed_file(client, lines, out, reading, force, timeout=reach.deadline, progress=tick)
        else:
            answer = client.embed(lines, timeout=reach.deadline, progress=tick, **vars(reading))
    if out is not None:
        emit_json(report) if as_json else note(_told(report))
    elif as_json:
        emit_json({"embeddings": answer.vectors.tolist(), "stats": asdict(answer.stats)})
    else:
        for text, vector in zip(lines, answer.vectors, strict=True):
            head = " ".join(f"{v:+.4f}" for v in vector[:4])
            typer.echo(f"{head} ...  {text}")
        note(str(answer.stats))


def _embed_file(
    client: Client, lines: list[str], out: Path, reading: Reading, force: bool, **call: Any
) -> Report:
    """Nobody is reached where `out` is finished, and before a directory is made for its answers somebody is."""
    from privinf.sdk.batch import embed_file, finished

    if not force and (known := finished(client, lines, out, reading)) is not None:
        return known
    client.check(lines, **vars(reading))
    with client:
        return embed_file(client, lines, out, reading, force=force, **call)


def _told(report: Report) -> str:
    if report["texts"] and not report["done"]:
        return f"nothing to do: {report['out']} holds these {report['texts']} vectors; --force asks again"
    return f"{report['done']} texts embedded now, {report['resumed']} before: {report['out']}"


def classify(
    model: Model,
    reading: Reading,
    reach: ClientOptions,
    texts: Texts = None,
    file: File = None,
    image: list[Path] | None = option(
        None, "Private mode: a picture, of any usual format and size; repeatable."
    ),
    images: Path | None = option(
        None, "A .npy of float32 (images, channels, height, width), as the model's processor gives them."
    ),
    as_json: JsonFlag = False,
) -> None:
    """Classify texts or images."""
    asked, names = _items(texts, file, image, images, reach)
    with closing(reach.client(model)) as client, progress("classifying", len(asked)) as tick:
        answer = client.classify(asked, timeout=reach.deadline, progress=tick, **vars(reading))
    if as_json:
        emit_json(classes(answer))
        return
    for said, name in zip(said_of(answer), names, strict=True):
        typer.echo(f"{said}\t{name}")
    note(str(answer.stats))


def classes(answer: Classification) -> dict[str, Any]:
    """A classification for --json."""
    chosen = {"label": "labels", "labels": "label_sets"}.get(answer.says)
    return {
        "says": answer.says,
        "names": answer.names,
        "labels": getattr(answer, chosen) if chosen else None,
        "scores": answer.scores.tolist(),
        "logits": answer.logits.tolist(),
        "stats": asdict(answer.stats),
    }


def said_of(answer: Classification) -> Iterator[str]:
    """What a classifier says of each text: labels with their scores, or scores alone."""
    for place, row in enumerate(answer.scores):
        scores = dict(zip(answer.names, row, strict=True))
        if answer.says == "label":
            label = answer.labels[place]
            yield f"{label}\t{scores[label]:.4f}"
        elif answer.says == "labels":
            yield ", ".join(f"{label} {scores[label]:.4f}" for label in answer.label_sets[place]) or "-"
        else:
            yield " ".join(f"{score:.4f}" for score in row)


def asked_texts(texts: list[str] | None, file: Path | None) -> list[str]:
    """The texts of a command's arguments, or of its --file; InputError unless it was one of both."""
    from privinf.models.text.tokenizer import lines_of, read_lines

    require_one(texts, file, "text")
    if file is None:
        return list(texts or [])
    return lines_of(sys.stdin.buffer.read(), "stdin") if str(file) == "-" else read_lines(file)


def require_one(texts: list[str] | None, file: Path | None, what: str) -> None:
    """InputError where there is neither text nor file, OptionError where there are both."""
    from privinf.errors import InputError, OptionError

    if not texts and file is None:
        raise InputError(
            f"no {what} was given: write it as an argument, or name a file with --file (- is stdin)"
        )
    if texts and file is not None:
        raise OptionError(f"--file: a {what} was given as an argument too: leave one of them out")


def _items(
    texts: list[str] | None,
    file: Path | None,
    pictures: list[Path] | None,
    images: Path | None,
    reach: ClientOptions,
) -> tuple[list[str] | list[Path] | F32, list[str]]:
    """What is asked about, and how each is called; OptionError where it is given in two ways."""
    from privinf.errors import OptionError

    if pictures is None and images is None:
        lines = asked_texts(texts, file)
        return lines, lines
    if texts or file or (pictures and images):
        raise OptionError("--image, --images: texts or other images were given too: leave one of them out")
    if pictures:
        if reach.mode == "equivariant":
            raise OptionError("--image: the equivariant mode takes pixels: give --images a .npy of them")
        return pictures, [str(path) for path in pictures]
    assert images is not None
    array = _array(images)
    return array, [f"image {place}" for place in range(len(array))]


def _array(path: Path) -> F32:
    """The numbers of a .npy file."""
    import numpy as np

    from privinf.errors import FileError, InputError

    try:
        with path.open("rb") as file:
            array: F32 = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise FileError.unread(path, error) from None
    except (ValueError, EOFError):
        raise InputError(f"{path} is no .npy file of numbers") from None
    return array
