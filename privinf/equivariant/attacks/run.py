"""Runs attacks on a converted model: builds what the attacker sees, and lets the truth score what comes of it."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from privinf.equivariant.about import read_about
from privinf.equivariant.attacks import texts as reading
from privinf.equivariant.attacks.matching import Ids
from privinf.equivariant.attacks.registry import Attack
from privinf.equivariant.attacks.truth import Sizes, Truth
from privinf.equivariant.attacks.view import Findings, Leak, View
from privinf.equivariant.attacks.weights import Weights, facts, kind_of
from privinf.equivariant.covering.plain import fingerprint
from privinf.equivariant.levels import WARNING, level_of
from privinf.equivariant.variants import all_variants
from privinf.errors import ConfigError, PrivinfError
from privinf.models.spec import ModelSpec
from privinf.versions import versions

FORMAT = 2
REFERENCE = 4_000_000
PACKAGES = ("privinf", "numpy", "torch", "transformers", "tokenizers")
NOTHING = Leak(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
Result = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Setting:
    """What is attacked, and with what text.

    Attributes:
        model: the public plain directory.
        converted: what `privinf cover` wrote.
        texts: files of the clients' kind of text: half is sent, the other half is the attacker's.
        others: files of another kind, for the attacker to count in.
        stream: tokens that pass by in all, for attacks that count.
        noise: what the conversion was given, where that is known: no directory says it.
    """

    model: Path
    converted: Path
    texts: Sequence[Path]
    others: Sequence[Path] = ()
    stream: int = 1_000_000
    sizes: Sizes = field(default_factory=Sizes)
    seed: int = 0
    noise: Mapping[str, Any] | None = None


def run(setting: Setting, attacks: Sequence[Attack], say: Say, keep: Callable[[Result], None]) -> Result:
    """Everything that attacks.json holds.

    Args:
        keep: given what there is so far, after each attack.
    """
    known = facts(setting.model)
    say("reading texts")
    view, truth = prepare(setting, known)
    result = _about(setting, view, truth)
    for one in attacks:
        result["attacks"].append(_run(one, view, truth, say))
        keep(result)
    return result


def _about(setting: Setting, view: View, truth: Truth) -> Result:
    """A result without attacks."""
    known, level = view.spec, view.about.level
    return {
        "format": FORMAT,
        "warning": WARNING,
        "model": setting.model.resolve().name,
        "same_weights": truth.model == fingerprint(setting.model),
        "level": level,
        "says": level_of(level).says,
        "noise": dict(setting.noise) if setting.noise else None,
        "family": known.family,
        "kind": kind_of(known),
        "parameters": view.plain.parameters,
        "vocab": known.vocab,
        "width": known.width,
        "server_width": int(view.table.shape[1]),
        "texts": [path.name for path in setting.texts],
        "others": [path.name for path in setting.others],
        "sizes": asdict(setting.sizes) | {"stream": setting.stream, "seed": setting.seed},
        "scored": _scored(truth),
        "machine": {"system": f"{platform.system()} {platform.machine()}", "processor": platform.processor()},
        "versions": versions(PACKAGES),
        "attacks": [],
    }


def _scored(truth: Truth) -> Result:
    """What occurrences are scored in, and the share of the token that is most frequent there."""
    texts = truth.traffic.texts
    plain = truth.plain[np.concatenate(texts)]
    most = int(np.bincount(plain).max())
    lengths = [len(text) for text in texts]
    return {
        "texts": len(texts),
        "tokens": sum(lengths),
        "longest": max(lengths),
        "most_frequent": most / len(plain),
    }


def prepare(setting: Setting, known: ModelSpec) -> tuple[View, Truth]:
    """Read the texts and halve them: what clients send, and what is public."""
    server, client = folders(setting.model, setting.converted, known)
    whole = reading.tokens_of(setting.texts, setting.model, known, setting.stream + REFERENCE)
    sent, public = reading.halves(whole)
    reference = {"text of the same kind": public}
    if setting.others:
        reference["text of another kind"] = reading.tokens_of(setting.others, setting.model, known, REFERENCE)
    truth = Truth(client, known, reading.first(sent, setting.stream), setting.sizes, setting.seed)
    return view_of(setting.model, server, known, truth, reference), truth


def view_of(
    model: Path, server: Path, known: ModelSpec, truth: Truth, reference: Mapping[str, list[Ids]]
) -> View:
    """The attacker's side; of the truth it takes the traffic and nothing else."""
    plain, covered = Weights(model, known), Weights(server, known)
    return View(read_about(server), plain, covered, truth.traffic, reference)


def folders(model: Path, converted: Path, known: ModelSpec) -> tuple[Path, Path]:
    """Of the server and of its client; the first variant's where there are variants."""
    server, client = converted / "server", converted / "client"
    about = read_about(server)
    if about.family != known.family or about.vocab != known.vocab:
        raise ConfigError(f"{server} was not made from {model}: give the plain model that was converted")
    if not about.what.local:
        return server, client
    variants = all_variants(server)
    if not variants:
        raise ConfigError(f"{server} has no variants: cover the model again")
    return variants[0], client / variants[0].relative_to(server)


def _run(one: Attack, view: View, truth: Truth, say: Say) -> Result:
    say(f"{one.label} {one.name}")
    began, busy = time.monotonic(), time.process_time()
    findings = _findings(one, view, truth)
    seconds, busy = time.monotonic() - began, time.process_time() - busy
    found = {name: truth.score(guess) for name, guess in findings.guesses.items()}
    found |= {name: truth.score_prompts(decoded) for name, decoded in findings.prompts.items()}
    return {
        "name": one.name,
        "label": one.label,
        "holds": one.holds,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(busy, 2),
        "skipped": findings.skipped,
        "facts": dict(findings.facts),
        "found": found,
    }


def _findings(one: Attack, view: View, truth: Truth) -> Findings:
    """A refusal is this attack's alone: others may still read something."""
    try:
        return one.run(view, truth.leak() if one.leaks else NOTHING)
    except PrivinfError as error:
        return Findings(skipped=str(error))
