"""Fixed prompts on which drafts are measured: answers that repeat a passage of Moby Dick, and answers that do not."""

from __future__ import annotations

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
GROUPS: dict[str, tuple[str, ...]] = {
    "extractive": (
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
