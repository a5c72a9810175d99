"""What a query costs is said before it is asked: exact bytes, and seconds where this machine was measured."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_decoder
from deployment import Deployment, in_this_process

from privinf import speed
from privinf.cli import main
from privinf.models.sharing import bundle
from privinf.protocols import kernels
from privinf.protocols.contract import QueryShape
from privinf.protocols.cost import NETWORKS, Cost
from privinf.sdk import costs

SHAPE = QueryShape("embed", 1, 96)
LONG = " ".join(["calm"] * 22)  # 90 tokens
SLOW = speed.Speed(
    speed.Rate(0.5, 2e-9),
    speed.Rate(0.25, 1e-9),
    speed.Rate(0.125, 4e-9),
    kernels.default().name,
    "2026-01-01",
)


@pytest.fixture(autouse=True)
def measured_here() -> None:
    """What was measured is read here, unlike in other tests."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No machine's own speed has a say."""
    monkeypatch.setenv("PRIVINF_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def measured(cache: Path) -> None:
    cache.mkdir()
    (cache / "speed.json").write_text(json.dumps(asdict(SLOW)))


@pytest.fixture
def here(encoder: Path, shared: Path, tmp_path: Path) -> Iterator[Deployment]:
    """Return the shared model served by this process."""
    with in_this_process(encoder, shared, tmp_path) as deployment:
        yield deployment


def sizes(shared: Path, shape: QueryShape = SHAPE) -> tuple[int, int]:
    """What the dealer will send for a query, counted by the dealer itself."""
    queries = bundle.dealer_program(shared / "dealer").queries
    assert queries is not None
    return queries.sizes(shape)


def document(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main([*words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_bytes_are_exact_and_seconds_follow_from_rates(
    shared: Path, measured: None, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(capsys, "plan", str(shared), "--tokens", "96")
    first, second = sizes(shared)
    assert (found["offline_bytes_party0"], found["offline_bytes_party1"]) == (first, second)
    rounds, total = found["rounds"], first + second
    assert found["compute"] == {
        "seconds": {
            "deal": 0.5 * rounds + 2e-9 * total,
            "prepare": 0.25 * rounds + 1e-9 * total,
            "answer": 0.125 * rounds + 4e-9 * total,
        },
        "measured": "2026-01-01",
        "kernels": kernels.default().name,
        "file": str(cache / "speed.json"),
    }
    assert found["delivery_seconds"]["wan"] == max(first, second) / NETWORKS["wan"].bandwidth


def test_a_machine_that_was_not_measured_says_so(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert document(capsys, "plan", str(shared))["compute"] is None
    assert main(["plan", str(shared)]) == 0
    assert "computed: not measured on this machine; --measure" in capsys.readouterr().out


@pytest.mark.parametrize("kept", ["", "{}", "[]", '{"deal": 3}', '{"deal": {"round": "x", "byte": 0}}'])
def test_a_damaged_file_counts_as_not_measured(cache: Path, kept: str) -> None:
    cache.mkdir()
    (cache / "speed.json").write_text(kept)
    assert speed.stored() is None


def test_other_kernels_count_as_not_measured(measured: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert speed.stored() == SLOW
    monkeypatch.setattr(kernels, "default", lambda: SimpleNamespace(name="others"))
    assert speed.stored() is None


@pytest.mark.slow
def test_measuring_is_kept_and_named(shared: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(shared), "--measure", "--json"]) == 0
    output = capsys.readouterr()
    assert f"kept in {cache / 'speed.json'}" in output.err
    found = speed.stored()
    assert found is not None
    assert found.kernels == kernels.default().name
    assert all(min(asdict(rate).values()) >= 0 for rate in (found.deal, found.prepare, found.answer))
    assert all(seconds > 0 for seconds in json.loads(output.out)["compute"]["seconds"].values())


def test_a_cache_that_cannot_be_written_is_named(
    shared: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        speed, "_run", lambda shape: (Cost(1, 1, shape.tokens, 1), dict.fromkeys(speed.PHASES, 1.0))
    )
    cache.write_text("a file where a folder should be")
    assert main(["plan", str(shared), "--measure"]) == 74
    assert "speed.json cannot be written" in capsys.readouterr().err


def test_sharing_names_the_length_that_needs_gigabytes(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(costs, "LARGE", 15_000_000)
    assert main(["share", str(encoder), "--out", str(tmp_path / "shared"), "--json"]) == 0
    output = capsys.readouterr()
    first, second = sizes(tmp_path / "shared", QueryShape("embed", 1, 128))
    assert sum(sizes(tmp_path / "shared")) < 15_000_000 < first + second
    assert json.loads(output.out)["large"] == {"128": first + second}
    assert "A 128-token text needs 0.0 GB of preparation data; longer texts need more." in output.err


@pytest.mark.slow
def test_sharing_a_decoder_names_the_prompt_that_needs_gigabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tiny_decoder.checkpoint(tmp_path / "model", "llama"), tmp_path / "shared"
    monkeypatch.setattr(costs, "LARGE", 20_000_000)
    assert main(["share", str(source), "--out", str(out), "--json"]) == 0
    output = capsys.readouterr()
    reads = [
        document(capsys, "plan", str(out), "--prompt", str(rows), "--generated", "1")["prompt"][
            "offline_bytes"
        ]
        for rows in (64, 128)
    ]
    assert reads[0] < 20_000_000 < reads[1]
    assert json.loads(output.out)["large"] == {"128": reads[1]}
    said = f"A 128-token prompt needs {reads[1] / 1e9:.1f} GB of preparation data; longer prompts need more."
    assert said in output.err


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_small_models_are_shared_without_a_word(
    encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    source = encoder if kind == "encoder" else tiny_decoder.checkpoint(tmp_path / "model", "llama")
    assert main(["share", str(source), "--out", str(tmp_path / "shared"), "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["large"] == {}
    assert "needs" not in output.err


@pytest.mark.processes
def test_a_client_is_warned_once_of_a_length_that_needs_gigabytes(
    private: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = sum(sizes(private.shared))
    monkeypatch.setattr(costs, "LARGE", total)
    with private.client() as client:
        said = rf"a query of 96 tokens needs {total / 1e9:.1f} GB of preparations, .* `privinf plan`"
        with pytest.warns(costs.CostWarning, match=said):
            client.embed([LONG])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            client.embed([LONG])
            client.embed(["calm"])
        monkeypatch.setattr(costs, "LARGE", total + 1)
    with private.client() as client, warnings.catch_warnings():
        warnings.simplefilter("error")
        client.embed([LONG])


def test_a_client_is_warned_of_a_deadline_that_cannot_be_met(here: Deployment, measured: None) -> None:
    with here.client() as client:
        cost = costs.query_cost(client._backend._asked("embed").bundle, SHAPE)
        wanted = costs.expected(cost, SLOW, NETWORKS["lan"])
        with pytest.warns(costs.CostWarning, match=f"takes about {wanted:.0f} s unless one is ready"):
            client.embed([LONG], timeout=wanted - 1)
    with here.client() as client, warnings.catch_warnings():
        warnings.simplefilter("error")
        client.embed([LONG], timeout=wanted + 1)


def test_the_command_line_warns_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "LARGE", 1)
    shown: list[str] = []
    monkeypatch.setattr(
        "privinf.cli._run", lambda _: shown.append(warnings.formatwarning("m", costs.CostWarning, "f", 1))
    )
    usual = warnings.formatwarning
    main([])
    assert shown == ["privinf: CostWarning: m\n"]
    assert warnings.formatwarning is usual
