"""Workers as processes: they share a search, end with it, and one that fails says why."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("optuna")
pytest.importorskip("matplotlib")
pytest.importorskip("torch")
pytest.importorskip("PIL.Image")

import photographs
from harness import wait_until

from privinf.search.run import search
from privinf.search.settings import Search
from privinf.search.workers import WorkerFailed
from privinf.speed import Rate, Speed
from privinf.train.checkpoint import FILE

pytestmark = [pytest.mark.slow, pytest.mark.processes]
SPEED = Speed(Rate(1e-3, 1e-9), Rate(1e-3, 1e-9), Rate(1e-3, 1e-9), "native", "2026-01-01")


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    monkeypatch.setenv("PRIVINF_HOME", str(tmp_path / "home"))
    recipe = photographs.recipe(photographs.folder(tmp_path / "images", 20), "optimisation.epochs=2")
    return Search(recipe, SPEED, network="wan", trials=6)


def test_two_workers_find_what_one_does(asked: Search, tmp_path: Path) -> None:
    """But for the order of trials, which decides what is drawn later: the first ones are the same."""
    first = replace(asked, trials=4)
    one, two = (search(first, tmp_path / name, workers=n) for name, n in (("one", 1), ("two", 2)))
    assert one.best == two.best
    assert (tmp_path / "two" / "worker1.log").read_text() == ""


def test_a_worker_that_fails_ends_the_search(asked: Search, tmp_path: Path) -> None:
    broken = tmp_path / "found" / "models" / "ss-ss"
    broken.mkdir(parents=True)
    (broken / FILE).write_bytes(b"nothing")
    with pytest.raises(WorkerFailed, match=r"worker \d ended with 65: .*damaged"):
        search(asked, tmp_path / "found", workers=2)


def test_a_killed_search_takes_its_workers_with_it_and_goes_on(asked: Search, tmp_path: Path) -> None:
    whole = search(asked, tmp_path / "whole")
    slow = ["--set", "optimisation.epochs=2"]
    told = [word for setting in photographs.TINY for word in ("--set", setting)] + slow
    command = [sys.executable, "-m", "privinf", "search", "tiny", "--network", "wan", "--trials", "6"]
    command += [*told, "--data", str(tmp_path / "images"), "--out", str(tmp_path / "found"), "--workers", "2"]
    with subprocess.Popen(command) as process:
        wait_until(lambda: len(list((tmp_path / "found" / "models").glob(f"*/{FILE}"))) >= 2)
        assert _at_work(tmp_path / "found") == 2
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: _at_work(tmp_path / "found") == 0)
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert {one["architecture"] for one in document["pareto"] + document["others"]} >= {
        one.architecture for one in whole.best
    }


def _at_work(folder: Path) -> int:
    """How many workers of a search there are."""
    count = 0
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = place.read_bytes().split(b"\0")
            count += b"privinf.search.worker" in words and str(folder).encode() in words
    return count
