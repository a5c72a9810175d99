"""Tokens that were asked for come, however wrong the drafts are; an answer that ends for want of room says so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from privinf.drafts.speculation import PromptLookup, Tree, Verdict
from privinf.models.programs.layout import SessionLayout
from privinf.sdk.completions import Completion, TokenStream
from privinf.sdk.decoding import Decoding, fitting, most_tokens
from privinf.sdk.lines import Line
from privinf.sdk.options import GenerationOptions
from privinf.sdk.outcomes import PartyStats, Stats
from privinf.sdk.room import RoomWarning, warn_of_room

NOTHING = PartyStats(0, 0.0, 0.0, 0.0, 0, 0, 0)
PROMPT = [1, 2, 1, 2]


def layout(session: int, model: int = 10_000) -> SessionLayout:
    spec = cast(Any, SimpleNamespace(max_tokens=model, rotary=True, vocab=9))
    return SessionLayout(spec, cast(Any, SimpleNamespace(max_tokens=session, prefix=(0,))), False, False)


def written(form: SessionLayout, most: int, *, drafts: int, monkeypatch: pytest.MonkeyPatch) -> Completion:
    """A generation in which no draft is ever right, and nobody else takes part."""
    monkeypatch.setattr(Decoding, "_ask", _pass)
    monkeypatch.setattr(Decoding, "_answers", lambda decoding, shares: [None])
    monkeypatch.setattr(Line, "_chosen", lambda line, answer: Verdict((0,), (3,)))
    options = GenerationOptions(max_new_tokens=most, draft=PromptLookup(), drafts=drafts)
    bundle = cast(Any, SimpleNamespace(layout=form, scheme=None))
    steps = (one for (one,) in Decoding(bundle, [PROMPT], [options]).steps(cast(Any, None)))
    with TokenStream(steps, str, options, (), lambda clean: None) as tokens:
        assert sum(token.id is not None for token in tokens) == len(tokens.completion.tokens)
    return tokens.completion


def _pass(decoding: Any, advance: object, rows: object) -> tuple[None, Stats]:
    decoding._index += 1
    return None, Stats("", 0.0, 0, 0, (NOTHING, NOTHING))


@pytest.mark.parametrize(
    ("session", "model", "most", "drafts"),
    [
        (9 + 19 * 8, 10_000, 20, 7),  # room for all of them
        (9 + 19 * 8 - 1, 10_000, 20, 6),
        (9 + 19, 10_000, 20, 0),
        (10_000, 1 + 4 + 20 + 3, 20, 3),  # what the model has positions for
        (10_000, 1 + 4 + 20, 20, 0),
        (100, 10_000, 1, 0),
        (9 + 8, 10_000, 2, 7),
    ],
)
def test_drafts_leave_room_for_all_that_was_asked(
    monkeypatch: pytest.MonkeyPatch, session: int, model: int, most: int, drafts: int
) -> None:
    form = layout(session, model)
    assert (
        fitting(form, PROMPT, GenerationOptions(max_new_tokens=most, draft=PromptLookup(), drafts=7)).drafts
        == drafts
    )
    answer = written(form, most, drafts=7, monkeypatch=monkeypatch)
    assert (len(answer.tokens), answer.finish_reason) == (most, "length")


@pytest.mark.parametrize(("session", "model"), [(9 + 18, 10_000), (10_000, 1 + 4 + 19)])
def test_an_answer_that_lacks_room_says_so(monkeypatch: pytest.MonkeyPatch, session: int, model: int) -> None:
    answer = written(layout(session, model), 20, drafts=0, monkeypatch=monkeypatch)
    assert (len(answer.tokens), answer.finish_reason) == (19, "full")


@pytest.mark.parametrize("session", [10, 11, 27, 60])
@pytest.mark.parametrize("model", [10_000, 1 + 4 + 1, 1 + 4 + 19])
def test_how_many_tokens_fit_is_known_before_any_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, session: int, model: int
) -> None:
    form = layout(session, model)
    answer = written(form, 1000, drafts=0, monkeypatch=monkeypatch)
    assert (len(answer.tokens), answer.finish_reason) == (most_tokens(form, PROMPT), "full")


def test_who_asks_for_more_than_fits_is_told_so_first() -> None:
    with pytest.warns(
        RoomWarning, match=r"max_new_tokens is 20, and 19 fit.*finish_reason full; do something"
    ):
        warn_of_room(GenerationOptions(max_new_tokens=20), 19, "do something")
    warn_of_room(GenerationOptions(max_new_tokens=20), 20, "do something")
    warn_of_room(GenerationOptions(), 1, "do something")  # nobody asked for so many


def test_drafts_stay_where_the_answer_cannot_be_whole_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    form = layout(9 + 18)
    assert (
        fitting(form, PROMPT, GenerationOptions(max_new_tokens=20, draft=PromptLookup(), drafts=1)).drafts
        == 1
    )
    assert written(form, 20, drafts=1, monkeypatch=monkeypatch).finish_reason == "full"


def test_a_stream_that_is_left_is_not_full() -> None:
    with TokenStream(iter(()), str, GenerationOptions(max_new_tokens=5), (), lambda clean: None) as tokens:
        pass
    assert tokens.completion.finish_reason == "length"
    assert Tree().tokens == ()
