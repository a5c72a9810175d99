"""The Python of the README runs as it is printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes
README = Path(__file__).parents[2] / "README.md"


def test_the_python_of_the_readme_runs(shared: Path, tmp_path: Path) -> None:
    """On a small model in place of MiniLM; it prints similarities, the diagonal of which is one."""
    (code,) = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "shared").symlink_to(shared)
    command = [sys.executable, "-P", "-W", "error", "-c", code]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    (first, _), (_, second) = re.findall(r"\[\[?\s*([\d.]+)\s+([\d.]+)\s*\]", ran.stdout)
    assert [float(first), float(second)] == pytest.approx([1.0, 1.0], abs=0.01)
