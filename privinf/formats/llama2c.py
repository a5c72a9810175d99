"""Reads checkpoints of llama2.c: its first format, in float32, with the tokenizer beside it or joined to it."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from privinf.errors import FileError, ModelError
from privinf.formats.directory import Array, Converted, config_of, stored_name
from privinf.formats.rotary import LAYER, LLAMA, blocks, halves
from privinf.formats.tokenizers import SPACE, sentencepiece, start_with
from privinf.models.source.checkpoint import HEAD, tensors
from privinf.models.spec import Generator, ModelSpec, Tokens

Bytes = npt.NDArray[np.uint8]

HEADER = struct.Struct("<7i")
LATER_MAGIC = 0x616B3432  # of the formats after the first
UNKNOWN, BOS, EOS, FIRST_BYTE, FIRST_PIECE = 0, 1, 2, 3, 259
PARTS = tuple(LAYER.values())
NAMES = ("<unk>", "<s>", "</s>")  # llama2.c puts line breaks around the last two


def read_llama2c(source: Path, tokenizer: Path | None = None) -> Converted:
    """Reads `source`, which ends with the tokenizer's file where none is given."""
    data = _bytes(source)
    one, layers = _header(data, source)
    weights = _weights(one, layers)
    end = HEADER.size + 4 * sum(math.prod(shape) for _, shape in weights)
    rest = len(data) - end
    if rest < 0:
        raise ModelError(f"{source} is cut short: its header calls for {end} bytes, it has {len(data)}")
    if tokenizer is None and rest == 0:
        raise ModelError(f"{source} holds no tokenizer: give its tokenizer.bin (--tokenizer)")
    if tokenizer is not None and rest > 0:
        raise ModelError(f"{source} continues for {rest} bytes after the weights that its header describes")
    spec = replace(one, blocks=one.blocks * layers)
    return Converted(
        config=config_of(spec),
        tensors=dict(_tensors(spec, data[HEADER.size : end].view("<f4"), weights)),
        tokenizer=_rules(_bytes(tokenizer) if tokenizer else data[end:], spec.vocab, tokenizer or source),
        special={"unk": UNKNOWN, "bos": BOS, "eos": EOS},
        ends=(EOS,),
    )


def _bytes(path: Path) -> Bytes:
    try:
        return np.memmap(path, dtype=np.uint8, mode="r")
    except ValueError:
        raise ModelError(f"{path} is empty") from None
    except OSError as error:
        raise FileError.unread(path, error) from None


def _header(data: Bytes, path: Path) -> tuple[ModelSpec, int]:
    """The model with one layer, and how many it says that it has."""
    if len(data) < HEADER.size:
        raise ModelError(f"{path} is cut short: it has {len(data)} bytes")
    width, ffn, layers, heads, kv_heads, vocab, max_tokens = HEADER.unpack(data[: HEADER.size].tobytes())
    if width == LATER_MAGIC:
        raise ModelError(f"{path} has a later format of llama2.c; export it with --version 0")
    sizes = (width, ffn, layers, heads, kv_heads, max_tokens, abs(vocab) - FIRST_PIECE)
    if min(sizes) < 1 or heads % kv_heads or width % (2 * heads):
        raise ModelError(
            f"{path} is neither GGUF nor a checkpoint of llama2.c: sizes {sizes} do not describe a model"
        )
    head_width = width // heads
    one = LLAMA(
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        ffn=ffn,
        max_tokens=max_tokens,
        eps=1e-5,  # this and the base of rotations are constants of llama2.c's code
        blocks=blocks(1, head_width, 10000.0),
        inputs=Tokens(abs(vocab)),
        head=Generator(tied=vocab > 0),
    )
    return one, layers


def _weights(one: ModelSpec, layers: int) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes in the file's order: each part of all layers together."""
    shapes = {name: tensor.shape for name, tensor in tensors(one).items()}
    inner = [(part, (layers, *shapes[f"layer0.{part}"])) for part in PARTS]
    turns = [(name, (one.max_tokens, one.head_width // 2)) for name in ("cos", "sin")]
    first, norm, head = ((name, shapes[name]) for name in ("embed.token", "head.norm.gain", HEAD))
    return [first, *inner, norm, *turns, *([] if one.generator.tied else [head])]


def _tensors(
    spec: ModelSpec, values: Array, weights: list[tuple[str, tuple[int, ...]]]
) -> Iterator[tuple[str, Array]]:
    start, places = 0, tensors(spec)
    for part, shape in weights:
        count = math.prod(shape)
        array = np.array(values[start : start + count], np.float32).reshape(shape)
        start += count
        if part in PARTS:
            named = {f"layer{i}.{part}": halves(part, rows, spec) for i, rows in enumerate(array)}
        else:
            named = {part: array} if part in places else {}  # not what turns, which transformers computes
        for name, rows in named.items():
            yield stored_name(places[name].theirs, spec), rows


def _rules(data: Bytes, vocab: int, path: Path) -> Tokenizer:
    pieces, scores = _pieces(data, vocab, path)
    plain = range(FIRST_PIECE, vocab)
    try:
        rules = sentencepiece(pieces, scores, (UNKNOWN, BOS, EOS), unknown=UNKNOWN, plain=plain)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    start_with(rules, BOS)
    return rules


def _pieces(data: Bytes, vocab: int, path: Path) -> tuple[list[str], list[float]]:
    """Pieces and scores, spelt as SentencePiece itself spells them."""
    entries = list(_entries(data.tobytes(), vocab, path))
    pieces = [piece for piece, _ in entries]
    for i, name in enumerate(NAMES):
        if pieces[i].strip() != name:
            raise ModelError(f"{path}: piece {i} is {pieces[i]!r}, not {name!r}")
    # Early files give a byte as the character of its number, which pieces of text may be as well.
    numbers, characters = [f"<0x{byte:02X}>" for byte in range(256)], [chr(byte) for byte in range(256)]
    if pieces[FIRST_BYTE:FIRST_PIECE] not in (numbers, characters):
        raise ModelError(f"{path}: pieces {FIRST_BYTE} to {FIRST_PIECE - 1} are not the 256 bytes")
    spelt = [piece.replace(" ", SPACE) for piece in pieces[FIRST_PIECE:]]
    return [*NAMES, *numbers, *spelt], [score for _, score in entries]


def _entries(data: bytes, vocab: int, path: Path) -> Iterator[tuple[str, float]]:
    at = 4  # after the length of the longest piece
    try:
        for _ in range(vocab):
            score, length = struct.unpack_from("<fi", data, at)
            piece = data[at + 8 : at + 8 + length]
            if length < 0 or len(piece) != length:
                raise ModelError(f"{path} is cut short: it holds no {vocab} pieces")
            at += 8 + length
            yield piece.decode("utf-8"), score
    except (struct.error, UnicodeDecodeError):
        raise ModelError(f"{path} is not a llama2.c tokenizer with {vocab} pieces") from None
    if at != len(data):
        raise ModelError(f"{path} continues after {vocab} pieces: model and tokenizer do not match")
