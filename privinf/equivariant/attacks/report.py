"""Writes a report page from attacks.json, and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from privinf.equivariant.attacks.published import KEYED, PRINTED
from privinf.equivariant.attacks.unattacked import unattacked

Result = Mapping[str, Any]

NOISE = "noise"
EXPLAINED = """\
*Occurrences* is the share of tokens of real text that are read correctly; *entries* is the share of vocabulary entries,
drawn uniformly, most of which hardly ever occur; *of* is the number scored. *Ten* and *hundred* count a token that is
among the first ten or hundred guesses. Tokens that the attacker was told are left out of the scores; their share of the
text is given too, as is the share known *in all*: an attacker who is told more is scored on rarer tokens, so one column
may fall while the other grows. A dash means not scored."""
PLACES = "BERT has gains on what its layers pass on, so every cover of hidden values only permutes them."
HEADLINES = ("occurrences", "vocabulary")
EXACT, SCORED = "exact_prompts", "occurrences_scored"


def render(result: Result, figures: Sequence[str] = ()) -> str:
    """The page."""
    return "\n\n".join(_paragraphs(result, figures)) + "\n"


def headline(attack: Result) -> tuple[str, str, float] | None:
    """An attack's best result: its variant, what is counted, the share."""
    for measure in HEADLINES:
        found = {name: row[measure] for name, row in attack["found"].items() if row.get(measure) is not None}
        if found:
            best = max(found, key=lambda name: found[name])
            return best, measure, float(found[best])
    return None


def said(attack: Result) -> str:
    """The best result in words, or why there is none; for decoded prompts, how many of those are right as a whole."""
    best = headline(attack)
    if best is None:
        return f"- ({attack['skipped'] or 'there was nothing to score'})"
    variant, measure, share = best
    row, counted = attack["found"][variant], "entries" if measure == "vocabulary" else measure
    if row.get(EXACT) is not None:
        return f"{percent(share)} of tokens, {percent(row[EXACT])} of prompts whole ({variant})"
    return f"{percent(share)} of {counted} ({variant})"


def percent(share: float | None) -> str:
    """For a table; a dash where nothing was scored. What is not all is never rounded up to it."""
    if share is None:
        return "-"
    return ">99.9 %" if 0.9995 <= share < 1 else f"{100 * share:.1f} %"


def noise_of(result: Result) -> str:
    """The noise of a conversion, in words."""
    noise = result["noise"]
    if noise is None:
        return "how much noise there is was not recorded"
    said = f"alpha_e {noise['alpha_e']:g}, alpha_h {noise['alpha_h']:g}"
    keys = f", padding {noise['padding']}, mixing {noise['mixing']:g}" if result["kind"] == KEYED else ""
    return said + keys


def in_all(row: Result) -> float | None:
    """Of all occurrences those that the attacker knows in the end, told or read."""
    told, read = row.get("occurrences_told"), row.get("occurrences")
    return None if told is None else told + (1 - told) * (read or 0.0)


def _paragraphs(result: Result, figures: Sequence[str]) -> Iterator[str]:
    yield f"# Attacks on {result['model']} at level `{result['level']}`"
    yield from _head(result)
    yield from (f"![{name.removesuffix('.svg').replace('-', ' ')}]({name})" for name in figures)
    yield EXPLAINED
    for attack in result["attacks"]:
        yield from _section(attack)
    yield "## What is not attacked here"
    yield "\n".join(unattacked(result))
    yield _foot(result)


def _head(result: Result) -> Iterator[str]:
    yield f"**{result['warning'][0].upper()}{result['warning'][1:]}.**"
    width, server = result["width"], result["server_width"]
    covered = "" if server == width else f", covered rows of {server}"
    noise = f"; {noise_of(result)}" if result["level"] == NOISE else ""
    yield (
        f"Level `{result['level']}`: {result['says']}{noise}. Family {result['family']},"
        f" {result['parameters']:,} parameters, {result['vocab']} tokens, rows of {width}{covered}."
    )
    yield (
        f"A blind guess is right in {100 / result['vocab']:.4f} % of entries; always guessing the most frequent"
        f" token is right in {percent(result['scored']['most_frequent'])} of occurrences."
    )
    if result["kind"] == "post":
        yield PLACES
    if result["level"] == NOISE:
        yield _beside(result)
    if not result["same_weights"]:
        yield "The attacker's model is not the one that was converted: its weights differ."


def _beside(result: Result) -> str:
    if result["kind"] != KEYED:
        return "Models of this family take noise without key matrices; there are no published figures to compare with."
    return (
        f"{PRINTED} Here: {result['parameters']:,} parameters, {noise_of(result)}; the first guess counts; and"
        " some attackers are told tokens."
    )


def _section(attack: Result) -> Iterator[str]:
    yield f"## {attack['label']}: {attack['name']}"
    yield f"The attacker has: {attack['holds'][0].lower()}{attack['holds'][1:]}"
    rows = attack["found"]
    if not rows:
        yield (
            f"Not possible here: {attack['skipped']}." if attack["skipped"] else "There was nothing to score."
        )
        return
    prompts = any(EXACT in row for row in rows.values())
    yield _prompts(rows) if prompts else _shares(rows)
    yield f"{attack['cpu_seconds']:.0f} s of one core. {_facts(attack['facts'])}".strip()


def _shares(rows: Mapping[str, Result]) -> str:
    wide = any("occurrences_top100" in row for row in rows.values())
    tops = ["", "_top10", *(["_top100"] if wide else []), "_scored"]
    measures = [f"{counted}{top}" for counted in HEADLINES for top in tops]
    if any("occurrences_told" in row for row in rows.values()):
        measures += ["occurrences_told", "occurrences_in_all"]
    whole = {name: {**row, "occurrences_in_all": in_all(row)} for name, row in rows.items()}
    cells = {name: [_cell(row, measure) for measure in measures] for name, row in whole.items()}
    return _table([_column(measure) for measure in measures], cells)


def _column(measure: str) -> str:
    counted, _, what = measure.partition("_")
    counted = counted.replace("vocabulary", "entries")
    ends = {"": "", "top10": ", ten", "top100": ", hundred"}
    return f"{counted}{ends[what]}" if what in ends else what.replace("scored", "of").replace("_", " ")


def _cell(row: Result, measure: str) -> str:
    if measure.endswith("_scored"):
        return f"{row[measure]:,}" if measure in row else "-"
    return percent(row.get(measure))


def _prompts(rows: Mapping[str, Result]) -> str:
    cells = {
        name: [percent(row[EXACT]), str(row["prompts"]), percent(row["occurrences"]), _cell(row, SCORED)]
        for name, row in rows.items()
    }
    return _table(("exact prompts", "of", "tokens", "of"), cells)


def _table(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    lines = ["| by | " + " | ".join(columns) + " |", "|---|" + "--:|" * len(columns)]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()]
    return "\n".join(lines)


def _facts(facts: Result) -> str:
    return "; ".join(f"{name.replace('_', ' ')}: {_worded(value)}" for name, value in facts.items())


def _worded(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_worded(inner)}" for name, inner in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _foot(result: Result) -> str:
    machine, sizes, scored = result["machine"], result["sizes"], result["scored"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    texts = ", ".join(result["texts"])
    others = f"; text of another kind: {', '.join(result['others'])}" if result["others"] else ""
    return (
        f"Text: {texts}, every other text sent, what else differs from those public{others}. Unless a table says"
        f" otherwise, scores are of {scored['tokens']:,} tokens, at most {scored['longest']} of each of"
        f" {scored['texts']:,} texts; frequency counts up to {sizes['stream']:,}. Samples were drawn with seed"
        f" {sizes['seed']}. The conversion is one, under one random key: nothing here says how much another key would"
        f" change.\nMeasured {_when(result)}with {versions} on {machine.get('cpu') or machine['system']}."
    )


def _when(result: Result) -> str:
    """The commits and days, where attacks are marked with them."""
    marks = [attack["measured"] for attack in result["attacks"] if "measured" in attack]
    commits = dict.fromkeys(_commit(mark["commit"]) for mark in marks)
    days = dict.fromkeys(mark["date"] for mark in marks)
    return f"at {', '.join(commits)} on {', '.join(days)} " if marks else ""


def _commit(commit: Result) -> str:
    changed = " with changes" if commit["changed"] else ""
    return f"commit {commit['id'][:12]}{changed}" if commit["id"] else "no commit"
