"""What was changed since it was dealt or stored is found before it is used, and costs no query its answer."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from dummy import Settings
from harness import SHAPE, Cluster, ask, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st
from preparations import BODY, SEED, copied, opened, receive, record, stream
from sessions import freed, generate

from privinf.errors import DamagedPreparation, ProtocolError
from privinf.parties.stock import fetch
from privinf.parties.stock.dealt import DealtStream
from privinf.parties.stock.digest import BLOCK, PRECOMPUTED, STREAM, Checked, Tally, digest_of
from privinf.parties.stock.store import PreparationStore
from privinf.protocols.contract import Buffer
from privinf.sdk.transport import Link

SMALL = 1 << 14  # a block of streams that cross a few blocks
LARGE = Settings(rounds=3, round_bytes=SMALL + 5, extra=SMALL)
AHEAD: dict[str, dict[str, Any]] = {"party0": {"ahead": 2, "shapes": (SHAPE,)}}
OTHER = bytes(range(1, 33))


def flip(path: Path, at: int, bit: int = 0) -> None:
    """Change one bit of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        (old,) = file.read(1)
        file.seek(at)
        file.write(bytes([old ^ 1 << bit]))


def tags_of(content: Buffer, seed: bytes, part: int) -> bytes:
    """Return the tags of bytes that are there."""
    tally = Tally(seed, part)
    tally.update(content)
    return tally.tags()


@settings(deadline=None)
@given(
    content=st.binary(max_size=3000),
    cuts=st.lists(st.integers(0, 3000)),
    part=st.sampled_from([STREAM, PRECOMPUTED]),
)
def test_tags_depend_on_no_cut(content: bytes, cuts: list[int], part: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("privinf.parties.stock.digest.BLOCK", 1000)
        tally = Tally(SEED, part)
        for start, end in pairwise(sorted([0, *cuts, len(content)])):
            tally.update(content[start:end])
        tags = tags_of(content, SEED, part)
        assert tally.tags() == tags
        assert tally.digest() == digest_of(tags)
        tally.compare(digest_of(tags))
        Checked(memoryview(content), SEED, tags, part).up_to(len(content))


@settings(deadline=None)
@given(data=st.data(), nbytes=st.integers(1, 3000))
def test_no_change_of_a_bit_is_missed(data: st.DataObject, nbytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("privinf.parties.stock.digest.BLOCK", 1000)
        content = bytearray(os.urandom(nbytes))
        tags = tags_of(content, SEED, STREAM)
        at = data.draw(st.integers(0, nbytes - 1))
        content[at] ^= 1 << data.draw(st.integers(0, 7))
        checked = Checked(memoryview(content), SEED, tags)
        checked.up_to(at // 1000 * 1000)
        with pytest.raises(DamagedPreparation):
            checked.up_to(at + 1)


def test_a_tag_is_of_its_half_its_part_and_its_place() -> None:
    content = memoryview(bytes(2 * BLOCK))
    tags = tags_of(content, SEED, STREAM)
    assert tags[:16] != tags[16:]
    assert not {tags[:16], tags[16:]} & {
        other[:16] for other in (tags_of(content, OTHER, STREAM), tags_of(content, SEED, PRECOMPUTED))
    }
    with pytest.raises(DamagedPreparation):
        Checked(content, SEED, tags[:16])
    with pytest.raises(ProtocolError, match="16 bytes where"):
        Tally(SEED).compare(bytes(16))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), restarted=st.booleans())
def test_a_stored_byte_that_was_changed_is_never_handed_out(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, restarted: bool
) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    store = opened(folder)
    receive(store, record(1, precomputed=40), stream(SEED, BODY), copied)
    (path,) = (folder / "store").glob("*.prep")
    flip(path, data.draw(st.integers(0, path.stat().st_size - 1)), data.draw(st.integers(0, 7)))
    if restarted:
        store.close()
        store = opened(folder)
    for held in store.held():
        with contextlib.suppress(DamagedPreparation):
            _read_right(store, held.preparation_id)
    assert store.usage() == 0
    store.close()


def _read_right(store: PreparationStore, preparation_id: bytes) -> None:
    with contextlib.closing(store.claim(preparation_id, SHAPE)) as preparation:
        assert preparation.record.seed == SEED
        assert preparation.read(len(BODY)) == BODY
        assert preparation.precomputed == SEED + BODY[-8:]


@pytest.mark.parametrize("change", ["gone", "cut"])
def test_a_file_that_is_gone_or_cut_short_is_damaged(tmp_path: Path, change: str) -> None:
    store = opened(tmp_path)
    receive(store, record(1), stream(SEED, BODY))
    (path,) = (tmp_path / "store").glob("*.prep")
    if change == "gone":
        path.unlink()
    else:
        os.truncate(path, 100)
    with pytest.raises(DamagedPreparation, match="cannot be read"):
        store.claim(bytes([1]) * 16, SHAPE)
    assert store.usage() == 0
    store.close()


def _ready(link: Link, count: int = 2) -> None:
    wait_until(lambda: [status.ready.get(SHAPE) for status in link.status()] == [count, count])


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("party", [0, 1])
@pytest.mark.parametrize("place", ["first block", "in the last round", "after the last round", "precomputed"])
def test_a_query_takes_another_preparation_than_one_that_was_changed(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, party: int, place: str
) -> None:
    monkeypatch.setattr("privinf.parties.stock.digest.BLOCK", SMALL)
    stream_end = 4096 + LARGE.prep_bytes()
    at = {
        "first block": 4096,
        "in the last round": 4096 + 3 * SMALL,
        "after the last round": stream_end - 1,
        "precomputed": -(-stream_end // 4096) * 4096 + 3,
    }[place]
    with Cluster(tmp_path, keys, LARGE, AHEAD) as cluster, cluster.link() as link:
        _ready(link)
        first = min(tmp_path.glob(f"party{party}/*.prep"), key=lambda path: path.stat().st_mtime_ns)
        flip(first, at)
        if place == "after the last round" and party == 1:  # party 0 has ended its side by then
            with pytest.raises(DamagedPreparation):
                ask(link)
        else:
            ask(link)
        wait_until(lambda: not list(tmp_path.glob(f"party?/{first.name}")))
        _ready(link)
        ask(link)
        for program in cluster.programs.values():
            assert len(set(program.used)) == len(program.used)


def test_a_query_is_answered_where_all_that_was_ready_was_changed(tmp_path: Path, keys: Path) -> None:
    """The last preparation that it tries is made for it; `on its way` is where that too was changed."""
    options = {"party0": {"ahead": 4, "shapes": (SHAPE,)}}
    with Cluster(tmp_path, keys, options=options) as cluster, cluster.link() as link:
        _ready(link, 4)
        for path in tmp_path.glob("party1/*.prep"):
            flip(path, 4096)
        ask(link)
        wait_until(lambda: sum(status.sessions for status in link.status()) == 0)
        ask(link)


@pytest.mark.parametrize("changed", [1, 9])
def test_what_was_changed_on_its_way_is_made_anew(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, changed: int
) -> None:
    left, messages = [changed], fetch._messages

    def flipped(call: Any) -> Iterator[bytes]:
        for index, message in enumerate(messages(call)):
            if index == 1 and left[0]:
                left[0] -= 1
                yield bytes([message[0] ^ 1]) + message[1:]
            else:
                yield message

    monkeypatch.setattr(fetch, "_messages", flipped)
    with Cluster(tmp_path, keys) as cluster, cluster.link() as link:
        if changed > 1:
            with pytest.raises(DamagedPreparation, match="on its way"):
                ask(link)
            left[0] = 0
        ask(link)
        wait_until(lambda: [status.store_bytes for status in link.status()] == [0, 0])


def test_a_pass_that_was_changed_on_its_way_is_never_used(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, receive_ = [1], DealtStream._next

    def flipped(self: DealtStream) -> bytes:
        message = receive_(self)
        if len(message) > 1000 and left[0]:
            left[0] -= 1
            return message[:-1] + bytes([message[-1] ^ 1])
        return message

    monkeypatch.setattr(DealtStream, "_next", flipped)
    with Cluster(tmp_path, keys, Settings(extra=2000)) as cluster, cluster.link() as link:
        with pytest.raises(DamagedPreparation, match="on its way"):
            generate(link, 2)
        freed(cluster)
        generate(link, 2)
