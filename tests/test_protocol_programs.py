"""Both parties of a few known programs, evaluated from the pages alone: on the prepared streams, to the last byte."""

from __future__ import annotations

from collections.abc import Sequence

import known_protocol
import pytest
from from_pages import (
    Walk,
    bit_at,
    blocks,
    drawn,
    hashed,
    key_of,
    packed,
    prefix_at,
    sent,
    stream,
    tree_keys,
    unpacked,
)
from known_answers import KNOWN, PREPARATION, SEEDS, Case


class Reader:
    """One party's stream of a program, and who is sent what is shared."""

    def __init__(self, case: Case, party: int) -> None:
        self.party, self.counts = party, [0, 0]
        self.raw, self.at = bytes.fromhex(case["dealt"][party]), 0

    def take(self, size: int) -> bytes:
        self.at += size
        return self.raw[self.at - size : self.at]

    def shared(self, name: str, shape: Sequence[int], count: int, bits: int) -> list[int]:
        to, size = int(self.counts[1] <= self.counts[0]), -(-count * bits // 8)
        self.counts[to] += size
        drew = drawn(SEEDS[self.party], name, shape, bits)
        return unpacked(self.take(size), bits, count) if to == self.party else drew

    def words(self, levels: int, count: int) -> list[list[int]]:
        whole = blocks(self.take(16 * levels * count))
        return [whole[element::count] for element in range(count)]

    def walks(self, name: str, count: int) -> list[Walk]:
        """Fresh walks at the roots of a gate's trees."""
        tree, label = tree_keys(b"dealt", PREPARATION, name), f"{name}:key|roots|{count}"
        raw = stream(key_of(SEEDS[self.party], label), 16 * count)
        return [Walk(tree, self.party, raw[at : at + 16]) for at in range(0, len(raw), 16)]


def program(name: str) -> Case:
    (found,) = (case for case in KNOWN["programs"] if case["name"] == name)
    return dict(found)


def opened(
    case: Case, which: int, name: str, drop: int = 0, bits: int = 0
) -> tuple[list[int], list[list[int]]]:
    """The public value of an input that a program opens, before bits are dropped, and both parts of its mask."""
    given = case["inputs"][which]
    bits = bits or given["bits"]
    both = [sent(SEEDS[b], b, given["shares"][b], name, bits, drop, given["shape"]) for b in (0, 1)]
    return [sum(pair) % 2**bits for pair in zip(both[0][0], both[1][0], strict=True)], [
        part for _, part in both
    ]


@pytest.mark.parametrize("party", [0, 1])
def test_comparisons(party: int) -> None:
    case, reader, n = program("compare"), Reader(program("compare"), party), 12
    public, _ = opened(case, 0, "/open#1")
    words = reader.words(5, 3)
    top = reader.shared("/at_least#2:top", (3,), 3, 1)
    for result, least in ((0, 0), (1, 3)):
        walks, found = reader.walks("/at_least#2", 3), []
        for element, x in enumerate(public):
            v = (x - least) % 2**n
            q = (2 ** (n - 1) - 1 - v) % 2 ** (n - 1)
            prefix = prefix_at(walks[element], words[element], n - 1, q)
            found.append((prefix + top[element] + party * (v >> n - 1)) % 2)
        assert found == case["results"][result]["shares"][party]
    words, walks = reader.words(6, 3), reader.walks("/equals#3", 3)
    found = [bit_at(walks[i], words[i], n, (x + 5) % 2**n) for i, x in enumerate(public)]
    assert found == case["results"][2]["shares"][party]
    assert reader.at == len(reader.raw)


@pytest.mark.parametrize("party", [0, 1])
def test_products_with_weights(party: int) -> None:
    case, reader = program("weights"), Reader(program("weights"), party)
    public, parts = opened(case, 0, "/open#1")
    weight, own, mine = [3, 1, 2**64 - 2, 5], KNOWN["weights"]["sharing"], parts[party]
    masks = [drawn(seed, f"weights/{own}/layer0.attn.q.weight", (2, 2), 64) for seed in SEEDS]
    masked = [sum(each) for each in zip(weight, *masks, strict=True)]
    cross = reader.shared("layer0/attn/matmul#2:cross", (2, 2), 4, 30)
    found = [[0] * 4, [0] * 4]
    for i, j, k in ((i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)):
        x, d, at = public[2 * i + k], mine[2 * i + k], 2 * k + j
        found[0][2 * i + j] += x * (party * masked[at] - masks[party][at]) - d * masked[at]
        found[1][2 * i + j] += (party * x - d) * weight[at]
    results = [[(v + c) % 2**30 for v, c in zip(found[0], cross, strict=True)], [v % 2**30 for v in found[1]]]
    assert results == [result["shares"][party] for result in case["results"]]
    assert reader.at == len(reader.raw)


def lanes(walk: Walk, correction: Sequence[int]) -> list[int]:
    halves = [
        h >> up & 2**64 - 1 for i in (0, 1) for h in (hashed(walk.tree, 2 + i, walk.seed),) for up in (0, 64)
    ]
    sign = -1 if walk.party else 1
    return [sign * (value + walk.control * c) for value, c in zip(halves, correction, strict=False)]


@pytest.mark.parametrize("party", [0, 1])
def test_a_separable_function(party: int) -> None:
    """Blocks of 4, a depth of 6, two lanes of 5 bytes; tables for the blocks -1 and 0, and a line beyond."""
    case, reader, depth, count = program("separable"), Reader(program("separable"), party), 6, 4
    public, _ = opened(case, 0, "/open#1")
    words = reader.words(depth, count)
    raw = [int.from_bytes(reader.take(5), "little") for _ in range(2 * count)]
    tables = {-1: [[5, -1], [6, -1], [7, -1], [8, -1]], 0: [[4, 2], [3, 2], [2, 2], [1, 2]]}
    for element, x in enumerate(public):
        total, high, low = 0, x >> 2, x & 3
        for j in range(-1, 2 ** (depth - 1)):
            walk, point = reader.walks("/separable#2", count)[element], (high - j) % 2**depth
            for level, word in enumerate(words[element]):
                walk.down(point >> (depth - 1 - level) & 1, word)
            first, second = lanes(walk, raw[2 * element : 2 * element + 2])
            row = tables[j][low] if j in tables else [2 * (4 * j + low) + 1, -2]
            total += row[0] * first + row[1] * second
        assert total % 2**36 == case["results"][0]["shares"][party][element]
    assert reader.at == len(reader.raw)


def combined(seed: bytes, name: str, k: Sequence[int]) -> list[int]:
    raw = stream(key_of(seed, name), 16 * (-(-len(k) // 64) + 1))
    coins = [
        (whole >> i & 1) + 2 * (whole >> 64 + i & 1)
        for whole in (int.from_bytes(raw[at : at + 16], "little") for at in range(0, len(raw), 16))
        for i in range(64)
    ]
    return [sum(coins[i + row] * value for i, value in enumerate(k)) % 4 for row in range(20)]


def numbers(
    party: int,
    z: Sequence[Sequence[int]],
    masks: Sequence[int],
    public: Sequence[int],
    dealt: Sequence[int],
    sizes: tuple[int, int, int, int],
) -> list[int]:
    """Of each element k modulo 4; sizes are N, t, n and j of the page."""
    opened_bits, drop, n, j = sizes
    found = []
    for z0, z1, d, x, lane in zip(*z, masks, public, dealt, strict=True):
        o = x % 2**n
        place = ((o + 2 ** (n - 1)) % 2**n + 2 ** (n - j - 1)) >> n - j
        own = lane >> 2 * (place % 2**j) & 3
        high = (z1 + z0 % 2**opened_bits) % 2**64 >> drop + n
        if party == 0:
            high = (z0 >> min(opened_bits, 63)) * 2 ** (opened_bits - drop - n)
        found.append((high - (d >> n) - own + party * ((o >> n - 1) - (place == 0))) % 4)
    return found


def test_the_alarm() -> None:
    """What is watched is zero for values in range, and the opened sums are what the messages hold."""
    case, k, sums = program("alarm"), [], []
    readers = [Reader(case, party) for party in (0, 1)]
    seeds = [reader.take(32) for reader in readers]
    assert seeds[0] == seeds[1]
    public, parts = opened(case, 0, "/open#2", 2, 14)
    lifted, _ = opened(case, 1, "/open#3", 0, 10)
    wholes = []  # of both openings, both parties' words
    for which, name, bits, less in ((0, "/open#2", 14, 2), (1, "/open#3", 10, 0)):
        own = [drawn(seed, f"{name}:mask", (2,), bits) for seed in SEEDS]
        shares = case["inputs"][which]["shares"]
        wholes.append(
            [[(x + r - b * less) % 2**64 for x, r in zip(shares[b], own[b], strict=True)] for b in (0, 1)]
        )
    for party, reader in enumerate(readers):
        watched = reader.shared("/watch#4:lanes", (2,), 2, 16)
        values = [x >> 2 for x in public]
        k.append(numbers(party, wholes[0], parts[party], values, watched, (14, 2, 12, 3)))
        total = combined(seeds[party], "/watch#4", k[-1])
        lifts = []
        for wire, bits in (("/lift#5", 12), ("/lift#6", 10)):
            wrap, top = (reader.shared(f"{wire}:{tag}", (2,), 2, 40 - bits) for tag in ("wrap", "top"))
            lifts.append((wrap, [value << 2 for value in top]))
        wraps, tops = lifts[1]
        shifted = [wrap << 10 for wrap in wraps]
        k.append(numbers(party, wholes[1], shifted, lifted, tops, (10, 0, 10, 1)))
        more = combined(seeds[party], "/lift#6", k[-1])
        sums.append([(a + b) % 4 for a, b in zip(total, more, strict=True)])
    assert [(a + b) % 4 for a, b in zip(k[0], k[2], strict=True)] == [0, 0]
    assert [(a + b) % 4 for a, b in zip(k[1], k[3], strict=True)] == [0, 0]
    tossed = known_protocol.TOSSED[0]
    for party in (0, 1):
        mask = drawn(SEEDS[party], "/open#8:mask", (20,), 2)
        message = packed([a + r for a, r in zip(sums[party], mask, strict=True)], 2) + bytes([tossed])
        assert message.hex() == case["messages"][party][1]
