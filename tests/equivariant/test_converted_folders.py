"""Folders that a conversion writes: nothing of the key in the server's, no weights in the client's."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from answers import F64
from safetensors.numpy import load_file
from tiny_models import KINDS, LABELS, POSITIONS, Kind, load

from privinf.equivariant import variants
from privinf.equivariant.covering.convert import Converted, convert, fingerprint
from privinf.equivariant.key import Key
from privinf.equivariant.levels import LEVELS
from privinf.errors import FileError

Plain = Callable[[Kind], Path]
Made = Callable[[Kind, str], Converted]
TEXT_KINDS = [kind for kind in KINDS if kind != "vit"]
PUBLIC = {"format", "id", "level", "family", "task", "model_sha256", "width", "vocab", "context", "variants"}


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_embeddings_are_covered_as_the_key_says(plain_model: Plain, converted: Made, kind: Kind) -> None:
    key = Key.load(converted(kind, "cover").client)
    plain, ours = (table(folder) for folder in (plain_model(kind), converted(kind, "cover").server))
    assert key.tokens is not None
    assert np.allclose(ours[key.tokens], plain @ key.hidden, atol=1e-6)
    assert not np.allclose(ours, plain @ key.hidden, atol=0.1)


def table(folder: Path) -> F64:
    """The embedding table."""
    arrays = load_file(folder / "model.safetensors")
    name = next(
        n for n in arrays if n.endswith(("word_embeddings.weight", "wte.weight", "embed_tokens.weight"))
    )
    return arrays[name].astype(np.float64)


@pytest.mark.fast_cases(10)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_server_learns_public_facts_and_no_special_token(converted: Made, kind: Kind, level: str) -> None:
    made = converted(kind, level)
    for folder in server_folders(made):
        about = json.loads((folder / "about.json").read_text())
        assert set(about) <= PUBLIC
        config = json.loads((folder / "config.json").read_text())
        found = {name: value for name, value in config.items() if "token" in name}
        assert not [name for name, value in found.items() if value is not None]
        assert not any(name in json.dumps(config) for name in LABELS)
        assert set(path.name for path in folder.iterdir()) == {
            "about.json",
            "config.json",
            "model.safetensors",
        }
        if kind != "vit":
            settings = load(folder).config
            assert [settings.bos_token_id, settings.eos_token_id, settings.pad_token_id] == [None] * 3


def server_folders(made: Converted) -> list[Path]:
    """Those with a model."""
    return [path.parent for path in sorted(made.server.rglob("config.json"))]


@pytest.mark.fast_cases(10)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_array_of_the_key_lies_on_the_server(converted: Made, kind: Kind, level: str) -> None:
    made = converted(kind, level)
    secrets = [
        value.astype(np.float32)
        for folder in {made.client, *(path.parent for path in made.client.rglob("key.json"))}
        for value in Key.load(folder).arrays().values()
    ]
    assert secrets
    for folder in server_folders(made):
        for stored in load_file(folder / "model.safetensors").values():
            for view in (
                stored,
                stored.T,
                stored.reshape(len(stored), -1),
                stored.reshape(len(stored), -1).T,
            ):
                assert not any(view.shape == x.shape and np.allclose(view, x) for x in secrets)


@pytest.mark.parametrize("kind", KINDS)
def test_under_covers_no_weight_matrix_is_the_plain_one(
    plain_model: Plain, converted: Made, kind: Kind
) -> None:
    plain = load_file(plain_model(kind) / "model.safetensors")
    for folder in [*server_folders(converted(kind, "cover")), *server_folders(converted(kind, "session"))]:
        for name, value in load_file(folder / "model.safetensors").items():
            found = [array for other, array in plain.items() if other.endswith(name.partition(".")[2])]
            same = [array for array in found if array.shape == value.shape and array.ndim > 1]
            assert not any(np.allclose(array, value, atol=1e-3) for array in same), name


def test_two_conversions_share_nothing(plain_model: Plain, tmp_path: Path) -> None:
    first, second = (convert(plain_model("llama"), tmp_path / name) for name in "ab")
    keys = Key.load(first.client), Key.load(second.client)
    assert keys[0].about.id != keys[1].about.id
    for one, other in zip(*(key.arrays().values() for key in keys), strict=True):
        assert not np.allclose(one, other)


def test_variants_have_covers_of_their_own(converted: Made) -> None:
    made = converted("gpt2", "session")
    assert json.loads((made.server / "about.json").read_text())["id"] == Key.load(made.client).about.id
    keys = [Key.load(made.client / "variants" / name) for name in ("0000", "0001")]
    assert len({key.about.id for key in keys}) == 2
    assert not np.allclose(keys[0].hidden, keys[1].hidden, atol=0.1)
    folders = server_folders(made)
    assert [json.loads((path / "about.json").read_text())["id"] for path in folders] == [
        key.about.id for key in keys
    ]
    tables = [load_file(path / "model.safetensors") for path in folders]
    assert not np.allclose(tables[0]["h.0.mlp.c_fc.weight"], tables[1]["h.0.mlp.c_fc.weight"], atol=0.1)


def test_in_sessions_the_server_has_no_embedding_and_no_head(converted: Made) -> None:
    for kind in KINDS:
        for folder in server_folders(converted(kind, "session")):
            arrays = load_file(folder / "model.safetensors")
            rows = {name: value for name, value in arrays.items() if "position" in name or "wpe" in name}
            assert all(not value.any() for value in rows.values())
            assert not [name for name in arrays if "head" in name or "classifier" in name or "pooler" in name]
            tables = [
                value for name, value in arrays.items() if name.endswith(("embeddings.weight", "wte.weight"))
            ]
            assert all(len(value) == 1 for value in tables)


def test_the_client_gets_tokenizer_and_facts_and_no_weights(plain_model: Plain, converted: Made) -> None:
    client = converted("bert", "cover").client
    for name in ("config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json"):
        assert (client / name).read_bytes() == (plain_model("bert") / name).read_bytes()
    assert not (client / "model.safetensors").exists()
    assert stat.S_IMODE(client.stat().st_mode) == 0o700
    assert "chat_template" in (converted("llama", "cover").client / "tokenizer_config.json").read_text()


def test_the_key_says_what_it_is_of(plain_model: Plain, converted: Made) -> None:
    made = converted("llama-groups", "cover")
    about = Key.load(made.client).about
    assert about == made.about
    assert (about.level, about.family, about.task) == ("cover", "llama", "generate")
    assert (about.vocab, about.width, about.context) == (39, 32, POSITIONS)
    assert about.model == fingerprint(plain_model("llama-groups"))
    assert about.model != fingerprint(plain_model("llama"))


def test_a_mark_that_does_not_reach_the_disk_is_told_and_loses_its_variant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="cannot be written: No space left"):
        variants.mark(tmp_path)
    monkeypatch.undo()
    assert not variants.mark(tmp_path)
