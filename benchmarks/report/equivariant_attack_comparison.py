"""Sets our levels beside AloePri's printed figures, attack by attack, for docs/attacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from privinf.equivariant.attacks import report
from privinf.equivariant.attacks.published import KEYED, MODEL, SETTING

Result = dict[str, Any]
Found = Sequence[tuple[str, Result]]

# Our strongest levels, and theirs on the same model; by the end of a result's name.
COLUMNS = {"session": "`session`", "noise": "`noise`, default", "noise-published": "`noise`, their setting"}
RANK, HUNDRED = "rank", "occurrences_top100"
ABOUT = f"""\
## Beside AloePri

The most that each attack reads at the levels that cover most, next to what AloePri's authors report for {MODEL} at
{SETTING}; nearest neighbours of covered rows read 0 % there.
The comparison is not on equal terms: their model is far larger, they count the first ten or hundred guesses where
that is stated, and their attackers are told less. Only models of the Llama family are shown, as no other supports key
matrices. The best variant is in brackets."""


@dataclass(frozen=True)
class Theirs:
    """One attack of theirs beside ours of a name."""

    printed: str
    differs: str


THEIRS: Mapping[str, Theirs] = {
    "weights": Theirs(
        "13.5 % (Qwen3-14B: 25 %)", "the same idea: products of weights, their rows sorted, and a vote"
    ),
    "invariants": Theirs("6 %", "theirs are invariants of attention and gates, ours of whole rows"),
    "known-plaintext": Theirs("-", "they test no attacker who was told a token"),
    "vocabulary": Theirs("0 %", "theirs optimises inputs until hidden states fit; ours tries every token"),
    "frequency": Theirs(
        "3.2 % among ten, 16.5 % among a hundred",
        "theirs counts in text of the same distribution; ours looks at neighbours too, and its first guess counts",
    ),
    "inversion": Theirs(
        "0 %",
        "theirs trains a small transformer without pairs of this key; ours is a regression on pairs that it was told",
    ),
}
NOT_THEIRS = Theirs("-", "they print none")


def comparison(found: Found) -> Iterator[str]:
    """A table for each model that has one of the columns, the largest last."""
    models = dict.fromkeys(result["model"] for _, result in found if result["kind"] == KEYED)
    tables = [table for model in models if (table := list(_table(model, dict(found))))]
    if tables:
        yield from (ABOUT, "")
        for table in tables:
            yield from (*table, "")


def _table(model: str, found: dict[str, Result]) -> Iterator[str]:
    shown = {end: found.get(f"{model}-{end}") for end in COLUMNS}
    there = [result for result in shown.values() if result]
    if not there:
        return
    yield from (f"### {model}, {there[0]['parameters']:,} parameters", "")
    heads = ["attack", *(_head(end, result) for end, result in shown.items()), "theirs", "what differs"]
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    labels = {attack["name"]: attack["label"] for result in there for attack in result["attacks"]}
    for name, label in sorted(labels.items(), key=lambda pair: pair[1]):
        theirs = THEIRS.get(name, NOT_THEIRS)
        ours = [_cell(name, result) for result in shown.values()]
        yield f"| {label} {name} | " + " | ".join([*ours, theirs.printed, theirs.differs]) + " |"


def _head(end: str, result: Result | None) -> str:
    return f"{COLUMNS[end]}: {report.noise_of(result)}" if result and result["noise"] else COLUMNS[end]


def _cell(name: str, result: Result | None) -> str:
    attack = next((one for one in result["attacks"] if one["name"] == name), None) if result else None
    if attack is None:
        return "- (not measured)"
    return "; ".join((report.said(attack), *_ranked(attack["found"])))


def _ranked(found: Result) -> Iterator[str]:
    """What ranks alone give among a hundred guesses, which is how theirs are counted."""
    tops = [row[HUNDRED] for name, row in found.items() if name.startswith(RANK) and row.get(HUNDRED)]
    if tops:
        yield f"by rank alone, among a hundred, {report.percent(max(tops))}"
