"""Times a BERT-base layer and its gates over real processes with pytest-benchmark, for `make bench` alone."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.harness import ours
from benchmarks.workloads import gates

ROUNDS = 3


@pytest.mark.processes
@pytest.mark.parametrize("name", ["bert-base-layer-128", *gates.NAMES])
def test_workload(name: str, benchmark: Any) -> None:
    """A query with its preparation made on demand; what it costs online stands in extra_info."""
    with ours.served(name) as session:
        samples: list[ours.Sample] = []
        benchmark.pedantic(lambda: samples.append(session.ask()), rounds=ROUNDS, warmup_rounds=1)
        last = samples[-1]
        benchmark.extra_info |= {
            "rounds": last.rounds,
            "online_bytes": last.online_bytes,
            "preparation_bytes": last.prep_bytes,
            "online_s": sorted(sample.online for sample in samples[1:])[ROUNDS // 2],
            "peak_bytes": session.peak("total"),
            "max_abs_error": max(sample.error for sample in samples),
        }
        assert (last.rounds, last.online_bytes) == (session.work.cost.rounds, session.work.cost.online)
