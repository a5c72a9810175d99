"""The options of a generation have one source: a dataclass, its keywords in the SDK, its options in the commands."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_type_hints

import pytest

from privinf.drafts.speculation import PromptLookup
from privinf.errors import InputError
from privinf.models.programs.layout import MOST_ROWS
from privinf.sdk.options import (
    MOST_DRAFTS,
    GenerationKeywords,
    GenerationOptions,
    Reading,
    ReadingKeywords,
)


@pytest.mark.parametrize(
    ("keywords", "options"), [(GenerationKeywords, GenerationOptions), (ReadingKeywords, Reading)]
)
def test_keywords_are_the_fields(keywords: Any, options: Any) -> None:
    assert get_type_hints(keywords) == get_type_hints(options)
    assert list(get_type_hints(keywords)) == [item.name for item in fields(options)]
    assert not keywords.__required_keys__
    assert all(item.metadata["help"].endswith(".") for item in fields(options))


def test_drafts_and_the_token_before_them_fill_the_largest_pass() -> None:
    assert MOST_DRAFTS == MOST_ROWS - 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be 1 or more, not 0"),
        ({"max_new_tokens": True}, "max_new_tokens must be 1 or more, not True"),
        ({"drafts": -1}, "drafts must be 0 to 31, not -1"),
        ({"drafts": 32}, "drafts must be 0 to 31, not 32"),
        ({"secure_argmax": True, "temperature": 0.5}, "leave out sampling options"),
        ({"secure_argmax": True, "repetition_penalty": 1.1}, "leave out sampling options"),
        ({"top_k": 0}, "top_k must be a whole number of at least 1"),
        ({"stop": ""}, "stop must be a list of texts"),
        ({"stop": [""]}, "stop must be a list of texts"),
        ({"stop": ["a", None]}, "stop must be a list of texts"),
        ({"stop": [b"a"]}, "stop must be a list of texts"),
        ({"stop": b"a"}, "stop must be a list of texts"),
        ({"stop": 3}, "stop must be a list of texts"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GenerationOptions(**options)


def test_one_stop_is_a_list_of_one_and_no_text_is_shown() -> None:
    options = GenerationOptions(stop="secret", draft=PromptLookup())
    assert options.stops == ("secret",)
    assert "secret" not in repr(options)
