"""docs/attacks: written from JSON alone, and as it stands in step with the JSON beside it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent.parent))

from benchmarks.equivariant_attack_pages import OVERVIEW, PAGES, PREFIX, REPRODUCED, write_pages
from benchmarks.equivariant_attacks import SPECIAL, Case, cases
from benchmarks.machine import RESULTS
from privinf.equivariant.attacks.registry import ATTACKS
from privinf.equivariant.levels import LEVELS, WARNING

Json = dict[str, Any]


def result_of(level: str, share: float, **more: Any) -> Json:
    attacks = [
        {
            "name": attack.name,
            "label": attack.label,
            "holds": attack.holds,
            "seconds": 2.0,
            "skipped": None if attack.name == "body" else "it is left out here",
            "facts": {},
            "found": {"nearest token": {"occurrences": share, "vocabulary": 0.5}}
            if attack.name == "body"
            else {},
        }
        for attack in ATTACKS.values()
    ]
    about = {"warning": WARNING, "model": "m", "level": level, "says": LEVELS[level].says, "family": "llama"}
    sizes = {"window": 10, "sample": 5, "stream": 100, "seed": 0}
    measured = {"texts": ["t.txt"], "others": [], "sizes": sizes, "machine": {"cpu": "C"}, "versions": {}}
    numbers = {"vocab": 1000, "width": 64, "server_width": 64, "chance": 0.001, "same_weights": True}
    return about | numbers | measured | {"attacks": attacks} | more


def write(folder: Path, name: str, result: Json) -> None:
    (folder / f"{name}.json").write_text(json.dumps(result))


def test_a_page_for_each_result_and_one_for_all(tmp_path: Path) -> None:
    results, pages = tmp_path / "results", tmp_path / "pages"
    results.mkdir()
    write(
        results,
        f"{PREFIX}m-noise",
        result_of("noise", 0.875, noise={"alpha_e": 1.0, "alpha_h": 0.2, "padding": 8}),
    )
    write(results, f"{PREFIX}m-cover", result_of("cover", 1.0))
    assert list(write_pages(results, pages)) == ["m-cover.md", "m-noise.md", "README.md"]
    overview = (pages / "README.md").read_text()
    assert WARNING[1:] in overview
    dashes = " | ".join("87.5 %" if name == "body" else "-" for name in ATTACKS)
    assert f"| [m-noise](m-noise.md) | {dashes} |" in overview
    assert overview.index("[m-cover]") < overview.index("[m-noise]")
    assert f"({OVERVIEW})" in overview
    assert "alpha_e 1, alpha_h 0.2, padding 8" in (pages / "m-noise.md").read_text()
    assert "(m-cover-attacks.svg)" in (pages / "m-cover.md").read_text()


def test_published_settings_have_tables(tmp_path: Path) -> None:
    write(tmp_path, f"{PREFIX}m-cover", result_of("cover", 1.0))
    permuted = {"model": "m", "text": "t", "layer": 3, "candidates": 12.3, "prompts": 8}
    counted = {"model": "m", "tokens": 1000000, "rank": 0.2, "neighbours": 0.8}
    tops = {"neighbours_top10": 0.81, "neighbours_top100": 0.82}
    shares = {"exact_prompts": 0.975, "occurrences": 0.99}
    write(tmp_path, REPRODUCED, {"permuted": [permuted | shares], "counted": [counted | tops]})
    list(write_pages(tmp_path, tmp_path / "pages"))
    overview = (tmp_path / "pages" / "README.md").read_text()
    assert "| m | t | 3 | 97.5 % | 99.0 % | 12 | 8 |" in overview
    assert "| m | 1,000,000 | 20.0 % | 80.0 % | 81.0 % | 82.0 % |" in overview


def test_nothing_measured_gives_no_page(tmp_path: Path) -> None:
    assert list(write_pages(tmp_path, tmp_path / "pages")) == []


def test_special_settings_come_with_their_model_and_level_alone() -> None:
    assert list(cases(["mgm"], ["cover", "noise"], special=False)) == [
        Case("mgm", "cover"),
        Case("mgm", "noise"),
    ]
    assert list(cases(["smollm2"], ["cover"], special=True)) == []
    named = [case.name for case in cases(["smollm2"], ["noise"], special=False)]
    assert named == [f"{PREFIX}smollm2-noise{end}" for end in ("", "-free", "-published")]
    assert len(SPECIAL) == 4


def test_the_pages_of_the_documents_are_those_of_the_results(tmp_path: Path) -> None:
    for name in write_pages(RESULTS, tmp_path):
        assert (PAGES / name).read_text("utf-8") == (tmp_path / name).read_text("utf-8"), name
