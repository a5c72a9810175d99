"""What drafts save: passes for a token in the clear, and seconds for a token over a shaped link."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import machine
from benchmarks.harness.generating import Decoder, served
from benchmarks.harness.pass_costs import PACES, Pace
from benchmarks.workloads.decoders import Subject
from benchmarks.workloads.speculation_prompts import all_reviews, groups, reviews
from privinf.drafts.ngrams import NgramDraft
from privinf.drafts.speculation import Draft, NoDraft, PromptLookup, Tree, drafted_by, walk
from privinf.sdk.decoder_client import DecoderSide

MODEL = "smollm2"
NONE = "none"
NOTHING = -1  # after the last token of an answer
# Copies of prompt and answer; copies and runs counted in public text, in a line, and as a tree.
KINDS = ("lookup", "counted", "tree")
VARIANTS = (
    "none:0",
    "lookup:7",
    "lookup:15",
    "counted:7",
    "counted:15",
    "tree:3",
    "tree:7",
    "tree:15",
    "tree:23",
)
Result = dict[str, Any]
Variant = tuple[str, int]  # a kind of draft, and how many tokens of it a pass has


@dataclass(frozen=True)
class Asked:
    """A prompt as tokens."""

    group: str
    number: int
    ids: list[int]

    @classmethod
    def all(cls, shared: Path, prompts: int) -> list[Asked]:
        """The first so many of each group."""
        side = DecoderSide(shared / "client")
        return [
            cls(group, number, side.conversation([{"role": "user", "content": text}]))
            for group, texts in groups().items()
            for number, text in enumerate(texts[:prompts])
        ]


def counted(shared: Path) -> NgramDraft:
    """A draft of some 33,500 film reviews: all but those that the prompts hold."""
    side, asked = DecoderSide(shared / "client"), set(reviews())
    texts = (side.tokenizer.encode(text) for text in all_reviews() if text not in asked)
    return NgramDraft.learn(texts, side.bundle.spec.vocab)


def drafts_of(shared: Path) -> dict[str, Draft]:
    """Drafts by kind."""
    runs = counted(shared)
    return {NONE: NoDraft(), "lookup": PromptLookup(), "counted": Line(runs), "tree": runs}


@dataclass(frozen=True)
class Line:
    """A draft that may branch, kept from it."""

    draft: Draft

    def propose(self, ids: Sequence[int], count: int) -> Sequence[int]:
        """What it proposes in a line."""
        return self.draft.propose(ids, count)


def variant(text: str) -> Variant:
    """KIND:TOKENS."""
    kind, _, count = text.partition(":")
    if kind not in (NONE, *KINDS) or not count.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: write one of {', '.join(KINDS)}, a colon, a number")
    return kind, int(count)


def in_clear(shared: Path, asked: Sequence[Asked], tokens: int, variants: Sequence[Variant]) -> list[Result]:
    """Float32's greedy answers, and how many passes they would have taken with each draft."""
    subject, rows, drafts = Subject.load(MODEL, shared), list[Result](), drafts_of(shared)
    for one in asked:
        answer = _greedy(subject, one.ids, tokens)
        for kind, count in variants:
            passes, drafted, accepted = replay(one.ids, answer, drafts[kind], count)
            rows.append(_row(one, (kind, count), passes, drafted, accepted, len(answer)))
        _say(f"{one.group} {one.number}: {len(one.ids)} tokens, answered by {len(answer)}")
    return rows


def _greedy(subject: Subject, ids: Sequence[int], tokens: int) -> list[int]:
    """At most so many tokens, up to the one that ends the text."""
    decoder, answer, feed = subject.clear(), list[int](), list(ids)
    while len(answer) < tokens and not (answer and answer[-1] in subject.layout.spec.generator.eos):
        logits = decoder.run(torch.tensor([feed]), 1)
        feed = [int(logits[0, -1].argmax())]
        answer += feed
    return answer


def replay(prompt: Sequence[int], answer: Sequence[int], draft: Draft, drafts: int) -> tuple[int, int, int]:
    """Passes after the prompt's, tokens drafted and drafts accepted, where the answer is known: greedy drafts are right
    where they are what the model says."""
    done, passes, drafted, accepted = 1, 0, 0, 0
    while done < len(answer):
        proposed = drafted_by(draft, [*prompt, *answer[:done]], drafts)
        right = _right(proposed, answer[done:])
        passes, drafted, accepted = passes + 1, drafted + len(proposed.tokens), accepted + right
        done += 1 + right
    return passes, drafted, accepted


def _right(proposed: Tree, following: Sequence[int]) -> int:
    rest = iter([*following, NOTHING])
    return walk(proposed, lambda _: next(rest)).accepted


def _row(one: Asked, what: Variant, passes: int, drafted: int, accepted: int, tokens: int) -> Result:
    return {
        "group": one.group,
        "prompt": one.number,
        "prompt_tokens": len(one.ids),
        "draft": what[0],
        "drafts": what[1],
        "tokens": tokens,
        "passes": passes,
        "drafted": drafted,
        "accepted": accepted,
        "tokens_per_pass": (tokens - 1) / max(passes, 1),
    }


def over_link(
    shared: Path,
    asked: Sequence[Asked],
    tokens: int,
    plain_tokens: int,
    network: str,
    pace: Pace,
    variants: Sequence[Variant],
) -> list[Result]:
    """The same over three server processes, each prompt with every draft in turn.

    Without drafts a pass takes as long at the tenth token as at the fiftieth but for the cache, so that fewer do.
    """
    rows, drafts = list[Result](), drafts_of(shared)
    with served(shared, network=network) as decoder:
        decoder.write(asked[0].ids, 2, "sustained")  # not counted
        for one in asked:
            plain: tuple[int, ...] = ()
            for what in variants:
                count = tokens if what[1] else plain_tokens
                row, answer = _measured(decoder, one, count, pace, what, drafts[what[0]])
                plain = plain or answer
                same = answer[: len(plain)] == plain
                rows.append({"network": network, "pace": pace, **row, "same_output": same})
                _say(
                    f"{network}, {one.group} {one.number}, {what[0]}:{what[1]}: {row['seconds_per_token']:.2f} s"
                )
    return rows


def _measured(
    decoder: Decoder, one: Asked, tokens: int, pace: Pace, what: Variant, draft: Draft
) -> tuple[Result, tuple[int, ...]]:
    done = decoder.write(one.ids, tokens, pace, draft=draft if what[1] else None, drafts=what[1], to_end=True)
    row = _row(one, what, len(done.later), done.drafted, done.accepted, len(done.tokens))
    later = done.later
    return {
        **row,
        "seconds_per_token": done.token_seconds,
        "seconds_per_pass": statistics.median(p.seconds for p in later),
        "first_token_seconds": done.first_seconds,
        "rounds_per_pass": later[0].rounds,
        "online_bytes_per_token": sum(p.online_bytes for p in later) / (len(done.tokens) - 1),
        "preparation_bytes_per_token": sum(max(p.preparation_bytes) for p in later) / (len(done.tokens) - 1),
        "waited_for_preparation": sum(p.offline_seconds for p in later),
    }, done.tokens[:tokens]


def medians(rows: Sequence[Result], keys: Sequence[str]) -> list[Result]:
    """Of each group, number of drafts and network, and how they compare with no drafts: the median of the ratios."""
    found: dict[tuple[Any, ...], list[Result]] = {}
    for row in rows:
        found.setdefault((row.get("network"), row["group"], row["draft"], row["drafts"]), []).append(row)
    out = []
    for (network, group, kind, drafts), these in found.items():
        plain = {row["prompt"]: row for row in found[network, group, NONE, 0]}
        line: Result = {"network": network, "group": group, "draft": kind, "drafts": drafts}
        line |= {"prompts": len(these), "passes_over_none": _all(these) / _all(list(plain.values()))}
        for key in keys:
            line[key] = statistics.median(row[key] for row in these)
            line[f"{key}_over_none"] = statistics.median(
                row[key] / plain[row["prompt"]][key] for row in these
            )
        line["accepted_of_drafted"] = sum(r["accepted"] for r in these) / max(
            sum(r["drafted"] for r in these), 1
        )
        line["same_output"] = sum(r.get("same_output", True) for r in these)
        out.append(line)
    return out


def _all(rows: Sequence[Result]) -> float:
    """Passes for a token over all prompts together: long answers count for more."""
    return float(sum(row["passes"] for row in rows) / sum(row["tokens"] - 1 for row in rows))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Write benchmarks/results/speculation.json; with --clear alone speculation-clear.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure.speculation", description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="SmolLM2, written by `privinf share`")
    parser.add_argument("--clear", action="store_true", help="count passes in the clear; start no servers")
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--plain-tokens", type=int, help="of answers without drafts, over a link [--tokens]")
    parser.add_argument("--prompts", type=int, default=6, help="of each group, from its first")
    parser.add_argument("--group", nargs="+", default=["extractive", "short", "free"])
    parser.add_argument(
        "--drafts", nargs="+", default=list(VARIANTS), help="KIND:TOKENS; none:0 is always tried"
    )
    parser.add_argument("--network", nargs="+", default=["loopback", "wan"])
    parser.add_argument("--pace", choices=PACES, default="online")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    variants = [(NONE, 0), *(what for what in map(variant, given.drafts) if what[1])]
    about = machine.about()
    asked = [one for one in Asked.all(given.shared, given.prompts) if one.group in given.group]
    if given.clear:
        rows, keys = in_clear(given.shared, asked, given.tokens, variants), ["tokens_per_pass"]
    else:
        rows, keys = list[Result](), ["tokens_per_pass", "seconds_per_token"]
        for network in given.network:
            plain = given.plain_tokens or given.tokens
            rows += over_link(given.shared, asked, given.tokens, plain, network, given.pace, variants)
    result = {
        "benchmark": "speculation",
        **about,
        "tokens": given.tokens,
        "medians": medians(rows, keys),
        "rows": rows,
    }
    path = given.json or machine.RESULTS / f"speculation{'-clear' if given.clear else ''}.json"
    machine.write(path, result)
    for line in result["medians"]:
        said = ", ".join(f"{key} {line[key]:.2f} ({line[f'{key}_over_none']:.2f} of none)" for key in keys)
        print(f"{line['network'] or 'clear'}, {line['group']}, {line['draft']}:{line['drafts']}: {said}")


if __name__ == "__main__":
    main()
