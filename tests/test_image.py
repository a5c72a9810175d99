"""The image is built from files that are enough: every package is copied, and the wheel of those files is whole."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


@pytest.fixture(scope="module")
def context() -> ModuleType:
    """deploy/image_context.py."""
    spec = importlib.util.spec_from_file_location("image_context", ROOT / "deploy" / "image_context.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_package_is_copied_and_nothing_else(context: ModuleType) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    folders = {"privinf", *SETUPTOOLS["package-dir"].values()}
    copied = {source.rstrip("/") for source in context.copied(dockerfile) if source.endswith("/")}
    assert copied - {"deploy/wheels"} == folders
    for folder in folders:
        assert f"COPY {folder}/ {folder}/" in dockerfile.splitlines()


def test_what_the_image_installs_is_pinned(context: ModuleType) -> None:
    installs = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if "pip install" in line]
    assert installs
    assert all("--constraint requirements.lock" in line for line in installs)
    assert Path("requirements.lock") in set(context.files(ROOT))
    locked = {line.partition("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for wanted in (*project["dependencies"], *project["optional-dependencies"]["node"]):
        assert re.split("[^a-z-]", wanted)[0] in locked, wanted


def test_every_module_and_data_file_reaches_the_build(context: ModuleType) -> None:
    given = set(context.files(ROOT))
    for folder in ("privinf", *SETUPTOOLS["package-dir"].values()):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".pyi", ".typed", ".cpp", ".h", ".txt"):
                assert path.relative_to(ROOT) in given, path


def test_no_key_test_or_compiled_file_reaches_the_build(context: ModuleType, tmp_path: Path) -> None:
    ignored = context.Ignored((ROOT / ".dockerignore").read_text())
    for name in (
        "tests/test_cli.py",
        ".git/config",
        ".venv/bin/python",
        "shared-model/party0/weights.safetensors",
        "privinf/party0.key",
        "parties/ca.pem",
        "models/__pycache__/fold.pyc",
        "protocols/kernels/_native.so",
        "deploy/ask.py",
    ):
        assert Path(name) in ignored, name
    assert Path("privinf/equivariant/attacks/view.py") not in ignored


@pytest.mark.parametrize(
    ("rules", "path", "out"),
    [
        ("*", "a/b", True),
        ("*\n!a", "a/b", False),
        ("*\n!a\na/b", "a/b", True),
        ("*\n!a\n**/*.so", "a/c/d.so", True),
        ("**/x", "x", True),
        ("a/*.py", "a/b/c.py", False),
        ("# *", "a", False),
        ("a?", "ab/c", True),
    ],
)
def test_rules_are_read_as_container_tools_read_them(
    context: ModuleType, rules: str, path: str, out: bool
) -> None:
    assert (Path(path) in context.Ignored(rules)) is out


@pytest.mark.slow
def test_the_wheel_of_what_the_image_is_given_is_whole(context: ModuleType, tmp_path: Path) -> None:
    """Built from those files alone, every module of it imports, away from the checkout."""
    pytest.importorskip("torch")
    context.main(tmp_path / "context")
    command = [sys.executable, "-c", _BUILD, str(tmp_path)]
    uncompiled = os.environ | {
        "CC": "false",
        "CXX": "false",
    }  # the kernels are minutes, and optional to a wheel
    subprocess.run(
        command, cwd=tmp_path / "context", env=uncompiled, check=True, capture_output=True, timeout=200
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    done = subprocess.run(
        [sys.executable, "-P", "-c", _IMPORT, str(tmp_path / "installed")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == sorted(SETUPTOOLS["packages"])


_BUILD = """
import sys
from setuptools.build_meta import build_wheel
print(build_wheel(sys.argv[1]))
"""

_IMPORT = """
import importlib, pkgutil, sys
sys.path.insert(0, sys.argv[1])
import privinf
assert privinf.__file__.startswith(sys.argv[1]), privinf.__file__
names = {"privinf"}
for found in pkgutil.walk_packages(privinf.__path__, "privinf."):
    if found.name.rpartition(".")[2] != "__main__":
        importlib.import_module(found.name)
    names |= {found.name} if found.ispkg else set()
print(*sorted(names), sep="\\n")
"""


def test_what_the_image_check_takes_from_the_tests_is_there() -> None:
    script = (ROOT / "deploy" / "image_check.sh").read_text(encoding="utf-8")
    (folder,) = re.findall(r'sys\.path\.insert\(0, "(.+)"\)', script)
    after = script[script.index(folder) :].splitlines()[1:]
    (name,) = (line.split()[1] for line in after if line.startswith("import "))
    assert (ROOT / folder / f"{name}.py").is_file()
