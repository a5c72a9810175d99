"""A party killed in the middle of a generation: a typed error, and a restart serves again."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

import tiny_decoder as tiny
from deployment import DEADLINE, of_processes, start_again

from privinf.errors import ConnectError
from privinf.local import LocalParties
from privinf.sdk.client import Client
from privinf.sdk.completions import Completion

pytestmark = pytest.mark.processes
PROMPT = tiny.TEXTS[3]


def _until_answered(client: Client) -> Completion:
    """Ask until the channels have found the new process; every failure on the way names a connection."""
    until = time.monotonic() + DEADLINE
    while True:
        try:
            return client.generate(PROMPT, max_new_tokens=3)
        except ConnectError:
            assert time.monotonic() < until, "never answered again"
            time.sleep(0.05)


def test_party1_is_killed(tmp_path: Path) -> None:
    source = tiny.checkpoint(tmp_path / "tiny", "gpt2", endless=True)
    shared = tiny.share(source, tmp_path / "shared")
    with LocalParties(shared, tmp_path / "run") as local:
        deployment = of_processes(source, shared, local)
        with deployment.client() as client:
            stream = client.stream(PROMPT, max_new_tokens=100)
            tokens = [next(stream) for _ in range(3)]
            local.nodes["party1"].process.kill()
            with pytest.raises(ConnectError) as caught:  # not DeadlineExceeded: it was not waited for
                tokens.extend(stream)
            assert caught.value.party == "party1"
            assert caught.value.session_id == tokens[0].stats.session_id
            assert len(tokens) < 100
            local.nodes["party1"].process.wait()
            start_again(local.nodes["party1"])
            answer = _until_answered(client)
            assert answer.tokens == tuple(tiny.Clear(source, shared).greedy(PROMPT, 3))
        survivors = [local.nodes[role].process.poll() for role in ("dealer", "party0")]
    assert survivors == [None, None]
