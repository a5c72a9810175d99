"""A generation that has used all of its session's tokens."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

import tiny_decoder as tiny
from deployment import DEADLINE, in_this_process

from privinf.errors import InputError
from privinf.sdk.client import Client
from privinf.sdk.room import RoomWarning


def _until_idle(client: Client) -> None:
    until = time.monotonic() + DEADLINE
    while any(status.sessions for status in client.status()):
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.slow
def test_a_full_session_says_that_it_is(tmp_path: Path) -> None:
    source = tiny.checkpoint(tmp_path / "tiny", "llama", layers=1)
    shared = tiny.share(source, tmp_path / "shared", max_tokens=24)
    with in_this_process(source, shared, tmp_path) as deployment:
        clear = tiny.Clear(deployment.source, deployment.shared)
        with deployment.client() as client:
            with pytest.warns(RoomWarning, match=f"max_new_tokens is 100, and {24 - 1 - 8 + 1} fit after"):
                answer = client.generate("calm", max_new_tokens=100)
            assert clear.agrees("calm", answer.tokens)
            ended = answer.tokens[-1] == tiny.ENDS["eos_token_id"]
            assert answer.finish_reason == ("eos" if ended else "full")
            assert (
                ended or len(answer.tokens) == 24 - 1 - 8 + 1
            )  # a first token, its prompt of 8 rows, one more
            _until_idle(client)
            with pytest.raises(InputError, match="the prompt has 20 tokens, and 16 fit"):
                client.generate("a" * 20)
