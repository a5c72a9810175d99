"""Folders of an earlier format are refused by what to do, and roles of another protocol by what they attest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from privinf import __version__
from privinf.errors import ModelError
from privinf.models.sharing import bundle, folder
from privinf.protocols.contract import PROTOCOL


def test_a_folder_of_an_earlier_format_is_to_be_shared_again(tmp_path: Path) -> None:
    about = {"format": folder.FORMAT - 1, "weights": "private", "sharing": "0", "model": "m"}
    (tmp_path / "bundle.json").write_text(json.dumps(about))
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(
        ModelError, match=f"format {folder.FORMAT - 1} is not {folder.FORMAT}: share the model again"
    ):
        folder.read_about(tmp_path)


def test_what_roles_attest_names_the_protocol() -> None:
    attested = folder.VERSION
    assert attested == f"{__version__}, protocol {PROTOCOL}"


Change = Callable[[dict[str, Any]], object]
CHANGES: dict[str, tuple[str, Change, str]] = {
    "another cache policy": ("plan.json", lambda plan: plan.update(cache="later"), "no cache policy 'later'"),
    "a policy that is no name": ("plan.json", lambda plan: plan.update(cache=[1]), "plan file is damaged"),
    "a length that is no number": (
        "plan.json",
        lambda plan: plan.update(max_tokens="9"),
        "plan file is damaged",
    ),
    "a layer too many": (
        "plan.json",
        lambda plan: plan["layers"].extend(plan["layers"]),
        "is not that of the model",
    ),
    "other heads": ("config.json", lambda config: config.update(n_head=1), "is not that of the model"),
    "another activation": (
        "config.json",
        lambda c: c.update(activation_function="relu"),
        "is not that of the model",
    ),
    "control tokens nowhere": (
        "bundle.json",
        lambda about: about.update(control=5),
        "bundle.json is damaged",
    ),
    "embeddings more secret": (
        "bundle.json",
        lambda about: about.update(embeddings="x"),
        "bundle.json is damaged",
    ),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Share a small decoder."""
    pytest.importorskip("torch")
    import tiny_decoder

    folder = tmp_path_factory.mktemp("shared")
    return tiny_decoder.share(tiny_decoder.checkpoint(folder / "tiny", "gpt2"), folder / "shared")


@pytest.mark.parametrize(("name", "change", "said"), CHANGES.values(), ids=CHANGES)
def test_a_folder_that_says_otherwise_than_the_owner_is_refused(
    shared: Path, tmp_path: Path, name: str, change: Change, said: str
) -> None:
    """Each role computes by its own folder, and all must run one program."""
    folder = shutil.copytree(shared / "party0", tmp_path / "party0")
    document = json.loads((folder / name).read_text())
    change(document)
    (folder / name).write_text(json.dumps(document))
    with pytest.raises(ModelError, match=said):
        bundle.party_program(folder, 0)
