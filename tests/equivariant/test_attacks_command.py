"""privinf ee attack: its files, what it prints, its pages from JSON alone, and what it refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import TEXT, Kind, write_model

from privinf.cli import main
from privinf.equivariant.attacks import plots, report, texts
from privinf.equivariant.attacks.registry import ATTACKS
from privinf.equivariant.attacks.run import Setting, run
from privinf.equivariant.attacks.weights import facts
from privinf.equivariant.convert import Converted
from privinf.equivariant.levels import WARNING
from privinf.errors import ConfigError, InputError, MissingExtra, ModelError

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
        *("ee", "attack", str(plain), str(converted.server.parent)),
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
    assert {"versions", "machine", "model", "level", "chance"} <= set(document)
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


def test_the_key_is_read_for_scores_alone(
    plain_model: Plain, converted: Conversions, written: Path, tmp_path: Path
) -> None:
    """With the client's directory gone there is nothing to score, whatever the server's holds."""
    model = converted("llama", "cover")
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "server").symlink_to(model.server)
    with pytest.raises(ConfigError, match=r"client/key\.json cannot be read"):
        run(Setting(plain_model("llama"), alone, [written]), [ATTACKS["body"]], lambda text: None)


def test_another_model_is_refused_or_named(
    plain_model: Plain, converted: Conversions, written: Path, tmp_path: Path
) -> None:
    folder = converted("llama", "cover").server.parent
    with pytest.raises(ConfigError, match="was not made from"):
        run(Setting(plain_model("bert"), folder, [written]), [], lambda text: None)
    other = write_model(tmp_path / "other", "llama", seed=9)
    result = run(Setting(other, folder, [written]), [], lambda text: None)
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
        run(setting, [], lambda text: None)


def test_missing_files_are_named(plain_model: Plain, tmp_path: Path) -> None:
    model = plain_model("llama")
    with pytest.raises(InputError, match=r"no\.txt cannot be read"):
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


def result_of(level: str, *attacks: Json) -> Json:
    return {
        "warning": WARNING,
        "model": "m",
        "level": level,
        "says": "what it does",
        "family": "llama",
        "vocab": 1000,
        "width": 64,
        "server_width": 96,
        "chance": 0.001,
        "same_weights": True,
        "texts": ["t.txt"],
        "others": [],
        "sizes": {"window": 10, "sample": 5, "stream": 100, "seed": 0},
        "machine": {"system": "Linux"},
        "versions": {"numpy": "2"},
        "attacks": list(attacks),
    }


def attack_of(name: str, found: Json, **more: Any) -> Json:
    base: Json = {"name": name, "label": "A0", "holds": "Much.", "seconds": 1.0, "skipped": None, "facts": {}}
    return base | {"found": found} | more


def test_the_page_states_chance_published_numbers_and_every_share() -> None:
    told = {"occurrences": 0.5, "occurrences_told": 0.25, "vocabulary": 0.125}
    page = report.render(
        result_of(
            "noise",
            attack_of("known-plaintext", {"2 d seeds": told}),
            attack_of("vocabulary", {"x": {"exact_prompts": 0.75, "occurrences": 0.9, "prompts": 4}}),
            attack_of("free-seeds", {}, skipped="there are none"),
        )
    )
    assert "right in 0.1000 % of tokens" in page
    assert all(number in page for number in ("13.5 %", "6 %", "16.5 %"))
    assert "| by | occurrences | occurrences, ten | entries | entries, ten | told | in all |" in page
    assert "| 2 d seeds | 50.0 % | - | 12.5 % | - | 25.0 % | 62.5 % |" in page
    assert "| x | 75.0 % | 90.0 % | 4 |" in page
    assert "Not possible here: there are none." in page
    assert "13.5 %" not in report.render(result_of("cover"))


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
    assert report.headline(attack_of("x", {})) is None


def test_the_same_json_gives_the_same_plot(tmp_path: Path) -> None:
    result = result_of("cover", attack_of("body", {"a": {"occurrences": 0.1}}))
    assert plots.draw(result, tmp_path / "one") == [plots.BARS]
    plots.draw(result, tmp_path / "two")
    assert (tmp_path / "one" / plots.BARS).read_bytes() == (tmp_path / "two" / plots.BARS).read_bytes()
    assert plots.draw(result_of("cover"), tmp_path / "none") == []
