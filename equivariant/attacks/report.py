"""Writes a report page from attacks.json, and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]

NOISE = "noise"
PUBLISHED = (
    "AloePri's authors print for Qwen2.5-14B at their default noise: weight matching 13.5 %, invariants 6 %, "
    "frequency 16.5 % (text of the same distribution, among the first 100). They test no known plaintext."
)
EXPLAINED = """\
*Occurrences* is the share of tokens of real text that are read rightly; *entries* is the share of vocabulary entries,
drawn uniformly, most of which hardly ever occur. *Ten* and *hundred* count what is among so many first guesses. Tokens
that the attacker was told are left out of the scores; their own share of the text stands beside, and what is known
*in all* in the end. A dash: not scored."""
ATTENTION = (
    "No attack above reads attention scores (A9). They are the plain model's, up to the order of heads, at every level:"
    " who attends to whom is not hidden."
)
HEADLINES = ("exact_prompts", "occurrences", "vocabulary")


def render(result: Result, figures: Sequence[str] = ()) -> str:
    """The page."""
    lines = [f"# Attacks on {result['model']} at level `{result['level']}`", "", *_head(result), ""]
    lines += [line for name in figures for line in (f"![{_alt(name)}]({name})", "")]
    lines += [EXPLAINED, ""]
    for attack in result["attacks"]:
        lines += [*_section(attack), ""]
    lines += ["## What is not attacked here", "", ATTENTION, "", *_foot(result)]
    return "\n".join(lines) + "\n"


def headline(attack: Result) -> tuple[str, str, float] | None:
    """An attack's best result: its variant, what is counted, the share."""
    for measure in HEADLINES:
        found = {name: row[measure] for name, row in attack["found"].items() if row.get(measure) is not None}
        if found:
            best = max(found, key=lambda name: found[name])
            return best, measure, float(found[best])
    return None


def percent(share: float | None) -> str:
    """For a table; a dash where nothing was scored. What is not all is never rounded up to it."""
    if share is None:
        return "-"
    return ">99.9 %" if 0.9995 <= share < 1 else f"{100 * share:.1f} %"


def _head(result: Result) -> Iterator[str]:
    yield f"**{result['warning'][0].upper()}{result['warning'][1:]}.**"
    yield ""
    width, server = result["width"], result["server_width"]
    covered = "" if server == width else f", covered rows of {server}"
    yield (
        f"Level `{result['level']}`: {result['says']}. Family {result['family']}, {result['vocab']} tokens, rows of"
        f" {width}{covered}. A blind guess is right in {100 * result['chance']:.4f} % of tokens."
    )
    if result["level"] == NOISE:
        yield ""
        yield PUBLISHED
    if not result["same_weights"]:
        yield ""
        yield "The attacker's model is not the one that was converted: its weights differ."


def _alt(name: str) -> str:
    return name.rsplit("/", 1)[-1].removesuffix(".svg").replace("-", " ")


def _section(attack: Result) -> Iterator[str]:
    yield f"## {attack['label']}: {attack['name']}"
    yield ""
    yield f"Holds: {attack['holds'][0].lower()}{attack['holds'][1:]}"
    yield ""
    if attack["skipped"]:
        yield f"Not possible here: {attack['skipped']}."
        return
    rows = attack["found"]
    if any("exact_prompts" in row for row in rows.values()):
        yield from _prompts(rows)
    else:
        yield from _shares(rows)
    yield ""
    yield f"{attack['seconds']:.0f} s. {_facts(attack['facts'])}".strip()


def _shares(rows: Mapping[str, Result]) -> Iterator[str]:
    told = any("occurrences_told" in row for row in rows.values())
    wide = any("occurrences_top100" in row for row in rows.values())
    measures = ["occurrences", "occurrences_top10", *(["occurrences_top100"] if wide else [])]
    measures += ["vocabulary", "vocabulary_top10", *(["vocabulary_top100"] if wide else [])]
    measures += ["occurrences_told", "occurrences_in_all"] if told else []
    names = [name.replace("vocabulary", "entries").replace("_top100", ", hundred") for name in measures]
    names = [name.replace("_top10", ", ten").replace("occurrences_", "").replace("_", " ") for name in names]
    yield "| by | " + " | ".join(names) + " |"
    yield "|---|" + "--:|" * len(names)
    for name, row in rows.items():
        row = {**row, "occurrences_in_all": _in_all(row)}
        yield f"| {name} | " + " | ".join(percent(row.get(measure)) for measure in measures) + " |"


def _in_all(row: Result) -> float | None:
    """Of all occurrences those that the attacker knows in the end, told or read."""
    told, read = row.get("occurrences_told"), row.get("occurrences")
    return told if told is None or read is None else told + (1 - told) * read


def _prompts(rows: Mapping[str, Result]) -> Iterator[str]:
    yield "| by | exact prompts | tokens | prompts |"
    yield "|---|--:|--:|--:|"
    for name, row in rows.items():
        exact, tokens = percent(row["exact_prompts"]), percent(row["occurrences"])
        yield f"| {name} | {exact} | {tokens} | {row['prompts']} |"


def _facts(facts: Result) -> str:
    return "; ".join(f"{name.replace('_', ' ')}: {_said(value)}" for name, value in facts.items())


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_said(inner)}" for name, inner in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _foot(result: Result) -> Iterator[str]:
    machine, sizes = result["machine"], result["sizes"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    texts = ", ".join(result["texts"])
    others = f"; text of another kind: {', '.join(result['others'])}" if result["others"] else ""
    yield (
        f"Text: {texts}, every other text sent, the rest public{others}. Scored: {sizes['window']} tokens in a row,"
        f" {sizes['sample']} vocabulary entries; frequency on up to {sizes['stream']} tokens; seed {sizes['seed']}."
    )
    yield f"Measured with {versions} on {machine.get('cpu') or machine['system']}."
