"""Writes continuations: asks one pass after the other of both parties, and has tokens chosen from what comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from privinf.drafts.draft import Draft
from privinf.drafts.ngrams import NgramDraft
from privinf.drafts.speculation import NoDraft, PromptLookup
from privinf.errors import InputError, OptionError
from privinf.models.programs import layout as form
from privinf.models.programs import rows as wire
from privinf.models.programs.layout import SessionLayout
from privinf.models.programs.rows import Rows
from privinf.models.sharing.bundle import Bundle
from privinf.models.text.prompts import prompt_rows
from privinf.protocols.contract import Advance, SessionShape
from privinf.sdk.lines import Answer as Numbers
from privinf.sdk.lines import Line
from privinf.sdk.options import GenerationOptions
from privinf.sdk.outcomes import Answer, Stats

NGRAMS = ".npz"  # how a file of counted runs ends
Step = Callable[[Advance, tuple[bytes, ...]], Answer]  # runs a pass on both parties
DRAFTERS: dict[str, Callable[[], Draft]] = {"none": NoDraft, "lookup": PromptLookup}


def drafter(draft: Draft | str | None, vocab: int) -> Draft:
    """A draft as it is, by its name, or as `privinf draft` has written it to a file."""
    if not isinstance(draft, str | None):
        return draft
    if draft and draft.endswith(NGRAMS):
        return NgramDraft.load(draft, vocab)
    if (draft or "none") not in DRAFTERS:
        raise OptionError(f"no draft {draft!r}; choose one of {', '.join(DRAFTERS)}, or a file *{NGRAMS}")
    return DRAFTERS[draft or "none"]()


@dataclass(frozen=True)
class PassTokens:
    """The tokens that one pass gave a prompt, `accepted` of which had been drafted; none where it was over."""

    tokens: tuple[int, ...] = field(repr=False)
    accepted: int
    drafted: int
    stats: tuple[Stats, ...]  # of the pass, and at first of those that read the prompt


def fitting(layout: SessionLayout, prompt: Sequence[int], options: GenerationOptions) -> GenerationOptions:
    """The same, with no more drafts than leave room for all tokens asked for, were every draft wrong.

    Where these do not fit even without drafts, they are as they were: the session ends when it is full, and says so.
    """
    later = options.max_new_tokens - 1
    if not later:
        return replace(options, drafts=0)
    slots = (layout.room - prompt_rows(len(prompt))) // later - 1
    places = layout.spec.max_tokens - len(layout.plan.prefix) - len(prompt) - options.max_new_tokens
    most = min(slots, places)
    return options if most < 0 else replace(options, drafts=min(options.drafts, most))


def most_tokens(layout: SessionLayout, prompt: Sequence[int]) -> int:
    """How many tokens can follow a prompt until its session or the model is full; drafts may leave room for fewer."""
    slots = layout.room - prompt_rows(len(prompt))
    places = layout.spec.max_tokens - len(layout.plan.prefix) - len(prompt)
    return min(slots + 1, places)


def session_shape(
    layout: SessionLayout, prompt: Sequence[int], options: GenerationOptions, batch: int = 1
) -> SessionShape:
    """The public shape of a session of so many prompts, of which this is the longest; InputError where none can be."""
    rows, room = prompt_rows(len(_some(prompt))), layout.room - 1 - options.drafts
    if rows > room:
        largest = max((size for size in range(1, room + 1) if prompt_rows(size) <= room), default=0)
        if not largest:
            raise InputError(
                "no prompt fits next to the prefix and this many drafts: ask for fewer, or share the model for longer "
                "sessions (--max-tokens)"
            )
        raise InputError(
            f"the prompt has {len(prompt)} tokens, and {largest} fit with room for an answer: shorten it, "
            "or share the model for longer sessions (--max-tokens)"
        )
    shape = SessionShape(_task(options), rows, 1 + options.drafts, batch)
    layout.check(shape)
    return shape


def _some(prompt: Sequence[int]) -> Sequence[int]:
    """The same, if there is any of it."""
    if not prompt:
        raise InputError("the prompt is empty: a continuation needs at least one token")
    return prompt


def _task(options: GenerationOptions) -> str:
    task = "argmax" if options.secure_argmax else "generate"
    return f"{task}{form.PADDED}" if options.hide_accepted else task


class Decoding:
    """Continues prompts side by side in a session of that `shape`: they are refused here, before anything is asked.

    Each has options of its own; those of the session as a whole are the first one's.
    """

    def __init__(
        self,
        bundle: Bundle[SessionLayout],
        prompts: Sequence[Sequence[int]],
        options: Sequence[GenerationOptions],
    ) -> None:
        layout, longest = bundle.layout, max(map(_some, prompts), key=len)
        draft = drafter(options[0].draft, layout.spec.vocab)
        most = replace(options[0], max_new_tokens=max(one.max_new_tokens for one in options))
        fitted = fitting(layout, longest, replace(most, drafts=0) if isinstance(draft, NoDraft) else most)
        self.shape = session_shape(layout, longest, fitted, len(prompts))
        self._layout, self._scheme = layout, bundle.scheme
        self._lines = [
            Line(layout, self.shape, prompt, replace(own, drafts=fitted.drafts), draft)
            for prompt, own in zip(prompts, options, strict=True)
        ]
        self._index = 0

    def steps(self, step: Step) -> Iterator[tuple[PassTokens, ...]]:
        """Iterate once over what a pass gives each prompt. It ends with the tokens asked for, or in a full session."""
        self._step = step
        yield self._read_prompts()
        while self._fits():
            yield self._write()

    def drop(self, place: int) -> None:
        """Nobody reads on of one: it goes on as padding, for the shape of the session is public."""
        self._lines[place].over = True

    def _fits(self) -> bool:
        """Whether anybody reads on, and the parties take one more pass: no rejected draft may have been dropped yet."""
        live = [line.places for line in self._lines if not line.over]
        later = self._index - self._layout.passes(self.shape)
        used = len(self._layout.plan.prefix) + self.shape.prompt + later * self.shape.rows
        ends = self._layout.plan.max_tokens, self._layout.spec.max_tokens
        rows = self.shape.rows
        return bool(live) and used + rows <= ends[0] and max(live) + rows <= ends[1]

    def _read_prompts(self) -> tuple[PassTokens, ...]:
        """Run the prompts, padded in front, and choose what follows the last row of each."""
        stats, kept, size = [], 0, self._layout.chunk(self.shape)
        for start in range(0, self.shape.prompt, size):
            rows = [line.prompt_rows(start, size) for line in self._lines]
            shares, counted = self._ask(Advance.first(kept), rows)
            kept = self._last_rows()
            stats.append(counted)
        return self._chosen(shares, tuple(stats))

    def _write(self) -> tuple[PassTokens, ...]:
        """Run the last token of each and its drafts, and keep what the model agrees with."""
        rows, first = [line.next_rows() for line in self._lines], self._lines[0]
        kept = tuple(range(self._last_rows())) if self._whole else first.kept
        shares, counted = self._ask(Advance(kept, () if first.tree.straight else first.tree.after), rows)
        return self._chosen(shares, (counted,))

    @property
    def _whole(self) -> bool:
        """Whether the pass before stays whole: a prompt's does, and whatever servers are to know no more of."""
        reads = self._index == self._layout.passes(self.shape)
        return reads or self._layout.padded(self.shape)

    def _last_rows(self) -> int:
        return self._layout.rows(self.shape, self._index - 1)

    def _ask(self, advance: Advance, rows: Sequence[Rows]) -> tuple[tuple[bytes, ...], Stats]:
        values = wire.values(self._layout, self.shape, self._index, wire.together(rows))
        shares = self._scheme.share(self._layout.form(self.shape, self._index), values)
        first, second, stats = self._step(advance, shares)
        self._index += 1
        return (first, second), stats

    def _chosen(self, shares: tuple[bytes, ...], stats: tuple[Stats, ...]) -> tuple[PassTokens, ...]:
        """What each prompt is given of the last pass."""
        return tuple(
            self._written(line, answer, stats)
            for line, answer in zip(self._lines, self._answers(shares), strict=True)
        )

    def _answers(self, shares: tuple[bytes, ...]) -> Sequence[Numbers]:
        """Of each prompt, what the sum of both shares says."""
        last = self._index - 1
        total = self._scheme.add_up(self._layout.result(self.shape, last), shares)
        return list(wire.decode(self._layout, self.shape, last, total))

    def _written(self, line: Line, answer: Numbers, stats: tuple[Stats, ...]) -> PassTokens:
        drafted, verdict = line.drafted, line.choose(answer)
        return PassTokens(verdict.tokens, verdict.accepted, drafted, stats)
