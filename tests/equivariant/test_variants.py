"""A variant of a session's key is used once, whatever is copied, refused or asked at the same time."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from serving import Wire, asking, client_of, converted, serving

from privinf.equivariant import variants
from privinf.equivariant.covering.convert import Converted
from privinf.equivariant.key import Key
from privinf.errors import (
    ConfigError,
    InputError,
    IntegrityError,
    MismatchError,
)
from privinf.v1 import equivariant_pb2 as pb


def copied(made: Converted, folder: Path) -> Converted:
    """The same with a client's part that may be damaged."""
    shutil.copytree(made.client, folder / "client")
    return Converted(folder / "client", made.server, 0.0, made.about)


def test_a_copied_folder_sends_no_row_under_a_used_cover(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "session", eos_token_id=None)
    copy, prompt = copied(made, tmp_path / "copy"), [1, 6] * 40
    with serving(made.server) as server, Wire(server.port) as wire:
        with client_of(made, wire.port) as client:
            client.generate(prompt, max_new_tokens=1)
        rows = len(wire.sent)
        assert rows > 80 * 4 * tiny_models.WIDTH
        with client_of(copy, wire.port) as client:
            with pytest.raises(InputError, match="opened before"):
                client.generate(prompt, max_new_tokens=1)
            assert len(wire.sent) - rows < 2000
            assert len(client.generate(prompt, max_new_tokens=1).tokens) == 1  # with the next variant


def test_variants_of_another_conversion(tmp_path: Path) -> None:
    made, other = (
        converted(tmp_path, "llama", "session"),
        converted(tmp_path / "2", "llama", "session", seed=9),
    )
    shutil.rmtree(made.client / "variants")
    shutil.copytree(other.client / "variants", made.client / "variants")
    with asking(made) as (client, _), pytest.raises(IntegrityError, match="do not belong to this key"):
        client.generate([1, 6])


def test_no_session_is_left(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "session", variants=2, eos_token_id=None)
    with asking(made) as (client, _):
        assert client.sessions_left == 2
        for left in (1, 0):
            client.generate([1, 6], max_new_tokens=2)
            assert client.sessions_left == left
        with pytest.raises(ConfigError, match="more --variants"):
            client.generate([1, 6], max_new_tokens=2)


def test_what_is_refused_costs_no_session(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "session", eos_token_id=None)
    with asking(made) as (client, _):
        for bad in ({"max_new_tokens": 0}, {"stop": [""]}, {"draft": "lookup"}):
            with pytest.raises(InputError):
                client.generate([1, 6], **bad)
        assert client.sessions_left == 4
    other = converted(tmp_path / "other", "llama", "session")
    with serving(other.server) as server, pytest.raises(MismatchError):
        client_of(made, server).generate([1, 6])
    assert variants.left(made.client) == 4


def test_a_variant_is_marked_before_the_server_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, heard = converted(tmp_path, "llama", "session"), list[bool]()
    first = variants.all_variants(made.client)[0]
    monkeypatch.setattr(variants.os, "fsync", lambda descriptor: heard.append(False))
    with asking(made) as (client, _):
        begin = client._backend._link.session

        def watched(opened: pb.CoveredOpen, timeout: float | None) -> Any:
            assert opened.id == Key.load(first).about.id
            heard.append((first / variants.MARK).exists())
            return begin(opened, timeout)

        monkeypatch.setattr(client._backend._link, "session", watched)
        client.generate([1, 6], max_new_tokens=2)
    assert heard[:3] == [False, False, True]  # the file, its folder, and only then the call


TAKEN = """
import sys
from pathlib import Path
from privinf.equivariant import variants
print(sum(variants.mark(path) for path in variants.all_variants(Path(sys.argv[1]))))
"""


def test_two_processes_share_no_variant(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "session", variants=40)
    words = [sys.executable, "-c", TAKEN, str(made.client)]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sum(int(process.communicate()[0]) for process in both) == 40
    assert not variants.left(made.client)


def test_two_threads_take_two_variants(tmp_path: Path) -> None:
    made = converted(tmp_path, "llama", "session", variants=8)
    taken: list[Path] = []
    threads = [threading.Thread(target=lambda: taken.append(variants.take(made.client))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(taken)) == 8
    assert not variants.left(made.client)
