"""Prompts of one session at the client: each chooses as it would alone, and none after it is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from privinf.errors import InputError
from privinf.models.programs.layout import SessionLayout
from privinf.models.programs.rows import Rows, together
from privinf.protocols.contract import Advance
from privinf.sdk.decoding import Decoding
from privinf.sdk.options import GenerationOptions
from privinf.sdk.outcomes import PartyStats, Stats

VOCAB = 9
NOTHING = PartyStats(0, 0.0, 0.0, 0.0, 0, 0, 0)
PROMPTS = [[1, 2, 3, 1, 2], [4], [5, 6, 5, 6, 5, 6, 5, 6, 5]]


class Model:
    """Logits that are drawn from the tokens before them, for any number of prompts; and what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        spec = cast(Any, SimpleNamespace(max_tokens=500, rotary=True, vocab=VOCAB))
        self.layout = SessionLayout(
            spec, cast(Any, SimpleNamespace(max_tokens=400, prefix=(0,))), False, False
        )
        self.asked = list[tuple[Advance, Rows]]()
        monkeypatch.setattr(Decoding, "_ask", self._ask())
        monkeypatch.setattr(Decoding, "_answers", self._answers())

    def write(
        self, prompts: Sequence[Sequence[int]], options: Sequence[GenerationOptions]
    ) -> tuple[Decoding, list[list[int]]]:
        """The tokens of each prompt."""
        self._seen = [list[int]() for _ in prompts]
        decoding = Decoding(cast(Any, SimpleNamespace(layout=self.layout, scheme=None)), prompts, options)
        found = [list[int]() for _ in prompts]
        for written in decoding.steps(cast(Any, None)):
            for tokens, given in zip(found, written, strict=True):
                tokens.extend(given.tokens)
        return decoding, [tokens[: own.max_new_tokens] for tokens, own in zip(found, options, strict=True)]

    def _ask(self) -> Callable[..., Any]:
        def ask(decoding: Any, advance: Advance, rows: Sequence[Rows]) -> tuple[None, Stats]:
            together(rows)  # all have one shape
            self._rows, decoding._index = list(rows), decoding._index + 1
            self.asked.append((advance, rows[0]))
            for seen, own in zip(self._seen, rows, strict=True):
                if (
                    own.rejected is not None
                    and len(own.ids) > 1
                    and decoding._index > self._reads(decoding) + 1
                ):
                    last = seen[-len(own.ids) :]
                    seen[-len(own.ids) :] = [t for t, out in zip(last, own.rejected, strict=True) if not out]
                seen.extend(own.ids[~own.padding].tolist())
            return None, Stats("", 0.0, 0, 0, (NOTHING, NOTHING))

        return ask

    def _reads(self, decoding: Decoding) -> int:
        return self.layout.passes(decoding.shape)

    def _answers(self) -> Callable[..., Any]:
        def answers(decoding: Decoding, shares: None) -> list[Any]:
            count = self.layout.outputs(decoding.shape, decoding._index - 1)
            return [
                np.stack([_logits(seen[: len(seen) - back]) for back in reversed(range(count))])
                for seen in self._seen
            ]

        return answers


def _logits(seen: Sequence[int]) -> Any:
    return np.random.default_rng([len(seen), *seen]).normal(0, 2, VOCAB).astype(np.float32)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    return Model(monkeypatch)


@pytest.mark.parametrize(
    "common",
    [
        {},
        {"temperature": 1.0},
        {"temperature": 0.8, "draft": "lookup", "drafts": 2, "hide_accepted": True},
    ],
    ids=str,
)
def test_each_chooses_as_it_would_alone(model: Model, common: dict[str, Any]) -> None:
    """By its own seed and options, whatever stands beside it and however many tokens that wants."""
    options = [
        GenerationOptions(max_new_tokens=12, seed=4, **common),
        GenerationOptions(max_new_tokens=5, seed=4, repetition_penalty=1.5, **common),
        GenerationOptions(max_new_tokens=9, seed=7, **common),
    ]
    decoding, found = model.write(PROMPTS, options)
    assert [len(tokens) for tokens in found] == [12, 5, 9]
    assert decoding.shape.batch == 3
    for prompt, own, tokens in zip(PROMPTS, options, found, strict=True):
        assert model.write([prompt], [own])[1] == [tokens]


def test_one_that_is_over_goes_on_as_its_last_token(model: Model) -> None:
    """Its rows have the same form, and nothing is chosen of their answers: no number is drawn for them."""
    options = [GenerationOptions(max_new_tokens=8), GenerationOptions(max_new_tokens=3, temperature=1.0)]
    decoding, (_, tokens) = model.write(PROMPTS[:2], options)
    first, second = decoding._lines
    assert (first.over, second.over) == (True, True)
    assert model._seen[1] == [*PROMPTS[1], *tokens, *[tokens[-1]] * 4]
    assert all(advance.kept == (0,) for advance, _ in model.asked[2:])
    assert len({len(rows.ids) for _, rows in model.asked[1:]}) == 1


def test_a_session_ends_when_all_are_dropped(model: Model) -> None:
    bundle = cast(Any, SimpleNamespace(layout=model.layout, scheme=None))
    model._seen = [[], []]
    decoding = Decoding(bundle, PROMPTS[:2], [GenerationOptions(max_new_tokens=50)] * 2)
    steps = decoding.steps(cast(Any, None))
    next(steps)
    decoding.drop(0)
    assert [written.tokens != () for written in next(steps)] == [False, True]
    decoding.drop(1)
    assert list(steps) == []


@pytest.mark.parametrize(
    ("prompts", "options", "why"),
    [
        ([[1], []], {}, "the prompt is empty"),
        ([[1], [2]], {"draft": "lookup"}, "hide_accepted"),
        ([[1]] * 65, {}, "1 to 64"),
        ([[1]] * 9, {"max_new_tokens": 8, "draft": "lookup", "hide_accepted": True}, "1 to 8"),
        ([[1], [2] * 500], {}, "the prompt has 500 tokens"),
    ],
)
def test_prompts_that_no_session_takes_are_refused(
    model: Model, prompts: list[list[int]], options: dict[str, Any], why: str
) -> None:
    with pytest.raises(InputError, match=why):
        model.write(prompts, [GenerationOptions(**options)] * len(prompts))
