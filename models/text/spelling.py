"""Tells a chat template's own words from those of messages, where messages spell what could be control tokens."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence

from privinf.errors import InputError, ModelError
from privinf.models.text.control import Range


def may_spell(contents: Sequence[str], control: Collection[str]) -> bool:
    """Whether some content spells a control token, or could do so with what a template puts beside it."""
    return any(_spells(content, token) for content in contents for token in control)


def _spells(content: str, token: str) -> bool:
    bare = content.strip()  # as many templates write it
    inner = range(1, len(token))
    return (
        token in content
        or (bool(bare) and bare in token)
        or any(bare.startswith(token[cut:]) or bare.endswith(token[:cut]) for cut in inner)
    )


def own_parts(text: str, contents: Sequence[str], render: Callable[[Sequence[str]], str]) -> list[Range]:
    """Which parts of a rendered conversation are the template's own.

    `render` gives the same conversation with other contents. Rendered with stand-ins that nobody can guess, it shows
    what the template writes between them; the text must be that, with the contents in between as they are or without
    the space around them. A template that does more to a content than that cannot be told from it.
    """
    stand_ins = [f"x{secrets.token_hex(16)}" for _ in contents]
    try:
        pieces = re.split("(x[0-9a-f]{32})", render(stand_ins))
    except (InputError, ModelError):
        raise _undecided() from None
    own = _read_as(text, pieces, dict(zip(stand_ins, contents, strict=True)))
    if own is None:
        raise _undecided()
    return own


def _read_as(text: str, pieces: Sequence[str], said: Mapping[str, str]) -> list[Range] | None:
    """The template's parts of a text that is made of these pieces, contents in the place of their stand-ins."""
    ways, seen = [(0, 0, list[Range]())], set[tuple[int, int]]()
    while ways:
        place, at, own = ways.pop()
        if place == len(pieces):
            if at == len(text):
                return own
        elif (place, at) not in seen:
            seen.add((place, at))
            piece, content = pieces[place], said.get(pieces[place])
            for form in reversed(_forms(piece if content is None else content, content is not None)):
                end = at + len(form)
                if text.startswith(form, at):
                    ways.append((place + 1, end, own if content is not None else [*own, (at, end)]))
    return None


def _forms(piece: str, content: bool) -> list[str]:
    """How a template writes a content, likeliest first; its own words never change."""
    return list(dict.fromkeys((piece, piece.strip(), piece.rstrip(), piece.lstrip()))) if content else [piece]


def _undecided() -> InputError:
    return InputError(
        "a message spells what this model's template might take for one of its control tokens: "
        "rephrase it, or allow it (special_tokens=True)"
    )
