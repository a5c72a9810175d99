"""Trials: what is tried first, what is left early, and a search that was killed goes on as if it had not been."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("optuna")
pytest.importorskip("torch")

import searching
from optuna import Study
from optuna.trial import TrialState
from searching import SPACE, Judge, accuracy

from privinf.errors import ConfigError, ConnectError, ListenError
from privinf.search.space import Space
from privinf.search.storage import joined, journal, served, study
from privinf.search.trials import Report, Rules, Worker, adopt
from privinf.train.architecture import Architecture
from privinf.train.prices import Price

TRIALS = 16


def searched(folder: Path, judge: Judge, **rules: float) -> Study:
    made = study(journal(folder))
    adopt(made)
    Worker(made, SPACE, judge, Rules(trials=TRIALS, **rules), folder / "turn").work()
    return made


def outcomes(made: Study) -> list[object]:
    return [(t.state, t.params, t.values, t.user_attrs.get("history")) for t in made.get_trials()]


def test_seconds_and_the_papers_choices_come_first() -> None:
    first = SPACE.first()
    assert first[0] == {"heads0": 0, "heads1": 0, "heads2": 0}
    assert {"heads0": 2, "heads1": 2, "heads2": 2} in first
    assert len(first) == len({tuple(counts.items()) for counts in first})
    assert SPACE.made(first[0]).name == "ss-ss-ss"
    assert SPACE.made({"heads0": 1, "heads1": 1, "heads2": 2}).name == "rs-sr-rr"


def test_layers_and_rows_as_a_whole() -> None:
    space = Space(2, ((0.9,), (0.1,)), (Price(1, 0),) * 2, ((0.1, 0.9), (0.5, 0.4)), (Price(0.5, 0.1),) * 2)
    assert space.most() == {"heads0": 1, "heads1": 1, "rows0": 2, "rows1": 2}
    made = space.made({"heads0": 1, "heads1": 0, "rows0": 1, "rows1": 0})
    assert made == Architecture((("relu_softmax",) * 2, ("scaling",) * 2), (("linear", "gelu"), "linear"))
    assert all(set(counts) == set(space.most()) for counts in space.first())


def test_a_search_finds_what_is_best(tmp_path: Path) -> None:
    made = searched(tmp_path, Judge())
    trials = made.get_trials()
    assert len(trials) == TRIALS
    names = {trial.user_attrs["architecture"] for trial in made.best_trials}
    assert {"ss-ss-ss", "rr-ss-ss", "rr-rr-rr"} <= names
    for trial in made.best_trials:
        assert trial.user_attrs["counted"] == {"rounds": 10.0}
        assert trial.values[1] == trial.user_attrs["seconds"]


def test_what_loses_to_cheaper_ones_is_left(tmp_path: Path) -> None:
    made = searched(tmp_path, Judge())
    left = [t for t in made.get_trials() if t.state == TrialState.PRUNED]
    assert left
    for trial in left:
        assert trial.user_attrs["why"] == "cheaper ones are more accurate"
        assert len(trial.user_attrs["history"]) == 3
    assert not [
        t for t in searched(_new(tmp_path), Judge(), margin=1.0).get_trials() if t.state == TrialState.PRUNED
    ]


def _new(folder: Path) -> Path:
    (folder / "other").mkdir()
    return folder / "other"


def test_what_is_too_dear_is_never_trained(tmp_path: Path) -> None:
    judge = Judge()
    made = searched(tmp_path, judge, most_seconds=3.0)
    assert "rr-rr-rr" not in judge.trained
    assert "it takes longer than allowed" in {t.user_attrs.get("why") for t in made.get_trials()}


def test_what_fits_no_ring_fails_alone(tmp_path: Path) -> None:
    made = searched(tmp_path, Judge(broken=["rr-ss-ss"]))
    failed = [t for t in made.get_trials() if t.state == TrialState.FAIL]
    assert {t.user_attrs["why"] for t in failed} == {"layer0.attn: values too large"}
    assert len(made.get_trials()) == TRIALS


class Killed(Exception):
    """In place of a signal."""


class Dying(Judge):
    """Dies in its n-th training, after two epochs."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self._last = last

    def train(self, architecture: Architecture, report: Report) -> float | None:
        if len(self.trained) == self._last:
            report([accuracy(architecture) / 4])
            raise Killed
        return super().train(architecture, report)


def test_a_search_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    whole = outcomes(searched(tmp_path / "whole", Judge()))
    for last in (2, 3, 5):
        with pytest.raises(Killed):
            searched(tmp_path / "broken", Dying(last))
    assert outcomes(searched(tmp_path / "broken", Judge())) == whole


@pytest.mark.parametrize("address", ["localhost", "localhost:", ":1", "localhost:0", "localhost:99999"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ConfigError, match="host:port"):
        joined(address)


def test_nobody_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privinf.search.storage.WAIT", 0.05)
    with pytest.raises(ConnectError, match="no search serves its trials"):
        joined(f"127.0.0.1:{_port()}")


def test_a_server_takes_no_port_that_is_taken_and_no_folder_of_another_kind(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ListenError, match="cannot be listened on"), served(tmp_path, address):
            pass
    study(journal(tmp_path))
    with pytest.raises(ConfigError, match="begun without --serve"), served(tmp_path, address):
        pass
    (tmp_path / "trials.jsonl").rename(tmp_path / "trials.db")
    with pytest.raises(ConfigError, match="begun with --serve"):
        journal(tmp_path)


def _port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.mark.slow
@pytest.mark.processes
def test_two_workers_share_a_server(tmp_path: Path) -> None:
    address = f"127.0.0.1:{_port()}"
    with served(tmp_path, address) as storage:
        made = study(storage)
        command = [sys.executable, searching.__file__, address, str(TRIALS)]
        workers = [subprocess.Popen(command) for _ in range(2)]
        assert [worker.wait(120) for worker in workers] == [0, 0]
        trials = made.get_trials()
    assert TRIALS <= len(trials) <= TRIALS + 1  # without a common file the last turn may be taken twice
    assert {t.state for t in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert len({t.user_attrs["architecture"] for t in trials if t.state == TrialState.COMPLETE}) > 4
