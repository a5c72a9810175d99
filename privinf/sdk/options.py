"""All options of what is asked, declared once: the keywords of the SDK and the options of the commands; no numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Final, Literal, TypedDict

from privinf.drafts.draft import Draft
from privinf.errors import OptionError
from privinf.options import Sampling, is_whole, option, require

ModeName = Literal["private", "equivariant"]
MOST_DRAFTS: Final = 31  # with the token before them they fill the largest pass
# What prompts that are asked together may each have of their own
OWN: Final = frozenset(item.name for item in fields(Sampling)) | {"max_new_tokens", "stop"}


@dataclass(frozen=True, kw_only=True)
class GenerationOptions(Sampling):
    """How to continue a prompt: how tokens are chosen, when the text ends, and what is guessed ahead.

    draft: proposes up to `drafts` tokens, all checked in one pass, fewer where the session would not hold all
    `max_new_tokens` if they were wrong; their number is public, and so is how many were right and on which branch,
    unless `hide_accepted`: then no slot of a wrong draft is given back, and none branches.

    Raises:
        OptionError: a value out of its range, or values that exclude each other.
    """

    max_new_tokens: int = option(64, "The most tokens to generate.")
    stop: str | Sequence[str] = option(
        (), "Text that ends the answer; repeatable.", repr=False, typed=list[str]
    )
    draft: Draft | str | None = option(
        None,
        "none, lookup (guess from the text so far), or a file from `privinf draft`; its success rate is public.",
        typed=str,
    )
    drafts: int = option(7, "Tokens to guess in one pass.")
    secure_argmax: bool = option(False, "Learn the most likely token and no logits; slower.")
    hide_accepted: bool = option(False, "Hide how many drafts were right; needs more room.")

    def __post_init__(self) -> None:
        super().__post_init__()
        most, drafts = self.max_new_tokens, self.drafts
        require(is_whole(most) and most >= 1, f"max_new_tokens must be 1 or more, not {most!r}")
        require(
            is_whole(drafts) and 0 <= drafts <= MOST_DRAFTS,
            f"drafts must be 0 to {MOST_DRAFTS}, not {drafts!r}",
        )
        require(
            self.draft is None
            or isinstance(self.draft, str)
            or callable(getattr(self.draft, "propose", None)),
            "draft must be none, lookup, the path of a draft file, or an object with a method `propose`",
        )
        require(
            not self.secure_argmax or (self.greedy and self.repetition_penalty == 1.0),
            "secure_argmax only gives the most likely token: leave out sampling options",
        )
        require(
            isinstance(self.stop, str | Sequence)
            and all(isinstance(stop, str) and stop for stop in self.stops),
            "stop must be a list of texts, none of them empty; leave it out for none",
        )

    def own(self, given: OwnKeywords) -> GenerationOptions:
        """The same with what one prompt of several may have of its own; InputError for what holds for all of them."""
        if foreign := sorted(set(given) - OWN):
            raise OptionError(
                f"{', '.join(foreign)}: of one prompt may be said {', '.join(sorted(OWN))} alone"
            )
        return replace(self, **given)

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end the answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


@dataclass(frozen=True)
class Reading:
    """How texts become tokens."""

    truncate: bool = option(False, "Truncate texts that are too long.")
    prompt_name: str | None = option(
        None, "Which of the model's prompts to put before each text; by default the one that the model names."
    )
    special_tokens: bool = option(
        False, "Turn control tokens spelled in the text ([SEP]) into tokens; never for other people's text."
    )


class ReadingKeywords(TypedDict, total=False):
    """The fields of `Reading` as keywords."""

    truncate: bool
    prompt_name: str | None
    special_tokens: bool


class OwnKeywords(TypedDict, total=False):
    """Those of one prompt among several."""

    temperature: float
    top_k: int | None
    top_p: float | None
    repetition_penalty: float
    seed: int | None
    max_new_tokens: int
    stop: str | Sequence[str]


class GenerationKeywords(OwnKeywords, total=False):
    """The fields of `GenerationOptions` as keywords; a test holds both equal."""

    draft: Draft | str | None
    drafts: int
    secure_argmax: bool
    hide_accepted: bool


class WritingKeywords(GenerationKeywords, total=False):
    """What may be said beside a prompt, or several."""

    raw: bool
    special_tokens: bool
    timeout: float | None
    each: Sequence[OwnKeywords] | None


class AnsweringKeywords(GenerationKeywords, total=False):
    """The same beside a conversation, or several."""

    special_tokens: bool
    timeout: float | None
    each: Sequence[OwnKeywords] | None
