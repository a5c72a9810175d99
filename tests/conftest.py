"""What all tests share: which cases the fast run leaves out, and that a test without torch skips itself."""

from __future__ import annotations

import gc
import inspect
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

# Tests run side by side, and threads that spin for one another's products take the processors from other tests.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# A shell that starts the tests in the background has them ignore interrupts, and so would what they start.
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    and threading.current_thread() is threading.main_thread()
):
    signal.signal(signal.SIGINT, signal.default_int_handler)
pytest.register_assert_rewrite("privinf.protocols.testing")  # before any test imports it
# A busy machine stops a test for as long as it likes: none has a deadline.
settings.register_profile("whole", deadline=None)
settings.register_profile("fast", max_examples=5, deadline=None)  # of `make test-fast`
settings.load_profile("whole")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow all cases of a test but as many as its marker `fast_cases` says, evenly spread."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for same in cases.values():
        if (fast := same[0].get_closest_marker("fast_cases")) is None:
            continue
        kept = {round(i * (len(same) - 1) / max(1, fast.args[0] - 1)) for i in range(fast.args[0])}
        for place, item in enumerate(same):
            if place not in kept:
                item.add_marker("slow")


def pytest_collection_finish() -> None:
    """Leave what was imported and collected, which stays to the end, out of every later search for garbage."""
    gc.freeze()


@pytest.fixture(autouse=True)
def measured_here() -> Iterator[None]:
    """Forget how fast this machine was found to be: clients would warn of queries that tests make dear on purpose."""
    with pytest.MonkeyPatch.context() as patched:  # of its own: a test's is undone before other fixtures end
        patched.setattr("privinf.speed.stored", lambda: None)
        yield


class WithoutTorch:
    """Finds torch where there is none: importing it skips the test, or the module, that does."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name == "torch" else None

    def create_module(self, spec: ModuleSpec) -> None:
        here = Path(__file__).parent
        calls = [Path(frame.filename) for frame in inspect.stack(0)[1:]]
        importer = next(call for call in calls if "importlib" not in str(call))
        if importer.name == "reference.py":  # the reference kernels do without, and more slowly
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        name = next((call.relative_to(here) for call in calls if call.is_relative_to(here)), "it")
        pytest.skip(f"{name} needs torch", allow_module_level=True)

    def exec_module(self, module: ModuleType) -> None:
        raise AssertionError("torch was imported")


if find_spec("torch") is None:
    sys.meta_path.append(WithoutTorch())
