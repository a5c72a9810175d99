"""Several prompts in one session: each is answered as it is alone, in the rounds of one, and at the cost declared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from generating import KINDS, MODES, Kind, Toy, Toys, Trio, Writer, both_kinds

from privinf.errors import InputError
from privinf.models.clear import ClearDecoder, prefix_cache
from privinf.models.fold import F64
from privinf.models.programs import layout as form
from privinf.models.programs.passes import count
from privinf.models.programs.rows import Rows, together
from privinf.protocols import ring
from privinf.protocols.contract import SessionShape
from privinf.protocols.ring import U64

NEAR = 0.03  # as for one prompt
PROMPTS = ((5, 3, 11, 30, 2), (9,), (1, 2, 3, 4, 5, 6, 7))
ROWS = 3


@pytest.fixture(scope="module")
def toys() -> Toys:
    return both_kinds()


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "CHUNK", 4)


class Batch:
    """A session of several prompts in shares beside the fixed interpreter, and what stands of each."""

    def __init__(self, model: Toy, task: str, rows: int, *mode: bool) -> None:
        shape = SessionShape(task, 8, rows, len(PROMPTS))
        self.model, self.trio = model, Trio(model.layout(*mode), shape, model.weights)
        self.writers = [Writer(model, shape, list(prompt)) for prompt in PROMPTS]

    def read(self) -> F64:
        """All passes over the prompts; what the last answers."""
        answer, kept = np.zeros(0), 0
        for index in range(self.trio.layout.passes(self.trio.shape)):
            answer = self.step(kept, [writer.prompt(index) for writer in self.writers])
            kept = self.trio.layout.rows(self.trio.shape, index)
        return answer

    def step(self, kept: int, rows: Sequence[Rows]) -> F64:
        return self._same(*self.trio.step(kept, together(rows)))

    def _same(self, total: U64, fixed: U64 | None) -> F64:
        """The answer in real units, once shares and fixed interpreter agree on it."""
        field = self.trio.layout.result(self.trio.shape, self.trio.fixed.ledger.index - 1)
        if fixed is None:
            assert field.nbytes == 0
            return np.zeros(0)
        np.testing.assert_array_equal(total, ring.low(fixed, field.bits))
        return ring.decode(total, field.scale, field.bits)

    def near_clear(self, drafts: Sequence[Sequence[int]], answer: F64) -> None:
        """Every prompt's rows follow what stands of it, as the clear interpreter says of it alone."""
        for writer, own, rows in zip(self.writers, drafts, answer, strict=True):
            wanted = self.model.clear([*writer.seen, *own])[-len(rows) :]
            np.testing.assert_allclose(rows, wanted, atol=NEAR, rtol=0)


CASES = pytest.mark.parametrize(
    ("kind", "mode", "prefix"),
    [
        ("llama", "private", True),
        ("gpt2", "embedded", True),
        ("gpt2", "private", False),
        ("llama", "public", True),
        ("llama", "embedded", False),
    ],
)


@pytest.mark.fast_cases(2)
@CASES
def test_each_prompt_is_answered_as_it_is_alone(toys: Toys, kind: Kind, mode: str, prefix: bool) -> None:
    """Prompts of one to seven tokens in two passes, and then token after token."""
    batch = Batch(toys[kind, prefix], "generate", 1, *MODES[mode])
    nothing = [()] * len(PROMPTS)
    batch.near_clear(nothing, batch.read())
    kept, rng = 4, np.random.default_rng(4)
    for _ in range(2):
        drafts = [[token] for token in rng.integers(0, batch.model.spec.vocab, len(PROMPTS)).tolist()]
        rows = [writer.rows(own) for writer, own in zip(batch.writers, drafts, strict=True)]
        batch.near_clear(drafts, batch.step(kept, rows))
        kept = 1
        for writer, own in zip(batch.writers, drafts, strict=True):
            writer.seen += own


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(("kind", "mode"), [("llama", "private"), ("gpt2", "public")])
def test_drafts_of_each_prompt_stay_apart(toys: Toys, kind: Kind, mode: str) -> None:
    """As many of one prompt's are right as may be, and nobody but the client knows how many of which."""
    batch = Batch(toys[kind, True], "generate-padded", ROWS, *MODES[mode])
    batch.read()
    kept, rejected, rng = 4, None, np.random.default_rng(5)
    for stands in ((1, 3, 2), (3, 1, 1), (2, 2, 3)):
        drafts = rng.integers(0, batch.model.spec.vocab, (len(PROMPTS), ROWS)).tolist()
        rows = [writer.rows(own) for writer, own in zip(batch.writers, drafts, strict=True)]
        if rejected is not None:
            rows = [replace(row, rejected=out) for row, out in zip(rows, rejected, strict=True)]
        batch.near_clear(drafts, batch.step(kept, rows))
        for writer, own, right in zip(batch.writers, drafts, stands, strict=True):
            writer.seen += own[:right]
        kept, rejected = ROWS, [np.arange(ROWS) >= right for right in stands]
    assert not any(order.retired for order in batch.trio.orders)


def test_the_likeliest_token_of_each_prompt(toys: Toys) -> None:
    batch = Batch(toys["llama", True], "argmax", 1)
    found = batch.read() % (1 << ring.index_bits(batch.model.spec.vocab))  # a place has no sign
    for prompt, row in zip(PROMPTS, found, strict=True):
        logits = batch.model.clear(prompt)[-1]
        assert logits[int(row[0, 0])] > logits.max() - NEAR


@pytest.mark.parametrize("kind", KINDS)
def test_the_clear_interpreter_reads_prompts_of_several_lengths(toys: Toys, kind: Kind) -> None:
    """Together, padded in front, as one by one; with padding that has nothing before it, too."""
    for prefix in (False, True):
        model = toys[kind, prefix]
        decoder = ClearDecoder(model.spec, model.weights)
        past = prefix_cache(model.spec, model.weights, model.plan.prefix)
        for _ in range(2):
            decoder.rewind(past, len(PROMPTS))
            decoder.pad([8 - len(prompt) for prompt in PROMPTS])
            table = [[prompt[0]] * (8 - len(prompt)) + list(prompt) for prompt in PROMPTS]
            first = decoder.run(torch.tensor(table), 1)
            later = decoder.run(torch.tensor([[4, 8]] * len(PROMPTS)))
            for prompt, *rows in zip(PROMPTS, first, later, strict=True):
                wanted = model.clear([*prompt, 4, 8])[-3:]
                np.testing.assert_allclose(torch.cat(rows).numpy(), wanted, atol=2e-5, rtol=0)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(
    ("kind", "mode", "task", "rows"),
    [
        ("llama", "private", "generate", 1),
        ("gpt2", "private", "argmax-padded", 2),
        ("llama", "embedded", "generate-padded", 2),
        ("gpt2", "public", "argmax", 1),
    ],
)
def test_costs_are_as_declared_and_rounds_those_of_one(
    toys: Toys, kind: Kind, mode: str, task: str, rows: int
) -> None:
    batch = Batch(toys[kind, True], task, rows, *MODES[mode])
    trio, kept = batch.trio, 0
    one = count(trio.layout, replace(trio.shape, batch=1), 4)
    for index, counted in enumerate(count(trio.layout, trio.shape, 4)):
        before = [len(end.transcript) for end in trio.ends]
        if index < 2:
            given = [writer.prompt(index) for writer in batch.writers]
        else:
            given = [writer.rows([6, 7][:rows]) for writer in batch.writers]
        if index == 3 and rows > 1:
            given = [replace(row, rejected=np.array([False, False])) for row in given]
        batch.step(kept, given)
        kept, total = len(given[0].ids), counted.tally.total()
        for writer in batch.writers:
            writer.seen += [6, 7][:rows] if index > 1 else []
        assert trio.prepared[index] == (total.prep0, total.prep1)
        assert counted.rounds == one[index].rounds
        for end, start in zip(trio.ends, before, strict=True):
            sent = end.transcript[start:]
            assert (len(sent), sum(map(len, sent))) == (total.rounds, total.online)


def test_a_long_batch_is_read_in_more_passes(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass holds as many rows of all prompts together as fit into memory, and no more."""
    layout = toys["llama", True].layout()
    monkeypatch.setattr(form, "CHUNK", 64)
    for batch, passes, rows in ((1, 1, 32), (2, 1, 32), (3, 2, 21), (8, 4, 8), (64, 32, 1)):
        shape = SessionShape("generate", 32, 1, batch)
        layout.check(shape)
        assert (layout.passes(shape), layout.rows(shape, 0)) == (passes, rows)
        assert all(layout.rows(shape, index) * batch <= form.TOGETHER for index in range(passes + 2))


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        (SessionShape("generate", 8, 1, 0), "1 to 64"),
        (SessionShape("generate", 8, 1, -1), "1 to 64"),
        (SessionShape("generate", 8, 1, 65), "1 to 64"),
        (SessionShape("generate", 8, 1, 2**32 - 1), "1 to 64"),
        (SessionShape("generate-padded", 4, 8, 9), "1 to 8"),
        (SessionShape("generate", 8, 2, 2), "hide_accepted"),
        (SessionShape("argmax", 8, 2, 2), "hide_accepted"),
    ],
    ids=str,
)
def test_a_batch_that_no_session_has_is_refused(toys: Toys, shape: SessionShape, why: str) -> None:
    layout = toys["llama", False].layout()
    layout.check(SessionShape("generate-padded", 8, 8, 8))
    with pytest.raises(InputError, match=why):
        layout.check(shape)
