"""Builds tokenizers of the tokenizers library from the bare vocabularies of other formats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from privinf.errors import ModelError

SPACE = "\u2581"
# How a vocabulary's text was cut before its merges were learnt, by the name that GGUF files give it.
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
CUTS: Mapping[str, Sequence[pre_tokenizers.PreTokenizer]] = {
    "gpt-2": (BYTES,),
    "smollm": (pre_tokenizers.Digits(individual_digits=True), BYTES),
}


def sentencepiece(
    pieces: Sequence[str],
    scores: Sequence[float],
    control: Sequence[int],
    *,
    unknown: int,
    plain: Sequence[int],
    dummy_prefix: bool = True,
) -> Tokenizer:
    """SentencePiece's BPE: of all neighbours that make a piece, those of the best score merge first.

    `plain` are the pieces that text may become by merging: neither bytes nor control tokens.
    """
    vocab = numbered(pieces)
    merges = list(_merges(pieces, scores, plain))
    rules = Tokenizer(models.BPE(vocab, merges, unk_token=pieces[unknown], fuse_unk=True, byte_fallback=True))
    prefix = [normalizers.Prepend(SPACE)] if dummy_prefix else []
    rules.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", SPACE)])
    first = [decoders.Strip(" ", left=1)] if dummy_prefix else []
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *first]
    rules.decoder = decoders.Sequence(steps)
    rules.add_special_tokens([AddedToken(pieces[i], normalized=False, special=True) for i in control])
    return rules


def byte_level(
    tokens: Sequence[str], merges: Sequence[str], cut: str, control: Sequence[int], added: Sequence[int] = ()
) -> Tokenizer:
    """GPT-2's BPE over bytes; `control` tokens are special, `added` ones only never cut."""
    if cut not in CUTS:
        raise ModelError(f"pre-tokenizer {cut!r} is not supported; accepted: {', '.join(CUTS)}")
    vocab = numbered(tokens)
    pairs = [_pair(merge) for merge in merges]
    if lost := [pair for pair in pairs if not {*pair, "".join(pair)} <= vocab.keys()]:
        raise ModelError(f"the merge {' '.join(lost[0])!r} refers to a token that is not in the vocabulary")
    rules = Tokenizer(models.BPE(vocab, pairs))
    rules.pre_tokenizer = pre_tokenizers.Sequence(list(CUTS[cut]))
    rules.decoder = decoders.ByteLevel()
    rules.add_special_tokens([AddedToken(tokens[i], normalized=False, special=True) for i in control])
    rules.add_tokens([AddedToken(tokens[i], normalized=False, special=False) for i in added])
    return rules


def words(tokens: Sequence[str], special: Sequence[str], unknown: str) -> Tokenizer:
    """One token for each word between white space."""
    rules = Tokenizer(models.WordLevel(numbered(tokens), unk_token=unknown))
    rules.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    rules.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    return rules


def start_with(rules: Tokenizer, token: int) -> None:
    """Every text begins with `token`."""
    name = rules.id_to_token(token)
    rules.post_processor = processors.TemplateProcessing(
        single=f"{name} $A", pair=f"{name} $A {name}:1 $B:1", special_tokens=[(name, token)]
    )


def numbered(tokens: Sequence[str]) -> dict[str, int]:
    """Ids by token; a token that is there twice is refused."""
    vocab = {token: index for index, token in enumerate(tokens)}
    if len(vocab) != len(tokens):
        twice = next(token for index, token in enumerate(tokens) if vocab[token] != index)
        raise ModelError(f"the vocabulary holds {twice!r} twice")
    return vocab


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    return left, right


def _merges(
    pieces: Sequence[str], scores: Sequence[float], plain: Sequence[int]
) -> Iterator[tuple[str, str]]:
    """All ways to make each piece out of two others, best pieces first."""
    known = {pieces[i] for i in plain}
    for i in sorted(plain, key=lambda i: (-scores[i], i)):
        piece = pieces[i]
        for cut in range(1, len(piece)):
            if piece[:cut] in known and piece[cut:] in known:
                yield piece[:cut], piece[cut:]
