"""Folders of an earlier format are refused by what to do, and roles of another protocol by what they attest."""

from __future__ import annotations

import json
from pathlib import Path

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


def test_an_unknown_cache_policy_is_refused(tmp_path: Path) -> None:
    """A role of another version would run another program under a plan that both attest."""
    pytest.importorskip("torch")
    import tiny_decoder

    shared = tiny_decoder.share(tiny_decoder.checkpoint(tmp_path / "tiny", "gpt2"), tmp_path / "shared")
    plan = shared / "client" / "plan.json"
    plan.write_text(plan.read_text().replace('"cache": "full"', '"cache": "later"'))
    with pytest.raises(ModelError, match="no cache policy 'later': share the model again"):
        bundle.read(shared / "client")
