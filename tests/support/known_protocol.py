"""Known answers of the protocol, as docs/protocol.md describes it: run as a script, it writes the file anew.

All of it comes from the product under fixed seeds; tests/test_protocol_vectors.py finds the simple ones by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import known_programs
import numpy as np

from privinf.models.engines.stores import mask_tensor
from privinf.models.programs.keys import KeyForm
from privinf.models.programs.session import pass_id
from privinf.models.programs.wire import Field, Form, answered, split
from privinf.parties.rpc.frames import CHUNK, FrameWriter, Kind
from privinf.parties.rpc.messages import order_message, shape_message
from privinf.parties.rpc.parts import cut
from privinf.parties.stock.digest import Tally
from privinf.protocols import prg, ring
from privinf.protocols.contract import Order, QueryShape
from privinf.protocols.kernels import default
from privinf.protocols.kernels.prg import Use, hash_blocks
from privinf.protocols.masked.dealer import Dealer
from privinf.protocols.masked.wires import Share
from privinf.protocols.ring import U64
from privinf.protocols.testing import lockstep

FILE = Path(__file__).parents[1] / "vectors" / "protocol.json"
SEEDS = bytes(range(32)), bytes(range(32, 64))
TOSSED = bytes(range(64, 96))  # what "drawn from the system" is here
PREPARATION, QUERY = b"a preparation id", b"id of this query"
SESSION, SHARING = b"id of a session.", "00112233445566778899aabbccddeeff"
Answers = dict[str, Any]


def answers() -> Answers:
    """All of them."""
    return {
        "description": "Seeds, ids, messages and keys are hexadecimal; pairs are party 0's and party 1's.",
        "seeds": [seed.hex() for seed in SEEDS],
        "preparation": PREPARATION.hex(),
        "streams": [_stream(name) for name in ("", "layer0/attn/open#17:mask|35|1x2x3")],
        "elements": [_elements("open#1:mask", (2, 3), bits) for bits in (1, 7, 20, 35, 64)],
        "roots": [{"name": "equals#4:key", "count": 2, "roots": _roots("equals#4:key", 2)}],
        "trees": _tree_keys(),
        "packing": [_packed(bits) for bits in (1, 3, 8, 20, 33, 64)],
        "tree": _tree(),
        "weights": _weights(),
        "query": _query(),
        "answer": _answer(),
        "frames": _frames(),
        "parts": [
            {"bytes": size, "parts": [_ends(part) for part in cut(bytes(size))]} for size in (0, 3, CHUNK + 1)
        ],
        "digests": [_digest(size) for size in (0, 5, (1 << 20) + 3)],
        "messages": _messages(),
        "programs": [_program(case) for case in known_programs.CASES],
    }


def numbers(x: U64) -> list[int]:
    """All elements in order."""
    return [int(v) for v in x.reshape(-1)]


def _stream(name: str) -> Answers:
    key = prg.stream_key(SEEDS[0], name)
    return {"name": name, "key": key.hex(), "bytes": default().stream(key, 40).tobytes().hex()}


def _elements(name: str, shape: tuple[int, ...], bits: int) -> Answers:
    values = prg.elements(SEEDS[0], name, shape, bits)
    return {"name": name, "shape": list(shape), "bits": bits, "values": numbers(values)}


def _roots(name: str, size: int) -> str:
    return prg.roots(SEEDS[0], name, size).tobytes().hex()


def _tree_keys() -> Answers:
    tree = prg.dealt_tree(PREPARATION, "equals#4")
    block: U64 = np.arange(16, dtype=np.uint8).view(np.uint64)
    return {
        "dealt": {"name": "equals#4", "keys": tree.hex()},
        "of_pass": {"index": 3, "id": pass_id(PREPARATION, 3).hex()},
        "sent": {"name": "token", "query": QUERY.hex(), "keys": prg.sent_tree(QUERY, "token").hex()},
        "block": block.tobytes().hex(),
        "hashed": [hash_blocks(tree, use, block[None]).tobytes().hex() for use in Use],
    }


def _packed(bits: int) -> Answers:
    values = prg.elements(SEEDS[1], "packed", (5,), bits)
    return {"bits": bits, "values": numbers(values), "bytes": bytes(ring.pack(values, bits)).hex()}


def _tree() -> Answers:
    """A point function on 9 bits: two levels, and a leaf."""
    bits, alpha, points = 9, 0x155, (0, 0x154, 0x155, 0x156, 0x1FF)
    tree, asked = prg.dealt_tree(PREPARATION, "equals#4"), np.array(points, np.uint64)[:, None]
    roots = [prg.roots(seed, "equals#4:key", 1) for seed in SEEDS]
    words, sign = default().dpf_gen(tree, np.array([alpha], np.uint64), bits, *roots)
    keys = [(tree, party, roots[party], words, bits, asked) for party in (0, 1)]
    return {
        "name": "equals#4",
        "bits": bits,
        "alpha": alpha,
        "roots": [root.tobytes().hex() for root in roots],
        "words": words.tobytes().hex(),
        "sign": int(sign[0]),
        "points": list(points),
        "bit": [default().dpf_bit(*key).reshape(-1).tolist() for key in keys],
        "prefix": [default().dpf_prefix(*key).reshape(-1).tolist() for key in keys],
    }


def _weights() -> Answers:
    value = np.array([[1, 2], [3, 2**64 - 1]], dtype=np.uint64)
    masked = mask_tensor(value, SEEDS, SHARING, "layer0.attn.q.weight")
    named = {"sharing": SHARING, "name": "layer0.attn.q.weight", "shape": [2, 2]}
    return named | {"values": numbers(value), "masked": numbers(masked)}


@contextmanager
def _drawn() -> Iterator[None]:
    """Have what is drawn from the system be known: 32 zeros, then 32 ones, and so on."""
    with (
        mock.patch.object(prg, "fresh_seed", side_effect=(bytes([n]) * 32 for n in count())),
        mock.patch.object(prg, "fresh_query_id", return_value=QUERY),
    ):
        yield


def _query() -> Answers:
    form = Form((KeyForm("token", (1, 2), 300),), (Field("real", (1, 2), 1, 0),))
    chosen = {"token": np.array([[7, 299]], np.uint64), "real": np.array([[1, 0]], np.uint64)}
    with _drawn():
        shares = split(form, chosen)
    values = {name: numbers(value) for name, value in chosen.items()}
    return {"rows": [1, 2], "vocabulary": 300, "values": values, "shares": [share.hex() for share in shares]}


def _answer() -> Answers:
    result = Field("result", (1, 1, 3), 20, 14)
    values = np.array([5, 2**20 - 9, 0], np.uint64)
    first = prg.elements(SEEDS[0], "share", (3,), 20)
    shares = [
        answered(result, result.share(part), Share((1,), 1, 0, np.array([bit], np.uint64)))
        for part, bit in ((first, 1), (values - first, 0))
    ]
    return {"bits": 20, "values": numbers(values), "shares": [share.hex() for share in shares]}


def _frames() -> list[Answers]:
    sent: list[bytes] = []
    writer = FrameWriter(sent.append, SESSION, 1)
    writer.write(Kind.BEGIN, 0, PREPARATION)
    writer.write(Kind.DATA, 3, bytes(CHUNK + 2), 1)
    return [{"bytes": len(message), "header": message[:48].hex()} for message in sent]


def _ends(part: bytes) -> list[int]:
    return [part[0], len(part) - 1]


def _digest(size: int) -> Answers:
    tally = Tally(SEEDS[0])
    tally.update(bytes(size))
    return {"zeros": size, "tags": tally.tags().hex(), "digest": tally.digest().hex()}


def _messages() -> Answers:
    said = {
        "shape": shape_message(QueryShape("embed", 1, 16)),
        "order": order_message(Order(0)),
        "later order": order_message(Order(2, (3, 5))),
    }
    return {name: message.SerializeToString().hex() for name, message in said.items()}


def _program(case: known_programs.Case) -> Answers:
    """Both prepared streams, all messages and both results of a program on given shares."""
    stores = case.stores(SEEDS, SHARING)
    with mock.patch.object(prg, "fresh_seed", return_value=TOSSED):
        run = lockstep.run(case.program, case.inputs, SEEDS, weights=stores, preparation=PREPARATION)
        given = lockstep.share_inputs(case.inputs, TOSSED)[:2]
    return {
        "name": case.name,
        "text": case.text,
        "gates": known_programs.gates_of(case),
        "inputs": [_input(*pair) for pair in zip(*given, strict=True)],
        "dealt": [part.hex() for part in _dealt(case, stores[2])],
        "messages": [[message.hex() for message in sent] for sent in run.transcripts],
        "results": [_result(*pair) for pair in zip(*run.results, strict=True)],
    }


def _input(first: Share, second: Share) -> Answers:
    return {
        "shape": list(first.shape),
        "bits": first.bits,
        "shares": [numbers(first.value), numbers(second.value)],
    }


def _result(first: Share, second: Share) -> Answers:
    bits = first.bits
    shares = [numbers(ring.low(np.broadcast_to(part.value, part.shape), bits)) for part in (first, second)]
    return {"bits": bits, "shares": shares}


def _dealt(case: known_programs.Case, weights: Any) -> Sequence[bytes]:
    streams = bytearray(), bytearray()

    def write(to: int, data: Any) -> None:
        for party in (0, 1) if to < 0 else (to,):
            streams[party].extend(data)

    dealer = Dealer(PREPARATION, SEEDS, write, weights)
    case.program(dealer, *(Share(x.shape, x.bits, x.scale) for x in case.inputs))
    dealer.flush()
    return [bytes(stream) for stream in streams]


def text(made: Answers) -> str:
    """JSON with one line for each vector."""
    lines = []
    for name, value in made.items():
        rows = value if isinstance(value, list) and value and isinstance(value[0], dict) else None
        said = json.dumps(value) if rows is None else "[\n  " + ",\n  ".join(map(json.dumps, rows)) + "\n ]"
        lines.append(f' "{name}": {said}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(text(answers()), encoding="utf-8")
