"""Arguments that a kernel cannot use are refused with a message that names them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from privinf.protocols.kernels import default

pytestmark = pytest.mark.fast_cases(15)  # of each test

kernels = default()
N = 6
TREE = bytes(96)
ALPHA = np.arange(N, dtype=np.uint64)
ROOTS = np.zeros((N, 16), np.uint8)
CW = np.zeros((3, N, 16), np.uint8)  # of a 1-bit key on 9 bits, or a byte-wide one-hot key on 6
POINTS = ALPHA[None]
TABLE = np.arange(5)
PAYLOAD = np.zeros((4, 3), np.int64)
ROWS = np.zeros((2, 4, 3), np.int32)
LINE = np.array([1, 2, 3])
LAST = np.zeros((N, 18), np.uint8)
OCTAVES = {"bits": 9, "low": 3, "high": 6, "lanes": 3, "fine": 8, "step": 4}
SQUARE = np.zeros((1, 4, 4), np.uint64)

GOOD: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (kernels.dpf_gen, {"tree": TREE, "alpha": ALPHA, "bits": 9, "roots0": ROOTS, "roots1": ROOTS}),
    (kernels.dpf_prefix, {"tree": TREE, "party": 0, "roots": ROOTS, "cw": CW, "bits": 9, "points": POINTS}),
    (kernels.dpf_bit, {"tree": TREE, "party": 0, "roots": ROOTS, "cw": CW, "bits": 9, "points": POINTS}),
    (kernels.dpf_whole, {"tree": TREE, "party": 0, "roots": ROOTS, "cw": CW, "bits": 9}),
    (
        kernels.dpf_table,
        {
            "tree": TREE,
            "party": 0,
            "roots": ROOTS,
            "cw": CW,
            "bits": 9,
            "index": ALPHA,
            "start": 0,
            "table": TABLE,
        },
    ),
    (
        kernels.onehot_gen,
        {"tree": TREE, "alpha": ALPHA, "bits": 6, "lane": 8, "roots0": ROOTS, "roots1": ROOTS},
    ),
    (
        kernels.onehot_sum,
        {
            "tree": TREE,
            "party": 0,
            "roots": ROOTS,
            "cw": CW,
            "bits": 6,
            "lane": 8,
            "index": ALPHA,
            "group": 3,
        },
    ),
    (
        kernels.onehot_window,
        {
            "tree": TREE,
            "party": 0,
            "roots": ROOTS,
            "cw": CW,
            "bits": 6,
            "lane": 8,
            "index": ALPHA,
            "group": 3,
            "count": 9,
        },
    ),
    (
        kernels.onehot_point,
        {"tree": TREE, "party": 0, "roots": ROOTS, "cw": CW, "bits": 6, "lane": 8, "points": POINTS},
    ),
    (
        kernels.separable_gen,
        {
            "tree": TREE,
            "mask": ALPHA,
            "bits": 3,
            "low_bits": 2,
            "payload": PAYLOAD,
            "lane_bytes": 6,
            "roots0": ROOTS,
            "roots1": ROOTS,
        },
    ),
    (
        kernels.separable_eval,
        {
            "tree": TREE,
            "party": 0,
            "roots": ROOTS,
            "cw": CW,
            "last": LAST,
            "bits": 3,
            "low_bits": 2,
            "lane_bytes": 6,
            "index": ALPHA,
            "first": 0,
            "tables": ROWS,
            "far": LINE,
        },
    ),
    (kernels.powers_gen, {"tree": TREE, "mask": ALPHA, **OCTAVES, "roots0": ROOTS, "roots1": ROOTS}),
    (
        kernels.powers_eval,
        {
            "tree": TREE,
            "party": 0,
            "roots": ROOTS,
            "cw": np.zeros((8, N, 16), np.uint8),
            "values": np.zeros((3, N, 3), np.uint64),
            **OCTAVES,
            "halves": 1,
            "numerator": 5,
            "scale": 20,
            "index": ALPHA,
        },
    ),
    (kernels.ring_matmul, {"a": SQUARE, "b": SQUARE, "bits": 40}),
    (
        kernels.ring_matmul_planes,
        {
            "a": SQUARE,
            "low": SQUARE.astype(np.uint32),
            "high": SQUARE.astype(np.uint8)[..., None],
            "bits": 38,
        },
    ),
    (kernels.ring_matmul32, {"a": SQUARE.astype(np.uint32), "b": SQUARE.astype(np.uint32)}),
    (kernels.stream, {"key": bytes(32), "nbytes": 3}),
    (kernels.pack, {"x": ALPHA, "bits": 18}),
    (kernels.unpack, {"data": np.zeros(-(-N * 18 // 8), dtype=np.uint8), "bits": 18, "count": N}),
    (kernels.spread, {"data": np.zeros(N * 3, dtype=np.uint8), "bits": 18, "count": N}),
]


@pytest.mark.parametrize(
    ("function", "change", "message"),
    [
        (kernels.dpf_gen, {"bits": 0}, "bits"),
        (kernels.dpf_gen, {"bits": 63}, "bits"),
        (kernels.dpf_gen, {"roots0": ROOTS[:-1]}, "roots0"),
        (kernels.dpf_gen, {"alpha": ALPHA.astype(">u8")}, "alpha"),
        (kernels.dpf_bit, {"party": 2}, "party"),
        (kernels.dpf_bit, {"bits": 10}, "cw"),
        (kernels.dpf_whole, {"bits": 10}, "cw"),
        (kernels.dpf_whole, {"bits": 21}, "bits"),
        (kernels.dpf_bit, {"points": POINTS[:, 1:].copy()}, "points"),
        (kernels.dpf_table, {"start": 0.5}, "start"),
        (kernels.dpf_table, {"table": np.zeros(513, np.int64)}, "table"),
        (kernels.onehot_gen, {"lane": 12}, "lane"),
        (kernels.onehot_sum, {"group": 4}, "group"),
        (kernels.onehot_sum, {"group": 0}, "group"),
        (kernels.onehot_sum, {"bits": 21}, "bits"),
        (kernels.onehot_window, {"count": 0}, "count"),
        (kernels.onehot_window, {"count": 65}, "count"),
        (kernels.separable_gen, {"bits": 17}, "bits"),
        (kernels.separable_gen, {"low_bits": 21}, "low_bits"),
        (kernels.separable_gen, {"lane_bytes": 3}, "lane_bytes"),
        (kernels.separable_gen, {"lane_bytes": 9}, "lane_bytes"),
        (kernels.separable_gen, {"payload": np.zeros((4, 9), np.int64)}, "payload must have 1 to 8 lanes"),
        (kernels.separable_gen, {"payload": np.zeros((4, 0), np.int64)}, "payload must have 1 to 8 lanes"),
        (kernels.separable_gen, {"payload": PAYLOAD[:2]}, "payload"),
        (kernels.separable_eval, {"first": -5}, "first"),
        (kernels.separable_eval, {"first": 3}, "first"),
        (kernels.separable_eval, {"first": 0.0}, "first"),
        (kernels.separable_eval, {"tables": ROWS[:, :2].copy()}, "tables"),
        (kernels.separable_eval, {"tables": ROWS[:0]}, "tables"),
        (kernels.separable_eval, {"tables": np.zeros((9, 4, 3), np.int32)}, r"1 to 2\^bits distances"),
        (kernels.separable_eval, {"tables": np.zeros((2, 4, 9), np.int32)}, "1 to 8 lanes"),
        (kernels.separable_eval, {"tables": ROWS[..., :1].copy()}, "far"),
        (kernels.separable_eval, {"far": LINE[:2]}, "far"),
        (kernels.separable_eval, {"last": LAST[:, :17].copy()}, "last"),
        (kernels.separable_eval, {"bits": 2}, "cw"),
        (kernels.powers_gen, {"bits": 65}, "bits"),
        (kernels.powers_gen, {"bits": 6}, "high must be below bits"),
        (kernels.powers_gen, {"low": 1}, "low"),
        (kernels.powers_gen, {"low": 6}, "low must be below high"),
        (kernels.powers_gen, {"lanes": 5}, "lanes"),
        (kernels.powers_gen, {"step": 9}, "step leaves a lane"),
        (kernels.powers_eval, {"low": 4}, "cw"),
        (kernels.powers_eval, {"high": 7}, "values"),
        (kernels.powers_eval, {"lanes": 2}, "values"),
        (kernels.powers_eval, {"halves": 3}, "halves"),
        (kernels.powers_eval, {"numerator": 0}, "numerator"),
        (kernels.powers_eval, {"scale": 49}, r"scale must keep the power"),
        (kernels.powers_eval, {"index": ALPHA[1:].copy()}, "index"),
        (kernels.pack, {"bits": 0}, "bits"),
        (kernels.pack, {"bits": 65}, "bits"),
        (kernels.unpack, {"bits": 0}, "bits"),
        (kernels.spread, {"bits": 65}, "bits"),
        (kernels.spread, {"count": N - 1}, "data"),
        (kernels.unpack, {"count": N - 1}, "data"),
        (kernels.unpack, {"bits": 25}, "data"),
        (kernels.ring_matmul, {"b": np.zeros((1, 3, 4), np.uint64)}, r"\bb must"),
        (kernels.ring_matmul, {"b": np.zeros((2, 4, 4), np.uint64)}, r"\bb must"),
        (kernels.ring_matmul, {"b": np.zeros((), np.uint64)}, r"\bb must"),
    ],
)
def test_single_faults_are_refused(
    function: Callable[..., Any], change: dict[str, Any], message: str
) -> None:
    good = next(arguments for known, arguments in GOOD if known == function)
    with pytest.raises(ValueError, match=message):
        function(*{**good, **change}.values())
