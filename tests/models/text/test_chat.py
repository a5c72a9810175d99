"""Conversations are rendered as transformers renders them, and what is called public holds no user's word."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path

import pytest
from conversing import BRACKETS, DATED, MARKED, TEMPLATES, TOKENIZERS, byte_level, made, template_of
from tokenizers import normalizers

from privinf.errors import InputError, ModelError
from privinf.models.text.chat import PROBES, Message, _boundary
from privinf.models.text.prompts import require_prefix

pytestmark = pytest.mark.fast_cases(6)  # of each test

ONE: list[Message] = [{"role": "user", "content": "  Where is the whale?\n"}]
LONG: list[Message] = [
    *ONE,
    {"role": "assistant", "content": "It is <b>deep</b> & far: {{ 7 * 6 }} {% if %}"},
    {"role": "user", "content": "Ελληνικά 漢字 \U0001f40b"},
]
SYSTEM: Message = {"role": "system", "content": "Answer as a sailor does."}
SAID = [
    "the whale",
    "Whales?",
    " and more",
    "\n\n\nthen",
    "42",
    "...",
    "'s",
    "é",
    "漢",
    "\U0001f40b",
    "s",
    "",
    "[x",
    "]",
]


def render(directory: Path, messages: Sequence[Message], add_generation_prompt: bool = True) -> str:
    return template_of(directory).render(messages, add_generation_prompt)


def public_prefix(directory: Path, system: str | None) -> str:
    return template_of(directory).header(system).text


def after(text: str, prefix: str) -> str:
    require_prefix(text, prefix)
    return text[len(prefix) :]


def _ids(tokenizer: str, text: str) -> list[int]:
    ids: list[int] = TOKENIZERS[tokenizer].encode(text, add_special_tokens=False).ids
    return ids


@pytest.mark.fast_cases(12)
@pytest.mark.parametrize("prompt", [True, False])
@pytest.mark.parametrize("messages", [ONE, LONG, [SYSTEM, *ONE], [SYSTEM, *LONG]])
@pytest.mark.parametrize("name", TEMPLATES)
def test_texts_equal_those_of_transformers(
    tmp_path: Path, name: str, messages: Sequence[Message], prompt: bool
) -> None:
    transformers = pytest.importorskip("transformers")
    directory = made(tmp_path, TEMPLATES[name])
    theirs = transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)
    if name == "plain" and messages[0] is SYSTEM:
        with pytest.raises(InputError, match=r"refuses these messages: This model takes no system message\."):
            render(directory, messages, prompt)
        return
    wanted = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
    assert render(directory, messages, add_generation_prompt=prompt) == wanted
    assert "Where is the whale?" in wanted


def test_a_file_of_its_own_comes_before_the_configuration(tmp_path: Path) -> None:
    directory = made(tmp_path, "old")
    (directory / "chat_template.jinja").write_text("new: {{ messages[0].content }}\n", "utf-8")
    assert render(directory, [{"role": "user", "content": "é"}]) == "new: é"
    (directory / "tokenizer_config.json").unlink()
    assert render(directory, [{"role": "user", "content": "é"}]) == "new: é"
    (directory / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(ModelError, match=r"chat_template\.jinja is not text in UTF-8"):
        render(directory, ONE)


def test_templates_and_tokens_of_older_checkpoints(tmp_path: Path) -> None:
    directory = made(
        tmp_path,
        None,
        chat_template=[
            {"name": "tool_use", "template": "tools"},
            {"name": "default", "template": "{{ bos_token }}{{ eos_token }}{{ unk_token }}{{ pad_token }}."},
        ],
        bos_token={"content": "<s>", "lstrip": False},
        pad_token=None,
    )
    (directory / "special_tokens_map.json").write_text(json.dumps({"unk_token": "<u>", "eos_token": "<e>"}))
    assert render(directory, ONE) == "<s></s><u>."


@pytest.mark.parametrize("template", [None, [], [{"name": "rag", "template": "x"}], 7])
def test_a_model_without_a_template_is_refused(tmp_path: Path, template: object) -> None:
    directory = made(tmp_path, None, **({} if template is None else {"chat_template": template}))
    with pytest.raises(ModelError, match=r"has no chat template: add chat_template\.jinja"):
        render(directory, ONE)


def test_the_day_may_be_given(tmp_path: Path) -> None:
    template = template_of(made(tmp_path, DATED), now=datetime(2031, 5, 4))
    assert "Today: 04 May 2031\n" in template.render(ONE)
    assert "Today: 04 May 2031\n" in template.header(None).text


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "at least one message"),
        ((), "at least one message"),
        ("hello", "list of at least one"),
        (None, "list of at least one"),
        ({"role": "user", "content": "x"}, "list of at least one"),
        (["hello"], "message 0 must be a mapping"),
        ([*ONE, {"role": "assistant"}], "message 1 must be a mapping of role and content"),
        ([{"role": "user", "content": "x", "tool_calls": []}], "message 0 must be .* nothing else"),
        ([{"role": "pirate", "content": "x"}], "message 0 has an unknown role; choose one of system, user"),
        ([{"role": None, "content": "x"}], "message 0 has an unknown role"),
        ([*LONG, {"role": "user", "content": None}], "the content of message 3 is of type NoneType"),
        (
            [{"role": "user", "content": [{"type": "text", "text": "x"}]}],
            "content of message 0 is of type list",
        ),
    ],
)
def test_messages_that_are_none_are_refused(tmp_path: Path, messages: list[Message], said: str) -> None:
    with pytest.raises(InputError, match=said):
        render(made(tmp_path, MARKED), messages)


def test_a_template_may_refuse_the_order_of_messages(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"refuses these messages: Roles must alternate: user, assistant, user\."
    ):
        render(made(tmp_path, BRACKETS), [*ONE, *ONE])


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('I will not say ' + messages[0].content) }}",
        "{{ raise_exception(messages[0].content) }}",
        "{{ messages[0].content + 7 }}",
        "{{ missing[messages[0].content].more }}",
        "{{ messages[0][messages[0].content]() }}",
    ],
)
def test_errors_do_not_repeat_a_message(tmp_path: Path, template: str) -> None:
    with pytest.raises((InputError, ModelError)) as caught:
        render(made(tmp_path, template), ONE)
    assert "whale" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='x') }}",
        "{{ raise_exception.__globals__.os }}",
        "{{ dict.__base__.__subclasses__() }}",
        "{{ dict.fromkeys('ab') }}",
        "{% set n = namespace(__html__=1) %}{{ n }}",
        "{% set n = namespace() %}{% set n.__html__ = 1 %}{{ n }}",
        "{% include 'tokenizer_config.json' %}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(tmp_path: Path, template: str) -> None:
    with pytest.raises(ModelError, match="the chat template fails on these messages with"):
        render(made(tmp_path, template), ONE)


def test_a_broken_template_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the chat template of .* is not valid: .*endfor"):
        render(made(tmp_path, "{% for m in messages %}"), ONE)


def test_a_template_sees_plain_strings(tmp_path: Path) -> None:
    class Role(str, Enum):  # noqa: UP042  whose str() is no role
        USER = "user"

    class Text(str):
        def upper(self) -> str:
            raise AssertionError

    directory = made(tmp_path, "{{ messages[0].role }}: {{ messages[0].content.upper() }}")
    assert render(directory, [{"role": Role.USER, "content": Text("x")}]) == "user: X"


@pytest.mark.fast_cases(6)
@pytest.mark.parametrize("tokenizer", ["byte level", "whole text"])
@pytest.mark.parametrize(
    ("name", "system"),
    [
        *(
            (name, text)
            for name in ("marked", "brackets", "dated", "last")
            for text in (SYSTEM["content"], "")
        ),
        *((name, None) for name in ("marked", "brackets", "dated", "last", "plain")),  # plain takes none
    ],
)
def test_the_prefix_begins_every_conversation_in_text_and_in_tokens(
    tmp_path: Path, name: str, tokenizer: str, system: str | None
) -> None:
    template = template_of(made(tmp_path, TEMPLATES[name], tokenizer), now=datetime(2031, 5, 4))
    prefix = template.header(system).text
    head = _ids(tokenizer, prefix)
    for said in SAID:
        for tail in ([], LONG[1:]):
            opening: list[Message] = [] if system is None else [{"role": "system", "content": system}]
            messages = [*opening, {"role": "user", "content": said}, *tail]
            whole, rest = template.render(messages), after(template.render(messages), prefix)
            assert prefix + rest == whole
            assert said.strip() in rest
            assert _ids(tokenizer, whole)[: len(head)] == head
            if tokenizer == "byte level":
                assert head + _ids(tokenizer, rest) == _ids(tokenizer, whole)


@pytest.mark.parametrize(
    ("name", "system", "prefix"),
    [
        # The last line break may become one token with those of the user, where these are kept.
        ("marked", None, "<|start|>system\nYou are a ship.<|end|>\n<|start|>user"),
        ("marked", "Sail.", "<|start|>system\nSail.<|end|>\n<|start|>user"),
        ("brackets", None, "<s>[INST]"),
        ("brackets", "Sail.", "<s>[INST] <<SYS>>\nSail.\n<</SYS>>"),
        # Its system message stands behind the user's first words, if there are more of them.
        ("last", "Sail.", "<s>[INST]"),
        ("plain", None, "User:"),
    ],
)
def test_prefixes(tmp_path: Path, name: str, system: str | None, prefix: str) -> None:
    assert public_prefix(made(tmp_path, TEMPLATES[name]), system) == prefix


def test_probes_begin_differently() -> None:
    assert len(set(PROBES)) == len(PROBES) > 80
    assert len({probe.strip()[:1] for probe in PROBES}) > 80


def test_a_template_may_have_no_public_part(tmp_path: Path) -> None:
    assert public_prefix(made(tmp_path, "{{ messages[0].content }}"), None) == ""
    assert after(render(tmp_path, ONE), "") == ONE[0]["content"]


def test_another_prefix_is_refused_without_a_word_of_it(tmp_path: Path) -> None:
    directory = made(tmp_path, MARKED)
    prefix = public_prefix(directory, "Answer as a sailor does.")
    assert after(render(directory, [SYSTEM, *ONE]), prefix).startswith("\n  Where")
    with pytest.raises(InputError, match=r"does not begin with this public prefix.*leave it empty") as caught:
        after(render(directory, ONE), prefix)
    assert "sailor" not in str(caught.value)
    assert "whale" not in str(caught.value)


def test_a_prefix_does_not_end_within_a_character(tmp_path: Path) -> None:
    directory = made(tmp_path, "漢字é{{ messages[0].content }}")
    assert public_prefix(directory, None) in ("漢字é", "漢字", "漢")


def test_a_boundary_holds_for_the_prefix_alone() -> None:
    rules = byte_level()
    assert _ids("byte level", "\n\nwhale") != _ids("byte level", "\n\n") + _ids("byte level", "whale")
    assert _boundary(rules, ["\n\nwhale", "\n\nship"]) == 1


def test_a_boundary_never_includes_what_differs() -> None:
    rules = byte_level()
    rules.normalizer = normalizers.Lowercase()  # makes the tokens alike
    assert _boundary(rules, ["x A", "x a"]) == 1


def _imported(*missing: str) -> str:
    code = f"import sys\nfor name in {missing!r}: sys.modules[name] = None\nimport privinf.models.text.chat"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr


def test_neither_torch_nor_transformers_is_needed() -> None:
    assert _imported("torch", "transformers") == ""


def test_without_jinja2_its_extra_is_named() -> None:
    said = _imported("jinja2").strip().splitlines()[-1]
    assert said == 'privinf.errors.MissingExtra: chat templates need jinja2: pip install "privinf[chat]"'
