"""Which prompts advance together, and what is said of several that are read to their end."""

from __future__ import annotations

import pytest

from privinf.errors import InputError
from privinf.sdk.base_client import several
from privinf.sdk.call import Call
from privinf.sdk.completions import Abreast, Growing
from privinf.sdk.decoding import PassTokens
from privinf.sdk.options import GenerationOptions
from privinf.sdk.several import BatchStream, Part, groups


@pytest.mark.parametrize(
    ("lengths", "most", "expected"),
    [
        ([5], 8, [(0,)]),
        ([5, 1, 9], 8, [(0, 1, 2)]),
        ([5, 1, 9], 1, [(1,), (0,), (2,)]),
        ([9, 1, 8, 2], 3, [(1, 3), (0, 2)]),  # as many in each, and short ones apart from long ones
        ([1] * 9, 8, [(0, 1, 2, 3), (4, 5, 6, 7, 8)]),
    ],
)
def test_groups(lengths: list[int], most: int, expected: list[tuple[int, ...]]) -> None:
    assert groups(lengths, most) == expected


def test_a_list_is_one_prompt_or_several() -> None:
    assert several("calm") is None
    assert several([4, 5]) is None
    assert several([]) is None  # one, and empty
    assert several(["calm"]) == ["calm"]
    assert several(["calm", [4, 5]]) == ["calm", [4, 5]]
    assert several([[], [4]]) == [[], [4]]
    with pytest.raises(InputError, match="one prompt, or prompts"):
        several(["calm", 4])  # type: ignore[list-item]


def _written(*tokens: int) -> PassTokens:
    return PassTokens(tokens, 0, 0, ())


class Session:
    """Two prompts whose tokens are given, and what its reader says of them."""

    def __init__(self, *passes: tuple[PassTokens, PassTokens]) -> None:
        self.dropped, self.ended, self._passes = list[int](), list[bool](), passes

    def begin(self, most: int) -> Abreast:
        options = GenerationOptions(max_new_tokens=most, stop="7")
        answers = [Growing(lambda ids: "".join(map(str, ids)), options, (), None, i) for i in (0, 1)]
        return Abreast(iter(self._passes), answers, self.ended.append, self.dropped.append)


@pytest.fixture(autouse=True)
def _no_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was counted for these passes."""
    monkeypatch.setattr("privinf.sdk.completions.GenerationUsage.plus", lambda usage, written: usage)


def test_what_has_ended_is_dropped_and_the_rest_is_read_on() -> None:
    session = Session((_written(7), _written(1)), (_written(), _written(2)), (_written(), _written(3, 4)))
    stream = BatchStream([Part((1, 0), lambda call: session.begin(3))], Call())
    ended = [(place, answer.text, answer.finish_reason) for place, answer in stream.ended()]
    assert ended == [(1, "", "stop"), (0, "123", "length")]
    assert (session.dropped, session.ended) == ([0, 1], [True])


def test_a_session_that_is_full_ends_all_that_had_not_ended() -> None:
    session = Session((_written(7), _written(1)))
    stream = BatchStream([Part((0, 1), lambda call: session.begin(3))], Call())
    assert [(place, answer.finish_reason) for place, answer in stream.ended()] == [(0, "stop"), (1, "full")]
    assert session.ended == [True]


def test_a_batch_that_is_left_asks_nothing_more() -> None:
    sessions = [Session((_written(1), _written(2))), Session((_written(3), _written(4)))]
    begun = list[int]()

    def part(place: int) -> Part:
        def begin(call: Call) -> Abreast:
            begun.append(place)
            return sessions[place].begin(3)

        return Part((2 * place, 2 * place + 1), begin)

    with BatchStream([part(0), part(1)], Call()) as stream:
        assert next(stream).id == 1
    assert (begun, sessions[0].ended, stream.over) == ([0], [False], True)
    assert [answer.tokens for answer in stream.completions] == [(1,), (), (), ()]
