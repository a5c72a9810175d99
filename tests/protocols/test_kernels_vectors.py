"""Kernels give the known answers of tests/vectors/fss_*.json, and other answers for keys that were tampered with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from privinf.errors import ConfigError
from privinf.protocols.kernels import LEVELS, Kernels, load
from privinf.protocols.kernels.prg import Use, hash_blocks

pytestmark = pytest.mark.fast_cases(6)  # of each test

VECTORS = Path(__file__).parent.parent / "vectors"
Case = dict[str, Any]
U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]


def _read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((VECTORS / f"fss_{name}.json").read_text())
    return document


TREE = bytes.fromhex(_read("dpf")["tree"])


def _cases(name: str) -> list[Any]:
    return [pytest.param(case, id=f"{name}-{number}") for number, case in enumerate(_read(name)["cases"])]


@pytest.fixture(params=LEVELS)
def kernels(request: pytest.FixtureRequest) -> Kernels:
    try:
        return load(request.param)
    except ConfigError as error:
        pytest.skip(str(error))


def _numbers(values: Any) -> U64:
    return np.array(values, np.uint64)


def _roots(case: Case) -> list[U8]:
    return [np.frombuffer(bytes.fromhex(text), np.uint8).reshape(-1, 16) for text in case["roots"]]


def _words(case: Case) -> U8:
    return np.frombuffer(bytes.fromhex(case["cw"]), np.uint8).reshape(-1, len(case["alpha"]), 16)


def _flipped(array: NDArray[Any], change: Case) -> NDArray[Any]:
    raw = bytearray(array.tobytes())
    raw[change["byte"]] ^= change["xor"]
    return np.frombuffer(bytes(raw), array.dtype).reshape(array.shape)


def _agree(evaluate: Callable[[int], NDArray[Any]], wanted: list[Any]) -> None:
    for party in (0, 1):
        assert evaluate(party).tolist() == wanted[party]


def test_blocks_are_hashed_under_the_key_of_their_use() -> None:
    document = _read("dpf")
    assert {_read(name)["tree"] for name in ("dpf", "onehot", "separable", "powers")} == {TREE.hex()}
    block = np.frombuffer(bytes.fromhex(document["hash"]["block"]), np.uint64).reshape(1, 2)
    found = [hash_blocks(TREE, use, block).tobytes().hex() for use in Use]
    assert found == document["hash"]["by_use"]
    assert len(set(found)) == len(Use)


@pytest.mark.parametrize("case", _cases("dpf"))
def test_point_functions(kernels: Kernels, case: Case) -> None:
    bits, roots, cw, points = case["bits"], _roots(case), _words(case), _numbers(case["points"])
    found, sign = kernels.dpf_gen(TREE, _numbers(case["alpha"]), bits, *roots)
    np.testing.assert_array_equal(found, cw)
    assert sign.tolist() == case["sign"]
    _agree(lambda b: kernels.dpf_bit(TREE, b, roots[b], cw, bits, points), case["bit"])
    _agree(lambda b: kernels.dpf_prefix(TREE, b, roots[b], cw, bits, points), case["prefix"])
    index, table, start = _numbers(case["index"]), np.array(case["table"], np.int64), case["start"]
    _agree(lambda b: kernels.dpf_table(TREE, b, roots[b], cw, bits, index, start, table), case["table_sums"])


@pytest.mark.parametrize("case", _cases("dpf"))
def test_tampered_point_functions(kernels: Kernels, case: Case) -> None:
    roots, points = _roots(case), _numbers(case["points"])
    assert case["tampered_prefix"]
    for change in case["tampered_prefix"]:
        bad = _flipped(_words(case), change)
        assert change["outputs"] != case["prefix"]
        shares = [kernels.dpf_prefix(TREE, b, roots[b], bad, case["bits"], points) for b in (0, 1)]
        assert [share.tolist() for share in shares] == change["outputs"]
        assert ((shares[0] ^ shares[1]) != (_numbers(case["alpha"]) <= points)).any()


@pytest.mark.parametrize("case", _cases("onehot"))
def test_one_hot_vectors(kernels: Kernels, case: Case) -> None:
    bits, lane, roots, cw = case["bits"], case["lane"], _roots(case), _words(case)
    np.testing.assert_array_equal(kernels.onehot_gen(TREE, _numbers(case["alpha"]), bits, lane, *roots), cw)
    points, index, group = _numbers(case["points"]), _numbers(case["index"]), case["group"]
    _agree(lambda b: kernels.onehot_point(TREE, b, roots[b], cw, bits, lane, points), case["point"])
    _agree(lambda b: kernels.onehot_sum(TREE, b, roots[b], cw, bits, lane, index, group), case["sums"])


@pytest.mark.parametrize("case", _cases("onehot"))
def test_tampered_one_hot_vectors(kernels: Kernels, case: Case) -> None:
    bits, lane, roots, points = case["bits"], case["lane"], _roots(case), _numbers(case["points"])
    assert case["tampered_point"]
    for change in case["tampered_point"]:
        bad = _flipped(_words(case), change)
        assert change["outputs"] != case["point"]
        shares = [kernels.onehot_point(TREE, b, roots[b], bad, bits, lane, points) for b in (0, 1)]
        assert [share.tolist() for share in shares] == change["outputs"]
        total = (shares[0] + shares[1]) % np.uint64(2**lane)
        assert (total != (points == _numbers(case["alpha"]))).any()


def _separable_sums(kernels: Kernels, case: Case, words: U8, lanes: U8) -> list[list[int]]:
    index, tables = _numbers(case["index"]), np.array(case["tables"], np.int32)
    size, far = (case["bits"], case["low_bits"], case["lane_bytes"]), np.array(case["far"], np.int64)
    keys = [(party, roots, words, lanes, *size, index) for party, roots in enumerate(_roots(case))]
    return [kernels.separable_eval(TREE, *key, case["first"], tables, far).tolist() for key in keys]


def _separable_key(case: Case) -> tuple[U8, U8]:
    raw = [np.frombuffer(bytes.fromhex(case[name]), np.uint8) for name in ("cw", "last")]
    return raw[0].reshape(case["bits"], -1, 16), raw[1].reshape(len(case["mask"]), -1)


@pytest.mark.parametrize("case", _cases("separable"))
def test_payload_vectors(kernels: Kernels, case: Case) -> None:
    words, lanes = _separable_key(case)
    given = (_numbers(case["mask"]), case["bits"], case["low_bits"], np.array(case["payload"], np.int64))
    dealt = kernels.separable_gen(TREE, *given, case["lane_bytes"], *_roots(case))
    np.testing.assert_array_equal(dealt[0], words)
    np.testing.assert_array_equal(dealt[1], lanes)
    assert _separable_sums(kernels, case, words, lanes) == case["eval"]


@pytest.mark.parametrize("case", _cases("separable"))
def test_tampered_payload_vectors(kernels: Kernels, case: Case) -> None:
    words, lanes = _separable_key(case)
    keys = [(_flipped(words, change), lanes, change) for change in case["tampered_cw"]]
    keys += [(words, _flipped(lanes, change), change) for change in case["tampered_last"]]
    assert len(keys) == 4
    for bad_words, bad_lanes, change in keys:
        assert change["outputs"] != case["eval"]
        assert _separable_sums(kernels, case, bad_words, bad_lanes) == change["outputs"]


def _power_sums(kernels: Kernels, case: Case, words: U8, values: U64) -> list[list[int]]:
    size = tuple(case[name] for name in ("bits", "low", "high", "lanes", "fine", "step"))
    curve, index = tuple(case[name] for name in ("halves", "numerator", "scale")), _numbers(case["index"])
    keys = [(party, roots, words, values, *size, *curve, index) for party, roots in enumerate(_roots(case))]
    return [kernels.powers_eval(TREE, *key).tolist() for key in keys]


def _power_key(case: Case) -> tuple[U8, U64]:
    n, octaves = len(case["mask"]), case["high"] - case["low"]
    raw = [np.frombuffer(bytes.fromhex(case[name]), np.uint8) for name in ("cw", "values")]
    return raw[0].reshape(-1, n, 16), raw[1].view(np.uint64).reshape(octaves, n, case["lanes"])


@pytest.mark.parametrize("case", _cases("powers"))
def test_powers(kernels: Kernels, case: Case) -> None:
    words, values = _power_key(case)
    size = tuple(case[name] for name in ("bits", "low", "high", "lanes", "fine", "step"))
    dealt = kernels.powers_gen(TREE, _numbers(case["mask"]), *size, *_roots(case))
    np.testing.assert_array_equal(dealt[0], words)
    np.testing.assert_array_equal(dealt[1], values)
    assert _power_sums(kernels, case, words, values) == case["eval"]


@pytest.mark.parametrize("case", _cases("powers"))
def test_tampered_powers(kernels: Kernels, case: Case) -> None:
    words, values = _power_key(case)
    keys = [(_flipped(words, change), values, change) for change in case["tampered_cw"]]
    keys += [(words, _flipped(values, change), change) for change in case["tampered_values"]]
    assert len(keys) == 4
    for bad_words, bad_values, change in keys:
        assert change["outputs"] != case["eval"]
        assert _power_sums(kernels, case, bad_words, bad_values) == change["outputs"]
