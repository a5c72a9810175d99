"""The smoke test of a GPU machine is right where it runs, finds what is wrong, and says why where it cannot run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checkout
import device_ring
import numpy as np
import pytest
import run
import smoke_cases
import torch
from smoke_cases import Case, every_case

ROOT = checkout.ROOT
NAMES = [case.name for case in every_case(smoke_cases.SMALL)]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason=run.why_not("cuda") or "")


def by_name() -> dict[str, Case]:
    """Return the small cases, with the functions of the device as they are now."""
    return {case.name: case for case in every_case(smoke_cases.SMALL)}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The script sets one as well."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    return by_name()


def test_names_are_distinct(cases: dict[str, Case]) -> None:
    assert len(NAMES) == len(cases) > 50


@pytest.mark.fast_cases(8)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_cuda])])
def test_device_has_the_right_bits(cases: dict[str, Case], name: str, device: str) -> None:
    assert cases[name].verdict(device)


@pytest.mark.fast_cases(12)
@pytest.mark.parametrize("name", NAMES)
def test_cpu_has_the_right_bits(cases: dict[str, Case], name: str) -> None:
    """Where the expectation is not the CPU's own result, the CPU that is timed must meet it as well."""
    case = cases[name]
    if case.expected is not None:
        np.testing.assert_array_equal(case.cpu(*case.inputs), case.expected)


@pytest.mark.gpu
@needs_cuda
def test_whole_script_on_a_gpu(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tests/gpu_smoke/run.py"), "--json", str(tmp_path / "out.json")]
    assert subprocess.run(command, timeout=280).returncode == run.RIGHT
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["device"]["type"] == "cuda"
    assert len(document["times"]) == len(NAMES)


MISTAKES = {
    "shift_right": (lambda x, count: x >> count, "right shift by 12"),
    "signed": (lambda x, bits: device_ring.low(x, bits), "sign of 52 bits extended"),
    "low": (lambda x, bits: x, "reduction mod 2^48"),
    "opened": (lambda mine, theirs, bits: mine + theirs, "opening of 33 bits"),
    "ring_matmul_limbs": (lambda a, b, bits: a[..., :1] @ b[:, :1], "product, linear, mod 2^40"),
}


@pytest.mark.parametrize("function", MISTAKES)
def test_mistakes_of_a_device_are_found(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    mistake, name = MISTAKES[function]
    assert by_name()[name].verdict("cpu")
    monkeypatch.setattr(device_ring, function, mistake)
    assert not by_name()[name].verdict("cpu")


def failing(_: object) -> list[Case]:
    """Return a right case, a wrong one and one that the device cannot run."""
    x = np.arange(4, dtype=np.uint64)

    def refuse(_: object) -> Any:
        raise RuntimeError("no such kernel")

    def more(a: Any) -> Any:
        return a + 1

    return [
        Case("right", (x,), more, more),
        Case("wrong", (x,), more, lambda a: a),
        Case("refused", (x,), refuse, more),
    ]


def test_a_failed_check_decides_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setattr(smoke_cases, "every_case", failing)
    path = tmp_path / "out.json"
    assert run.main(["--device", "cpu", "--repeat", "2", "--json", str(path)]) == run.WRONG
    document = json.loads(path.read_text())
    assert [(check["name"], check["ok"]) for check in document["checks"]] == [
        ("right", True),
        ("wrong", False),
        ("refused", False),
    ]
    assert document["checks"][2]["error"] == "RuntimeError: no such kernel"
    assert [row["name"] for row in document["times"]] == ["right"]
    assert "3 checks on cpu, 2 failed" in capsys.readouterr().err


@pytest.mark.slow
def test_without_a_gpu_it_is_skipped_with_a_reason() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/gpu_smoke/run.py")],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == run.SKIPPED
    assert done.stdout.startswith("skipped: torch ")


@pytest.mark.parametrize("package", ["torch", "numpy"])
def test_missing_packages_are_a_reason(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert run.why_not("cpu") == f"{package} is not installed"


# No installation of ours, and nothing that torch or NumPy do not bring themselves.
ON_A_BARE_MACHINE = """
import runpy, sys
sys.meta_path[:] = [f for f in sys.meta_path if not getattr(f, "__module__", "").startswith("__editable__")]
for name in ("cryptography", "grpc", "google", "safetensors", "tokenizers", "transformers", "rich"):
    sys.modules[name] = None
sys.argv = [sys.argv[1], "--device", "cpu", "--small", "--repeat", "1"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    ours = {m.__file__ for n, m in sys.modules.items() if n.startswith(("privinf", "benchmarks"))}
    print(*ours, sep="\\n", file=sys.stderr)
"""


@pytest.mark.slow
def test_a_bare_machine_runs_it(tmp_path: Path) -> None:
    """A copy of the sources alone: the kernels are the reference, and nothing comes from elsewhere."""
    left_out = shutil.ignore_patterns("*.so", "__pycache__", "results", "models")
    for folder in ("privinf", "protocols", "benchmarks", "tests/gpu_smoke"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=left_out)
    script = tmp_path / "tests" / "gpu_smoke" / "run.py"
    command = [sys.executable, "-I", "-c", ON_A_BARE_MACHINE, str(script)]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=200)
    assert done.returncode == run.RIGHT, done.stderr
    document = json.loads(done.stdout)
    assert document["machine"]["kernels"] == "reference"
    assert len(document["checks"]) == len(document["times"]) == len(NAMES)
    files = [line for line in done.stderr.splitlines() if line.endswith(".py")]
    assert files
    assert all(Path(file).is_relative_to(tmp_path) for file in files)
