"""Between the messages of this mode and arrays, with all that a peer says checked."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from privinf.errors import InputError, MismatchError
from privinf.options import Sampling
from privinf.v1 import equivariant_pb2 as pb

F32 = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
POOLINGS = ("mean", "cls")


def rows_message(rows: npt.ArrayLike) -> pb.CoveredRows:
    """An array for the wire."""
    array = np.ascontiguousarray(rows, dtype="<f4")
    return pb.CoveredRows(shape=array.shape, values=array.tobytes())


def read_rows(message: pb.CoveredRows, wanted: Sequence[int | None], what: str) -> F32:
    """An array of finite numbers; `wanted` is its shape, None for a length that only may not be 0."""
    shape = tuple(message.shape)
    fits = len(shape) == len(wanted) and all(
        n == want or (want is None and n > 0) for n, want in zip(shape, wanted, strict=True)
    )
    if not fits:
        said = ", ".join("n" if want is None else str(want) for want in wanted)
        raise InputError(f"{what} are of shape ({said}), not {shape}")
    if len(message.values) != 4 * math.prod(shape):
        raise InputError(
            f"{what} of shape {shape} take {4 * math.prod(shape)} bytes, not {len(message.values)}"
        )
    rows = np.frombuffer(message.values, dtype="<f4").astype(np.float32).reshape(shape)
    if not np.isfinite(rows).all():
        raise InputError(f"{what} contain values that are not finite numbers")
    return rows


def read_ids(ids: Sequence[int], vocab: int, most: int, what: str) -> Ids:
    """Token ids, at least one and at most so many, each of the vocabulary."""
    if not 0 < len(ids) <= most:
        raise InputError(f"{what} has {len(ids)} tokens; 1 to {most} can be taken")
    known = np.asarray(ids, dtype=np.int64)
    if known.max() >= vocab:
        raise InputError(f"{what} contains an id that is not a token: ids are 0 to {vocab - 1}")
    return known


def read_texts(query: pb.CoveredQuery, vocab: int, context: int, max_rows: int) -> list[Ids]:
    """The token ids of each text of a query."""
    if not query.texts:
        raise InputError("a query holds at least one text")
    require_room(len(query.texts), 1, max_rows)  # before each of them is looked at
    require_room(len(query.texts), max(len(text.ids) for text in query.texts), max_rows)
    return [read_ids(text.ids, vocab, context, f"text {place}") for place, text in enumerate(query.texts)]


def require_room(batch: int, longest: int, max_rows: int) -> None:
    """Refuse more rows than one request may have."""
    if batch * longest > max_rows:
        raise InputError(
            f"{batch} times {longest} rows are more than the {max_rows} of one request: ask in parts"
        )


def read_pooling(pooling: str) -> str:
    """How rows of a text become one."""
    if pooling not in POOLINGS:
        raise InputError(f"pooling is {' or '.join(POOLINGS)}, not {pooling[:16]!r}")
    return pooling


def require_key(asked: str, own: str) -> None:
    """Refuse a call for a model that was covered with another key."""
    if asked != own:
        raise MismatchError(f"the server's model was covered with key {own[:8]}, not {asked[:8] or 'none'}")


def prompt_message(key: str, ids: Sequence[int], tokens: int, sampling: Sampling) -> pb.CoveredPrompt:
    """A prompt for the wire."""
    try:
        return pb.CoveredPrompt(
            id=key,
            ids=ids,
            max_new_tokens=tokens,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            repetition_penalty=sampling.repetition_penalty,
            seed=sampling.seed,
        )
    except ValueError:
        raise InputError("max_new_tokens and top_k fit 32 bits, and seed fits 64") from None


def read_sampling(prompt: pb.CoveredPrompt) -> Sampling:
    """How tokens are to be chosen; InputError for a value out of its range."""
    given = {name: getattr(prompt, name) for name in ("top_k", "top_p", "seed") if prompt.HasField(name)}
    return Sampling(temperature=prompt.temperature, repetition_penalty=prompt.repetition_penalty, **given)
