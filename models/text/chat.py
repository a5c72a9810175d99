"""Turns conversations into text by a model's chat template, the beginning of which may be public."""

from __future__ import annotations

import itertools
import json
import os
import string
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import tokenizers

from privinf.errors import FileError, InputError, MissingExtra, ModelError
from privinf.models.source.reading import read_object
from privinf.models.text.control import ControlledTokenizer, Script
from privinf.models.text.spelling import may_spell, own_parts

try:
    import jinja2
    from jinja2.ext import Extension
    from jinja2.nodes import Node, Scope
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace
except ImportError as error:
    raise MissingExtra('chat templates need jinja2: pip install "privinf[chat]"') from error

Message = Mapping[str, str]  # role and content

ROLES = ("system", "user", "assistant", "tool")
# Beginnings of what users may say, unlike in their first characters: what all leave alone is not theirs.
_WORDS = ("", "the", "The", "0", " the", "\nthe", "\n\nthe", "é", "Ü", "中", "\N{WHALE}")
PROBES = (*_WORDS, *string.ascii_letters, *string.punctuation)


class ChatTemplate:
    """The chat template of a model directory.

    Args:
        directory: holds chat_template.jinja, or a tokenizer_config.json with a chat_template.
        rules: the directory's tokenizer, which knows what its control tokens are.
        now: for templates that print the date; None asks the clock at each rendering.
    """

    def __init__(
        self, directory: str | os.PathLike[str], rules: ControlledTokenizer, now: datetime | None = None
    ) -> None:
        folder, self.rules = Path(directory), rules
        config = _optional(folder / "tokenizer_config.json")
        self._source = _source(folder, config)
        self._tokens = _special_tokens(_optional(folder / "special_tokens_map.json") | config)
        try:
            self._template = _environment(now).from_string(self._source)
        except jinja2.TemplateError as error:
            raise ModelError(f"the chat template of {folder} is not valid: {error}") from None

    def script(
        self, messages: Sequence[Message], add_generation_prompt: bool = True, *, special_tokens: bool = False
    ) -> Script:
        """A conversation in which the template's own control tokens are meant, and none that a message spells.

        With `special_tokens` those of the messages are meant too.
        """
        text = self.render(messages, add_generation_prompt)
        contents = [message["content"] for message in messages]
        if special_tokens or not may_spell(contents, self.rules.names):
            return self.rules.script(text)
        own = own_parts(text, contents, lambda plain: self._alike(messages, plain, add_generation_prompt))
        places = [
            (start + at, start + end)
            for start, stop in own
            for at, end in self.rules.places(text[start:stop])
        ]
        return Script(text, tuple(places))

    def _alike(self, messages: Sequence[Message], contents: Sequence[str], prompt: bool) -> str:
        """The same conversation, in which other things are said."""
        pairs = zip(messages, contents, strict=True)
        return self.render([{"role": m["role"], "content": text} for m, text in pairs], prompt)

    def render(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> str:
        """The text of a conversation, up to where the answer begins."""
        plain = [_checked(message, f"message {index}") for index, message in enumerate(_listed(messages))]
        try:
            return self._template.render(
                **self._tokens,
                messages=plain,
                add_generation_prompt=add_generation_prompt,
                tools=None,
                documents=None,
            )
        except _RefusedError as refused:
            raise InputError(f"the chat template refuses these messages{self._own(refused)}") from None
        except Exception as error:  # a template may do anything that the sandbox allows, and fail at it
            kind = type(error).__name__
            raise ModelError(f"the chat template fails on these messages with {kind}") from None

    def _own(self, refused: Exception) -> str:
        """What a template says, if it says so in any case: else it might repeat a message."""
        said = str(refused)
        return f": {said}" if said and said in self._source else ""

    def header(self, system: str | None) -> Script:
        """The public prefix: how each conversation with this system message begins, before the user's words do.

        Its tokens are the first ones of each such conversation.
        """
        head = [] if system is None else [{"role": "system", "content": system}]
        # The probes are no strangers' words: "<" need not be told from what a template writes.
        trusted = not may_spell([system or ""], self.rules.names)
        tails = [tail for probe in PROBES for tail in _conversations(probe)]
        scripts = [self.script([*head, *tail], special_tokens=trusted) for tail in tails]
        marked = [self.rules.marked(script) for script in scripts]
        return self.rules.unmarked(marked[0][: _boundary(self.rules.rules, marked)])


def _listed(messages: object) -> Sequence[object]:
    if isinstance(messages, str | bytes) or not isinstance(messages, Sequence) or not messages:
        raise InputError("a list of at least one message is needed")
    return messages


def _checked(message: object, name: str) -> dict[str, str]:
    """A plain copy: a template must not reach the methods of what a caller passes."""
    if not isinstance(message, Mapping) or set(message) != {"role", "content"}:
        raise InputError(f"{name} must be a mapping of role and content, and of nothing else")
    role, content = message["role"], message["content"]
    if role not in ROLES:
        raise InputError(f"{name} has an unknown role; choose one of {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise InputError(f"the content of {name} is of type {type(content).__name__}, not a string")
    return {"role": str.__str__(role), "content": str.__str__(content)}


def _conversations(probe: str) -> list[list[Message]]:
    """One of a single turn and a longer one: some templates put the system message into the last turn."""
    words = {"role": "user", "content": probe}
    return [[words], [words, {"role": "assistant", "content": probe}, words]]


def _boundary(rules: tokenizers.Tokenizer, texts: Sequence[str]) -> int:
    """The last place before which all texts are alike, in characters and in tokens."""
    first, last = min(texts), max(texts)
    unlike = (at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    alike = next(unlike, len(first))
    ids, ends = _common(rules, texts)
    for count in range(len(ids), 0, -1):
        end = ends[count - 1]
        # Some tokens are others at the end of a text; those of the prefix must be the same alone.
        if end <= alike and rules.encode(first[:end], add_special_tokens=False).ids == ids[:count]:
            return end
    return 0


def _common(rules: tokenizers.Tokenizer, texts: Sequence[str]) -> tuple[list[int], list[int]]:
    """The tokens with which all texts begin, and where each ends."""
    encodings = [rules.encode(text, add_special_tokens=False) for text in texts]
    columns = zip(*(zip(e.ids, e.offsets, strict=True) for e in encodings), strict=False)
    common = list(itertools.takewhile(lambda column: len(set(column)) == 1, columns))
    return [column[0][0] for column in common], [column[0][1][1] for column in common]


def _optional(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}


def _source(folder: Path, config: Mapping[str, Any]) -> str:
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return path.read_text("utf-8")
        except OSError as error:
            raise FileError.unread(path, error) from None
        except ValueError:
            raise ModelError(f"{path} is not text in UTF-8") from None
    template = config.get("chat_template")
    if isinstance(template, list):  # several by name, as older checkpoints store them
        named = [entry for entry in template if isinstance(entry, dict) and entry.get("name") == "default"]
        template = named[0].get("template") if named else None
    if not isinstance(template, str):
        raise ModelError(
            f"{folder} has no chat template: add chat_template.jinja, or take a model made for conversations"
        )
    return template


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """bos_token, eos_token and the like, each stored as a text or as an object with its content."""
    named = {key: value for key, value in config.items() if key.endswith("_token")}
    plain = {key: value.get("content") if isinstance(value, dict) else value for key, value in named.items()}
    return {key: value for key, value in plain.items() if isinstance(value, str)}


class _RefusedError(jinja2.TemplateError):
    """A template called raise_exception."""


class _GenerationTag(Extension):
    """Lets templates mark the assistant's words with {% generation %}, which changes nothing in the text."""

    tags = {"generation"}  # noqa: RUF012  as the base class declares it

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        return Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _PlainNamespace(Namespace):
    """Keeps no attribute that Python itself might look up."""

    def __init__(self, /, *pairs: Any, **entries: Any) -> None:
        super().__init__()
        for name, value in dict(*pairs, **entries).items():
            self[name] = value

    def __setitem__(self, name: str, value: object) -> None:
        if name.startswith("_"):
            raise jinja2.exceptions.SecurityError("a namespace takes no name that begins with an underscore")
        super().__setitem__(name, value)


def _environment(now: datetime | None) -> ImmutableSandboxedEnvironment:
    """What Hugging Face gives a template: it comes from strangers, hence the sandbox."""
    extensions = [_GenerationTag, "jinja2.ext.loopcontrols"]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)

    environment.filters["tojson"] = _to_json
    environment.globals.update(
        raise_exception=_refuse,
        strftime_now=lambda form: (now or datetime.now()).strftime(form),
        namespace=_PlainNamespace,
        dict=lambda *pairs, **entries: dict(*pairs, **entries),  # without the methods of the type itself
    )
    return environment


def _refuse(message: str) -> None:
    raise _RefusedError(str(message))


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Unlike jinja2's own, leaves <, > and & as they are."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
