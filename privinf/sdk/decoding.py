"""Writes a continuation: asks one pass after the other of both parties, and chooses tokens from what comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from privinf.drafts.draft import Draft
from privinf.drafts.ngrams import NgramDraft
from privinf.drafts.speculation import NoDraft, PromptLookup, Tree, Verdict, drafted_by, verify, walk
from privinf.errors import InputError
from privinf.models.programs import layout as form
from privinf.models.programs import rows as wire
from privinf.models.programs.layout import SessionLayout
from privinf.models.programs.rows import Rows
from privinf.models.sharing.bundle import Bundle
from privinf.models.text.prompts import prompt_rows
from privinf.protocols.contract import Advance, SessionShape
from privinf.sampling import Sampler
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
        raise InputError(f"no draft {draft!r}; choose one of {', '.join(DRAFTERS)}, or a file *{NGRAMS}")
    return DRAFTERS[draft or "none"]()


@dataclass(frozen=True)
class PassTokens:
    """The tokens that one pass gave, `accepted` of which had been drafted."""

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


def session_shape(layout: SessionLayout, prompt: Sequence[int], options: GenerationOptions) -> SessionShape:
    """The public shape of a session; InputError where the prompt is empty or too long."""
    if not prompt:
        raise InputError("the prompt is empty: a continuation needs at least one token")
    rows, room = prompt_rows(len(prompt)), layout.room - 1 - options.drafts
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
    shape = SessionShape(_task(options), rows, 1 + options.drafts)
    layout.check(shape)
    return shape


def _task(options: GenerationOptions) -> str:
    task = "argmax" if options.secure_argmax else "generate"
    return f"{task}{form.PADDED}" if options.hide_accepted else task


class Decoding:
    """Continues one prompt in a session of that `shape`: it is refused here, before anything is asked."""

    def __init__(
        self, bundle: Bundle[SessionLayout], prompt: Sequence[int], options: GenerationOptions
    ) -> None:
        layout = bundle.layout
        self._draft = drafter(options.draft, layout.spec.vocab)
        if isinstance(self._draft, NoDraft):
            options = replace(options, drafts=0)
        self._layout, self._scheme, self._sampler = layout, bundle.scheme, Sampler(options)
        self._options = fitting(layout, prompt, options)
        self.shape = session_shape(layout, prompt, self._options)
        self._seen = list(prompt)
        self._tokens = len(prompt)
        self._index = 0
        self._kept: tuple[int, ...] = ()  # rows of the pass before that the client goes on from
        self._form: tuple[int, ...] | None = None  # which draft follows which, in every pass

    def steps(self, step: Step) -> Iterator[PassTokens]:
        """Iterate once. It ends with the tokens asked for, or when the session is full."""
        self._step = step
        written = self._read_prompt()
        left = self._options.max_new_tokens - 1
        yield written
        while left > 0 and self._fits():
            written = self._write()
            left -= len(written.tokens)
            yield written

    def _last_rows(self) -> int:
        return self._layout.rows(self.shape, self._index - 1)

    def _fits(self) -> bool:
        """Whether the parties take one more pass: none of the rejected drafts may have been dropped yet."""
        prefix = len(self._layout.plan.prefix)
        later = self._index - self._layout.passes(self.shape)
        used = prefix + self.shape.prompt + later * self.shape.rows
        ends = self._layout.plan.max_tokens, self._layout.spec.max_tokens
        positions = prefix + len(self._seen) + self.shape.rows
        return used + self.shape.rows <= ends[0] and positions <= ends[1]

    def _read_prompt(self) -> PassTokens:
        """Run the prompt, padded in front, and choose what follows its last row."""
        stats = []
        for start in range(0, self.shape.prompt, form.CHUNK):
            rows = _cut(self._prompt_rows(), start, start + form.CHUNK)
            shares, counted = self._ask(Advance(self._kept), rows)
            self._kept = tuple(range(self._last_rows()))
            stats.append(counted)
        verdict = self._choose(shares, Tree())
        self._seen += verdict.tokens
        return PassTokens(verdict.tokens, 0, 0, tuple(stats))

    def _prompt_rows(self) -> Rows:
        prefix, padding = len(self._layout.plan.prefix), self.shape.prompt - self._tokens
        ids = np.array([self._seen[0]] * padding + self._seen, dtype=np.int64)
        places = np.maximum(np.arange(len(ids)) - padding, 0) + prefix
        return Rows(ids, places, np.arange(len(ids)) < padding, padding)

    def _write(self) -> PassTokens:
        """Run the last token and its drafts, and keep what the model agrees with."""
        options = self._options
        # Servers that are not to know what was right are asked for a line.
        drafts = drafted_by(self._draft, self._seen, options.drafts, straight=options.hide_accepted)
        tree = self._of_one_form(drafts.filled(options.drafts, self._seen[-1]))
        ids = np.array([self._seen[-1], *tree.tokens], dtype=np.int64)
        places = len(self._layout.plan.prefix) + len(self._seen) - 1 + np.array(tree.places(), dtype=np.int64)
        rejected, kept = None, self._kept
        if options.hide_accepted:
            rejected = ~np.isin(np.arange(len(ids)), kept)
            kept = tuple(range(self._last_rows()))
        rows = Rows(ids, places, np.zeros(len(ids), dtype=bool), self.shape.prompt - self._tokens, rejected)
        shares, counted = self._ask(Advance(kept, () if tree.straight else tree.after), rows)
        verdict = self._choose(shares, drafts)
        self._seen += verdict.tokens
        self._kept = verdict.rows
        return PassTokens(verdict.tokens, verdict.accepted, len(drafts.tokens), (counted,))

    def _of_one_form(self, tree: Tree) -> Tree:
        """Refuse drafts whose form changes from pass to pass: the servers would see what the text has to do with it."""
        self._form = tree.after if self._form is None else self._form
        if tree.after != self._form:
            raise InputError("a draft that branches must give trees of one form, whatever the text is")
        return tree

    def _ask(self, advance: Advance, rows: Rows) -> tuple[tuple[bytes, ...], Stats]:
        values = wire.values(self._layout, self.shape, self._index, rows)
        shares = self._scheme.share(self._layout.form(self.shape, self._index), values)
        first, second, stats = self._step(advance, shares)
        self._index += 1
        return (first, second), stats

    def _choose(self, shares: tuple[bytes, ...], drafts: Tree) -> Verdict:
        """The drafts that are right, and one token more."""
        last = self._index - 1
        total = self._scheme.add_up(self._layout.result(self.shape, last), shares)
        answer = wire.decode(self._layout, self.shape, last, total)
        rows = answer[: 1 + len(drafts.tokens)]
        if self._options.secure_argmax:
            return walk(drafts, lambda row: int(rows[row]))
        return verify(self._sampler, rows.astype(np.float32), drafts, self._seen)


def _cut(rows: Rows, start: int, end: int) -> Rows:
    return Rows(rows.ids[start:end], rows.places[start:end], rows.padding[start:end], rows.moved)
