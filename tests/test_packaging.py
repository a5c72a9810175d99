"""What an installation holds: every package, one top-level name, and an import that costs nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]


def test_every_package_is_shipped() -> None:
    """setuptools leaves out silently what an explicit list does not name."""
    folders = {"privinf": "privinf"} | SETUPTOOLS["package-dir"]
    found = {
        ".".join([name, *init.parent.relative_to(ROOT / folder).parts])
        for name, folder in folders.items()
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert found == set(SETUPTOOLS["packages"])


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {"privinf", *SETUPTOOLS["package-dir"].values()}
    for folder in folders:
        for module in (ROOT / folder).rglob("*.py"):
            assert (module.parent / "__init__.py").is_file(), module


def test_models_may_import_nothing_of_privinf_but_errors() -> None:
    """The contract names what is forbidden, so a new module beside the errors has to be named too."""
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    forbidden = next(
        c["forbidden_modules"] for c in contracts if c.get("source_modules") == ["privinf.models"]
    )
    entries = {
        p.stem for p in (ROOT / "privinf").iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()
    }
    others = entries - {"__init__", "__main__", "errors"} | {"parties"}
    assert set(forbidden) == {f"privinf.{name}" for name in others}


def test_what_users_see_first_is_a_short_list() -> None:
    """At most 15 modules lie beside the rooms of privinf/."""
    assert len(list((ROOT / "privinf").glob("*.py"))) <= 15


def test_protos_are_no_package() -> None:
    """With an __init__.py, proto/ would shadow another library's `proto`."""
    assert not list((ROOT / "proto").rglob("__init__.py"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what a wheel would hold, but for the compiled extension."""
    out = tmp_path_factory.mktemp("build")
    if int(metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("pyproject.toml needs setuptools 77")
    commands = ["egg_info", "--egg-base", str(out), "build_py", "--build-lib", str(out / "lib")]
    code = f"import sys; sys.argv[1:] = {commands!r}; exec(open('setup.py').read())"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    (out / "said").write_text(done.stdout + done.stderr)
    return out / "lib"


@pytest.mark.slow
def test_setuptools_has_nothing_to_complain_of(built: Path) -> None:
    """Such as a folder of data that it takes for a package."""
    said = (built.parent / "said").read_text()
    assert "running build_py" in said
    assert "would be ignored" not in said
    assert "DeprecationWarning" not in said


@pytest.mark.slow
def test_one_top_level_name(built: Path) -> None:
    assert [p.name for p in built.iterdir()] == ["privinf"]
    assert all(name.split(".")[0] == "privinf" for name in SETUPTOOLS["packages"])


@pytest.mark.slow
def test_files_that_are_no_modules_are_shipped(built: Path) -> None:
    shipped = {p.relative_to(built / "privinf").as_posix() for p in built.rglob("*") if p.is_file()}
    data = {f"data/{p.name}" for p in (ROOT / "privinf" / "data").iterdir()}
    texts = {p.relative_to(ROOT).as_posix() for p in (ROOT / "models" / "text" / "data").iterdir()}
    sources = {
        f"protocols/kernels/{p.name}"
        for p in (ROOT / "protocols" / "kernels").iterdir()
        if p.suffix in (".cpp", ".h")
    }
    assert data
    assert {"models/text/data/calibration.txt", "models/text/data/varied.txt"} <= texts
    assert sources
    stubs = {f"v1/{path.name}" for path in (ROOT / "privinf" / "v1").glob("*.pyi")}
    assert stubs
    assert {"py.typed", *data, *texts, *sources, *stubs} <= shipped
    assert not [name for name in shipped if name.endswith((".so", ".pyc"))]


def _imported(statement: str) -> set[str]:
    """Top-level names of what a fresh interpreter has loaded after a statement."""
    code = (
        f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    )
    return set(json.loads(done.stdout))


HEAVY = {"torch", "transformers", "grpc", "numpy", "tokenizers", "cryptography"}


def test_import_loads_nothing_heavy() -> None:
    assert not _imported("import privinf; privinf.__version__") & HEAVY


def test_shares_need_no_framework() -> None:
    names = (
        "protocols.masked.party",
        "protocols.testing.lockstep",
        "speed",
        "models.programs.texts",
        "models.sharing.bundle",
    )
    modules = ", ".join(f"privinf.{name}" for name in names)
    assert not _imported(f"import {modules}") & {"torch", "transformers", "grpc", "pytest", "hypothesis"}


def test_sources_are_not_importable_by_their_folders() -> None:
    code = (
        "import importlib.util as u; print([n for n in ('protocols', 'models', 'parties') if u.find_spec(n)])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd="/", check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_unknown_names_are_refused() -> None:
    import privinf

    with pytest.raises(AttributeError, match="no attribute 'Klient'"):
        _ = privinf.Klient
    assert set(privinf.__all__) == {*privinf._HOMES, "__version__"}


def test_names_that_are_loaded_on_first_use_are_listed() -> None:
    import privinf

    assert (
        {"Client", "AsyncClient", "Tls", "RangeError", "__version__"}
        <= set(privinf.__all__)
        <= set(dir(privinf))
    )


def test_version_is_the_projects() -> None:
    import privinf

    assert privinf.__version__ == PROJECT["project"]["version"] == metadata.version("privinf")


def test_no_family_is_named_outside_its_file() -> None:
    """But where a format of another project is named after one, and sentence-transformers' own files are."""
    families = {path.stem for path in (ROOT / "models/families").glob("[!_]*.py")}
    assert {"bert", "gpt2", "llama", "mpnet", "vit"} <= families
    theirs = (
        "models/source/sentences.py",
        "privinf/formats/rotary.py",
        "privinf/formats/vocabularies.py",
    )
    named = re.compile(rf"""["']({"|".join(families)})["']""")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for folder in ("models", "privinf", "parties", "protocols")
        for path in (ROOT / folder).rglob("*.py")
        if path.parent != ROOT / "models/families" and not str(path.relative_to(ROOT)).startswith(theirs)
        for match in named.finditer(path.read_text("utf-8"))
    ]
    assert found == []


def test_no_file_is_long_and_no_folder_is_full() -> None:
    """Product files have 400 lines at most, and 15 files at the top of models/, parties/ and privinf/."""
    folders = [ROOT / name for name in ("models", "parties", "privinf", "protocols")]
    files = [path for folder in folders for path in folder.rglob("*.py") if "_pb2" not in path.name]
    assert [path for path in files if len(path.read_text("utf-8").splitlines()) > 400] == []
    assert all(len(list(folder.glob("*.py"))) <= 15 for folder in folders)
