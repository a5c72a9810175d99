"""Writes the known answers of the kernels anew: plain integers and AES, one element and one node at a time.

It shares no code with the kernels. Inputs are those that the files hold; run it after a change of the construction:
    python tests/vectors/make.py
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

HERE = Path(__file__).parent
Case = dict[str, Any]
Node = tuple[int, int]  # seed, control bit
LEFT, RIGHT, FINAL, USES = 0, 1, 2, 6
WORD = 1 << 64
TREE = hashlib.sha512(b"known answers").digest() + hashlib.sha256(b"known answers").digest()


def hashed(use: int, x: int) -> int:
    """AES(s(x)) xor s(x) with s(high, low) = (high xor low, high)."""
    high, low = x >> 64, x % WORD
    turned = ((high ^ low) << 64) | high
    cipher = Cipher(AES(TREE[16 * use : 16 * use + 16]), ECB()).encryptor()
    return int.from_bytes(cipher.update(turned.to_bytes(16, "little")), "little") ^ turned


def child(node: Node, side: int, word: int) -> Node:
    seed, control = node
    h = hashed(side, seed)
    return (h ^ control * word) & ~3, (h ^ control * (word >> side)) & 1


def roots(case: Case, party: int) -> list[Node]:
    raw = bytes.fromhex(case["roots"][party])
    return [(int.from_bytes(raw[i : i + 16], "little") & ~3, party) for i in range(0, len(raw), 16)]


def dealt(alpha: int, depth: int, bits: int, nodes: list[Node]) -> tuple[list[int], list[Node]]:
    """Correction words down alpha's path, and both parties' nodes at its end."""
    words = []
    for level in range(depth):
        right = alpha >> (bits - 1 - level) & 1
        left_sum, right_sum = (hashed(use, nodes[0][0]) ^ hashed(use, nodes[1][0]) for use in (LEFT, RIGHT))
        word = (left_sum if right else right_sum) & ~3
        word |= (left_sum & 1) ^ right ^ 1 | ((right_sum & 1) ^ right) << 1
        nodes = [child(node, right, word) for node in nodes]
        words.append(word)
    return words, nodes


def path(node: Node, q: int, words: list[int], bits: int) -> Iterator[Node]:
    yield node
    for level, word in enumerate(words):
        node = child(node, q >> (bits - 1 - level) & 1, word)
        yield node


def lanes_of(block: int, lane: int) -> list[int]:
    return [block >> at & ((1 << lane) - 1) for at in range(0, 128, lane)]


def block_of(lanes: list[int], lane: int) -> int:
    return sum((value % (1 << lane)) << (lane * i) for i, value in enumerate(lanes))


def level_major(words: list[list[int]]) -> str:
    return b"".join(word.to_bytes(16, "little") for level in zip(*words, strict=True) for word in level).hex()


def word_lists(cw: bytes, n: int) -> list[list[int]]:
    blocks = [int.from_bytes(cw[i : i + 16], "little") for i in range(0, len(cw), 16)]
    return [blocks[i::n] for i in range(n)]


# ---------------------------------------------------------------- 1-bit outputs


def dpf_leaf(node: Node, word: int) -> int:
    return hashed(FINAL, node[0]) ^ node[1] * word


def dpf_bit(root: Node, words: list[int], bits: int, q: int) -> int:
    q %= 1 << bits
    *_, end = path(root, q, words[:-1], bits)
    return dpf_leaf(end, words[-1]) >> (q & 127) & 1


def dpf_prefix(root: Node, words: list[int], bits: int, q: int) -> int:
    q %= 1 << bits
    nodes, depth = list(path(root, q, words[:-1], bits)), len(words) - 1
    parity = sum((nodes[i][1] ^ nodes[i + 1][1]) & q >> (bits - 1 - i) for i in range(depth))
    within = dpf_leaf(nodes[-1], words[-1]) & ((2 << (q & 127)) - 1)
    return (parity + within.bit_count()) & 1


def dpf_case(case: Case) -> None:
    bits, n = case["bits"], len(case["alpha"])
    depth, words, case["sign"] = max(bits - 7, 0), [], []
    for i, alpha in enumerate(case["alpha"]):
        alpha %= 1 << bits
        own, ends = dealt(alpha, depth, bits, [roots(case, 0)[i], roots(case, 1)[i]])
        last = hashed(FINAL, ends[0][0]) ^ hashed(FINAL, ends[1][0]) ^ 1 << (alpha & 127)
        words.append([*own, last])
        case["sign"].append(dpf_leaf(ends[0], last) >> (alpha & 127) & 1)
    case["cw"] = level_major(words)
    case["bit"] = by_points(case, words, dpf_bit)
    case["prefix"] = by_points(case, words, dpf_prefix)
    case["table_sums"] = [[table_sum(case, words, party, i) for i in range(n)] for party in (0, 1)]
    wanted = [[alpha <= q for alpha, q in zip(case["alpha"], row, strict=True)] for row in case["points"]]
    tamper(case, "tampered_prefix", "cw", partial(prefixes, case), lambda x, y: x ^ y, wanted)


def by_points(case: Case, words: list[list[int]], output: Callable[..., int], *more: int) -> list[Any]:
    return [
        [
            [output(root, words[i], case["bits"], row[i], *more) for i, root in enumerate(roots(case, party))]
            for row in case["points"]
        ]
        for party in (0, 1)
    ]


def prefixes(case: Case, cw: bytes) -> list[Any]:
    return by_points(case, word_lists(cw, len(case["alpha"])), dpf_prefix)


def table_sum(case: Case, words: list[list[int]], party: int, i: int) -> int:
    root, at = roots(case, party)[i], case["index"][i] - case["start"]
    total = sum(
        entry * dpf_bit(root, words[i], case["bits"], at - k) for k, entry in enumerate(case["table"])
    )
    return (-total if party else total) % WORD


# ---------------------------------------------------------------- outputs modulo 2^lane


def onehot_point(root: Node, words: list[int], bits: int, q: int, lane: int, party: int) -> int:
    q %= 1 << bits
    *_, (seed, control) = path(root, q, words[:-1], bits)
    at = q % (128 // lane)
    value = lanes_of(hashed(FINAL, seed), lane)[at] + control * lanes_of(words[-1], lane)[at]
    return (-value if party else value) % (1 << lane)


def onehot_words(case: Case, i: int) -> list[int]:
    bits, lane, alpha = case["bits"], case["lane"], case["alpha"][i] % (1 << case["bits"])
    depth = max(bits - (4 if lane == 8 else 3), 0)
    words, ends = dealt(alpha, depth, bits, [roots(case, 0)[i], roots(case, 1)[i]])
    zero, one = (lanes_of(hashed(FINAL, end[0]), lane) for end in ends)
    last = [b - a + (at == alpha % (128 // lane)) for at, (a, b) in enumerate(zip(zero, one, strict=True))]
    return [*words, block_of([-value for value in last] if ends[1][1] else last, lane)]


def onehot_points(case: Case, words: list[list[int]]) -> list[Any]:
    return [
        [
            [
                onehot_point(root, words[i], case["bits"], row[i], case["lane"], party)
                for i, root in enumerate(roots(case, party))
            ]
            for row in case["points"]
        ]
        for party in (0, 1)
    ]


def onehot_case(case: Case) -> None:
    n, lane, bits, group = len(case["alpha"]), case["lane"], case["bits"], case["group"]
    words = [onehot_words(case, i) for i in range(n)]
    case["cw"], case["point"] = level_major(words), onehot_points(case, words)

    def count(party: int, first: int, value: int) -> int:
        own = roots(case, party)
        members = range(first, first + group)
        points = (
            onehot_point(own[i], words[i], bits, case["index"][i] - value, lane, party) for i in members
        )
        return sum(points) % (1 << lane)

    case["sums"] = [
        [[count(party, first, value) for value in range(1 << bits)] for first in range(0, n, group)]
        for party in (0, 1)
    ]
    wanted = [[int(q == a) for a, q in zip(case["alpha"], row, strict=True)] for row in case["points"]]

    def outputs(cw: bytes) -> list[Any]:
        return onehot_points(case, word_lists(cw, n))

    tamper(case, "tampered_point", "cw", outputs, lambda x, y: (x + y) % (1 << lane), wanted)


# ---------------------------------------------------------------- payloads


def payload_lanes(seed: int, count: int) -> list[int]:
    blocks = [hashed(FINAL + b, seed) for b in range((count + 1) // 2)]
    return [half for block in blocks for half in (block % WORD, block >> 64)][:count]


def separable_sum(case: Case, party: int, i: int, words: list[int], last: list[int]) -> int:
    bits, low = case["bits"], case["low_bits"]
    high, within = case["index"][i] >> low, case["index"][i] % (1 << low)
    root, tables, first, far = roots(case, party)[i], case["tables"], case["first"], case["far"]

    def share(p: int) -> list[int]:
        *_, (seed, control) = path(root, p % (1 << bits), words, bits)
        own = payload_lanes(seed, len(last))
        return [x + control * fix for x, fix in zip(own, last, strict=True)]

    total = 0
    for j, table in enumerate(tables, first):
        total += sum(a * b for a, b in zip(table[within], share(high - j), strict=True))
    for j in range(first + len(tables), 1 << (bits - 1)) if any(far) else ():
        values = share(high - j)
        total += (far[0] * ((j << low) + within) + far[1]) * values[0] + far[2] * values[1]
    return (-total if party else total) % (1 << (8 * case["lane_bytes"]))


def separable_case(case: Case) -> None:
    n, bits, size = len(case["mask"]), case["bits"], case["lane_bytes"]
    words, raw = [], b""
    for i, mask in enumerate(case["mask"]):
        point = (mask >> case["low_bits"]) % (1 << bits)
        own, ends = dealt(point, bits, bits, [roots(case, 0)[i], roots(case, 1)[i]])
        payload = case["payload"][mask % (1 << case["low_bits"])]
        zero, one = (payload_lanes(end[0], len(payload)) for end in ends)
        last = [v - a + b for v, a, b in zip(payload, zero, one, strict=True)]
        signed = [-value for value in last] if ends[1][1] else last
        words.append(own)
        raw += b"".join((value % (1 << (8 * size))).to_bytes(size, "little") for value in signed)
    case["cw"], case["last"] = level_major(words), raw.hex()

    def outputs(cw: bytes, last: bytes) -> list[Any]:
        lists, item = word_lists(cw, n), len(last) // n
        lanes = [
            [int.from_bytes(last[at : at + size], "little") for at in range(i * item, (i + 1) * item, size)]
            for i in range(n)
        ]
        return [[separable_sum(case, party, i, lists[i], lanes[i]) for i in range(n)] for party in (0, 1)]

    cw, end = bytes.fromhex(case["cw"]), bytes.fromhex(case["last"])
    case["eval"] = outputs(cw, end)
    wanted = [sum(pair) % (1 << (8 * size)) for pair in zip(*case["eval"], strict=True)]
    add = lambda x, y: (x + y) % (1 << (8 * size))  # noqa: E731
    tamper(case, "tampered_cw", "cw", lambda bad: outputs(bad, end), add, wanted)
    tamper(case, "tampered_last", "last", lambda bad: outputs(cw, bad), add, wanted)


# ---------------------------------------------------------------- powers


def fraction(case: Case, lane: int) -> int:
    """Fraction bits of a lane."""
    return case["fine"] - case["step"] * (lane - 1) if lane else 0


def place(number: int, level: int) -> float:
    """Of a number in its block, to 32 bits."""
    kept = min(level, 32)
    return (number % (1 << level) >> (level - kept)) / 2.0**kept


def polynomials(case: Case, mask: int, level: int) -> list[int]:
    y = 2 * place(mask, level) - 1
    values = [1.0, y]
    for _ in range(case["lanes"]):
        values.append(2 * y * values[-1] - values[-2])
    return [round(values[lane] * 2.0 ** fraction(case, lane)) for lane in range(case["lanes"])]


TERMS = {
    1: [(1, 1 / 4, 9 / 64), (1, 3 / 8, 15 / 64), (3 / 4, 5 / 16, 105 / 512), (5 / 8, 35 / 128, 189 / 1024)],
    2: [(1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)],
}


def end_power(case: Case, exponent: int) -> int:
    ratio = case["numerator"] / 2.0**exponent
    return round((ratio if case["halves"] == 2 else math.sqrt(ratio)) * 2.0 ** case["scale"]) + (
        1 << 62
    )  # marked


def power_factors(case: Case, index: int, distance: int, level: int) -> list[int]:
    """What the lanes of a node are multiplied with."""
    widest, narrowest = level == case["high"] - 3, level == case["low"] - 2
    out = [0] * case["lanes"]
    parent = (index >> (level + 1)) - (((index >> level) - distance) >> 1)
    if distance >= 4 and (parent < 4 or widest):
        a = (2.0 * distance - 1) + 2 * place(index, level)
        q = a - math.sqrt(a * a - 1)
        lead = q * (case["numerator"] * 2.0 ** (2 - level))
        lead = lead if case["halves"] == 2 else math.sqrt(lead)
        for lane, (x, y, z) in enumerate(TERMS[case["halves"]][: case["lanes"]]):
            series = x + q * q * (y + q * q * z)
            out[lane] = round(lead * series * 2.0 ** (case["scale"] - fraction(case, lane)))
            lead *= q
    out[0] += end_power(case, case["low"]) if narrowest and distance < 4 else 0
    out[0] -= end_power(case, case["high"]) if widest else 0
    return out


def power_sum(case: Case, party: int, i: int, words: list[int], values: list[list[int]]) -> int:
    index, bits, top = case["index"][i], case["bits"], case["high"] - 3
    total = 0
    for level in range(top, case["low"] - 3, -1):
        for distance in range(9 if level == top else 8):
            node = ((index >> level) - distance) % (1 << (bits - level))
            *_, (seed, control) = path(roots(case, party)[i], node, words[: bits - level], bits - level)
            own = payload_lanes(seed, case["lanes"])
            shares = [x + control * fix for x, fix in zip(own, values[top - level], strict=True)]
            total += sum(
                f * x for f, x in zip(power_factors(case, index, distance, level), shares, strict=True)
            )
    return (end_power(case, case["high"]) - total if party else total) % WORD


def powers_case(case: Case) -> None:
    n, bits, bottom, lanes = len(case["mask"]), case["bits"], case["low"] - 2, case["lanes"]
    words, values = [], []
    for i, mask in enumerate(case["mask"]):
        nodes, own, corrections = [roots(case, 0)[i], roots(case, 1)[i]], [], []
        for level in range(bits - 1, bottom - 1, -1):
            (word,), nodes = dealt(mask >> level & 1, 1, 1, nodes)
            own.append(word)
            if level <= case["high"] - 3:
                zero, one = (payload_lanes(node[0], lanes) for node in nodes)
                payload = polynomials(case, mask, level)
                value = [v - a + b for v, a, b in zip(payload, zero, one, strict=True)]
                corrections.append([(-v if nodes[1][1] else v) % WORD for v in value])
        words.append(own)
        values.append(corrections)
    case["cw"] = level_major(words)
    raw = [v for level in zip(*values, strict=True) for element in level for v in element]
    case["values"] = b"".join(v.to_bytes(8, "little") for v in raw).hex()

    def outputs(cw: bytes, lanes_of: bytes) -> list[Any]:
        lists = word_lists(cw, n)
        flat = [int.from_bytes(lanes_of[at : at + 8], "little") for at in range(0, len(lanes_of), 8)]
        rows = [flat[at : at + lanes] for at in range(0, len(flat), lanes)]  # level after level
        return [[power_sum(case, b, i, lists[i], rows[i::n]) for i in range(n)] for b in (0, 1)]

    cw, end = bytes.fromhex(case["cw"]), bytes.fromhex(case["values"])
    case["eval"] = outputs(cw, end)
    add = lambda x, y: (x + y) % WORD  # noqa: E731
    wanted = combined(case["eval"], add)
    tamper(case, "tampered_cw", "cw", lambda bad: outputs(bad, end), add, wanted)
    tamper(case, "tampered_values", "values", lambda bad: outputs(cw, bad), add, wanted)


# ---------------------------------------------------------------- all of it


def tamper(
    case: Case,
    name: str,
    part: str,
    outputs: Callable[[bytes], list[Any]],
    combine: Callable[[int, int], int],
    wanted: list[Any],
) -> None:
    """Keep where a key was changed; of its bits take the first that makes an answer wrong."""
    for change in case[name]:
        for bit in range(8):
            bad = bytearray.fromhex(case[part])
            bad[change["byte"]] ^= 1 << bit
            change["xor"], change["outputs"] = 1 << bit, outputs(bytes(bad))
            if combined(change["outputs"], combine) != wanted:
                break
        else:
            raise AssertionError(f"no bit of byte {change['byte']} matters to {name}")


def combined(outputs: list[Any], combine: Callable[[int, int], int]) -> list[Any]:
    first, second = outputs
    if isinstance(first, list):
        return [combined([a, b], combine) for a, b in zip(first, second, strict=True)]
    return combine(first, second)  # type: ignore[return-value]


def text(value: Any, indent: int = 0) -> str:
    """JSON with one line for each field."""
    pad = " " * (indent + 1)
    if isinstance(value, dict) and (indent < 4 and not {"byte"} <= set(value)):
        inner = ",\n".join(f"{pad}{json.dumps(k)}: {text(v, indent + 1)}" for k, v in value.items())
        return "{\n" + inner + "\n" + " " * indent + "}"
    if isinstance(value, list) and value and isinstance(value[0], dict) and "byte" not in value[0]:
        return "[\n" + ",\n".join(pad + text(v, indent + 1) for v in value) + "\n" + " " * indent + "]"
    return json.dumps(value)


def main() -> None:
    """Rewrite all files."""
    made = {"dpf": dpf_case, "onehot": onehot_case, "separable": separable_case, "powers": powers_case}
    for name, make in made.items():
        file = HERE / f"fss_{name}.json"
        old = json.loads(file.read_text())
        for case in old["cases"]:
            make(case)
        document = {"description": old["description"], "tree": TREE.hex()}
        if name == "dpf":
            block = int.from_bytes(bytes(range(16)), "little")
            hashes = [hashed(use, block).to_bytes(16, "little").hex() for use in range(USES)]
            document["hash"] = {"block": bytes(range(16)).hex(), "by_use": hashes}
        file.write_text(text(document | {"cases": old["cases"]}) + "\n")


if __name__ == "__main__":
    main()
