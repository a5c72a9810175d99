"""Attacks on tiny models of each family at each level: what must fall falls, and what must not says so."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import Kind, write_model

import privinf.equivariant.attacks as package
from privinf.equivariant.attacks.registry import ATTACKS, chosen
from privinf.equivariant.attacks.run import NOTHING, folders, view_of
from privinf.equivariant.attacks.truth import Sizes, Truth
from privinf.equivariant.attacks.view import View
from privinf.equivariant.attacks.weights import Weights, facts
from privinf.equivariant.covering.convert import Noise, convert
from privinf.errors import InputError, ModelError

TOKENS = 400  # more than the width, so that there is something to be wrong about
SIZES = Sizes(window=2000, sample=100, prompts=6)
ALPHA = Noise(alpha_e=0.1, alpha_h=0.1, padding=8)
Staged = Callable[[Kind, str], tuple[View, Truth]]
Texts = list[np.ndarray]


def texts() -> Texts:
    """Few tokens are frequent, most are rare."""
    rng = np.random.default_rng(4)
    shares = 1 / np.arange(1, TOKENS + 1)
    order = rng.permutation(TOKENS)
    return [order[rng.choice(TOKENS, 40, p=shares / shares.sum())] for _ in range(200)]


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Staged:
    """Return the function that converts a model, and sets attacker and truth apart."""

    def stage(kind: Kind, level: str) -> tuple[View, Truth]:
        folder = tmp_path_factory.mktemp(f"{kind}-{level}")
        plain = write_model(folder / "plain", kind, seed=5, vocab_size=TOKENS)
        convert(plain, folder / "out", level, variants=1, noise=ALPHA if level == "noise" else None)
        return _view(plain, folder / "out")

    return cache(stage)


def _view(plain: Path, out: Path, begin: tuple[int, ...] = ()) -> tuple[View, Truth]:
    known = facts(plain)
    server, client = folders(plain, out, known)
    written = [np.append(begin, text).astype(np.int64) for text in texts()]
    truth = Truth(client, known, written[::2], SIZES, seed=1)
    return view_of(plain, server, known, truth, {"public": written[1::2]}), truth


def scores(pair: tuple[View, Truth], name: str) -> dict[str, dict[str, Any]]:
    view, truth = pair
    attack = ATTACKS[name]
    findings = attack.run(view, truth.leak() if attack.leaks else NOTHING)
    assert findings.skipped is None
    found = {key: truth.score(guess) for key, guess in findings.guesses.items()}
    return found | {key: truth.score_prompts(ids) for key, ids in findings.prompts.items()}


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("level", ["tokens", "cover", "session"])
@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama", "llama-groups"])
@pytest.mark.parametrize("name", ["body", "inversion"])
def test_covers_without_noise_fall(staged: Staged, kind: Kind, level: str, name: str) -> None:
    for row in scores(staged(kind, level), name).values():
        assert row["occurrences"] == row["vocabulary"] == 1


@pytest.mark.fast_cases(3)
@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama-groups"])
@pytest.mark.parametrize("level", ["tokens", "cover"])
def test_weights_alone_are_enough(staged: Staged, kind: Kind, level: str) -> None:
    found = scores(staged(kind, level), "weights")
    assert found["vote"]["vocabulary"] == 1
    sampled = [row for name, row in found.items() if "sampled" in name]
    assert sampled
    assert all(row["vocabulary"] == 1 and "occurrences" not in row for row in sampled)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
def test_invariants_match_every_row(staged: Staged, kind: Kind) -> None:
    assert all(row["vocabulary"] == 1 for row in scores(staged(kind, "cover"), "invariants").values())


def test_known_tokens_tell_the_others(staged: Staged) -> None:
    found = scores(staged("llama", "cover"), "known-plaintext")
    assert found["2 d seeds"]["occurrences"] == found["2 d seeds"]["vocabulary"] == 1
    assert found["0.25 d seeds"]["occurrences_told"] < found["2 d seeds"]["occurrences_told"] < 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_what_is_told_in_a_session_is_told_of_it_alone(staged: Staged, kind: Kind) -> None:
    view, truth = staged(kind, "session")
    sessions = [session.traffic for session in view.sessions()]
    assert len(sessions) > 1
    assert all(sum(map(len, traffic.texts)) <= view.about.context for traffic in sessions)
    symbols = np.concatenate([traffic.frequent for traffic in sessions])
    assert len(np.unique(symbols)) == len(symbols)
    findings = ATTACKS["known-plaintext"].run(view, truth.leak())
    assert findings.facts["sessions"]["1 d seeds"] == len(sessions)
    assert "2 d seeds" not in findings.guesses  # no session has so many different tokens
    row = truth.score(findings.guesses["1 d seeds"])
    assert row["occurrences"] == row["vocabulary"] == 1
    assert row["occurrences_scored"] < sum(len(text) for traffic in sessions for text in traffic.texts)


def test_sessions_are_linked_and_counted(staged: Staged) -> None:
    """Without a key or a weight, sessions say together what one key's ids say."""
    rows, ids = scores(staged("llama", "session"), "frequency"), scores(staged("llama", "cover"), "frequency")
    assert rows["rank, public"]["occurrences"] == pytest.approx(ids["rank, public"]["occurrences"], abs=0.03)
    assert rows["rank, public"]["occurrences"] > 0.3
    assert "vocabulary" not in rows["rank, public"]


def test_a_call_about_many_texts_is_one_session(staged: Staged) -> None:
    view, truth = staged("bert", "session")
    findings = ATTACKS["frequency"].run(view, NOTHING)
    assert findings.facts["sessions"] == 1
    assert findings.facts["tokens"] == 100 * 40
    assert truth.score(findings.guesses["rank, public"])["occurrences"] > 0.1


def test_one_row_is_known_where_every_text_begins_alike(tmp_path: Path) -> None:
    plain = write_model(tmp_path / "plain", "bert", seed=5, vocab_size=TOKENS)
    convert(plain, tmp_path / "out", "cover")
    view, truth = _view(plain, tmp_path / "out", begin=(2,))
    assert view.traffic.texts[0][0] == view.traffic.texts[1][0]
    findings = ATTACKS["known-plaintext"].run(view, NOTHING)  # nothing is told
    assert list(findings.guesses) == ["constant prefix"]
    assert findings.facts["seeds"] == {"constant prefix": 1}
    told = findings.guesses["constant prefix"].told
    assert told is not None
    assert truth.plain[told].tolist() == [2]
    assert (
        truth.score(findings.guesses["constant prefix"])["vocabulary"] == 1
    )  # by the distance from that row


@pytest.mark.parametrize("name", ["known-plaintext", "vocabulary", "inversion"])
def test_too_little_is_said_to_be_so(staged: Staged, name: str) -> None:
    view, truth = staged("llama", "cover")
    few = replace(view, traffic=replace(view.traffic, texts=[np.arange(3)], prompts=[]))
    findings = ATTACKS[name].run(few, truth.leak())
    assert findings.skipped
    assert not findings.guesses
    assert not findings.prompts


def test_noise_is_what_is_left(staged: Staged) -> None:
    """Lengths no longer say who is who; yet the body's covers fall, and small noise does not hide much."""
    pair = staged("llama", "noise")
    assert scores(pair, "invariants")["row norms"]["vocabulary"] < 0.2
    assert scores(pair, "body")["nearest token"]["vocabulary"] > 0.95


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_positions_are_free_seeds(staged: Staged, kind: Kind) -> None:
    (row,) = scores(staged(kind, "cover"), "free-seeds").values()
    assert row["vocabulary"] == 1


@pytest.mark.parametrize(("kind", "name"), [("llama", "free-seeds"), ("bert", "vocabulary")])
def test_what_is_impossible_is_said(staged: Staged, kind: Kind, name: str) -> None:
    view, _ = staged(kind, "cover")
    findings = ATTACKS[name].run(view, NOTHING)
    assert findings.skipped
    assert not findings.guesses


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("kind", ["gpt2", "llama-untied"])
@pytest.mark.parametrize("level", ["cover", "session"])
def test_inner_values_spell_prompts_out(staged: Staged, kind: Kind, level: str) -> None:
    (row,) = scores(staged(kind, level), "vocabulary").values()
    assert row["exact_prompts"] == 1
    assert row["prompts"] == SIZES.prompts


def test_weights_of_another_model_read_nothing(staged: Staged, tmp_path: Path) -> None:
    """The control: what attacks read they read because the plain model is public."""
    view, truth = staged("llama", "cover")
    other = write_model(tmp_path / "other", "llama", seed=6, vocab_size=TOKENS)
    wrong = replace(view, plain=Weights(other, facts(other)))
    for name in ("weights", "invariants", "body"):
        for row in scores((wrong, truth), name).values():
            assert row["vocabulary"] < 0.1


def test_scores_count_what_they_say(staged: Staged) -> None:
    view, truth = staged("llama", "cover")
    body = ATTACKS["body"].run(view, NOTHING).guesses["nearest token"]
    assert truth.score(body)["occurrences_scored"] == sum(len(t) for t in truth.traffic.texts)
    shifted = type(body)(body.symbols, (body.plain + 1) % TOKENS)
    assert truth.score(shifted)["occurrences"] < 0.05
    half = type(body)(body.symbols[::2], body.plain[::2])
    assert 0.2 < truth.score(half)["vocabulary"] < 0.8  # what is not guessed is wrong


def test_nothing_but_the_truth_reads_keys() -> None:
    """The attacker's modules cannot see a key: none imports what opens one."""
    secret = {"privinf.equivariant.key", "privinf.equivariant.asking.own_part"}
    readers = set()
    for path in Path(str(package.__file__)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in secret:
                readers.add(path.name)
    assert readers == {"truth.py", "sending.py"}  # which makes what the truth has sent


def test_unknown_attacks_and_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'oracle' is not an attack; choose one of weights, "):
        chosen(["oracle"])
    assert [attack.name for attack in chosen(["body", "body"])] == ["body"]
    with pytest.raises(ModelError, match="vit"):
        facts(write_model(tmp_path / "vit", "vit"))
