"""Keeps the name of the host out of what pytest-benchmark writes."""

from __future__ import annotations

from typing import Any

from benchmarks.harness import machine
from privinf.versions import versions


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    """Say of the machine what the other results say."""
    machine_info.clear()
    machine_info.update(machine.machine() | {"versions": versions(machine.PACKAGES)})
