"""What small models run, event after event, as docs/protocol/programs.md says it: run as a script, it writes the file.

An event is an opening (name, bits, bits dropped, shape), another name with the bytes dealt to both parties, or a round.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import recorded

from privinf.models.engines.stores import ShapeStore
from privinf.models.orders import ORDERS, Limits
from privinf.models.programs import query
from privinf.models.programs.layout import Layout, QueryLayout, SessionLayout
from privinf.models.programs.passes import Shadow
from privinf.models.programs.public import Public
from privinf.models.source.checkpoint import read_spec
from privinf.models.spec import ModelSpec
from privinf.protocols.contract import Order, QueryShape, SessionShape
from privinf.protocols.cost import Cost
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.wires import Share, Wire

FILE = Path(__file__).parents[1] / "vectors" / "protocol_events.json"
Event = list[Any]
SMALL = {"num_hidden_layers": 1, "n_layer": 1, "vocab_size": 500}
TEXTS = (("minilm", False), ("minilm", True), ("mpnet", False), ("sst2", False))
GENERATIONS = (
    ("gpt2", "generate", (0, 1)),
    ("smollm2", "generate", (1,)),
    ("smollm2", "argmax-padded", (0, 3)),
)
PREFIX = tuple(range(7))


class Events(Counting):
    """Follows a program on shapes, and writes down what happens."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(ShapeStore(layout.masked, layout.scale))
        self.events: list[Event] = []

    def _rename(self, what: str) -> None:
        super()._rename(what)
        self.events.append([self.name, 0, 0])

    def queue(self, share: Share, drop: int) -> Wire:
        self.events[-1] = [self.name, share.bits, drop, "x".join(map(str, share.shape))]
        return super().queue(share, drop)

    def account(self, cost: Cost) -> None:
        super().account(cost)
        if cost.rounds:
            self.events.append(["round"])
        elif cost.prep0 or cost.prep1:
            self.events[-1][1] += cost.prep0
            self.events[-1][2] += cost.prep1


def events() -> dict[str, list[Event]]:
    """Of each case, by its name."""
    return dict(_all())


def _all() -> Iterator[tuple[str, list[Event]]]:
    for name, public in TEXTS:
        yield f"{name}, {'public' if public else 'private'}, 1 x 16", _text(_spec(name), public)
    for name, task, wanted in GENERATIONS:
        for index, found in _passes(_spec(name), task, wanted):
            yield f"{name}, private, {task}, a prompt of 8 behind a prefix of 7, 3 rows, pass {index}", found


def _spec(name: str) -> ModelSpec:
    with tempfile.TemporaryDirectory() as folder:
        config = recorded.CONFIGS[name]
        small = {key: value for key, value in SMALL.items() if key in config}
        (Path(folder) / "config.json").write_text(json.dumps(config | small), encoding="utf-8")
        return read_spec(folder)


def _text(spec: ModelSpec, public: bool) -> list[Event]:
    plan = ORDERS[spec.order].plan(spec, recorded.Ranges(), Limits(128))
    layout = QueryLayout(spec, plan, public, public)
    ctx = Events(layout)
    query.follow(ctx, layout, QueryShape(spec.task, 1, 16), Public.blank(layout))
    return ctx.events


def _passes(spec: ModelSpec, task: str, wanted: tuple[int, ...]) -> Iterator[tuple[int, list[Event]]]:
    plan = ORDERS[spec.order].plan(spec, recorded.Ranges(), Limits(160, PREFIX, 2.0))
    layout = SessionLayout(spec, plan, False, False)
    shadow = Shadow(layout, SessionShape(task, 8, 3))
    for index in range(max(wanted) + 1):
        ctx = Events(layout)
        shadow.run(ctx, Order(index), Public.blank(layout))
        if index in wanted:
            yield index, ctx.events


def text(made: dict[str, list[Event]]) -> str:
    """JSON with one line for each event."""
    programs = (
        f" {json.dumps(name)}: [\n  " + ",\n  ".join(map(json.dumps, found)) + "\n ]"
        for name, found in made.items()
    )
    return "{\n" + ",\n".join(programs) + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(text(events()), encoding="utf-8")
