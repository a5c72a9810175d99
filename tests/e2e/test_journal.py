"""What both parties write down of what was opened: no name twice, and the same names at both."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import pytest

pytest.importorskip("torch")

import tiny_decoder as tiny
from deployment import DEADLINE, Deployment, in_this_process

from privinf.errors import DeadlineExceeded
from privinf.sdk.client import Client

Opened = dict[str, list[str]]  # what each generation opened, in order, by its preparation id


class Wrong:
    """Drafts that are mostly wrong, so that slots are dropped again and again."""

    def propose(self, ids: Sequence[int], count: int) -> Sequence[int]:
        return [(ids[-1] + place) % len(tiny.TOKENS) for place in range(count)]


@contextmanager
def _journalled(folder: Path, family: tiny.Family) -> Iterator[Deployment]:
    source = tiny.checkpoint(folder / "tiny", family, endless=True, layers=1 if family == "gpt2" else 2)
    settings = {f"party{number}": {"journal": folder / f"journal{number}"} for number in (0, 1)}
    shared = tiny.share(source, folder / "shared", max_tokens=96)
    with in_this_process(source, shared, folder, **settings) as deployment:
        yield deployment


def _idle(client: Client) -> None:
    until = time.monotonic() + DEADLINE
    while any(status.sessions for status in client.status()):
        assert time.monotonic() < until
        time.sleep(0.01)


def _read(folder: Path, party: int) -> Opened:
    lines = (folder / f"journal{party}").read_text().splitlines()
    assert len(lines) == len(set(lines))
    key = [line.split(" ", 1) for line in lines]
    return {name: [rest for _, rest in group] for name, group in groupby(key, key=lambda pair: pair[0])}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_no_name_is_opened_twice(tmp_path: Path, family: tiny.Family) -> None:
    with _journalled(tmp_path, family) as deployment, deployment.client() as client:
        client.generate(tiny.TEXTS[0], max_new_tokens=6)
        rejected = client.generate(tiny.TEXTS[2], max_new_tokens=8, draft=Wrong(), drafts=4)
        client.generate(tiny.TEXTS[2], max_new_tokens=4, draft=Wrong(), drafts=2, secure_argmax=True)
        client.generate(tiny.TEXTS[2], max_new_tokens=4, draft=Wrong(), drafts=2, hide_accepted=True)
        with client.stream(tiny.TEXTS[1], max_new_tokens=60) as stream:
            next(stream), next(stream)
        _idle(client)
        for _ in range(2):  # a failed generation is asked again, with the same words
            with pytest.raises(DeadlineExceeded):
                client.generate(tiny.TEXTS[1], max_new_tokens=60, timeout=0.01)
            _idle(client)
        whole = client.generate(tiny.TEXTS[1], max_new_tokens=3)
        _idle(client)
    assert rejected.stats.accepted < rejected.stats.drafted
    assert whole.stats.tokens == 3
    first, second = (_read(tmp_path, party) for party in (0, 1))
    assert sum(len(opened) for opened in first.values()) > 500
    for name in first.keys() & second.keys():
        common = min(len(first[name]), len(second[name]))
        assert first[name][:common] == second[name][:common]
    cut = sum(first.get(name) != second.get(name) for name in first.keys() | second.keys())
    assert cut <= 3  # those that were cancelled, or failed
    assert len(first.keys() & second.keys()) >= 6
