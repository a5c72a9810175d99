"""Text comes as soon as it is safe, joined it is the whole answer, and the work per token is bounded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from privinf.sdk.stops import TextStream

SENTENCES = (Path(__file__).parents[1] / "data" / "sentences.txt").read_text("utf-8")
TEXT = (
    "She sells  sea shells.\n\n\tNaïve Ελληνικά, 漢字と日本語; \U0001f40b\U0001f40b\u200d\U0001f469\U0001f3fd "
    "cafe\u0301 \u200b end   "
)
MARK = "\N{REPLACEMENT CHARACTER}"
BYTES = [f"<0x{value:02X}>" for value in range(256)]
Decode = Callable[[Sequence[int]], str]


def _byte_level() -> Tokenizer:
    """As GPT-2, Llama 3 and Qwen have it: every token is a string of bytes."""
    rules = Tokenizer(models.BPE())
    rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rules.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        show_progress=False,
        special_tokens=["<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    rules.train_from_iterator([SENTENCES], trainer)
    return rules


def _byte_fallback() -> Tokenizer:
    """As Llama 2 and Mistral have it: bytes for unknown characters, and a space at the start that is dropped."""
    pieces = ["<end>", *BYTES, "▁", *"abcdefghijklmnopqrstuvwxyzS.,;", "▁s", "he", "▁sea", "▁▁"]
    merges = [("▁", "s"), ("h", "e"), ("▁s", "e"), ("▁se", "a"), ("▁", "▁")]
    pieces.insert(-2, "▁se")
    rules = Tokenizer(
        models.BPE(
            {piece: i for i, piece in enumerate(pieces)}, merges, byte_fallback=True, unk_token=BYTES[0]
        )
    )
    rules.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    rules.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    rules.add_special_tokens(["<end>"])
    return rules


def _words() -> Tokenizer:
    """A decoder that puts the spaces between words itself."""
    pieces = ["<end>", "sea", "##s", "the", "shell", "##ing", "!"]
    rules = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="the"))
    rules.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rules.decoder = decoders.WordPiece(cleanup=False)
    rules.add_special_tokens(["<end>"])
    return rules


TOKENIZERS = {"byte level": _byte_level(), "byte fallback": _byte_fallback(), "words": _words()}
TEXTS = {"byte level": TEXT, "byte fallback": TEXT, "words": "the seas the shelling ! shells sea"}


def _pushed(stream: TextStream, ids: Sequence[int]) -> list[str]:
    return [*(stream.push(token) for token in ids), stream.finish()]


def _ids(name: str) -> list[int]:
    ids: list[int] = TOKENIZERS[name].encode(TEXTS[name], add_special_tokens=False).ids
    return ids


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_pieces_joined_are_the_decoded_whole(name: str) -> None:
    ids, decode = _ids(name), TOKENIZERS[name].decode
    pieces = _pushed(TextStream(decode), ids)
    assert "".join(pieces) == decode(ids) == TEXTS[name]
    assert MARK not in "".join(pieces)
    assert max(map(len, pieces)) <= 12
    assert not pieces[-1]


@pytest.mark.parametrize("name", ["byte level", "byte fallback"])
def test_half_a_character_is_held_back(name: str) -> None:
    decode = TOKENIZERS[name].decode
    ids = TOKENIZERS[name].encode("x\U0001f40b\U0001f40b", add_special_tokens=False).ids
    pieces = _pushed(TextStream(decode), ids)
    whales = [piece for piece in pieces if piece.strip("x")]
    assert whales == ["\U0001f40b"] * 2
    cut = _pushed(TextStream(decode), ids[:-6])  # in the midst of the first whale
    assert not any(MARK in piece for piece in cut[:-1])
    assert "".join(cut) == decode(ids[:-6])


def test_whole_characters_do_not_wait_for_the_half_one_after_them() -> None:
    table = {0: b"ab\xf0", 1: b"\x9f\x90", 2: b"\x8bc", 3: "\N{REPLACEMENT CHARACTER}".encode(), 4: b"d"}
    stream = TextStream(lambda ids: b"".join(table[i] for i in ids).decode(errors="replace"))
    assert _pushed(stream, [0, 1, 2, 3, 4]) == ["ab", "", "\U0001f40bc", "", MARK + "d", ""]


@pytest.mark.parametrize("seed", range(20))
def test_bytes_that_are_no_text_come_as_the_tokenizer_shows_them(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = (
        random.integers(256, size=300) if seed % 2 else random.choice([0xF0, 0x9F, 0x90, 0x8B, 0x41], 300)
    )

    def decode(ids: Sequence[int]) -> str:
        return bytes(ids).decode(errors="replace")

    assert "".join(_pushed(TextStream(decode), values.tolist())) == decode(values.tolist())


@pytest.mark.parametrize("name", TOKENIZERS)
def test_any_tokens_give_text_and_lose_none(name: str) -> None:
    rules, random = TOKENIZERS[name], np.random.default_rng(3)
    ascii_bytes = [rules.token_to_id(token) for token in BYTES[:128]] if name == "byte fallback" else []
    known = np.setdiff1d(np.arange(rules.get_vocab_size()), ascii_bytes)
    for _ in range(50):
        ids = random.choice(known, 60).tolist()
        seen, whole = "".join(_pushed(TextStream(rules.decode), ids)), rules.decode(ids)
        if name == "byte fallback":  # one bad byte changes how those before it are shown
            seen, whole = (text.encode("ascii", "ignore").decode() for text in (seen, whole))
        assert seen == whole


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("extra", [0, 1, 40])
def test_skipped_tokens_leave_the_spaces_alone(name: str, extra: int) -> None:
    skipped = TOKENIZERS[name].token_to_id("<end>")
    decode, real = TOKENIZERS[name].decode, _ids(name)
    real = real if extra < 2 else [token for token in real if decode([token]).isascii()]
    ids = [token for one in real for token in (*[skipped] * extra, one)]
    assert "".join(_pushed(TextStream(decode), ids)) == decode(real) == decode(ids)


@pytest.mark.parametrize("case", ["text", "skipped", "bad bytes", "marks", "spaces"])
@pytest.mark.parametrize("name", ["byte level", "byte fallback"])
def test_the_work_for_a_token_does_not_grow(name: str, case: str) -> None:
    rules = TOKENIZERS[name]
    bad = "ÿ" if name == "byte level" else "<0xFF>"
    repeated = {
        "text": _ids(name),
        "skipped": [rules.token_to_id("<end>")],
        "bad bytes": [rules.token_to_id(bad)],
        "marks": rules.encode(MARK, add_special_tokens=False).ids,
        "spaces": rules.encode(" ", add_special_tokens=False).ids[-1:],
    }[case]
    sizes = list[int]()

    def decode(ids: Sequence[int]) -> str:
        sizes.append(len(ids))
        text: str = rules.decode(list(ids))
        return text

    ids = repeated * (3000 // len(repeated))
    text = "".join(_pushed(TextStream(decode, stop=["never"]), ids))
    assert max(sizes) <= 64
    assert len(sizes) <= 2 * len(ids) + 1
    assert text == rules.decode(ids)


def _characters(text: str, stop: Sequence[str]) -> tuple[list[str], str | None]:
    stream = TextStream(lambda ids: "".join(map(chr, ids)), stop)
    return _pushed(stream, [ord(character) for character in text]), stream.reason


@pytest.mark.parametrize(
    ("text", "stop", "shown", "reason"),
    [
        ("one two", [], "one two", "length"),
        ("one two", ["two"], "one ", "stop"),
        ("one twwo", ["two"], "one twwo", "length"),
        ("one tw", ["two"], "one tw", "length"),
        ("two", ["two"], "", "stop"),
        ("aaab", ["aab"], "a", "stop"),
        ("abababc", ["ababc"], "ab", "stop"),
        ("one\n\nUser: two", ["\nUser:", "\n\n\n"], "one\n", "stop"),
        ("xabc", ["abcd", "c"], "xab", "stop"),  # the one that is complete first
        ("xabc", ["c", "bc", "abc"], "x", "stop"),  # of those complete at once the longest
        ("", ["a"], "", "length"),
    ],
)
def test_stops(text: str, stop: list[str], shown: str, reason: str) -> None:
    pieces, why = _characters(text, stop)
    assert ("".join(pieces), why) == (shown, reason)


def test_what_may_begin_a_stop_is_held_back_and_no_more() -> None:
    assert _characters("a\nUs b", ["\nUser"])[0] == ["a", "", "", "", "\nUs ", "b", ""]
    assert _characters("aab", ["aac"])[0] == ["", "", "aab", ""]
    assert _characters("ab", ["b1", "ab2"])[0] == ["", "", "ab"]


def test_of_two_stops_in_one_piece_the_first_complete_counts() -> None:
    stream = TextStream(lambda ids: "xabcd" * len(ids), ["abcd", "c"])
    assert [stream.push(0), stream.finish(), stream.reason] == ["xab", "", "stop"]


def test_stops_do_not_depend_on_how_the_text_is_cut() -> None:
    random = np.random.default_rng(7)
    for _ in range(300):
        text = "".join(random.choice(["a", "b", "c"], 30))
        stop = ["".join(random.choice(["a", "b", "c"], size)) for size in random.integers(1, 7, size=3)]
        cuts = sorted(random.integers(31, size=6).tolist())
        parts = [text[start:end] for start, end in zip([0, *cuts], [*cuts, 30], strict=True)]
        stream = TextStream(lambda ids, parts=parts: "".join(parts[i] for i in ids), stop)
        pieces, reason = _characters(text, stop)
        assert "".join(_pushed(stream, range(len(parts)))) == "".join(pieces)
        assert stream.reason == reason
        assert not any(one in "".join(pieces) for one in stop)


@pytest.mark.parametrize("name", ["byte level", "byte fallback"])
def test_stops_across_and_within_tokens(name: str) -> None:
    ids, decode = _ids(name), TOKENIZERS[name].decode
    for stop in ("shells.", "ï", "Ελ", "字と", "\U0001f40b", "\u200d\U0001f469", "e\u0301 ", "  sea"):
        stream = TextStream(decode, [stop, "\u2603"])
        assert "".join(_pushed(stream, ids)) == TEXT[: TEXT.index(stop)]
        assert stream.reason == "stop"


def test_an_end_token_ends_the_text_and_shows_what_was_held() -> None:
    stream = TextStream(lambda ids: "".join(map(chr, ids)), ["abc"], eos={0, 1})
    assert [stream.push(ord("x")), stream.push(ord("a")), stream.reason] == ["x", "", None]
    assert [stream.push(1), stream.reason] == ["a", "eos"]
    assert [stream.push(ord("y")), stream.finish(), stream.reason] == ["", "", "eos"]


def test_nothing_follows_a_stop() -> None:
    stream = TextStream(lambda ids: "".join(map(chr, ids)), ["b"], eos=[0])
    assert [stream.push(ord(character)) for character in "abc"] == ["a", "", ""]
    assert [stream.push(0), stream.finish(), stream.finish(), stream.reason] == ["", "", "", "stop"]


def test_finishing_twice_shows_nothing_twice() -> None:
    stream = TextStream(lambda ids: "".join(map(chr, ids)), ["ab"])
    assert [stream.push(ord("a")), stream.finish(), stream.finish(), stream.reason] == ["", "a", "", "length"]
    assert stream.push(ord("b")) == ""
