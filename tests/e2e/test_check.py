"""`privinf check` says how close text comes to the ranges of a shared model, and finds what wraps around."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_decoder as tiny
import toy

from privinf import check
from privinf.cli import main
from privinf.errors import ModelError
from privinf.models.fold import fold
from privinf.models.plan.margins import margins
from privinf.models.plan.rings import Plan
from privinf.models.plan.scales import POST
from privinf.models.sharing import bundle
from privinf.models.sharing.opened import require_whole
from privinf.models.source.checkpoint import load

LINES = ["call me a ship", "the sea is deep"]


def run(shared: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    text = shared / "asked.txt"
    text.write_text("\n".join(LINES), encoding="utf-8")
    code = main(["check", str(shared), "--text", str(text), "--json", *options])
    return code, json.loads(capsys.readouterr().out)


def narrowed(source: Path, out: Path, bits: int) -> Path:
    """The model with values of the first layer in a ring that is too small for them."""
    spec, tensors = load(source)
    toy.share(source, out / "whole")
    plan = Plan.from_json((out / "whole" / "client" / "plan.json").read_text(), POST)
    first = plan.layers[0]
    attention = replace(first.attention, narrow_bits=first.attention.narrow_bits - bits)
    small = replace(plan, layers=(replace(first, attention=attention), *plan.layers[1:]))
    bundle.write(source, out / "narrow", fold(spec, tensors), small, "private")
    return out / "narrow"


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(("mode", "head"), [("private", False), ("public", False), ("private", True)])
def test_an_encoder_within_its_ranges(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: bundle.Mode, head: bool
) -> None:
    shared = toy.share(toy.checkpoint(tmp_path / "toy", head=head), tmp_path / "shared", mode)
    code, said = run(shared, capsys)
    assert (code, said["within"], said["texts"], said["wrong"]) == (0, True, 2, [])
    bits = [site["bits"] for site in said["sites"]]
    assert bits == sorted(bits)
    assert bits[0] > 0.5
    names = {site["site"] for site in said["sites"]}
    last = {"head.out", "head.pooler"} if head else {"pool.result"}
    assert {"embed.residual", "embed.square", "layer0.attn.scores", "layer0.ffn.up", *last} <= names
    assert all(answer["difference"] < 0.05 for answer in said["answers"])


def test_a_ring_that_is_too_small_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = narrowed(toy.checkpoint(tmp_path / "toy"), tmp_path, 6)
    code, said = run(shared, capsys)
    assert (code, said["within"]) == (1, False)
    assert said["sites"][0]["site"] == "layer0.attn.v"
    assert said["sites"][0]["bits"] < 0
    assert said["wrong"] == [0, 1]
    assert main(["check", str(shared), "--text", str(shared / "asked.txt")]) == 1
    printed = capsys.readouterr()
    assert "layer0.attn.v" in printed.out.splitlines()[1]
    assert "wrong answers for lines 1, 2" in printed.err
    assert "--calibration" in printed.err


def test_a_site_that_is_close_fails_where_more_room_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = toy.share(toy.checkpoint(tmp_path / "toy"), tmp_path / "shared")
    code, said = run(shared, capsys, "--margin", "40")
    assert (code, said["within"], said["wrong"]) == (1, False, [])


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("gpt2", {}),
        ("llama", {"prefix": "the sea"}),
        ("llama", {"embeddings": "public"}),
        ("gpt2", {"mode": "public"}),
    ],
)
def test_a_decoder_within_its_ranges(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], family: tiny.Family, options: dict[str, Any]
) -> None:
    shared = tiny.share(tiny.checkpoint(tmp_path / "tiny", family), tmp_path / "shared", **options)
    code, said = run(shared, capsys)
    assert (code, said["texts"], said["wrong"]) == (0, 2, [])
    names = {site["site"] for site in said["sites"]}
    assert {"head.out", "head.residual", "layer1.attn.scores", "layer0.ffn.hidden"} <= names
    assert ("layer0.attn.q" in names) == (family == "llama")
    assert all(answer["difference"] < tiny.NEAR for answer in said["answers"])


def test_folders_that_went_to_their_roles_are_missed(tmp_path: Path) -> None:
    shared = toy.share(toy.checkpoint(tmp_path / "toy"), tmp_path / "shared")
    (shared / "party1").rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="lacks party1: give the directory that `privinf share` wrote"):
        require_whole(shared)
    with pytest.raises(ModelError, match="lacks client"):
        check.check(tmp_path / "toy", LINES)


def test_margins_of_both_ends() -> None:
    class Seen:
        low = {"a": 1.0, "b": 0.5, "c": 0.0, "d": 1.0}  # noqa: RUF012
        high = {"a": 4.0, "b": 4.0, "c": 0.0, "d": 1.0}  # noqa: RUF012

    found = margins({"a": (0.0, 16.0), "b": (0.25, 64.0), "c": (0.0, 8.0)}, Seen())
    assert [(margin.site, margin.bits) for margin in found] == [("b", 1.0), ("a", 2.0), ("c", float("inf"))]
