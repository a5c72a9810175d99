"""Keys of trees belong to one gate of one preparation, or to one field of one query, and to nothing else."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from privinf.protocols import kernels, prg, ring
from privinf.protocols.masked.dealer import Dealer
from privinf.protocols.masked.gates.activation import activate
from privinf.protocols.masked.gates.compare import AtLeast, Equals
from privinf.protocols.masked.gates.histogram import distance_below_max
from privinf.protocols.masked.gates.power import Power, Powers
from privinf.protocols.masked.gates.table import Table, lookup
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.party import Party
from privinf.protocols.masked.wires import Share
from privinf.protocols.testing import lockstep
from privinf.protocols.testing.trials import share

SEEDS = (b"\x01" * 32, b"\x02" * 32)
X = share(np.arange(-16, 16).reshape(4, 8), 16, 4)
MAKERS = ("dpf_gen", "onehot_gen", "separable_gen", "powers_gen")
WALKERS = (
    "dpf_prefix",
    "dpf_bit",
    "dpf_table",
    "dpf_whole",
    "onehot_sum",
    "onehot_window",
    "onehot_point",
    "separable_eval",
    "powers_eval",
)


def program(ctx: Interpreter, x: Share) -> Sequence[Share]:
    """Every gate that has trees, and one of them twice on the same wire."""
    wire = ctx.open(x)
    table = Table(np.arange(9) ** 2, -4, 0, 40)
    below = ctx.run(AtLeast((0, 3)), wire), ctx.run(AtLeast((0, 3)), wire)
    near = distance_below_max(ctx, wire, 8, 4)
    return [
        *below[0],
        *below[1],
        ctx.run(Equals(5), wire),
        lookup(ctx, wire, table, 40),
        activate(ctx, wire, "gelu", 40),
        ctx.run(Equals(1), near),
        ctx.run(Powers(Power(-0.5, 2, 12, 10)), wire),
    ]


@pytest.fixture
def trees(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[bytes]]:
    """The keys that each kernel is given, call by call."""
    seen: dict[str, list[bytes]] = defaultdict(list)

    def watch(name: str) -> None:
        kernel = getattr(kernels.default(), name)

        def watched(tree: bytes, *arguments: Any) -> Any:
            seen[name].append(tree)
            return kernel(tree, *arguments)

        monkeypatch.setattr(kernels.default(), name, watched)

    for name in (*MAKERS, *WALKERS):
        watch(name)
    return seen


def made(trees: dict[str, list[bytes]], preparation: bytes) -> list[bytes]:
    """The keys of every tree that one preparation holds."""
    trees.clear()
    lockstep.run(program, [X], SEEDS, preparation=preparation)
    walked = [tree for name in WALKERS for tree in trees[name]]
    dealt = [tree for name in MAKERS for tree in trees[name]]
    assert sorted(walked) == sorted(2 * dealt)  # both parties walk what was made, under the same keys
    return dealt


def test_no_two_gates_share_keys_nor_does_any_of_another_preparation(trees: dict[str, list[bytes]]) -> None:
    first, second = made(trees, b"preparation one "), made(trees, b"preparation two ")
    assert len(first) == len(second) >= 10
    keys = {tree[at : at + 16] for tree in (*first, *second) for at in range(0, kernels.prg.TREE_BYTES, 16)}
    assert len(keys) == 6 * 2 * len(first)
    assert made(trees, b"preparation one ") == first


@pytest.mark.parametrize("role", [Dealer, Party])
def test_who_takes_another_id_holds_other_trees(role: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id that is not the preparation's gives garbage, as another seed would."""

    def at_least(ctx: Interpreter, x: Share) -> Sequence[Share]:
        return list(ctx.run(AtLeast(tuple(range(-16, 16))), ctx.open(x)))

    def total() -> list[list[int]]:
        ran = lockstep.run(at_least, [X], SEEDS)
        return [ring.low(a.value + b.value, 1).tolist() for a, b in zip(*ran.results, strict=True)]

    wanted = [a.value.tolist() for a in lockstep.ideal(at_least, [X], SEEDS)]
    assert total() == wanted
    another = property(lambda self: b"another id", lambda self, given: None)
    monkeypatch.setattr(role, "_preparation", another, raising=False)
    assert total() != wanted


def test_keys_are_a_hash_of_who_made_the_tree_its_owner_and_its_name() -> None:
    parts = (b"privinf tree keys 2", b"dealt", b"\x07" * 16, b"layer0/tail#3")
    text = b"".join(len(part).to_bytes(4, "little") + part for part in parts)
    tree = prg.dealt_tree(b"\x07" * 16, "layer0/tail#3")
    assert tree == hashlib.shake_256(text).digest(96)
    others = [
        prg.sent_tree(b"\x07" * 16, "layer0/tail#3"),
        prg.dealt_tree(b"\x07" * 15 + b"\x08", "layer0/tail#3"),
        prg.dealt_tree(b"\x07" * 16, "layer0/tail#4"),
        prg.dealt_tree(b"\x07" * 15, "\x07layer0/tail#3"),
    ]
    assert len({tree, *others}) == 5


def test_a_tree_without_an_owner_is_refused() -> None:
    with pytest.raises(ValueError, match="id is missing"):
        prg.dealt_tree(b"", "tail")
