"""Checks before a conversion that a model's tokenizer has the special tokens that its client will need."""

from __future__ import annotations

from pathlib import Path

import tokenizers

from privinf.equivariant.plain import Plain
from privinf.errors import ModelError
from privinf.models.decoder_spec import read_decoder_spec

TOKENIZER = "tokenizer.json"


def check_tokenizer(model: Path, plain: Plain) -> None:
    """Refuse a tokenizer of another model, or one without special tokens; a model may come without any.

    Raises:
        ModelError: it does not belong to the model, or lacks special tokens.
    """
    path = model / TOKENIZER
    if not plain.vocab or not path.exists():
        return
    try:
        rules = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception for every fault in the file
        raise ModelError(f"{path} is no tokenizer of the tokenizers library") from error
    if (known := rules.get_vocab_size(with_added_tokens=True)) > plain.vocab:
        raise ModelError(f"{path} knows {known} tokens, the model {plain.vocab}: they do not belong together")
    if plain.family == "bert":
        _check_encoder(rules, path)
    else:
        _check_decoder(rules, model, path)


def _check_encoder(rules: tokenizers.Tokenizer, path: Path) -> None:
    if rules.num_special_tokens_to_add(is_pair=False) < 2:
        raise ModelError(
            f"{path} adds no special tokens such as [CLS] and [SEP] to a text: save the fast tokenizer"
            " that the model was trained with"
        )


def _check_decoder(rules: tokenizers.Tokenizer, model: Path, path: Path) -> None:
    spec = read_decoder_spec(model)
    named = {"bos_token_id": () if spec.bos is None else (spec.bos,), "eos_token_id": spec.eos}
    for name, ids in named.items():
        for token in ids:
            if rules.id_to_token(token) is None:
                raise ModelError(
                    f"{path} has no token {token}, which the model's configuration names as {name}"
                )
