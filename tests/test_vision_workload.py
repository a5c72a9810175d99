"""Mixes of attention that are measured: as many dear heads as the ratio says, where the paper's searches keep them."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from benchmarks.workloads.vision import CIFAR, TINY, mixed


@pytest.mark.parametrize(("mu", "dear"), [(0.1, 3), (0.3, 8), (0.5, 14), (0.7, 20)])
def test_a_mix_has_so_many_dear_heads(mu: float, dear: int) -> None:
    layers = mixed(CIFAR, mu)
    assert [len(layer) for layer in layers] == [4] * 7
    assert sum(layer.count("relu_softmax") for layer in layers) == dear
    kept = [layer.count("relu_softmax") for layer in layers]
    assert kept[2] >= kept[0] >= kept[6]
    assert sum(layer.count("relu_softmax") for layer in mixed(TINY, 0.5)) == 54
