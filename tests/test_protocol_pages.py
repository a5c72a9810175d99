"""The specification says what the code has: its versions, its gates, its messages and calls, and the sizes of keys."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from known_programs import GATES, of_gates

from privinf.models.plan.rings import AttentionRings, FeedForwardRings, LayerRings, Plan
from privinf.models.plan.scales import Scales
from privinf.models.programs import layout
from privinf.parties.rpc import frames, methods, status
from privinf.parties.stock import idtable, record
from privinf.protocols import masked
from privinf.protocols.contract import PROTOCOL
from privinf.protocols.kernels.reference import lane_key_shape, point_key_shape
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.gates.base import Gate
from privinf.protocols.masked.gates.norm import NormSpec
from privinf.protocols.masked.party import PART_BYTES
from privinf.v1 import common_pb2, dealer_pb2, party_pb2

DOCS = Path(__file__).parent.parent / "docs"
MESSAGES: list[Descriptor] = [
    message
    for file in (common_pb2, party_pb2, dealer_pb2)
    for message in file.DESCRIPTOR.message_types_by_name.values()
]
SOURCES = ("protocols", "parties/stock")  # where what is derived is named
METHODS = {f"{m.service}/{m.name}": m for m in vars(methods).values() if isinstance(m, methods.Method)}


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def of_pages() -> str:
    """Those that gates are on."""
    return page("protocol/gates.md") + page("protocol/checks.md")


def headings(text: str) -> str:
    return "\n".join(re.findall(r"^#+ .*$", text, re.MULTILINE))


def row(text: str, name: str) -> str:
    """The line of a table that begins with a name."""
    (found,) = re.findall(rf"^\| `{re.escape(name)}` \|(.*)$", text, re.MULTILINE)
    return str(found)


def composite() -> Iterator[Callable[..., Any]]:
    """Functions that run gates: what takes an interpreter, and is no detail of its module."""
    for found in of_gates(inspect.isfunction):
        first = next(iter(inspect.signature(found).parameters), "")
        if first == "ctx" and not found.__name__.startswith("_"):
            yield found


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_each_gate_has_a_section(gate: type[Gate]) -> None:
    assert f"\n### {gate.__name__} (`{gate.name}`)\n" in of_pages()


@pytest.mark.parametrize("made", list(composite()), ids=lambda made: made.__name__)
def test_each_gate_that_is_made_of_others_has_a_section(made: Callable[..., Any]) -> None:
    text = of_pages()
    assert f"`{made.__name__}" in headings(text) or f"`{made.__name__}(" in text


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
def test_each_message_has_a_row_with_all_fields(message: Descriptor) -> None:
    said = row(page("protocol/messages.md"), message.name)
    assert {(f.name, f.number) for f in message.fields} == {
        (name, int(number)) for name, number in re.findall(r"`(\w+)` (\d+)", said)
    }


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_each_call_has_a_row(method: methods.Method) -> None:
    said = row(page("protocol/messages.md"), method.name)
    of, callers, request, reply, pieces = (cell.strip() for cell in said.split("|")[:5])
    assert method.service.rsplit(".", 1)[-1] in of
    named = {caller.replace(" ", "") for caller in callers.split(", ")}
    assert named <= method.callers or (callers, len(method.callers)) == ("all roles", 10)
    for kind, streams, text in zip(
        (method.request, method.reply), method.streams, (request, reply), strict=True
    ):
        assert text.startswith("stream ") == streams
        assert kind is None or text.endswith(kind.DESCRIPTOR.name)
    assert (pieces == "replies") == method.parts[1]


def test_versions_are_those_of_the_code() -> None:
    from privinf.models.plan.rings import PLAN_VERSION
    from privinf.models.sharing.folder import FORMAT, VERSION

    said = dict(
        re.findall(r"^\| ([\w', -]+) \| ([^|]+) \| (?:\[|the same)", page("protocol.md"), re.MULTILINE)
    )
    spent = idtable._MAGIC.decode().strip()
    assert VERSION.endswith(f", protocol {PROTOCOL}")
    assert f"`VERSION, protocol {PROTOCOL}`" in page("protocol.md")
    assert said == {
        "protocol number, in the attested version": str(PROTOCOL),
        "protocol name": f"`{masked.NAME}`",
        "bundle format": str(FORMAT),
        "plan version": str(PLAN_VERSION),
        "stored preparation": f'"{record._MAGIC}"',
        "table of spent ids": f'"{spent}"',
        "frame magic": f"`{frames.MAGIC.hex()}`",
        "personalisation of streams": '"privinf prf v2"',
        "first part of a tree's keys": '"privinf tree keys 2"',
        "personalisation of zero tests": '"privinf zero v1"',
        "personalisation of digests": '"privinf digest"',
    }
    sources = "".join(
        file.read_text("utf-8") for part in SOURCES for file in (DOCS.parent / part).rglob("*.py")
    )
    assert [text for text in said.values() if text[0] == '"' and f'"{text[1:-1]}' not in sources] == []


def test_frames_and_errors_are_those_of_the_code() -> None:
    text = page("protocol/messages.md")
    for kind in frames.Kind:
        assert f"\n| {int(kind)} | {kind.name} |" in text
    said = re.findall(r"^\| ([\w, ]+) \| ([A-Z_]+) \|$", text, re.MULTILINE)
    table = {name: code for names, code in said for name in names.split(", ")}
    assert table == {kind.__name__: code.name for kind, code in status.CODES.items()}
    assert frames.HEADER.size == 48
    assert f"{frames.CHUNK:,} bytes" in text


def test_the_plan_has_the_fields_that_are_named() -> None:
    text = page("protocol/files.md")
    for kind in (Plan, LayerRings, NormSpec, AttentionRings, FeedForwardRings, Scales):
        assert [name for name in kind.__dataclass_fields__ if f"`{name}`" not in text] == [], kind.__name__


@pytest.mark.parametrize("bits", [1, 5, 7, 8, 20])
def test_keys_have_the_sizes_that_are_said(bits: int) -> None:
    text, count = page("protocol/keys.md"), 3
    assert "| 16 N (D + 1): level words; leaf words | D = max(n − 7, 0) |" in text
    assert 16 * count * (max(bits - 7, 0) + 1) == _size(point_key_shape(bits, count))
    assert "D = max(n − 4, 0) for 8, max(n − 3, 0) for 16" in text
    for lane, inner in ((8, 4), (16, 3)):
        assert 16 * count * (max(bits - inner, 0) + 1) == _size(lane_key_shape(bits, lane, count))


def _size(shape: tuple[int, ...]) -> int:
    ctx = Counting()
    ctx.common(*shape)
    return ctx.tally.total().prep0


def test_tasks_and_bounds_are_those_of_the_code() -> None:
    text = " ".join(page("protocol/programs.md").split())
    assert f"`{layout.TASKS[0]}` or `{layout.TASKS[1]}`, with `{layout.PADDED}` behind it" in text
    assert f"it has {layout.LOW_TOKENS} tokens to the model's most, and {layout.MAX_ROWS:,} rows" in text
    assert f"has 1 to {layout.MOST_ROWS} rows, and {layout.TOGETHER} with its batch" in text
    assert f"c = min({layout.CHUNK}, ⌊{layout.TOGETHER} / batch⌋)" in text
    assert f"comes to {PART_BYTES:,} bytes or more" in " ".join(page("protocol/wires.md").split())
