"""privinf attack: its files, what it prints, what it keeps when an attack fails, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import TEXT, Kind, write_model

from privinf.cli import main
from privinf.equivariant.attacks import plots, report, texts
from privinf.equivariant.attacks.registry import ATTACKS, Attack
from privinf.equivariant.attacks.run import NOTHING, Setting, prepare, run
from privinf.equivariant.attacks.view import Findings, Leak, View
from privinf.equivariant.attacks.weights import facts
from privinf.equivariant.covering.convert import Converted, convert
from privinf.equivariant.levels import WARNING
from privinf.errors import ConfigError, FileError, InputError, MissingExtra, ModelError

Plain = Callable[[Kind], Path]
Conversions = Callable[[Kind, str], Converted]
Json = dict[str, Any]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Sixty paragraphs of a sea."""
    words = TEXT.split()
    path = tmp_path / "sea.txt"
    path.write_text("\n\n".join(" ".join(words[i % 7 :] + words[: i % 5]) for i in range(60)))
    return path


def arguments(plain: Path, converted: Converted, text: Path, out: Path, *more: str) -> list[str]:
    return [
        *("attack", str(plain), str(converted.server.parent)),
        *("--text", str(text), "--out", str(out), *more),
    ]


def test_files_lines_and_json(
    plain_model: Plain,
    converted: Conversions,
    written: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, given = tmp_path / "out", ["--prompts", "2", "--reference", str(written), "--json"]
    model = converted("llama", "cover")
    assert main(arguments(plain_model("llama"), model, written, out, *given)) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((out / "attacks.json").read_text())
    assert [attack["name"] for attack in document["attacks"]] == list(ATTACKS)
    assert document["warning"] == WARNING
    assert document["same_weights"] is True
    assert document["noise"] is None
    assert document["parameters"] > document["vocab"] * document["width"]
    scored = document["scored"]
    assert scored["tokens"] <= scored["texts"] * scored["longest"]
    assert 1 / scored["tokens"] <= scored["most_frequent"] < 1
    page = (out / "report.md").read_text()
    assert page.startswith("# Attacks on plain at level `cover`")
    assert WARNING[1:] in page
    assert all(f"({name})" in page and (out / name).stat().st_size for name in (plots.BARS, plots.SEEDS))


def test_one_attack_and_a_line_for_it(
    plain_model: Plain,
    converted: Conversions,
    written: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["--attack", "body", "--attack", "free-seeds"]
    model = converted("llama", "cover")
    assert main(arguments(plain_model("llama"), model, written, tmp_path / "out", *given)) == 0
    printed = capsys.readouterr()
    assert "A2 body: 100.0 % of occurrences (nearest token)" in printed.out
    assert "A4 free-seeds: not possible here: this family has no positions" in printed.out
    assert WARNING in printed.err


def test_without_the_client_there_is_nothing_to_score(
    plain_model: Plain, converted: Conversions, written: Path, tmp_path: Path
) -> None:
    model = converted("llama", "cover")
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "server").symlink_to(model.server)
    with pytest.raises(ConfigError, match=r"client/key\.json is missing"):
        run(
            Setting(plain_model("llama"), alone, [written]),
            [ATTACKS["body"]],
            lambda text: None,
            lambda found: None,
        )


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "level"), [("llama", "cover"), ("gpt2", "noise"), ("llama", "session")])
def test_a_false_key_changes_no_guess(
    plain_model: Plain, written: Path, tmp_path: Path, kind: Kind, level: str
) -> None:
    """Once traffic is made, another conversion's key lies where the right one was: attacks take no notice."""
    plain, out = plain_model(kind), tmp_path / "out"
    for folder in (out, tmp_path / "false"):
        convert(plain, folder, level)
    view, truth = prepare(Setting(plain, out, [written]), facts(plain))
    leak, before = truth.leak(), read_files(out / "client")
    right = {one.name: guesses(one, view, leak) for one in ATTACKS.values()}
    shutil.rmtree(out / "client")
    shutil.copytree(tmp_path / "false" / "client", out / "client")
    assert read_files(out / "client") != before
    for one in ATTACKS.values():
        assert guesses(one, dataclasses.replace(view), leak) == right[one.name], one.name


def read_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def guesses(one: Attack, view: View, leak: Leak) -> list[tuple[str, list[list[int]]]]:
    findings = one.run(view, leak if one.leaks else NOTHING)
    found = [(name, guess.plain.tolist()) for name, guess in findings.guesses.items()]
    return found + [(name, [ids.tolist() for ids in decoded]) for name, decoded in findings.prompts.items()]


def failing(error: Exception) -> Attack:
    def attack(view: View, leak: Leak) -> Findings:
        raise error

    return Attack("failing", "A0", "Nothing.", attack)


def test_an_attack_that_is_refused_stops_no_other(
    plain_model: Plain, converted: Conversions, written: Path
) -> None:
    setting = Setting(plain_model("llama"), converted("llama", "cover").server.parent, [written])
    kept: list[int] = []
    attacks = [failing(InputError("too few of them")), ATTACKS["body"]]
    result = run(setting, attacks, lambda text: None, lambda so_far: kept.append(len(so_far["attacks"])))
    refused, body = result["attacks"]
    assert refused["skipped"] == "too few of them"
    assert refused["found"] == {}
    assert body["found"]
    assert kept == [1, 2]
    assert "Not possible here: too few of them." in report.render(result)


def test_a_fault_loses_nothing_of_what_was_read(
    plain_model: Plain,
    converted: Conversions,
    written: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ATTACKS, "failing", failing(ValueError("a fault")))
    given = ["--attack", "body", "--attack", "failing"]
    done = main(
        arguments(plain_model("llama"), converted("llama", "cover"), written, tmp_path / "out", *given)
    )
    assert done == 70
    document = json.loads((tmp_path / "out" / "attacks.json").read_text())
    assert [attack["name"] for attack in document["attacks"]] == ["body"]


def test_another_model_is_refused_or_named(
    plain_model: Plain, converted: Conversions, written: Path, tmp_path: Path
) -> None:
    folder = converted("llama", "cover").server.parent
    with pytest.raises(ConfigError, match="was not made from"):
        run(Setting(plain_model("bert"), folder, [written]), [], lambda text: None, lambda found: None)
    other = write_model(tmp_path / "other", "llama", seed=9)
    result = run(Setting(other, folder, [written]), [], lambda text: None, lambda found: None)
    assert result["same_weights"] is False
    assert "The attacker's model is not the one that was converted" in report.render(result)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("no.txt", b"", "no text"),
        ("no.txt", b"\xff\xfe", "byte 0 is not UTF-8"),
        ("no.csv", b"a,b\n1,2\n", "no column 'text'"),
        ("no.txt", b"only one paragraph", "cannot be halved"),
    ],
)
def test_text_that_cannot_be_used(
    name: str, content: bytes, said: str, plain_model: Plain, converted: Conversions, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    setting = Setting(plain_model("llama"), converted("llama", "cover").server.parent, [path])
    with pytest.raises(InputError, match=said):
        run(setting, [], lambda text: None, lambda found: None)


def test_missing_files_are_named(plain_model: Plain, tmp_path: Path) -> None:
    model = plain_model("llama")
    with pytest.raises(FileError, match=r"no\.txt cannot be read"):
        texts.tokens_of([tmp_path / "no.txt"], model, facts(model), 10)
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing"):
        texts.tokens_of([], tmp_path, facts(model), 10)


def test_columns_are_read_and_texts_cut_to_the_model(plain_model: Plain, tmp_path: Path) -> None:
    model, path = plain_model("bert"), tmp_path / "reviews.csv"
    path.write_text('text,label\n"the sea, deep",1\n"' + 200 * "sea " + '",0\n')
    short, long = texts.tokens_of([path], model, facts(model), 10_000)
    assert len(short) == 2 + 4  # [CLS] and [SEP]; the comma is unknown
    assert len(long) == facts(model).max_tokens


def test_plots_need_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"privinf\[bench\]"):
        plots.require()


def result_of(level: str, *attacks: Json, **more: Any) -> Json:
    result = {
        "warning": WARNING,
        "model": "m",
        "level": level,
        "says": "what it does",
        "noise": None,
        "family": "llama",
        "kind": "rms",
        "parameters": 12345,
        "vocab": 1000,
        "width": 64,
        "server_width": 96,
        "same_weights": True,
        "texts": ["t.txt"],
        "others": [],
        "sizes": {"window": 10, "sample": 5, "stream": 100, "seed": 3},
        "scored": {"texts": 7, "tokens": 4321, "longest": 16, "most_frequent": 0.033},
        "machine": {"system": "Linux"},
        "versions": {"numpy": "2"},
        "attacks": list(attacks),
    }
    return result | more


def attack_of(name: str, found: Json, **more: Any) -> Json:
    base: Json = {
        "name": name,
        "label": "A0",
        "holds": "Much.",
        "seconds": 9.0,
        "cpu_seconds": 1.0,
        "skipped": None,
        "facts": {},
    }
    return base | {"found": found} | more


def test_the_page_states_baselines_and_every_share() -> None:
    told = {"occurrences": 0.5, "occurrences_told": 0.25, "occurrences_scored": 3210, "vocabulary": 0.125}
    whole = {"exact_prompts": 0.75, "occurrences": 0.9, "prompts": 4, "occurrences_scored": 45}
    page = report.render(
        result_of(
            "cover",
            attack_of("known-plaintext", {"2 d seeds": told}),
            attack_of("vocabulary", {"x": whole}),
            attack_of("free-seeds", {}, skipped="there are none"),
            attack_of("frequency", {}),
        )
    )
    assert "right in 0.1000 % of entries" in page
    assert "the most frequent token is right in 3.3 % of occurrences" in page
    assert "scores are of 4,321 tokens, at most 16 of each of 7 texts" in page
    assert "drawn with seed 3" in page
    assert "one random key" in page
    columns = "occurrences | occurrences, ten | of | entries | entries, ten | of | told | in all"
    assert f"| by | {columns} |" in page
    assert "| 2 d seeds | 50.0 % | - | 3,210 | 12.5 % | - | - | 25.0 % | 62.5 % |" in page
    assert "| x | 75.0 % | 4 | 90.0 % | 45 |" in page
    assert "1 s of one core" in page
    assert "Not possible here: there are none." in page
    assert "There was nothing to score." in page
    assert "Measured with numpy 2 on Linux." in page


def test_published_numbers_stand_where_they_compare() -> None:
    noise = {"alpha_e": 0.1, "alpha_h": 0.3, "padding": 64, "mixing": 0.1}
    page = report.render(result_of("noise", noise=noise))
    assert all(number in page for number in ("13.5 %", "25 %", "6 %", "0 %", "16.5 %"))
    assert "Here: 12,345 parameters, alpha_e 0.1, alpha_h 0.3, padding 64, mixing 0.1" in page
    assert "how much noise there is was not recorded" in report.render(result_of("noise"))
    for other in (result_of("cover"), result_of("noise", noise=noise, kind="layer")):
        assert "13.5 %" not in report.render(other)


def test_what_is_not_attacked_is_listed() -> None:
    bare = report.render(result_of("cover", attack_of("inversion", {}, label="A7")))
    for missing in ("(A9)", "BeamClean", "EDNN", "IMA and ISA", "language model", "labels", "ViT"):
        assert missing in bare
    assert "nearly and up to the order of heads" in report.render(result_of("noise"))
    assert "nearly" not in bare


def test_commits_and_days_of_attacks_are_named_where_they_are_known() -> None:
    marks = [
        {"date": day, "commit": {"id": "0123456789abcdef", "changed": changed}}
        for day, changed in (("2026-01-01", False), ("2026-01-02", True))
    ]
    page = report.render(result_of("cover", *(attack_of("body", {}, measured=mark) for mark in marks)))
    assert "at commit 0123456789ab, commit 0123456789ab with changes on 2026-01-01, 2026-01-02 with" in page


def test_what_is_not_all_is_not_rounded_up_to_it() -> None:
    shares = (None, 0.0, 0.123, 0.9994, 0.9996, 1.0)
    assert [report.percent(share) for share in shares] == [
        "-",
        "0.0 %",
        "12.3 %",
        "99.9 %",
        ">99.9 %",
        "100.0 %",
    ]


def test_headlines_take_the_best_variant() -> None:
    found = {"a": {"occurrences": 0.1, "vocabulary": 0.9}, "b": {"occurrences": 0.2, "vocabulary": 0.1}}
    assert report.headline(attack_of("x", found)) == ("b", "occurrences", 0.2)
    assert report.headline(attack_of("x", {"a": {"vocabulary": 0.9}})) == ("a", "vocabulary", 0.9)
    assert report.headline(attack_of("x", {})) is None


def test_the_best_result_says_what_it_counts() -> None:
    prompts = {"a": {"exact_prompts": 0.0, "occurrences": 0.164}}
    assert report.said(attack_of("x", prompts)) == "16.4 % of tokens, 0.0 % of prompts whole (a)"
    assert report.said(attack_of("x", {"a": {"vocabulary": 0.9}})) == "90.0 % of entries (a)"
    assert report.said(attack_of("x", {}, skipped="none are there")) == "- (none are there)"


def test_the_same_json_gives_the_same_plot(tmp_path: Path) -> None:
    result = result_of("cover", attack_of("body", {"a": {"occurrences": 0.1}}))
    assert plots.draw(result, tmp_path / "one") == [plots.BARS]
    plots.draw(result, tmp_path / "two")
    assert (tmp_path / "one" / plots.BARS).read_bytes() == (tmp_path / "two" / plots.BARS).read_bytes()
    assert plots.draw(result_of("cover"), tmp_path / "none") == []


def test_seeds_are_drawn_with_gaps_where_nothing_was_left_to_score(tmp_path: Path) -> None:
    rows = {"few": {"occurrences": 0.5, "occurrences_told": 0.5, "vocabulary": 0.25}}
    rows["all"] = {"occurrences": None, "occurrences_told": 1.0, "vocabulary": None}
    seeds = {"all": 9, "few": 3}
    result = result_of("cover", attack_of("known-plaintext", rows, facts={"seeds": seeds}))
    assert plots.draw(result, tmp_path) == [plots.BARS, plots.SEEDS]
    lines = plots.lines([(3, rows["few"]), (9, rows["all"])])
    assert lines == {"occurrences": [(3, 50.0)], "vocabulary": [(3, 25.0)], "in_all": [(3, 75.0), (9, 100.0)]}


def test_bars_round_nothing_up_to_all() -> None:
    attacks = [
        attack_of("a", {"x": {"occurrences": 0.9997}}),
        attack_of("b", {"x": {"occurrences": 0.5, "exact_prompts": 0.25}}),
        attack_of("c", {"x": {"vocabulary": 0.75}}),
    ]
    labels = [plots.label(attack) for attack in attacks]
    assert labels == [">99.9 %", "50.0 % of prompts' tokens; 25.0 % of prompts whole", "75.0 % of entries"]
