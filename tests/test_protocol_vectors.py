"""The known answers of the protocol: the product gives them all, and for the simple ones the pages alone suffice.

`from_pages` is written from docs/protocol.md and its pages, and shares no code with the product.
"""

from __future__ import annotations

import hashlib
import json
import struct

import known_events
import known_protocol
import pytest
from from_pages import (
    Walk,
    bit_at,
    blocks,
    dealt_words,
    drawn,
    hashed,
    key_of,
    packed,
    prefix_at,
    sent,
    signed,
    stream,
    tree_keys,
    unpacked,
)
from known_answers import KNOWN, PREPARATION, SEEDS, Case
from known_programs import GATES
from xxhash import xxh3_128_digest


def program(name: str) -> Case:
    (found,) = (case for case in KNOWN["programs"] if case["name"] == name)
    return dict(found)


def test_the_product_gives_all_known_answers() -> None:
    assert json.loads(json.dumps(known_protocol.answers())) == KNOWN


@pytest.mark.parametrize("case", KNOWN["streams"], ids=lambda case: case["name"])
def test_streams(case: Case) -> None:
    assert key_of(SEEDS[0], case["name"]).hex() == case["key"]
    assert stream(bytes.fromhex(case["key"]), 40).hex() == case["bytes"]


def test_elements_and_roots() -> None:
    for case in KNOWN["elements"]:
        assert drawn(SEEDS[0], case["name"], case["shape"], case["bits"]) == case["values"]
    for case in KNOWN["roots"]:
        label = f"{case['name']}|roots|{case['count']}"
        assert stream(key_of(SEEDS[0], label), 16 * case["count"]).hex() == case["roots"]


def test_packing() -> None:
    for case in KNOWN["packing"]:
        raw, bits = bytes.fromhex(case["bytes"]), case["bits"]
        assert packed(case["values"], bits) == raw
        assert unpacked(raw, bits, len(case["values"])) == case["values"]


def test_masks_of_weights() -> None:
    case = KNOWN["weights"]
    name = f"weights/{case['sharing']}/{case['name']}"
    masks = [drawn(seed, name, case["shape"], 64) for seed in SEEDS]
    assert [sum(parts) % 2**64 for parts in zip(case["values"], *masks, strict=True)] == case["masked"]


def test_openings_and_drops() -> None:
    """Two openings of one round, of which one is cut by each party and one by the dealer."""
    case = program("drop")
    (given,), messages, values = case["inputs"], case["messages"], (1000, -77, 31)
    parts = [
        [sent(SEEDS[party], party, given["shares"][party], name, 20, drop) for party in (0, 1)]
        for name, drop in (("/open#1", 5), ("/open#2", 0))
    ]
    for party in (0, 1):
        assert b"".join(packed(part[party][0], 20) for part in parts).hex() == messages[party][0]
    local, whole = ([sum(pair) % 2**20 for pair in zip(a[0], b[0], strict=True)] for a, b in parts)
    for place, value in enumerate(values):
        masks = [part[1][place] for part in parts[0]]
        assert abs(signed((local[place] >> 5) - sum(masks), 15) - value / 32) < 1.5
        mask = sum(part[1][place] for part in parts[1]) % 2**20
        assert signed((whole[place] >> 5) - (mask >> 5), 15) in (value >> 5, (value >> 5) + 1)
    masks = [(sum(pair) % 2**20) >> 5 for pair in zip(*(part[1] for part in parts[1]), strict=True)]
    own = drawn(SEEDS[0], "/mask#4:mask", (3,), 15)  # dealt when the second share is asked for: to party 1
    assert case["dealt"] == ["", packed([m - r for m, r in zip(masks, own, strict=True)], 15).hex()]
    drops = [[v >> 5 for v in opened] for opened in (local, whole)]
    shares = [[(-part) % 2**15 for part in parts[0][0][1]], [(-r) % 2**15 for r in own]]
    assert [result["shares"][0] for result in case["results"]] == shares
    totals = [
        [sum(pair) % 2**15 for pair in zip(*result["shares"], strict=True)] for result in case["results"]
    ]
    assert totals[1] == [(v - m) % 2**15 for v, m in zip(drops[1], masks, strict=True)]


def test_a_lift() -> None:
    """The third product of its program is one wire of 12 bits, taken to 40."""
    case = program("products")
    given = case["inputs"][1]["shares"]
    opened = [sent(SEEDS[party], party, given[party], "/open#2", 12) for party in (0, 1)]
    public = [sum(pair) % 2**12 for pair in zip(opened[0][0], opened[1][0], strict=True)]
    for place, value in enumerate((-400, 250)):
        first, second = (part[1][place] for part in opened)
        wrap, mask = first + second >> 12, (first + second) % 2**12
        moved = (public[place] + 2**10) % 2**12
        lifted = moved - 2**10 - (first + second - (wrap << 12)) + (mask >> 11) * (moved < 2**11) * 2**12
        assert lifted == value
    wraps = [a + b >> 12 for a, b in zip(opened[0][1], opened[1][1], strict=True)]
    own = drawn(SEEDS[0], "/lift#4:wrap", (2,), 28)
    difference = packed([w - r for w, r in zip(wraps, own, strict=True)], 28)
    assert bytes.fromhex(case["dealt"][1])[: len(difference)] == difference


def test_keys_of_trees() -> None:
    case = KNOWN["trees"]
    tree = tree_keys(b"dealt", PREPARATION, case["dealt"]["name"])
    assert tree.hex() == case["dealt"]["keys"]
    asked = case["sent"]
    assert tree_keys(b"sent", bytes.fromhex(asked["query"]), asked["name"]).hex() == asked["keys"]
    assert (PREPARATION + case["of_pass"]["index"].to_bytes(4, "big")).hex() == case["of_pass"]["id"]
    block = int.from_bytes(bytes.fromhex(case["block"]), "little")
    assert [hashed(tree, use, block).to_bytes(16, "little").hex() for use in range(6)] == case["hashed"]


def test_a_tree_is_dealt_and_walked() -> None:
    case = KNOWN["tree"]
    bits, roots = case["bits"], [bytes.fromhex(root) for root in case["roots"]]
    tree, own = tree_keys(b"dealt", PREPARATION, case["name"]), f"{case['name']}:key|roots|1"
    assert [stream(key_of(seed, own), 16) for seed in SEEDS] == roots
    words, sign = dealt_words(tree, roots, case["alpha"], bits)
    assert b"".join(word.to_bytes(16, "little") for word in words).hex() == case["words"]
    assert sign == case["sign"]
    found = [
        [bit_at(Walk(tree, b, root), words, bits, q) for q in case["points"]] for b, root in enumerate(roots)
    ]
    assert found == case["bit"]
    assert [a ^ b for a, b in zip(*found, strict=True)] == [q == case["alpha"] for q in case["points"]]
    found = [
        [prefix_at(Walk(tree, b, root), words, bits, q) for q in case["points"]]
        for b, root in enumerate(roots)
    ]
    assert found == case["prefix"]
    assert [a ^ b for a, b in zip(*found, strict=True)] == [case["alpha"] <= q for q in case["points"]]


def test_a_query() -> None:
    case = KNOWN["query"]
    rows, bits = case["rows"], (case["vocabulary"] - 1).bit_length()
    first, second = (bytes.fromhex(share) for share in case["shares"])
    count, levels = rows[0] * rows[1], bits - 7
    size = 16 * (levels + 1) * count
    seed, named, words = first[:32], first[32:48], blocks(first[48:])
    assert second[: 16 + size] == first[32:]
    theirs = second[16 + size : 16 + size + 16 * count]
    mine = stream(key_of(seed, f"query/token|roots|{count}"), 16 * count)
    tree = tree_keys(b"sent", named, "token")
    for row, token in enumerate(case["values"]["token"]):
        roots = [raw[16 * row : 16 * row + 16] for raw in (mine, theirs)]
        own = words[row::count]
        assert own == dealt_words(tree, roots, token, bits)[0]
        for place in (0, token, case["vocabulary"] - 1):
            shares = [bit_at(Walk(tree, party, root), own, bits, place) for party, root in enumerate(roots)]
            assert shares[0] ^ shares[1] == (place == token)
    difference = unpacked(second[16 + size + 16 * count :], 1, count)
    own_bits = drawn(seed, "query/real", rows, 1)
    assert [a ^ b for a, b in zip(own_bits, difference, strict=True)] == case["values"]["real"]


def test_an_answer() -> None:
    case = KNOWN["answer"]
    first, second = (bytes.fromhex(share) for share in case["shares"])
    shares = [unpacked(share[:-1], case["bits"], 3) for share in (first, second)]
    assert [sum(pair) % 2 ** case["bits"] for pair in zip(*shares, strict=True)] == case["values"]
    assert first[-1] ^ second[-1] == 1


def test_frames_and_parts() -> None:
    begin, data, rest = (bytes.fromhex(frame["header"]) for frame in KNOWN["frames"])
    layout, session = struct.Struct("<4sBBHII16sQQ"), b"id of a session."
    assert layout.pack(b"PVI\x02", 2, 1, 0, 0, 0, session, 16, 0) == begin
    assert layout.pack(b"PVI\x02", 3, 1, 0, 3, 1, session, 2**20 + 2, 0) == data
    assert layout.pack(b"PVI\x02", 3, 1, 0, 3, 1, session, 2**20 + 2, 2**20) == rest
    assert [frame["bytes"] - 48 for frame in KNOWN["frames"]] == [16, 2**20, 2]
    assert [case["parts"] for case in KNOWN["parts"]] == [[[1, 0]], [[1, 3]], [[0, 2**20], [1, 1]]]


def test_digests() -> None:
    first = int.from_bytes(
        hashlib.blake2b(b"\0", key=SEEDS[0], digest_size=8, person=b"privinf digest").digest(), "little"
    )
    for case in KNOWN["digests"]:
        whole = bytes(case["zeros"])
        cut = [whole[at : at + 2**20] for at in range(0, len(whole), 2**20)]
        tags = b"".join(xxh3_128_digest(block, seed=first ^ number) for number, block in enumerate(cut))
        assert tags.hex() == case["tags"]
        assert hashlib.blake2b(tags, digest_size=32).hexdigest() == case["digest"]


def test_programs_run_every_gate() -> None:
    assert {name for case in KNOWN["programs"] for name in case["gates"]} == {gate.name for gate in GATES}


def test_models_run_the_known_events() -> None:
    assert json.loads(known_events.FILE.read_text("utf-8")) == known_events.events()
