"""The benchmark: its rows, fits, tables and plots from JSON alone, and one tiny workload over real processes."""

from __future__ import annotations

import ast
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from privinf.cli import bench as command
from privinf.cli import main
from privinf.errors import ConfigError
from privinf.protocols import prg, ring
from privinf.protocols.masked.wires import Share
from privinf.protocols.testing import lockstep

sys.path.append(str(Path(__file__).parent.parent))
# Scripts that run in other environments, without the project.
sys.path.append(str(Path(__file__).parent.parent / "benchmarks" / "baselines"))

import gpt2_step

from benchmarks.baselines import decode_peers
from benchmarks.harness import ours, role, rows, suite
from benchmarks.harness.peers import Environments
from benchmarks.harness.rows import MeasureError, Row, row_of
from benchmarks.harness.suite import Job
from benchmarks.measure import growth
from benchmarks.report import plots, table
from benchmarks.workloads import gates
from benchmarks.workloads.encoder_layer import Size

ROOT = Path(__file__).parent.parent
ROW = row_of([3.0, 1.0, 2.0], workload=suite.LAYER, system="privinf", network="loopback", phase="total")
ABOUT = {
    "date": "2026-01-01",
    "machine": {"cores": 2, "memory_gb": 8.0, "kernels": "native", "load_before": 0.1},
    "commit": {"id": "0" * 40, "changed": False},
}


def result_of(*found: Row) -> dict[str, Any]:
    return {"title": "title", "workload_note": "note", "rows": list(found), **ABOUT}


def everything() -> list[Row]:
    """A row of each system for the layer, a gate, and a model in two batch sizes."""
    out = [replace(ROW, phase=phase, bytes=12_300_000, rounds=21) for phase in rows.PHASES]
    out += [replace(ROW, system=system, phase="online") for system in rows.SYSTEMS[2:]]
    out += [replace(ROW, network="wan+dealer"), replace(ROW, workload=table.SUSTAINED)]
    out += [replace(ROW, workload="gelu-128x3072", phase=phase) for phase in rows.PHASES]
    return out + [replace(ROW, workload="minilm-32", tokens=32, batch=batch) for batch in (1, 8)]


def test_a_row_holds_median_and_extremes() -> None:
    assert (ROW.median_s, ROW.min_s, ROW.max_s, ROW.repeats) == (2.0, 1.0, 3.0, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"phase": "both"},
        {"bytes": "12"},
        {"bytes": -1},
        {"median_s": 5.0},
        {"repeats": 0},
        {"system": None},
        {"surplus": 1},
    ],
)
def test_a_row_of_another_form_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(MeasureError):
        rows.parse(asdict(ROW) | wrong)


def test_a_row_without_a_field_is_refused() -> None:
    raw = asdict(ROW)
    raw.pop("rounds")
    with pytest.raises(MeasureError, match="and no others"):
        rows.parse(raw)


def test_rows_survive_their_file(tmp_path: Path) -> None:
    rows.write(tmp_path / "x.json", "title", "note", [ROW], ABOUT)
    assert rows.read(tmp_path / "x.json") == result_of(ROW)
    (tmp_path / "y.json").write_text('{"rows": 3}')
    with pytest.raises(MeasureError, match=r"y\.json"):
        rows.read(tmp_path / "y.json")


def test_turns_are_merged_by_the_median_of_medians() -> None:
    turns = [replace(ROW, median_s=m, min_s=m - 1, max_s=m + 1, max_abs_error=m) for m in (2.0, 9.0, 4.0)]
    other = replace(ROW, phase="online")
    merged, kept = rows.merged([*turns, other])
    assert (merged.median_s, merged.min_s, merged.max_s) == (4.0, 1.0, 10.0)
    assert (merged.repeats, merged.max_abs_error) == (9, 9.0)
    assert kept == other


def test_an_exponent_is_found_again() -> None:
    found = growth.fit([1, 2, 4, 8], [3 * x**1.5 for x in (1, 2, 4, 8)])
    assert found == {
        "exponent": 1.5,
        "factor": pytest.approx(3.0),
        "off_by": pytest.approx(1.0),
    }
    assert growth.fit([32, 64, 128], [21, 21, 21])["exponent"] == 0.0


def test_two_points_have_no_exponent() -> None:
    points = [{"tokens": t, "rounds": 21, "online_s": None if t == 32 else 1.0} for t in (32, 64, 128)]
    (only,) = growth.fits("tokens", points, ("rounds", "online_s"))
    assert (only["quantity"], only["points"]) == ("rounds", 3)


def test_declared_costs_grow_as_they_must() -> None:
    """A layer's rounds do not depend on its rows, and a batch costs what its texts cost."""
    one, four = (growth.declared(Size(1, 64, 8, batch)) for batch in (1, 4))
    assert one["rounds"] == four["rounds"]
    assert four["online_bytes"] == pytest.approx(4 * one["online_bytes"], rel=0.01)


def test_the_table_names_every_system_and_figure() -> None:
    said = table.section(result_of(*everything()))
    assert all(name in said for key, name in table.NAMES.items() if key != "privinf-plaintext")
    assert "2.00 (1.00-3.00)" in said
    assert "12.3" in said
    assert "dealer's links too" in said
    assert "| MiniLM, privinf | 32 | 8 |" in said
    assert "4.00 |" in said  # eight texts in two seconds


def test_only_what_lies_between_the_markers_is_rewritten() -> None:
    text = "before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n"
    assert table.rewritten(text, "bench", "new") == text.replace("old", "new")


def test_a_document_without_markers_is_refused() -> None:
    with pytest.raises(MeasureError, match="markers"):
        table.rewritten("no place for figures", "bench", "new")


def test_a_result_without_the_small_model_is_refused() -> None:
    with pytest.raises(MeasureError, match="minilm-32"):
        table.small(result_of(ROW))


def test_committed_rows_have_the_form_of_rows() -> None:
    """Of those files whose rows are of a whole bench; others have a form of their own, and say of what they are."""
    found = [
        path
        for path in (ROOT / "benchmarks" / "results").glob("*.json")
        if "workload_note" in json.loads(path.read_text(encoding="utf-8"))
    ]
    assert ROOT / "benchmarks" / "results" / "bench.json" in found
    assert all(rows.read(path)["title"] for path in found)


@pytest.mark.parametrize("module", ["plots", "table"])
def test_documents_are_made_from_json_alone(module: str) -> None:
    """Whoever draws or writes figures imports nothing that could measure one."""
    tree = ast.parse((ROOT / "benchmarks" / "report" / f"{module}.py").read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    ours_ = {name for name in imported if name and name.split(".")[0] in ("benchmarks", "privinf")}
    assert ours_ <= {"benchmarks.harness.machine", "benchmarks.harness.rows"}


@pytest.mark.slow
def test_plots_are_drawn_from_a_folder_of_results(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows.write(tmp_path / "bench.json", "title", "note", everything(), ABOUT)
    sizes = [asdict(Size(1, 64, tokens)) for tokens in (8, 16, 32)]
    declared = [
        size | {"axis": "tokens", "rounds": 21, "online_bytes": size["tokens"] * 10} for size in sizes
    ]
    fits = growth.fits("tokens", declared, growth.DECLARED)
    document = {"declared": declared, "measured": [sizes[0] | {"online_s": 1.0}], "fits": fits}
    (tmp_path / "growth.json").write_text(json.dumps(document))
    drawn = plots.draw_all(tmp_path, tmp_path / "figures")
    assert {"layer.png", "gates.png", "batches.png", "growth-tokens.png"} <= set(drawn)
    assert all((tmp_path / "figures" / name).stat().st_size > 5000 for name in drawn)


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("name", gates.NAMES)
def test_every_gate_of_the_benchmark_is_right(name: str, tmp_path: Path) -> None:
    work = role.build(name, tmp_path)
    stores = tuple(role.party_program(work, party).queries.store for party in (0, 1))
    inputs = [
        Share(f.shape, f.bits, f.scale, ring.encode(value, f.scale, f.bits))
        for f, value in zip(work.inputs, work.values(), strict=True)
    ]
    seeds = prg.fresh_seed(), prg.fresh_seed()
    ran = lockstep.run(work.run, inputs, seeds, weights=(*stores, role.dealer_program(work).queries.store))
    first, second = (ring.pack(share.value, work.result.bits) for share in ran.results)
    assert work.name == name
    assert work.error(first, second) <= work.bound
    assert (ran.tallies[0].total().rounds, ran.left) == (work.cost.rounds, (0, 0))


def test_a_wrong_answer_is_a_failure_and_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(name: str, **_: Any) -> list[Row]:
        if name == "gelu-128x3072":
            raise MeasureError("the answer is off by 3")
        return [replace(ROW, workload=name)]

    monkeypatch.setattr(ours, "measure", wrong)
    jobs = [Job("gelu-128x3072", "privinf"), Job(suite.LAYER, "privinf", turns=2)]
    result = suite.run(jobs, Environments())
    assert [row.workload for row in result["rows"]] == [suite.LAYER]
    assert result["rows"][0].repeats == 6
    assert "off by 3" in result["failed"][0]["why"]


def test_an_absent_peer_is_left_out_and_it_is_said(tmp_path: Path) -> None:
    nowhere = Environments(tmp_path / "spu", tmp_path / "crypten")
    result = suite.run([Job(suite.LAYER, "spu-aby3"), Job("minilm-32", "crypten")], nowhere)
    assert result["rows"] == []
    assert "is absent: make peers" in result["skipped"][0]["why"]
    assert result["skipped"][1]["why"] == "this system runs the layer and the gates"


def test_the_default_covers_every_system_network_and_gate() -> None:
    jobs = suite.default_jobs()
    assert {job.system for job in jobs} == set(rows.SYSTEMS)
    assert {job.network for job in jobs} >= set(rows.NETWORKS)
    assert {job.workload for job in jobs} >= {*gates.NAMES, suite.LAYER, "minilm-32"}
    turns = list(suite.in_turn(jobs))
    layer = [job.system for job in turns if (job.workload, job.network) == (suite.LAYER, "loopback")]
    assert layer == [*rows.SYSTEMS, *rows.SYSTEMS]  # one after the other, then all again


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ((["gelu-1x1"], [], []), "no workload 'gelu-1x1'"),
        ((["minilm-many"], [], []), "no workload"),
        (([], ["moon"], []), "no network 'moon'"),
        (([], [], ["spu"]), "no system 'spu'"),
    ],
)
def test_unknown_choices_are_refused_by_name(chosen: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        suite.choose(*chosen, None)


def test_the_command_lists_what_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in (*gates.NAMES, *rows.SYSTEMS, *rows.NETWORKS, suite.LAYER))


def test_the_command_needs_a_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "CHECKOUT", tmp_path)
    assert main(["bench"]) == ConfigError.exit_code
    assert "in a checkout of the sources" in capsys.readouterr().err


@pytest.mark.processes
def test_a_tiny_layer_is_measured_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, out = "layers-1-w64-t8-b1", tmp_path / "out.json"
    code = main(
        ["bench", name, "--system", "privinf", "--network", "lan", "--repeat", "1", "--json", str(out)]
    )
    assert code == 0, capsys.readouterr().err
    assert name in capsys.readouterr().out
    result = rows.read(out)
    by_phase = {row.phase: row for row in result["rows"]}
    work = role.build(name, tmp_path)
    assert set(by_phase) == set(rows.PHASES)
    assert (by_phase["online"].rounds, by_phase["online"].bytes) == (work.cost.rounds, work.cost.online)
    assert by_phase["offline"].bytes == max(work.cost.prep0, work.cost.prep1)
    assert by_phase["online"].median_s >= work.cost.rounds * 0.0005  # every round crosses the relay once
    assert all(row.peak_bytes and row.leaves_out for row in by_phase.values())
    assert by_phase["total"].max_abs_error is not None


def gpt2_blocks(layers: list[Any]) -> Any:
    """A GPT-2 of these layers alone, in float64: no positions, no last norm."""
    from transformers import GPT2Config, GPT2Model

    kind = {"activation_function": "gelu", "attn_implementation": "eager"}
    model = (
        GPT2Model(GPT2Config(n_layer=len(layers), vocab_size=2, bos_token_id=0, eos_token_id=0, **kind))
        .double()
        .eval()
    )
    model.wpe.weight.data.zero_()
    model.ln_f = torch.nn.Identity()
    for block, w in zip(model.h, layers, strict=True):
        linear = {
            "qkv": block.attn.c_attn,
            "mix": block.attn.c_proj,
            "up": block.mlp.c_fc,
            "down": block.mlp.c_proj,
        }
        parts = {name: (part.weight, part.bias) for name, part in linear.items()}
        for name, (weight, bias) in parts.items():
            weight.data, bias.data = (torch.from_numpy(w[f"{name}_{k}"]).double() for k in "wb")
        for name, norm in (("norm1", block.ln_1), ("norm2", block.ln_2)):
            norm.weight.data = torch.from_numpy(w[f"{name}_scale"]).double()
            norm.bias.data = torch.from_numpy(w[f"{name}_shift"]).double()
    return model


@pytest.mark.slow
def test_the_peers_decode_step_is_gpt2s() -> None:
    """Row after row with a growing cache, what SPU is checked against is a causal pass of transformers' GPT-2."""
    _, layers = gpt2_step.make_inputs(gpt2_step.Step(2, 1))
    rows = np.random.default_rng(1).normal(size=(5, 768)).astype(np.float32)
    answers = []
    for x in rows:
        answer, *new = gpt2_step.reference(x[None], layers)
        answers.append(answer)
        for i, w in enumerate(layers):
            w |= {name: np.vstack([w[name], new[2 * i + j]]) for j, name in enumerate(("keys", "values"))}
    with torch.inference_mode():
        whole = gpt2_blocks(layers)(inputs_embeds=torch.from_numpy(rows).double()[None]).last_hidden_state
    np.testing.assert_allclose(np.stack(answers), whole[0].numpy(), atol=1e-9)


def test_folded_weights_give_the_same_decode_step() -> None:
    x, layers = gpt2_step.make_inputs(gpt2_step.Step(1, 9))
    folded = gpt2_step.fold(layers[0])
    for name in ("norm1", "norm2"):
        folded |= {f"{name}_scale": np.ones(768, np.float32), f"{name}_shift": np.zeros(768, np.float32)}
    for name in ("qkv_w", "qkv_b"):  # the reference divides the scores itself
        folded[name][..., :768] *= 8.0
    np.testing.assert_allclose(gpt2_step.reference(x, [folded]), gpt2_step.reference(x, layers), atol=1e-4)


def test_a_second_layer_costs_what_it_adds() -> None:
    one = replace(ROW, workload=decode_peers.workload(1), system="spu-aby3", bytes=10, rounds=4)
    two = replace(one, workload=decode_peers.workload(2), median_s=3.5, max_s=4.0, bytes=19, rounds=7)
    (only,) = decode_peers.per_layer([one, two, replace(one, network="wan"), ROW])
    assert (only["system"], only["network"]) == ("spu-aby3", "loopback")
    assert only["alone"] == {"seconds": 2.0, "bytes": 10, "rounds": 4}
    assert only["second"] == {"seconds": 1.5, "bytes": 9, "rounds": 3}


def test_the_decode_step_of_an_absent_peer_is_skipped(tmp_path: Path) -> None:
    nowhere = decode_peers.DecodeEnvironments(tmp_path / "spu", tmp_path / "crypten")
    result = decode_peers.measure(nowhere, [decode_peers.DecodeJob(decode_peers.workload(1), "spu-aby3")])
    assert (result["rows"], result["per_layer"], result["failed"]) == ([], [], [])
    assert "is absent: make peers" in result["skipped"][0]["why"]


@pytest.mark.processes
@pytest.mark.skipif(not Environments().spu.exists(), reason="make peers")
def test_a_decode_step_of_spu_is_right() -> None:
    job = decode_peers.DecodeJob(decode_peers.workload(1, 9), "spu-semi2k", repeat=1)
    result = decode_peers.measure(decode_peers.DecodeEnvironments(), [job])
    assert (result["failed"], len(result["rows"])) == ([], 1)
    (row,) = result["rows"]
    assert (row.tokens, row.phase, row.system) == (1, "total", "spu-semi2k")
    assert row.max_abs_error <= gpt2_step.BOUND
    assert row.bytes < 4e6  # the weights are not opened again
    assert result["versions"]["spu"]
