"""What the client sends, byte for byte: covered ids and rows, and nothing of a key or of what is plain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import Wire, client_of, converted, serving

from privinf.equivariant.asking.own_part import FILE, OwnPart
from privinf.equivariant.asking.texts import TextSide
from privinf.equivariant.covering.convert import Converted
from privinf.equivariant.key import Key
from privinf.equivariant.variants import MARK, all_variants
from privinf.errors import MismatchError
from privinf.sdk.options import Reading
from privinf.v1 import equivariant_pb2 as pb

WINDOW = 16  # bytes: two numbers of a key in a row, or four as float32
TEXTS = ["the sea is deep", "whale old man to night", "why calm of me"]
PROMPT = [1, 9, 30, 12, 20, 7, 25, 14, 6, 28]
LEVELS = [
    ("bert", "tokens"),
    ("bert", "cover"),
    ("bert", "session"),
    ("bert-classifier", "cover"),
    ("bert-classifier", "session"),
    ("gpt2", "cover"),
    ("gpt2", "session"),
    ("llama", "tokens"),
    ("llama", "cover"),
    ("llama", "noise"),
    ("llama", "session"),
    ("vit", "cover"),
    ("vit", "session"),
]


class Sent:
    """Bytes that were sent, with every window of them."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._windows = {data[i : i + WINDOW] for i in range(len(data) - WINDOW + 1)}

    def holds(self, array: np.ndarray) -> bool:
        """Whether anything of an array is in them, in whatever place and in any usual form."""
        return any(map(self.holds_bytes, _forms(array)))

    def holds_bytes(self, data: bytes) -> bool:
        """Whether any piece of such bytes is in them."""
        return any(window in self._windows for window in _cut(data))


def _forms(array: np.ndarray) -> Iterator[bytes]:
    """An array as it might lie on a wire: in its own width and in the other, both ways round, and as varints."""
    kinds = ("<i4", "<i8") if array.dtype.kind == "i" else ("<f4", "<f8")
    for part in (array, array.T):
        for kind in kinds:
            yield np.ascontiguousarray(part, dtype=kind).tobytes()
    if array.dtype.kind == "i":
        yield pb.CoveredIds(ids=array.ravel().tolist()).SerializeToString()


def _cut(data: bytes) -> Iterator[bytes]:
    """Windows from every fourth byte on; those of zeros may be in any message."""
    for start in range(0, len(data) - WINDOW + 1, 4):
        window = data[start : start + WINDOW]
        if len(set(window) - {0}) > 1:
            yield window


def ask(client: Any) -> None:
    """Everything that this model can be asked."""
    if client._backend._about.family == "vit":
        client.classify(IMAGES)
    elif client.facts.task == "generate":
        client.generate(PROMPT, max_new_tokens=8)
        client.generate("the sea is deep.", max_new_tokens=8, temperature=1.0, seed=5)
    else:
        getattr(client, client.facts.task)(TEXTS)


IMAGES = np.random.default_rng(1).normal(size=(3, 3, 8, 12)).astype(np.float32)


def recorded(made: Converted) -> Sent:
    """All that a client sends in one life."""
    with serving(made.server) as server, Wire(server.port) as wire:
        with client_of(made, wire.port) as client:
            ask(client)
        return Sent(wire.sent)


def keys(made: Converted) -> list[Key]:
    """The key, and those of all variants."""
    folders = [made.client, *all_variants(made.client)]
    return [Key.load(folder) for folder in folders]


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(("kind", "level"), LEVELS)
def test_no_part_of_a_key_is_sent(tmp_path: Path, kind: str, level: str) -> None:
    made = converted(tmp_path, kind, level)
    sent = recorded(made)
    arrays = {f"{key.about.id}.{name}": value for key in keys(made) for name, value in key.arrays().items()}
    assert len(arrays) > 1 or level == "tokens"
    for name, value in arrays.items():
        assert not sent.holds(value), name
    for name in ("key.safetensors", FILE):
        path = made.client / name
        assert not path.exists() or not sent.holds_bytes(path.read_bytes()), name


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("array", ["tokens", "hidden", "answer"])
@pytest.mark.parametrize("form", [0, 1, 2, -1])
def test_a_part_of_a_key_would_be_found(tmp_path: Path, array: str, form: int) -> None:
    made = converted(tmp_path, "gpt2", "cover")
    value = keys(made)[0].arrays()[array]
    leaked = list(_forms(value))[form][8:72]
    assert Sent(b"abc" + leaked + b"defg").holds(value)
    assert not Sent(b"abc" + bytes(64) + b"defg").holds(value)


@pytest.mark.parametrize("level", ["tokens", "cover", "noise"])
def test_the_ids_sent_are_the_covered_ones(tmp_path: Path, level: str) -> None:
    made = converted(tmp_path, "llama", level)
    sent, tokens = recorded(made).data, keys(made)[0].tokens
    assert tokens is not None
    covered, plain = tokens[PROMPT].tolist(), pb.CoveredIds(ids=PROMPT).SerializeToString()
    assert pb.CoveredIds(ids=covered).SerializeToString()[2:] in sent
    assert plain[2:] not in sent
    assert plain[2:8] not in sent


@pytest.mark.parametrize("level", ["tokens", "cover"])
def test_the_ids_of_texts_are_covered(tmp_path: Path, level: str) -> None:
    made = converted(tmp_path, "bert", level)
    sent, tokens = recorded(made).data, keys(made)[0].tokens
    assert tokens is not None
    for ids in TextSide(made.client, keys(made)[0].about).read(TEXTS, Reading()):
        assert pb.CoveredIds(ids=tokens[ids].tolist()).SerializeToString() in sent
        assert pb.CoveredIds(ids=ids.tolist()).SerializeToString()[2:] not in sent


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert"])
def test_rows_that_the_client_embeds_are_sent_covered(tmp_path: Path, kind: str) -> None:
    made = converted(tmp_path, kind, "session")
    sent = recorded(made)
    about = keys(made)[0].about
    own = OwnPart(made.client, about, 1e-12)
    hiddens = {folder: Key.load(folder).arrays()["hidden"] for folder in all_variants(made.client)}
    asked = [PROMPT] if about.task == "generate" else TextSide(made.client, about).read(TEXTS, Reading())
    for ids in asked:
        plain = own.token_rows(ids)
        # A whole row: two orders of the same values have runs of a few in common by chance.
        rows = {
            folder: np.ascontiguousarray((plain @ hidden)[0], "<f4") for folder, hidden in hiddens.items()
        }
        covered = {folder for folder, row in rows.items() if row.tobytes() in sent.data}
        assert not sent.holds(plain)
        assert pb.CoveredIds(ids=[int(i) for i in ids]).SerializeToString()[2:] not in sent.data
        assert covered
        assert all((folder / MARK).exists() for folder in covered)  # marked as used, and so never again
    for name, value in own._arrays.items():
        assert not sent.holds(value), name


def test_pixels_are_sent_covered(tmp_path: Path) -> None:
    for level in ("cover", "session"):
        made = converted(tmp_path / level, "vit", level)
        assert not recorded(made).holds(IMAGES)


def test_the_pixels_of_the_weakest_level_are_found(tmp_path: Path) -> None:
    assert recorded(converted(tmp_path, "vit", "tokens")).holds(IMAGES)  # which covers labels alone


def test_nothing_is_sent_to_a_server_of_another_key(tmp_path: Path) -> None:
    made, other = converted(tmp_path / "a", "llama", "cover"), converted(tmp_path / "b", "llama", "cover")
    with serving(other.server) as server, Wire(server.port) as wire:
        client = client_of(made, wire.port)
        with pytest.raises(MismatchError, match="key of another model"):
            client.generate(PROMPT)
        client.close()
        tokens = keys(made)[0].tokens
        assert tokens is not None
        assert b"Equivariant/About" in wire.sent
        assert pb.CoveredIds(ids=tokens[PROMPT].tolist()).SerializeToString()[2:] not in wire.sent
        assert keys(made)[0].about.id.encode() not in wire.sent
