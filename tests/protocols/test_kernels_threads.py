"""Several threads in one call: the bytes of one thread, and work that is really shared out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from privinf.protocols import kernels
from privinf.protocols.kernels import registry
from privinf.protocols.kernels.checked import SIGNATURES
from privinf.protocols.testing.kernels import draws, same

# So many elements that a call is worth several threads, and no whole number of batches for each
LONG = {"n": 3 * 72 * 57, "columns": 2050, "k": 72, "m": 71}

pytestmark = pytest.mark.skipif(kernels.default().name == "reference", reason="the reference has one thread")


@pytest.fixture(autouse=True)
def one_thread_afterwards() -> Iterator[None]:
    yield
    kernels.use_threads(1)


@pytest.mark.parametrize("kernel", list(SIGNATURES))
def test_threads_change_no_byte(kernel: str) -> None:
    run = getattr(kernels.default(), kernel)
    for arguments in draws(SIGNATURES[kernel], 2, LONG, kernels.default()):
        kernels.use_threads(1)
        wanted = run(*arguments)
        for threads in (2, 3, 7):
            kernels.use_threads(threads)
            same(run(*arguments), wanted)


def test_no_element_needs_no_thread() -> None:
    kernels.use_threads(3)
    none = np.zeros(0, dtype=np.uint64)
    cw, sign = kernels.default().dpf_gen(bytes(96), none, 9, *np.zeros((2, 0, 16), dtype=np.uint8))
    assert (cw.shape, sign.shape) == ((3, 0, 16), (0,))


def _own_part(threads: int) -> float:
    """The calling thread's part of the processor time that a long call takes."""
    kernels.use_threads(threads)
    alpha, roots = np.arange(200_000, dtype=np.uint64), np.zeros((2, 200_000, 16), dtype=np.uint8)
    own, whole = time.thread_time(), time.process_time()
    kernels.default().dpf_gen(bytes(96), alpha, 18, *roots)
    return (time.thread_time() - own) / (time.process_time() - whole)


def test_the_work_is_shared_out() -> None:
    """By processor time, which other load does not change."""
    assert _own_part(4) < 0.5 < 0.75 < _own_part(1)


def test_by_default_there_are_as_many_as_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(registry, "native_threads", asked.append)
    monkeypatch.setattr(registry, "processors", lambda: 5)
    kernels.use_threads()
    kernels.use_threads(3)
    assert asked == [5, 3]


@pytest.mark.parametrize(
    ("quota", "wanted"), [("max 100000", 8), ("200000 100000", 2), ("20000 100000", 1), ("9900000 100000", 8)]
)
def test_a_containers_quota_counts(
    quota: str, wanted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.setattr(registry, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert registry.processors() == wanted


def test_the_reference_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(registry, "native_threads", asked.append)
    monkeypatch.setattr(registry, "_missing", lambda: "not built")
    kernels.use_threads(3)
    assert not asked
