"""The campaigns of faults, load and hostile callers, small: each runs to its end, and says what it should."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")  # the toy model is shared with ranges that torch measures

from benchmarks.harness.site import TEXTS, Site
from benchmarks.measure import faults, hostile, load
from benchmarks.measure.faults import Fault

pytestmark = pytest.mark.processes
WIRES = ("client-party0", "client-party1", "party0-dealer", "party0-party1", "party1-dealer")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return the servers that all campaigns harm."""
    with Site(tmp_path_factory.mktemp("site"), 4, ahead=1) as running:
        yield running


def test_a_few_faults_are_survived_and_a_campaign_goes_on_where_it_ended(site: Site) -> None:
    saved: list[dict[str, Any]] = []
    first = faults.campaign(site, 1, 5, 1, {}, saved.append)
    assert (first["wrong"], first["broken"]) == (0, [])
    assert first["right"] > 0
    assert first["end"]["back"], first["end"]
    again = json.loads(json.dumps(saved[-1]))
    second = faults.campaign(site, 2, 5, 1, again, saved.append)
    assert [one["seed"] for one in second["bursts"]] == [5, 6]
    assert second["right"] > first["right"]


def test_every_kind_of_fault_is_drawn_and_a_seed_draws_the_same() -> None:
    drawn = [faults.draw(seed, WIRES) for seed in range(200)]
    assert {fault.kind for burst in drawn for fault in burst} == set(faults.KINDS)
    assert {fault.where for burst in drawn for fault in burst} == {*WIRES, "dealer", "party0", "party1"}
    assert drawn[7] == faults.draw(7, WIRES)


def test_each_kind_of_fault_can_happen(site: Site) -> None:
    with site.client(0) as client:
        for kind, where in (
            ("kill", "dealer"),
            ("stop", "party1"),
            ("cut", "party0-dealer"),
            ("full disk", "party0"),
            ("slow link", "client-party1"),
        ):
            Fault(kind, where, 0.0, 0.1).happen(site)
        asked = faults.Asked()
        assert any(asked.ask(site, client, 1) for _ in range(20)), asked
        assert asked.wrong == 0


def test_a_wrong_answer_is_seen() -> None:
    site = object.__new__(Site)
    site.expected = np.eye(len(TEXTS))
    assert site.right(1, site.expected[1:2])
    assert not site.right(1, site.expected[2:3])


def test_two_clients_are_measured_against_one(site: Site) -> None:
    found = load.campaign(site, 2, 2.0)
    alone, both, again = found["phases"]
    assert (alone["clients"], both["clients"], again["clients"]) == (1, 2, 1)
    assert sum(both["each"]) == both["answers"] > 0
    assert both["wrong"] == 0
    assert found["ratio"] > 0
    assert load.failures(found | {"ratio": 0.5})[0].startswith("throughput is 0.50")


def test_few_hostile_callers_leave_others_answered(site: Site) -> None:
    found = hostile.campaign(site, 5, 1, 20)
    assert {one["role"] for one in found["floods"]} == {"dealer", "party0", "party1"}
    assert {one["call"] for one in found["floods"]} >= {"Infer", "Generate", "Session", "Create", "Passes"}
    assert not any("OK" in one["ended"] for one in found["floods"] if one["call"] != "Attest")
    for name in ("after_floods", "silent", "bare", "at_last"):
        assert found[name]["answered_after"] is not None, found
    found["floods"][0]["grown"] = 11e6
    assert "grew by 11.0 MB" in hostile.failures(found)[0]
