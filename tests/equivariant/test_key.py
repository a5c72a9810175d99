"""The client's key: saved for its owner alone, read back whole or refused, and shown to nobody."""

from __future__ import annotations

import json
import pickle
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privinf.equivariant.key import ABOUT, FILE, Key, KeyAbout
from privinf.errors import ConfigError, IntegrityError

FACTS = KeyAbout(
    id="0" * 31 + "7",
    level="cover",
    family="bert",
    task="classify",
    model="f" * 64,
    vocab=5,
    width=2,
    server_width=3,
    context=9,
    labels=("no", "yes"),
)


def key(**changes: Any) -> Key:
    """A key of small arrays."""
    arrays = {
        "tokens": np.array([3, 1, 4, 0, 2]),
        "hidden": np.arange(6.0).reshape(2, 3),
        "answer": np.arange(6.0).reshape(3, 2),
        "labels": np.array([[0.25, 1.0], [-1.0, 3.0]]),
    }
    return Key(FACTS, **(arrays | changes))


def test_reads_back_what_was_saved(tmp_path: Path) -> None:
    key().save(tmp_path)
    found = Key.load(tmp_path)
    assert found.about == FACTS
    assert {name: value.tolist() for name, value in found.arrays().items()} == {
        name: value.tolist() for name, value in key().arrays().items()
    }
    assert found.tokens is not None
    assert found.tokens.dtype == np.int64
    assert found.patches is None


def test_a_key_of_sessions_may_be_empty(tmp_path: Path) -> None:
    Key(replace(FACTS, level="session")).save(tmp_path)
    assert Key.load(tmp_path).arrays() == {}


@pytest.mark.parametrize(
    ("facts", "lost"),
    [
        ({}, "tokens"),
        ({}, "labels"),
        ({"task": "embed"}, "answer"),
        ({"vocab": 0}, "patches"),
        ({"vocab": 0}, "places"),
    ],
)
def test_what_undoes_an_answer_may_not_be_missing(tmp_path: Path, facts: dict[str, Any], lost: str) -> None:
    whole = replace(key(patches=np.eye(4), places=np.arange(8)), about=replace(FACTS, **facts))
    if "vocab" in facts:
        whole = replace(whole, tokens=None)
    whole.save(tmp_path / "whole")
    Key.load(tmp_path / "whole")
    replace(whole, **{lost: None}).save(tmp_path / "less")
    with pytest.raises(IntegrityError, match=f"lacks {lost}: cover the model again"):
        Key.load(tmp_path / "less")


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    key().save(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in (FILE, ABOUT)} == {0o600}


def test_is_not_shown_compared_hashed_or_pickled() -> None:
    assert repr(key()) == "<key 00000000 of level cover>"
    with pytest.raises(TypeError, match="not compared"):
        key() == key()  # noqa: B015
    with pytest.raises(TypeError):
        hash(key())
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(key())


@pytest.mark.parametrize("kept", [0, 1, 8, 50, -1])
def test_a_key_cut_short_is_refused(tmp_path: Path, kept: int) -> None:
    key().save(tmp_path)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:kept])
    with pytest.raises(IntegrityError, match=r"key\.safetensors is cut short or changed: copy it again"):
        Key.load(tmp_path)


@pytest.mark.parametrize("place", [3, 100, -1])
def test_a_changed_key_is_refused(tmp_path: Path, place: int) -> None:
    key().save(tmp_path)
    data = bytearray((tmp_path / FILE).read_bytes())
    data[place] ^= 1
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(IntegrityError, match="cut short or changed"):
        Key.load(tmp_path)


def test_arrays_of_another_key_are_refused(tmp_path: Path) -> None:
    key().save(tmp_path / "one")
    key(tokens=np.array([0, 1, 2, 4, 3])).save(tmp_path / "other")
    (tmp_path / "one" / FILE).write_bytes((tmp_path / "other" / FILE).read_bytes())
    with pytest.raises(IntegrityError, match="cut short or changed"):
        Key.load(tmp_path / "one")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tokens": np.arange(4)}, r"tokens has shape \(4,\), not \(5,\)"),
        ({"tokens": np.array([0, 1, 2, 3, 3])}, "tokens is not a permutation"),
        ({"places": np.arange(1, 9)}, "places is not a permutation"),
        ({"places": np.arange(7)}, r"places has shape \(7,\), not \(8,\)"),
        ({"tokens": np.arange(5.0)}, "tokens is not a permutation"),
        ({"hidden": np.ones((3, 3))}, "hidden has shape"),
        ({"answer": np.ones((2, 3))}, "answer has shape"),
        ({"labels": np.ones((3, 3))}, "labels has shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    key(**changes).save(tmp_path)
    with pytest.raises(IntegrityError, match=said):
        Key.load(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "labels": 3}'])
def test_facts_cut_short_are_refused(tmp_path: Path, text: str) -> None:
    key().save(tmp_path)
    (tmp_path / ABOUT).write_text(text)
    with pytest.raises((IntegrityError, ConfigError), match=r"key\.json"):
        Key.load(tmp_path)


def test_facts_with_an_unknown_level_or_labels_that_are_none_are_refused(tmp_path: Path) -> None:
    Key(replace(FACTS, level="secret")).save(tmp_path)
    with pytest.raises(IntegrityError, match="changed"):
        Key.load(tmp_path)
    key().save(tmp_path)
    about = json.loads((tmp_path / ABOUT).read_text())
    (tmp_path / ABOUT).write_text(json.dumps(about | {"labels": 3}))
    with pytest.raises(IntegrityError, match="changed"):
        Key.load(tmp_path)


def test_another_format_says_what_to_do(tmp_path: Path) -> None:
    key().save(tmp_path)
    about = json.loads((tmp_path / ABOUT).read_text())
    (tmp_path / ABOUT).write_text(json.dumps(about | {"format": 1}))
    with pytest.raises(ConfigError, match="cover the model again"):
        Key.load(tmp_path)


@pytest.mark.parametrize("missing", [FILE, ABOUT])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    key().save(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(ConfigError, match=missing):
        Key.load(tmp_path)
