"""A file alone adds a family, a function with its gate, an attention variant, a cache policy and a protocol.

Each of these is registered here, and runs in float32, in the fixed interpreter and in shares; no other file knows them.
"""

from __future__ import annotations

import json
from collections import abc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import pytest

pytest.importorskip("torch")

import specs
import tiny_decoder
import torch
import toy
from deployment import in_this_process
from generating import Toy, Trio, Writer, random_weights
from hypothesis import strategies as st
from safetensors.numpy import save_file

from privinf.check import check
from privinf.cli import main
from privinf.errors import ConfigError, ModelError
from privinf.models.attention import VARIANTS, Variant, softmax
from privinf.models.cache import POLICIES
from privinf.models.clear import ClearDecoder, prefix_cache
from privinf.models.families import FAMILIES, Family
from privinf.models.fold import fold
from privinf.models.functions import FUNCTIONS
from privinf.models.ops import Heads, Ops, Rows, Sum, View
from privinf.models.parts import Attention
from privinf.models.programs.layout import Layout, QueryLayout, SessionLayout
from privinf.models.programs.wire import Field, Form, Values
from privinf.models.sharing.bundle import Bundle, read, read_queries
from privinf.models.sharing.calibrate import calibrate_decoder
from privinf.models.sharing.schemes import SCHEMES
from privinf.models.sharing.schemes.masked import Masked
from privinf.models.source.checkpoint import load, tensors
from privinf.models.source.reading import Config, Keys, size
from privinf.models.source.tensors import Tensor
from privinf.models.spec import BlockSpec, Generator, ModelSpec, Task, Tokens
from privinf.protocols import ring
from privinf.protocols.contract import (
    Channel,
    PartyProgram,
    PartyQueries,
    QueryShape,
    QuerySizes,
    SessionShape,
    Stock,
)
from privinf.protocols.cost import Cost, Tally
from privinf.protocols.masked.gates.base import Gate
from privinf.protocols.masked.gates.linear import value
from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.gates.separable import Factors
from privinf.protocols.masked.ideal import Ideal
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.party import Party
from privinf.protocols.masked.wires import Share, Wire
from privinf.protocols.registry import Registry
from privinf.protocols.ring import U64
from privinf.protocols.testing.gates import GateSuite
from privinf.protocols.testing.trials import Draw, Exactly, Trial, integers
from privinf.sdk.costs import query_cost

T = TypeVar("T")
SPEC = specs.gpt2(2, 16, 4, 24, 37, 48, Generator(True, 1, (2,)))
PROMPT, LATER, NEAR = [5, 3, 11, 30, 2, 8], [4, 9], 0.05
NEWEST = 7  # slots that the toy's cache policy reads, at least


@contextmanager
def added(registry: Registry[T], name: str, entry: T) -> Iterator[None]:
    """An entry for as long as a test takes."""
    registry.register(name, entry)
    try:
        yield
    finally:
        registry.forget(name)


def calibrated(spec: ModelSpec, weights: Any, cache: str = "full", prefix: tuple[int, ...] = ()) -> Toy:
    """A decoder that is ready to be shared."""
    folded, rng = fold(spec, weights), np.random.default_rng(1)
    ids = [rng.integers(0, spec.vocab, size).astype(np.int32) for size in (5, 9, 20, 33)]
    plan, kept = calibrate_decoder(spec, folded, ids, prefix, 40, cache=cache)
    return Toy(spec, plan, folded | kept)


def runs_everywhere(model: Toy) -> np.ndarray:
    """Two passes in shares, fixed and in the clear; return the clear logits of the second."""
    trio = Trio(model.layout(), SessionShape("generate", len(PROMPT), len(LATER)), model.weights)
    clear = ClearDecoder(model.spec, model.weights, cache=model.plan.cache)
    clear.rewind(prefix_cache(model.spec, model.weights, model.plan.prefix, model.plan.cache))
    writer, kept, exact = Writer(model, trio.shape, list(PROMPT)), 0, np.empty(0)
    for index, ids in enumerate((PROMPT, LATER)):
        rows = writer.rows(ids) if index else writer.prompt(0)
        total, fixed = trio.step(kept, rows)
        field = trio.layout.result(trio.shape, index)
        assert fixed is not None
        np.testing.assert_array_equal(total, ring.low(fixed, field.bits))
        exact = clear.run(torch.tensor([ids]), total.shape[1])[0].numpy()
        assert np.abs(ring.decode(total, field.scale, field.bits)[0] - exact).max() < NEAR
        kept = len(ids)
    return exact


@pytest.fixture(scope="module")
def plain() -> np.ndarray:
    """What the decoder says without any addition."""
    return runs_everywhere(calibrated(SPEC, random_weights(SPEC)))


class Triple(Gate):
    """[3 x] in the wire's own ring: exact where 3 x fits, and no byte of preparation."""

    name = "triple"

    def require(self, ctx: Interpreter, *inputs: Any) -> None:
        ctx.mask_share(inputs[0])

    def output(self, x: Wire, data: Any = None) -> Share:
        return Share(x.shape, x.bits, x.scale, data)

    def evaluate(self, ctx: Party, x: Wire) -> Share:
        return self.output(x, (ctx.public_term(x.public) - x.own_mask) * np.uint64(3))

    def ideal(self, ctx: Ideal, x: Wire) -> Share:
        return self.output(x, value(x) * np.uint64(3))


def triple(draw: Draw) -> Trial:
    bits = draw(st.integers(8, 64))
    x = integers(draw, (3, 2), -(1 << (bits - 4)), 1 << (bits - 4))

    def program(ctx: Interpreter, given: Share) -> Sequence[Share]:
        return [ctx.run(Triple(), ctx.open(given))]

    return Trial(program, (Share(x.shape, bits, 3, x.view(np.uint64)),), (Exactly(3 * x),))


class TestTriple(GateSuite):
    """A gate of this file keeps what every gate keeps."""

    cases: ClassVar = {"triple": triple}


@dataclass(frozen=True)
class Tripled:
    """f(x) = 3 x as an activation."""

    extra: int = 0
    unsure: int = 2

    def clear(self, x: torch.Tensor) -> torch.Tensor:
        return 3 * x

    def masked(self, ctx: Interpreter, x: Wire, bits: int) -> Share:
        share: Share = ctx.run(Triple(), ctx.open(ctx.run(Product(bits), x)))
        return share

    def input_bits(self, magnitude: float, scale: int) -> int:
        return int(np.ceil(np.log2(max(magnitude, 2.0**-scale)))) + scale + 2

    def most(self, bits: int, scale: int) -> float:
        return float(2.0 ** (bits - scale - 2))

    def tables(self, scale: int) -> Iterator[tuple[str, Factors]]:
        yield from ()


def test_a_function_and_its_gate(plain: np.ndarray) -> None:
    with added(FUNCTIONS, "door-tripled", Tripled()):
        spec = specs.changed(SPEC, activation="door-tripled")
        tripled = runs_everywhere(calibrated(spec, random_weights(spec)))
    assert np.abs(tripled - plain).max() > 0.1


def sharper(ops: Ops[Sum, Rows], part: Attention, heads: Heads[Rows]) -> abc.Generator[None, None, Rows]:
    """Softmax of scores that are added to themselves."""
    yield
    view = POLICIES[part.cache](ops, part, heads)
    scores = ops.scores(part, heads.queries, view.keys)
    return ops.mix(part, ops.softmax(part, ops.add(scores, scores)), view.values)


def test_an_attention_variant(plain: np.ndarray) -> None:
    def rings(site: str, high: Any, *rest: Any) -> Any:
        return softmax.attention_rings(site, {**high, f"{site}.scores": 2 * high[f"{site}.scores"]}, *rest)

    with added(VARIANTS, "door-sharper", Variant(sharper, rings, softmax.tables, softmax.limits)):
        blocks = tuple(replace(block, attention="door-sharper") for block in SPEC.blocks)
        sharp = runs_everywhere(calibrated(replace(SPEC, blocks=blocks), random_weights(SPEC)))
    assert np.abs(sharp - plain).max() > 2 * NEAR


def newest(ops: Ops[Sum, Rows], part: Attention, heads: Heads[Rows]) -> View[Rows]:
    """The newest slots alone, and as many as the pass has rows at least."""
    view = ops.remember(part, heads)
    count = min(max(NEWEST, ops.slots(heads.keys)), ops.slots(view.keys))
    return View(ops.newest(view.keys, count), ops.newest(view.values, count))


def test_a_cache_policy(plain: np.ndarray) -> None:
    with added(POLICIES, "door-newest", newest):
        few = runs_everywhere(calibrated(SPEC, random_weights(SPEC), "door-newest"))
        runs_everywhere(calibrated(SPEC, random_weights(SPEC), "door-newest", (1, 7, 9)))
    assert np.abs(few - plain).max() > 2 * NEAR


@pytest.mark.slow
def test_a_shared_model_is_checked_under_its_policy(tmp_path: Path) -> None:
    with added(POLICIES, "door-newest", newest):
        shared = tiny_decoder.share(
            tiny_decoder.checkpoint(tmp_path / "tiny", "gpt2"), tmp_path / "shared", cache="door-newest"
        )
        report = check(shared, ["the sea is deep, and so is the night"])
        assert report.answers[0].correlation > 0.999


def _read(config: Config, path: Path, task: Task) -> ModelSpec:
    wide = size(config, "wide", path)
    return ModelSpec(
        family="door-plain",
        width=wide,
        heads=2,
        kv_heads=2,
        head_width=wide // 2,
        ffn=2 * wide,
        max_tokens=48,
        order="pre",
        norm="layer",
        eps=1e-5,
        blocks=(BlockSpec("relu"),) * size(config, "deep", path),
        inputs=Tokens(size(config, "words", path), places=48),
        head=Generator(False),
    )


def _write(spec: ModelSpec) -> dict[str, object]:
    return {"wide": spec.width, "deep": spec.layers, "words": spec.vocab}


def _tensors(spec: ModelSpec) -> Iterator[tuple[str, Tensor]]:
    wide, ffn = spec.width, spec.ffn
    yield "embed.token", Tensor("words", (spec.vocab, wide))
    yield "embed.position", Tensor("places", (spec.max_tokens, wide))
    for i in range(spec.layers):
        for norm in ("attn.norm.gain", "ffn.norm.gain"):
            yield f"layer{i}.{norm}", Tensor(f"{i}/{norm}", (wide,))
        for part, (rows, columns) in {
            **dict.fromkeys(("attn.q", "attn.k", "attn.v", "attn.out"), (wide, wide)),
            "ffn.up": (wide, ffn),
            "ffn.down": (ffn, wide),
        }.items():
            yield f"layer{i}.{part}.weight", Tensor(f"{i}/{part}", (rows, columns))
    yield "head.norm.gain", Tensor("gain", (wide,))
    yield "head.weight", Tensor("head", (spec.vocab, wide), transposed=True)


PLAIN = Family(
    keys=Keys("PlainConfig", {"model_type", "architectures", "wide", "deep", "words"}, {}, frozenset()),
    classes={"PlainLM": "generate"},
    bare="Plain",
    prefix="plain.",
    read=_read,
    write=_write,
    tensors=_tensors,
)


def test_a_family(tmp_path: Path) -> None:
    sizes = {"wide": 16, "deep": 2, "words": 37}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "door-plain", **sizes}))
    with added(FAMILIES, "door-plain", PLAIN):
        spec = _read(sizes, tmp_path, "generate")
        rng = np.random.default_rng(3)
        stored = {
            f"plain.{tensor.theirs}": rng.normal(ours.endswith(".gain"), 0.3, tensor.shape).astype(np.float32)
            for ours, tensor in tensors(spec).items()
        }
        save_file(stored, tmp_path / "model.safetensors")
        read, weights = load(tmp_path)
        assert read == spec
        assert FAMILIES["door-plain"].write(read) == sizes
        runs_everywhere(calibrated(read, weights))


TAG = b"door"


@dataclass(frozen=True)
class TaggedQueries:
    """A party's queries, each share of which begins with a tag."""

    inner: PartyQueries

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def sizes(self, shape: QueryShape) -> QuerySizes:
        sizes = self.inner.sizes(shape)
        return QuerySizes(sizes.query + len(TAG), sizes.result + len(TAG))

    def evaluate(self, shape: QueryShape, query: memoryview, stock: Stock | None, channel: Channel) -> bytes:
        assert query[: len(TAG)] == TAG
        return TAG + self.inner.evaluate(shape, query[len(TAG) :], stock, channel)


class Tagged(Masked):
    """Masked values behind a tag: another form of shares, of which no other file knows."""

    def party(self, bundle: Bundle[Layout], index: int, known: Mapping[str, U64]) -> PartyProgram:
        program = super().party(bundle, index, known)
        assert program.queries is not None
        return replace(program, queries=TaggedQueries(program.queries))

    def share(self, form: Form, values: Values) -> tuple[bytes, ...]:
        return tuple(TAG + part for part in super().share(form, values))

    def add_up(self, field: Field, parts: Sequence[bytes]) -> U64:
        assert all(part.startswith(TAG) for part in parts)
        return super().add_up(field, [part.removeprefix(TAG) for part in parts])


def test_a_protocol(tmp_path: Path) -> None:
    source = toy.checkpoint(tmp_path / "toy")
    with added(SCHEMES, "door-tagged", Tagged()):
        shared = toy.share(source, tmp_path / "shared", protocol="door-tagged")
        with in_this_process(source, shared, tmp_path) as served, served.client() as client:
            answer = client.embed(["calm sea"]).vectors
    np.testing.assert_allclose(answer, toy.clear(source, ["calm sea"]), atol=NEAR)
    with pytest.raises(ModelError, match="this version knows no protocol 'door-tagged'"):
        read(shared / "client")


class Counted(Masked):
    """A protocol that takes seven rounds for anything, and gigabytes for long queries and prompts."""

    def count_query(self, layout: QueryLayout, shape: QueryShape) -> Tally:
        return Tally({"all of it": Cost(rounds=7, online=shape.tokens, prep0=shape.tokens * 10**8)})

    def count_prompt(self, layout: SessionLayout, shape: SessionShape) -> list[Tally]:
        return [Tally({"the prompt": Cost(rounds=7, prep1=shape.prompt * 10**8)})]

    def count_session(
        self, layout: SessionLayout, shape: SessionShape, later: int
    ) -> tuple[list[Tally], Tally]:
        return self.count_prompt(layout, shape), Tally({"a pass": Cost(rounds=7, online=later)})


def test_a_protocol_counts_for_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`plan`, the note of `share` and the warnings of clients say what it takes, not what masked values would."""
    encoder = toy.checkpoint(tmp_path / "toy")
    decoder = tiny_decoder.checkpoint(tmp_path / "tiny", "llama", layers=1)
    (tmp_path / "lines.txt").write_text("a calm sea\n")
    with added(SCHEMES, "door-counted", Counted()):
        shared = {}
        for name, source in (("encoder", encoder), ("decoder", decoder)):
            words = ["share", str(source), "--out", str(tmp_path / name), "--protocol", "door-counted"]
            assert main([*words, "--calibration", str(tmp_path / "lines.txt"), "--json"]) == 0
            shared[name] = json.loads(capsys.readouterr().out)
        assert shared["encoder"]["large"] == {"96": 96 * 10**8, "128": 128 * 10**8}
        assert shared["decoder"]["large"] == {"64": 64 * 10**8}
        assert main(["plan", str(tmp_path / "encoder"), "--tokens", "16", "--json"]) == 0
        query = json.loads(capsys.readouterr().out)
        assert (query["rounds"], query["online_bytes"], query["offline_bytes"]) == (7, 16, 16 * 10**8)
        assert [layer["name"] for layer in query["layers"]] == ["all of it"]
        words = ["plan", str(tmp_path / "decoder"), "--prompt", "16", "--generated", "5", "--json"]
        assert main(words) == 0
        later = json.loads(capsys.readouterr().out)
        assert (later["rounds"], later["online_bytes"]) == (7, 4)
        assert (later["prompt"]["passes"], later["prompt"]["offline_bytes"]) == (1, 16 * 10**8)
        cost = query_cost(read_queries(tmp_path / "encoder" / "client"), QueryShape("embed", 1, 32))
        assert cost.prep0 == 32 * 10**8


def test_a_name_is_taken_once_and_an_unknown_one_lists_all() -> None:
    with pytest.raises(ValueError, match="'softmax' is there already"):
        VARIANTS.register("softmax", VARIANTS["softmax"])
    with pytest.raises(ConfigError, match="cache policy 'none' is unknown; choose one of full"):
        POLICIES["none"]
