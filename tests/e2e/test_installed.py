"""An installed package run within a checkout: its own code runs, and an error outlives its log."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import toy

import privinf
from privinf.errors import ConfigError, ConnectError, ModelError
from privinf.last_words import last_words
from privinf.local import CLIENT_FILE, LocalParties, environment

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 200


def _context() -> ModuleType:
    spec = importlib.util.spec_from_file_location("image_context", ROOT / "deploy" / "image_context.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of a wheel in an environment of its own; what it depends on comes from ours."""
    work = tmp_path_factory.mktemp("installed")
    _context().main(work / "context")
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(work)!r})"
    uncompiled = os.environ | {"CC": "false", "CXX": "false"}
    command = [sys.executable, "-c", build]
    subprocess.run(
        command, cwd=work / "context", env=uncompiled, check=True, capture_output=True, timeout=SECONDS
    )
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", work / "venv"], check=True, timeout=SECONDS
    )
    (packages,) = (work / "venv" / "lib").glob("python*/site-packages")
    (wheel,) = work.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    for kernel in (ROOT / "protocols" / "kernels").glob("*.so"):  # compiled by `make install`: minutes saved
        shutil.copy(kernel, packages / "privinf" / "protocols" / "kernels")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "ours.pth").write_text("\n".join(ours))
    script = work / "venv" / "bin" / "privinf"
    script.write_text(
        f"#!{work}/venv/bin/python\nimport sys\nfrom privinf.cli import main\nsys.exit(main())\n"
    )
    script.chmod(0o755)
    return script


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder whose privinf/ is half a package, as in a checkout, and says so when it is imported."""
    half = tmp_path / "checkout" / "privinf"
    half.mkdir(parents=True)
    (half / "__init__.py").write_text("raise SystemExit('the half of a checkout was imported')")
    return half.parent


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shared toy."""
    folder = tmp_path_factory.mktemp("toy")
    toy.share(toy.checkpoint(folder / "model"), folder / "shared")
    return folder / "shared"


@pytest.fixture
def strange(monkeypatch: pytest.MonkeyPatch, checkout: Path) -> Iterator[None]:
    """A shell in a checkout, with variables of some other server."""
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("PRIVINF_HEALTH_PORT", "1")
    monkeypatch.setenv("PRIVINF_LISTEN", "192.0.2.1:1")
    monkeypatch.setenv("PRIVINF_AHEAD", "many")
    return


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.usefixtures("strange")
def test_an_installed_package_serves_and_asks_from_within_a_checkout(
    installed: Path, shared: Path, tmp_path: Path
) -> None:
    work = tmp_path / "run"
    with subprocess.Popen(
        [installed, "up", shared, "--work", work, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as up:
        try:
            assert up.stdout is not None
            lines = iter(up.stdout.readline, "")
            document = "".join(iter(lambda: next(lines, "}\n"), "}\n")) + "}"
            settings = json.loads(document)
            asked = [
                installed,
                "embed",
                "--model",
                settings["model"],
                "--config",
                settings["config"],
                "--json",
                "sea",
            ]
            clean = {name: value for name, value in os.environ.items() if not name.startswith("PRIVINF_")}
            done = subprocess.run(asked, env=clean, capture_output=True, text=True, timeout=SECONDS)
            assert done.returncode == 0, done.stderr
            assert len(json.loads(done.stdout)["embeddings"]) == 1
        finally:
            up.send_signal(signal.SIGTERM)
            _, said = up.communicate(timeout=SECONDS)
    assert up.returncode == 0, said


@pytest.mark.processes
@pytest.mark.usefixtures("strange")
def test_servers_of_a_checkouts_folder_take_nothing_from_it(shared: Path, tmp_path: Path) -> None:
    with LocalParties(shared, tmp_path / "run") as local:
        for node in local.nodes.values():
            assert os.readlink(f"/proc/{node.process.pid}/cwd") == str(tmp_path / "run")
            variables = Path(f"/proc/{node.process.pid}/environ").read_bytes().split(b"\0")
            assert not [one for one in variables if one.startswith((b"PRIVINF_", b"PYTHON"))]


@pytest.mark.processes
def test_a_failed_start_says_why_without_its_log(shared: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(shared, tmp_path / "shared")
    (broken / "party1" / "weights.safetensors").unlink()
    with pytest.raises(
        ConnectError, match=r"party1 did not start: ModelError: .*weights\.safetensors"
    ) as failed:
        LocalParties(broken, tmp_path / "run").start()
    assert failed.value.exit_code == ModelError.exit_code  # as the server itself ends


def test_variables_of_python_and_of_ours_do_not_reach_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "PYTHONSTARTUP", "PRIVINF_LISTEN"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    given = environment()
    assert not [name for name in given if name.startswith(("PYTHON", "PRIVINF_"))]
    assert (given["MALLOC_ARENA_MAX"], given["PATH"]) == ("2", os.environ["PATH"])


def test_the_half_of_a_checkout_says_what_it_is(tmp_path: Path) -> None:
    """`python -m` puts the current folder first."""
    shutil.copytree(ROOT / "privinf", tmp_path / "privinf")
    command = [sys.executable, "-S", "-m", "privinf", "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "this is a folder of sources" in done.stderr
    assert privinf.__file__ is not None


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            '{"event": "serving"}\n{"event": "ended", "kind": "ListenError", "error": "in use"}\n',
            "ListenError: in use",
        ),
        ('{"event": "serving"}\nSegmentation fault\n', "its log ends with: serving | Segmentation fault"),
        ("", "it wrote no log"),
        ("x" * 100_000, "its log ends with: " + "x" * 600),
        ("[1]\n", "its log ends with: [1]"),
    ],
)
def test_last_words(tmp_path: Path, log: str, said: str) -> None:
    (tmp_path / "log").write_text(log)
    assert last_words(tmp_path / "log") == said
    assert "cannot be read" in last_words(tmp_path / "none")


def test_a_work_folder_is_one_runs_and_keeps_no_address_of_another(tmp_path: Path) -> None:
    """Who waits for client.toml must not read where servers listened that are gone."""
    (tmp_path / CLIENT_FILE).write_text('parties = ["127.0.0.1:1", "127.0.0.1:2"]\n')
    first, second = (LocalParties("nowhere", tmp_path) for _ in range(2))
    with first.alone():
        assert not (tmp_path / CLIENT_FILE).exists()
        (tmp_path / CLIENT_FILE).write_text("of the first")
        with pytest.raises(ConfigError, match="in use by another `privinf up`"), second.alone():
            pass
        assert (tmp_path / CLIENT_FILE).read_text() == "of the first"
    with second.alone():
        assert not (tmp_path / CLIENT_FILE).exists()


@pytest.mark.processes
def test_up_removes_an_old_client_file_also_where_it_cannot_start(tmp_path: Path) -> None:
    (tmp_path / CLIENT_FILE).write_text('parties = ["127.0.0.1:1", "127.0.0.1:2"]\n')
    command = [
        sys.executable,
        "-P",
        "-m",
        "privinf",
        "up",
        str(tmp_path / "nowhere"),
        "--work",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, "did not start" in done.stderr) == (ModelError.exit_code, True)
    assert not (tmp_path / CLIENT_FILE).exists()
