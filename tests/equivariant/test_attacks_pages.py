"""docs/attacks: written from JSON alone, in step with the JSON beside it, and that JSON reaches what it has to."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from tiny_models import write_model

sys.path.append(str(Path(__file__).resolve().parent.parent.parent))

from benchmarks.harness.machine import RESULTS
from benchmarks.measure import equivariant_attacks, equivariant_exactness
from benchmarks.measure.equivariant_attacks import MODELS, PUBLISHED, SPECIAL, Case, cases
from benchmarks.report import equivariant_table
from benchmarks.report.equivariant_attack_pages import INDEX, OVERVIEW, PAGES, PREFIX, REPRODUCED, write_pages
from privinf.equivariant.attacks import report
from privinf.equivariant.attacks.published import SETTING
from privinf.equivariant.attacks.registry import ATTACKS
from privinf.equivariant.attacks.run import FORMAT
from privinf.equivariant.covering.noise import Noise
from privinf.equivariant.levels import LEVELS, WARNING
from privinf.errors import ConfigError

Json = dict[str, Any]
NOISE = {"alpha_e": 1.0, "alpha_h": 0.2, "padding": 8, "mixing": 0.1}


def attack_of(name: str, label: str, **more: Any) -> Json:
    spent = {"holds": "Much.", "seconds": 9.0, "cpu_seconds": 2.0, "skipped": "it is left out here"}
    return {"name": name, "label": label, **spent, "facts": {}, "found": {}} | more


def result_of(level: str, share: float, **more: Any) -> Json:
    attacks = [attack_of(attack.name, attack.label) for attack in ATTACKS.values()]
    for attack in attacks:
        if attack["name"] == "body":
            attack["skipped"] = None
            attack["found"] = {"nearest token": {"occurrences": share, "vocabulary": 0.5}}
    about = {"format": FORMAT, "warning": WARNING, "model": "m", "level": level, "says": LEVELS[level].says}
    sizes = {"window": 10, "sample": 5, "stream": 100, "seed": 0}
    scored = {"texts": 2, "tokens": 20, "longest": 10, "most_frequent": 0.1}
    measured = {"texts": ["t.txt"], "others": [], "sizes": sizes, "scored": scored}
    numbers = {"parameters": 9000, "vocab": 1000, "width": 64, "server_width": 64, "same_weights": True}
    whence = {
        "family": "llama",
        "kind": "rms",
        "noise": None,
        "machine": {"cpu": "C"},
        "versions": {},
        "code": "c0de",
    }
    return about | numbers | measured | whence | {"attacks": attacks} | more


def write(folder: Path, name: str, result: Json) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result))


def overview_of(tmp_path: Path, **results: Json) -> str:
    for name, result in results.items():
        write(tmp_path / "results", f"{PREFIX}{name.replace('_', '-')}", result)
    list(write_pages(tmp_path / "results", tmp_path / "pages"))
    return (tmp_path / "pages" / INDEX).read_text()


def test_a_page_for_each_result_and_one_for_all(tmp_path: Path) -> None:
    results, pages = tmp_path / "results", tmp_path / "pages"
    write(results, f"{PREFIX}m-noise", result_of("noise", 0.875, noise=NOISE))
    write(results, f"{PREFIX}m-cover", result_of("cover", 1.0))
    names = ["m-cover.md", "m-cover-attacks.svg", "m-noise.md", "m-noise-attacks.svg", OVERVIEW, INDEX]
    assert list(write_pages(results, pages)) == names
    assert sorted(path.name for path in pages.iterdir()) == sorted(names)
    overview = (pages / INDEX).read_text()
    assert WARNING[1:] in overview
    shares = dict.fromkeys(ATTACKS, "-") | {"body": "87.5 %"}
    ordered = [shares[name] for name in sorted(ATTACKS, key=lambda name: ATTACKS[name].label)]
    assert f"| [m-noise](m-noise.md) | {' | '.join(ordered)} |" in overview
    assert f"({OVERVIEW})" in overview
    assert "alpha_e 1, alpha_h 0.2, padding 8, mixing 0.1" in (pages / "m-noise.md").read_text()
    assert "(m-cover-attacks.svg)" in (pages / "m-cover.md").read_text()


def test_strong_levels_stand_beside_the_published_figures(tmp_path: Path) -> None:
    counted = {
        "rank, text": {"occurrences": 0.25, "occurrences_top100": 0.625},
        "neighbours, text": {"occurrences": 0.875, "occurrences_top100": 0.9},
    }
    attacks = [
        attack_of("weights", "A1", skipped=None, found={"vote": {"occurrences": 0.5}}),
        attack_of("frequency", "A6", skipped=None, found=counted),
        attack_of("body", "A2"),
    ]
    overview = overview_of(
        tmp_path,
        m_session=result_of("session", 1.0),
        m_noise_published=result_of("noise", 1.0, noise=NOISE, attacks=attacks),
        g_session=result_of("session", 1.0, model="g", kind="layer"),
    )
    assert "### m, 9,000 parameters" in overview
    assert "### g" not in overview
    assert "`noise`, their setting: alpha_e 1, alpha_h 0.2, padding 8, mixing 0.1" in overview
    row = next(line for line in overview.splitlines() if line.startswith("| A1 weights | "))
    cells = (
        "- (it is left out here) | - (not measured) | 50.0 % of occurrences (vote) | 13.5 % (Qwen3-14B: 25 %)"
    )
    assert row.startswith(f"| A1 weights | {cells} | ")
    assert "87.5 % of occurrences (neighbours, text); by rank alone, among a hundred, 62.5 %" in overview
    assert (
        "| A3 known-plaintext | - (it is left out here) | - (not measured) | - (not measured) | - |"
        in overview
    )


def test_the_published_setting_is_the_one_that_is_printed() -> None:
    assert report.noise_of(result_of("noise", 1.0, noise=asdict(PUBLISHED))).startswith(SETTING)


def test_published_settings_have_tables(tmp_path: Path) -> None:
    permuted = {"model": "m", "text": "t", "layer": 3, "candidates": 12.3, "prompts": 8}
    counted = {"model": "m", "tokens": 1000000, "rank": 0.2, "neighbours": 0.8}
    tops = {"neighbours_top10": 0.81, "neighbours_top100": 0.82}
    shares = {"exact_prompts": 0.975, "occurrences": 0.99}
    write(tmp_path / "results", REPRODUCED, {"permuted": [permuted | shares], "counted": [counted | tops]})
    overview = overview_of(tmp_path, m_cover=result_of("cover", 1.0))
    assert "| m | t | 3 | 97.5 % | 99.0 % | 12 | 8 |" in overview
    assert "| m | 1,000,000 | 20.0 % | 80.0 % | 81.0 % | 82.0 % |" in overview


def test_nothing_measured_gives_no_page(tmp_path: Path) -> None:
    assert list(write_pages(tmp_path, tmp_path / "pages")) == []


def test_results_of_an_older_form_are_named(tmp_path: Path) -> None:
    write(tmp_path, f"{PREFIX}m-cover", result_of("cover", 1.0, format=1))
    with pytest.raises(SystemExit, match=r"ee-attacks-m-cover\.json is of format 1"):
        list(write_pages(tmp_path, tmp_path / "pages"))


def test_special_settings_come_with_their_model_and_level_alone() -> None:
    assert list(cases(["mgm"], ["cover", "noise"], special=False)) == [
        Case("mgm", "cover"),
        Case("mgm", "noise"),
    ]
    assert list(cases(["smollm2"], ["cover"], special=True)) == []
    names = [case.name for case in cases(["smollm2", "tinystories"], ["noise"], special=False)]
    small = [f"{PREFIX}tinystories-noise{end}" for end in ("", "-free", "-published")]
    assert names == [*small, f"{PREFIX}smollm2-noise", f"{PREFIX}smollm2-noise-published"]
    assert len(SPECIAL) == 3


def test_attacks_are_merged_only_where_the_same_was_measured(tmp_path: Path) -> None:
    before = result_of(
        "cover", 0.5, attacks=[attack_of("body", "A2"), attack_of("weights", "A1", seconds=1.0)]
    )
    write(tmp_path, "x", before)
    now = result_of("cover", 0.5, attacks=[attack_of("body", "A2", seconds=2.0)])
    merged = equivariant_attacks._merged(tmp_path / "x.json", now)
    assert [(one["name"], one["seconds"]) for one in merged["attacks"]] == [("weights", 1.0), ("body", 2.0)]
    for change in ({"code": "other"}, {"noise": NOISE}, {"versions": {"numpy": "1"}}):
        with pytest.raises(ConfigError, match=next(iter(change))):
            equivariant_attacks._merged(tmp_path / "x.json", now | change)
    assert equivariant_attacks._merged(tmp_path / "none.json", now) == now


def test_attacks_are_marked_with_their_own_commit() -> None:
    about = {"date": "today", "commit": {"id": "1", "changed": False}, "machine": {"cpu": "C"}, "code": "c"}
    marked = equivariant_attacks._marked({"attacks": [{"name": "body"}], "machine": {}}, about)
    assert marked["attacks"] == [{"name": "body", "measured": {"date": "today", "commit": about["commit"]}}]
    assert marked["machine"] == {"cpu": "C"}


def test_a_case_that_fails_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = []

    def measure(case: Case, names: Any, results: Path) -> None:
        tried.append(case.level)
        if case.level == "tokens":
            raise ValueError("a fault")

    monkeypatch.setattr(equivariant_attacks, "measure", measure)
    given = ["--model", "mgm", "--level", "tokens", "--level", "cover"]
    monkeypatch.setattr(sys, "argv", ["x", *given])
    with pytest.raises(SystemExit, match="failed: ee-attacks-mgm-tokens;"):
        equivariant_attacks.main()
    assert tried == ["tokens", "cover"]
    assert "a fault" in capsys.readouterr().err


@pytest.mark.parametrize(("level", "noise"), [("cover", None), ("noise", asdict(Noise()))])
def test_a_case_is_saved_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, noise: Json | None
) -> None:
    model, text = write_model(tmp_path / "m", "gpt2"), tmp_path / "t.txt"
    text.write_text("\n\n".join(f"the sea is deep and so {'night ' * i}" for i in range(9)))
    monkeypatch.setattr(equivariant_attacks, "fetch", lambda name: model)
    monkeypatch.setattr(equivariant_attacks, "_texts", lambda *given: ([text], []))
    results = tmp_path / "results"
    case = Case("m", level)
    for names in (["body"], ["invariants"]):
        equivariant_attacks.measure(case, names, results)
    assert [path.name for path in results.iterdir()] == [f"{case.name}.json"]
    result = json.loads((results / f"{case.name}.json").read_text())
    assert {one["name"] for one in result["attacks"]} == {"body", "invariants"}
    assert result["noise"] == noise
    assert all(one["measured"]["commit"] == result["commit"] for one in result["attacks"])


def test_sentences_count_as_the_same_only_where_they_are() -> None:
    row = {"conversion": {"seconds": 1.0}, "embeddings": {"texts": 200, "difference_max": 3.5e-7}}
    assert equivariant_table._answers(row)[0] == "200 sentences"
    row["embeddings"]["difference_max"] = 2e-2
    assert equivariant_table._answers(row)[:2] == ["", "2.0e-02"]


def test_rows_of_exactness_that_are_not_measured_anew_keep_their_own_mark(tmp_path: Path) -> None:
    path, mark = tmp_path / "x.json", {"date": "then", "commit": {"id": "1"}, "versions": {}}
    path.write_text(json.dumps(mark | {"levels": {"old": {"a": 1}, "new": {"measured": "later"}}}))
    before = equivariant_exactness._before(path)
    assert before == {"old": {"measured": mark, "a": 1}, "new": {"measured": "later"}}
    assert equivariant_exactness._before(tmp_path / "none.json") == {}


def test_the_published_noise_has_a_row_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"conversion": {"seconds": 1.0}, "embeddings": {"texts": 9, "difference_max": 0.5}}
    found = {"levels": {"noise": row, "noise-published": row}}
    monkeypatch.setattr(equivariant_table, "read", lambda name: found if "tinystories" in name else None)
    assert (
        "| TinyStories-15M | `noise`, AloePri's setting |  | 5.0e-01 |  | 1.0 |"
        in equivariant_table.exactness()
    )
    assert equivariant_exactness.SETTINGS["noise-published"] == ("noise", PUBLISHED)


@pytest.mark.slow
def test_the_pages_of_the_documents_are_those_of_the_results(tmp_path: Path) -> None:
    names = set(write_pages(RESULTS, tmp_path))
    assert names == {path.name for path in PAGES.iterdir()}
    for name in (name for name in names if name.endswith(".md")):
        assert (PAGES / name).read_text("utf-8") == (tmp_path / name).read_text("utf-8"), name
    drawn = f"Matplotlib v{matplotlib.__version__}"  # no two versions draw the same
    for name in names if drawn in (PAGES / OVERVIEW).read_text("utf-8") else ():
        assert (PAGES / name).read_bytes() == (tmp_path / name).read_bytes(), name


def committed(level: str) -> list[Json]:
    """Results at a level under their default settings, of the small models at least."""
    found = {model: RESULTS / f"{PREFIX}{model}-{level}.json" for model in MODELS}
    there = {model: json.loads(path.read_text()) for model, path in found.items() if path.exists()}
    assert {"mgm", "tinystories"} <= set(there)
    return list(there.values())


def rows_of(result: Json, name: str) -> Json:
    rows: Json = next(attack["found"] for attack in result["attacks"] if attack["name"] == name)
    return rows


def reproduced() -> Json:
    found: Json = json.loads((RESULTS / f"{REPRODUCED}.json").read_text())
    return found


@pytest.mark.parametrize("measure", ["occurrences", "vocabulary"])
def test_weights_match_where_tokens_alone_are_permuted(measure: str) -> None:
    for result in committed("tokens"):
        assert rows_of(result, "weights")["vote"][measure] >= 0.97, result["model"]


@pytest.mark.parametrize("measure", ["occurrences", "vocabulary"])
def test_invariants_read_all_under_covers_without_noise(measure: str) -> None:
    for result in committed("cover"):
        found = [row[measure] for row in rows_of(result, "invariants").values() if measure in row]
        assert max(found) == 1.0, result["model"]


def test_twice_the_width_of_known_tokens_reads_the_rest_under_covers() -> None:
    for result in committed("cover"):
        known = next(one for one in result["attacks"] if one["name"] == "known-plaintext")
        names = [name for name, count in known["facts"]["seeds"].items() if count == 2 * result["width"]]
        assert names, result["model"]
        assert all(known["found"][name]["occurrences"] >= 0.95 for name in names), result["model"]


def test_prompts_are_decoded_from_permuted_hidden_states() -> None:
    assert all(row["exact_prompts"] >= 0.97 for row in reproduced()["permuted"])
    decoders = [result for result in committed("cover") if result["kind"] != "post"]
    for result in decoders:
        assert max(row["exact_prompts"] for row in rows_of(result, "vocabulary").values()) >= 0.97


def test_a_million_tokens_are_enough_to_count() -> None:
    million = [row for row in reproduced()["counted"] if row["tokens"] >= 1_000_000]
    assert million
    assert all(row["neighbours"] >= 0.4 for row in million)
    counted = [rows_of(result, "frequency") for result in committed("cover") if result["model"] != "mgm"]
    for rows in counted:
        assert max(row["occurrences"] for row in rows.values()) >= 0.4
