"""One prompt of a session as its client holds it: what stands of it, its next rows, and what it chooses of answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from privinf.drafts.draft import Draft
from privinf.drafts.speculation import Tree, Verdict, drafted_by, verify, walk
from privinf.errors import InputError
from privinf.models.programs.layout import SessionLayout
from privinf.models.programs.rows import Rows
from privinf.protocols.contract import SessionShape
from privinf.sampling import Sampler
from privinf.sdk.options import GenerationOptions

Answer = npt.NDArray[np.float32] | npt.NDArray[np.int64]  # logits (rows, vocab), or tokens (rows,)


class Line:
    """A prompt, and what has been chosen behind it.

    Once it is `over` its rows are padding: the last token again, behind which nothing is chosen. Servers cannot tell.
    """

    def __init__(
        self,
        layout: SessionLayout,
        shape: SessionShape,
        prompt: Sequence[int],
        options: GenerationOptions,
        draft: Draft,
    ) -> None:
        self._prefix, self._options, self._draft = len(layout.plan.prefix), options, draft
        self._sampler = Sampler(options)
        self._seen = list(prompt)
        self._padding = shape.prompt - len(prompt)
        self._left = options.max_new_tokens
        self._form: tuple[int, ...] | None = None  # which draft follows which, in every pass
        self._drafts, self.tree = Tree(), Tree()  # of the pass under way; and with what fills its rows
        self.kept: tuple[int, ...] = ()  # rows of the pass before that it goes on from
        self.over = False

    @property
    def places(self) -> int:
        """How many positions it has filled, the prefix's among them."""
        return self._prefix + len(self._seen)

    @property
    def drafted(self) -> int:
        """Drafts of the pass under way."""
        return len(self._drafts.tokens)

    def prompt_rows(self, start: int, count: int) -> Rows:
        """So many rows of the prompt, which is padded in front."""
        ids = np.array([self._seen[0]] * self._padding + self._seen, dtype=np.int64)
        places = np.maximum(np.arange(len(ids)) - self._padding, 0) + self._prefix
        part = slice(start, start + count)
        return Rows(ids[part], places[part], (np.arange(len(ids)) < self._padding)[part], self._padding)

    def next_rows(self) -> Rows:
        """The last token and its drafts."""
        options = self._options
        # Servers that are not to know what was right are asked for a line.
        self._drafts = (
            Tree()
            if self.over
            else drafted_by(self._draft, self._seen, options.drafts, straight=options.hide_accepted)
        )
        self.tree = self._of_one_form(self._drafts.filled(options.drafts, self._seen[-1]))
        ids = np.array([self._seen[-1], *self.tree.tokens], dtype=np.int64)
        places = self.places - 1 + np.array(self.tree.places(), dtype=np.int64)
        rejected = ~np.isin(np.arange(len(ids)), self.kept) if options.hide_accepted else None
        return Rows(ids, places, np.zeros(len(ids), dtype=bool), self._padding, rejected)

    def _of_one_form(self, tree: Tree) -> Tree:
        """Refuse drafts whose form changes from pass to pass: the servers would see what the text has to do with it."""
        self._form = tree.after if self._form is None else self._form
        if tree.after != self._form:
            raise InputError("a draft that branches must give trees of one form, whatever the text is")
        return tree

    def choose(self, answer: Answer) -> Verdict:
        """The drafts that are right, and one token more; of a line that is over nothing."""
        verdict = Verdict((0,), (self._seen[-1],)) if self.over else self._chosen(answer)
        self._seen += verdict.tokens
        self.kept = verdict.rows
        if self.over:
            return Verdict((0,), ())
        self._left -= len(verdict.tokens)
        self.over = self._left <= 0
        return verdict

    def _chosen(self, answer: Answer) -> Verdict:
        rows = answer[: 1 + self.drafted]
        if self._options.secure_argmax:
            return walk(self._drafts, lambda row: int(rows[row]))
        return verify(self._sampler, rows.astype(np.float32), self._drafts, self._seen)
