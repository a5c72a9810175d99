"""Drafts change how many passes a generation takes and nothing about its tokens or their distribution."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from privinf.drafts.speculation import LONGEST, Draft, NoDraft, PromptLookup, Tree, Verdict, verify
from privinf.errors import InputError
from privinf.options import Sampling
from privinf.sampling import F32, F64, Sampler

VOCAB = 3
PROMPT = (0, 2, 1)
SETTINGS = [
    Sampling(temperature=1.0),
    Sampling(temperature=0.7, top_k=2),
    Sampling(temperature=1.3, top_p=0.8),
    Sampling(temperature=0.9, repetition_penalty=1.6),
]


class Markov:
    """A language model of which each token depends on the two before it."""

    def __init__(self, vocab: int, seed: int, scale: float = 1.5) -> None:
        shape = (vocab, vocab, vocab)
        self.table = np.random.default_rng(seed).normal(scale=scale, size=shape).astype(np.float32)

    def row(self, ids: Sequence[int]) -> F32:
        row: F32 = self.table[ids[-2], ids[-1]]
        return row

    def rows(self, ids: Sequence[int], drafts: Sequence[int]) -> F32:
        return np.stack([self.row([*ids, *drafts[:count]]) for count in range(len(drafts) + 1)])


class ModelDraft:
    """Proposes what a model finds most likely: the last row of what it gives."""

    def __init__(self, logits: Callable[[Sequence[int]], F32], repetition_penalty: float = 1.0) -> None:
        self._logits = logits
        self._sampler = Sampler(Sampling(repetition_penalty=repetition_penalty))

    def propose(self, ids: Sequence[int], count: int) -> Sequence[int]:
        known = [int(token) for token in ids]
        for _ in range(count):
            known.append(self._sampler.choose(np.atleast_2d(self._logits(known))[-1], known))
        return known[len(ids) :]


class Fixed:
    """Proposes the same tokens whatever came before, or tokens that depend on how much did."""

    def __init__(self, tokens: Callable[[int], Sequence[int]]) -> None:
        self.tokens = tokens

    def propose(self, ids: Sequence[int], count: int) -> Sequence[int]:
        return self.tokens(len(ids))[:count]


def _plainly(model: Markov, sampler: Sampler, length: int, prompt: Sequence[int] = PROMPT) -> list[int]:
    ids = list(prompt)
    for _ in range(length):
        ids.append(sampler.choose(model.row(ids), ids))
    return ids[len(prompt) :]


def _speculated(
    model: Markov, sampler: Sampler, draft: Draft, length: int, prompt: Sequence[int] = PROMPT, count: int = 3
) -> tuple[list[int], int]:
    """The tokens, and the passes they took."""
    ids, passes = list(prompt), 0
    while len(ids) < len(prompt) + length:
        drafts = draft.propose(ids, count)
        assert len(drafts) <= count
        verdict = verify(sampler, model.rows(ids, drafts), Tree.line(drafts), ids)
        assert len(verdict.tokens) == verdict.accepted + 1
        assert list(verdict.tokens[:-1]) == list(drafts[: verdict.accepted])
        ids, passes = [*ids, *verdict.tokens], passes + 1
    return ids[len(prompt) :][:length], passes


class ScriptEnded(Exception):
    """More is drawn than was told."""


class Scripted(Sampler):
    """Draws what it is told, and multiplies up how likely that was."""

    def __init__(self, sampling: Sampling, script: Sequence[int]) -> None:
        super().__init__(sampling)
        self.script = list(script)
        self.drawn = list[int]()
        self.weight = 1.0

    def draw(self, probabilities: F64) -> int:
        if len(self.drawn) == len(self.script):
            raise ScriptEnded
        self.drawn.append(self.script[len(self.drawn)])
        self.weight *= probabilities[self.drawn[-1]]
        return self.drawn[-1]


def _outcomes(
    sampling: Sampling, run: Callable[[Sampler], tuple[int, ...]], script: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every outcome of a run and its exact probability, by trying all that can be drawn."""
    sampler = Scripted(sampling, script)
    try:
        result = run(sampler)
    except ScriptEnded:
        if sampler.weight > 0:
            for token in range(VOCAB):
                yield from _outcomes(sampling, run, (*script, token))
        return
    assert sampler.drawn == list(script)
    yield result, sampler.weight


def _law(outcomes: Iterator[tuple[tuple[int, ...], float]]) -> dict[tuple[int, ...], float]:
    law = dict[tuple[int, ...], float]()
    for result, weight in outcomes:
        if weight:
            law[result] = law.get(result, 0) + weight
    return law


DRAFTS: list[Draft] = [
    NoDraft(),
    PromptLookup(),
    Fixed(lambda _: (0, 0, 0)),
    Fixed(lambda size: ((1, 2), (2,), (), (0, 1, 2))[size % 4]),
    ModelDraft(Markov(VOCAB, seed=5).row),
]


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("sampling", SETTINGS)
def test_the_distribution_is_exactly_that_without_drafts(sampling: Sampling, draft: Draft) -> None:
    model, length = Markov(VOCAB, seed=5), 4
    plain = dict[tuple[int, ...], float]()
    for tokens in itertools.product(range(VOCAB), repeat=length):
        ids, weight = list(PROMPT), 1.0
        for token in tokens:
            weight *= Sampler(sampling).distribution(model.row(ids), ids)[token]
            ids.append(token)
        if weight:
            plain[tokens] = weight
    law = _law(_outcomes(sampling, lambda s: tuple(_speculated(model, s, draft, length)[0])))
    assert law.keys() == plain.keys()
    assert sum(law.values()) == pytest.approx(1, abs=1e-12)
    for tokens, weight in plain.items():
        assert law[tokens] == pytest.approx(weight, rel=1e-9)


@pytest.mark.parametrize("draft", range(VOCAB))
def test_a_draft_is_accepted_by_its_probability_and_else_left_out(draft: int) -> None:
    model, sampling = Markov(VOCAB, seed=6), Sampling(temperature=1.0, repetition_penalty=1.2)
    p = Sampler(sampling).distribution(model.row(PROMPT), PROMPT)

    def first(sampler: Sampler) -> tuple[int, ...]:
        verdict = verify(sampler, model.rows(PROMPT, [draft]), Tree.line([draft]), PROMPT)
        return verdict.accepted, verdict.tokens[0]

    law = _law(_outcomes(sampling, first))
    assert law[1, draft] == pytest.approx(p[draft])
    rest = np.where(np.arange(VOCAB) == draft, 0, p)
    for token in set(range(VOCAB)) - {draft}:
        assert law[0, token] == pytest.approx((1 - p[draft]) * rest[token] / rest.sum())
    assert (0, draft) not in law


@pytest.mark.slow
@pytest.mark.parametrize("draft", [PromptLookup(), ModelDraft(Markov(VOCAB, seed=7).row)])
def test_drawn_frequencies_fit_the_distribution(draft: Draft) -> None:
    model, length, runs = Markov(VOCAB, seed=7, scale=0.7), 3, 6000
    law = _law(_outcomes(Sampling(temperature=1.0), lambda s: tuple(_plainly(model, s, length))))
    sampler, counts = Sampler(Sampling(temperature=1.0, seed=123)), dict.fromkeys(law, 0)
    for _ in range(runs):
        counts[tuple(_speculated(model, sampler, draft, length)[0])] += 1
    assert min(law.values()) * runs > 5
    statistic = sum((counts[key] - runs * weight) ** 2 / (runs * weight) for key, weight in law.items())
    assert len(law) == 27
    assert statistic < 54.05  # of 26 degrees of freedom, exceeded once in a thousand


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("penalty", [1.0, 1.4])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_equal_seeds_give_equal_tokens_with_and_without_drafts(
    temperature: float, penalty: float, count: int
) -> None:
    model, small, length = Markov(40, seed=8), Markov(40, seed=8, scale=1.4), 60
    drafts = (
        PromptLookup(),
        ModelDraft(model.row, penalty),
        ModelDraft(small.row),
        Fixed(lambda n: [n % 40] * 5),
    )
    for seed in range(5):
        sampling = Sampling(temperature, repetition_penalty=penalty, seed=seed)
        wanted = _plainly(model, Sampler(sampling), length)
        for draft in drafts:
            assert _speculated(model, Sampler(sampling), draft, length, count=count)[0] == wanted


def test_the_models_own_drafts_are_all_accepted() -> None:
    model = Markov(40, seed=9)
    for penalty in (1.0, 1.5):
        draft = ModelDraft(model.row, penalty)
        sampler = Sampler(Sampling(repetition_penalty=penalty))
        assert _speculated(model, sampler, draft, 60, count=4)[1] == 60 / 5


def test_accepted_drafts_are_penalised_like_other_tokens() -> None:
    row = np.array([4, 3, 2.5], dtype=np.float32)
    sampler = Sampler(Sampling(repetition_penalty=2.0))
    verdict = verify(sampler, np.stack([row] * 3), Tree.line([0, 0]), [])
    assert verdict == Verdict((0, 1), (0, 1))
    assert verify(sampler, np.stack([row] * 3), Tree.line([0, 1]), []) == Verdict((0, 1, 2), (0, 1, 2))


def test_drafts_that_are_no_tokens_are_not_accepted() -> None:
    rows = np.zeros((3, VOCAB), dtype=np.float32)
    assert verify(Sampler(Sampling()), rows, Tree.line([-3, 0]), []) == Verdict((0,), (0,))
    assert verify(Sampler(Sampling()), rows, Tree.line([VOCAB, 0]), []) == Verdict((0,), (0,))


def test_a_verdict_and_its_errors_do_not_print_tokens() -> None:
    assert repr(Verdict((0, 1, 2), (71, 72, 73))) == "Verdict(rows=(0, 1, 2))"
    with pytest.raises(InputError, match=r"shape \(3, vocab\) are needed for 2 drafts, not \(2, 5\)"):
        verify(Sampler(Sampling()), np.zeros((2, 5), dtype=np.float32), Tree.line([71, 72]), [])
    with pytest.raises(InputError, match="shape"):
        verify(Sampler(Sampling()), np.zeros(5, dtype=np.float32), Tree(), [])


@pytest.mark.parametrize(
    ("ids", "count", "proposed"),
    [
        ([], 4, []),
        ([5], 4, []),
        ([1, 2, 3], 4, []),
        ([1, 2, 3, 1], 2, [2, 3]),
        ([9, 1, 2, 5, 6, 7, 2, 8, 3, 1, 2], 2, [5, 6]),  # two tokens match better than the later one
        ([1, 2, 5, 1, 2, 6, 1, 2], 2, [6, 1]),  # the latest of equals
        ([7, 8, 1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3], 1, [4]),
        ([4, 4], 3, [4, 4, 4]),  # a loop goes on
        ([9, 1, 2, 1, 2], 5, [1, 2, 1, 2, 1]),
        ([1, 2, 1], 0, []),
    ],
)
def test_prompt_lookup(ids: list[int], count: int, proposed: list[int]) -> None:
    assert list(PromptLookup().propose(ids, count)) == proposed


def test_prompt_lookup_takes_the_longest_match_of_a_plain_search() -> None:
    random = np.random.default_rng(10)
    for _ in range(200):
        ids = random.integers(4, size=30).tolist()
        wanted = None
        for size in range(LONGEST, 0, -1):
            ends = [e for e in range(size, len(ids)) if ids[e - size : e] == ids[-size:]]
            if ends:
                wanted = ids[ends[-1] :][:1]
                break
        assert list(PromptLookup().propose(ids, 1)) == (wanted or [])


@pytest.mark.slow
@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_generation_equals_that_of_transformers(penalty: float) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.LlamaConfig(vocab_size=50, bos_token_id=None, eos_token_id=None, **sizes)
    network = transformers.LlamaForCausalLM(config).eval()
    prompt = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]

    def rows(ids: Sequence[int]) -> F32:
        with torch.inference_mode():
            logits: F32 = network(torch.tensor([list(ids)])).logits[0].numpy()
        return logits

    options = transformers.GenerationConfig(
        max_new_tokens=24, do_sample=False, repetition_penalty=penalty, pad_token_id=0
    )
    wanted = network.generate(torch.tensor([prompt]), options)[0].tolist()
    for draft in (NoDraft(), PromptLookup(), ModelDraft(rows, penalty)):
        ids, sampler = list(prompt), Sampler(Sampling(repetition_penalty=penalty))
        while len(ids) < len(wanted):
            drafts = draft.propose(ids, 4)
            logits = rows([*ids, *drafts])[len(ids) - 1 :]
            ids += verify(sampler, logits, Tree.line(drafts), ids).tokens
        assert ids[: len(wanted)] == wanted
