"""What several families share: keys that mean nothing to us, labels, special tokens, names of layers in files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from typing import Any

from privinf.errors import ModelError
from privinf.models.source.reading import Config, Fixed, Keys, flag, read_optional, size
from privinf.models.source.tensors import Tensor
from privinf.models.spec import BlockSpec, Classifier, Generator, Says

MOST_LAYERS = 1024
PROBLEMS: dict[object, Says] = {
    "single_label_classification": "label",
    "multi_label_classification": "labels",
    "regression": "measure",
}
# What changes which tokens transformers generates, and is nothing at these values.
NO_CONSTRAINTS: Fixed = {
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "suppress_tokens": (None, []),
    "begin_suppress_tokens": (None, []),
    "bad_words_ids": (None, []),
    "exponential_decay_length_penalty": (None,),
    "no_repeat_ngram_size": (0, None),
    "encoder_no_repeat_ngram_size": (0, None),
}
# Keys that matter to training, to generation or to other libraries, and never to an encoder's output.
HARMLESS = """
_name_or_path _attn_implementation_autoset _commit_hash transformers_version torch_dtype dtype
initializer_range attention_probs_dropout_prob hidden_dropout_prob classifier_dropout
use_cache gradient_checkpointing tie_word_embeddings tie_encoder_decoder torchscript use_bfloat16
tf_legacy_loss return_dict output_hidden_states output_attentions chunk_size_feed_forward
label2id finetuning_task task_specific_params tokenizer_class prefix
pad_token_id bos_token_id eos_token_id sep_token_id cls_token_id unk_token_id mask_token_id
directionality pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers
pooler_size_per_head pooler_type sentence_transformers sbert_ce_default_activation_function
"""
# What transformers 2 to 4 wrote into every file: of training, of generation, and of heads that are not here.
HISTORY = """
n_special predict_special_tokens output_past xla_device _num_labels use_return_dict return_dict_in_generate
output_scores eos_token_ids decoder_start_token_id
max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty num_return_sequences
temperature top_k top_p typical_p repetition_penalty length_penalty remove_invalid_values
"""
HARMLESS_KEYS = frozenset(HARMLESS.split()) | frozenset(HISTORY.split()) | set(NO_CONSTRAINTS)

# Keys of what no model here has.
FIXED: Fixed = {
    "is_encoder_decoder": (False, None),
    "add_cross_attention": (False, None),
    "cross_attention_hidden_size": (None,),
    "pruned_heads": ({}, None),
}
# Every decoder's.
READ_BY_DECODERS = frozenset(
    ["model_type", "architectures", "vocab_size", "tie_word_embeddings", "bos_token_id", "eos_token_id"]
)
FIXED_IN_DECODERS: Fixed = {
    **FIXED,
    "sliding_window": (None,),
    "use_sliding_window": (False, None),
    "layer_types": (None,),
}
# Keys of encoders that matter to no decoder, and settings of sampling that old files keep beside the model's.
TO_DECODERS = """
attention_dropout attn_pdrop embd_pdrop resid_pdrop id2label num_labels problem_type is_decoder summary_type
summary_use_proj summary_activation summary_proj_to_labels summary_first_dropout max_new_tokens
is_llama_config transformers.js_config
"""
HARMLESS_TO_DECODERS = (HARMLESS_KEYS - READ_BY_DECODERS - set(NO_CONSTRAINTS)) | frozenset(
    TO_DECODERS.split()
)


def decoder_keys(config: str, sizes: Iterable[str], fixed: Fixed, unused: Set[str]) -> Keys:
    """A decoder's keys: the family's sizes, what must be as it says, and what means nothing, beside every decoder's."""
    return Keys(
        config,
        READ_BY_DECODERS | set(sizes),
        {**FIXED_IN_DECODERS, **NO_CONSTRAINTS, **fixed},
        HARMLESS_TO_DECODERS | unused,
    )


def linear(
    ours: str, theirs: str, inputs: int, outputs: int, *, biased: bool = True, optional: bool = False
) -> Iterator[tuple[str, Tensor]]:
    """A linear layer as PyTorch stores it, (out, in)."""
    yield f"{ours}.weight", Tensor(f"{theirs}.weight", (outputs, inputs), transposed=True, optional=optional)
    if biased:
        yield f"{ours}.bias", Tensor(f"{theirs}.bias", (outputs,), optional=optional)


def norm(ours: str, theirs: str, width: int, *, biased: bool = True) -> Iterator[tuple[str, Tensor]]:
    """A normalisation's gain, and bias if it has one."""
    yield f"{ours}.gain", Tensor(f"{theirs}.weight", (width,))
    if biased:
        yield f"{ours}.bias", Tensor(f"{theirs}.bias", (width,))


def blocks(
    block: BlockSpec, config: Config, key: str, path: Path, default: int | None = None
) -> tuple[BlockSpec, ...]:
    """So many layers alike, as the key says."""
    count = size(config, key, path, default)
    if count > MOST_LAYERS:
        raise ModelError(f"{path}: {key} {count} is more than the {MOST_LAYERS} layers that a model may have")
    return (block,) * count


def even_heads(width: int, heads: int, names: tuple[str, str], path: Path) -> int:
    """The width of each head, where they share the model's."""
    if width % heads:
        raise ModelError(f"{path}: {names[0]} {width} is not a multiple of {names[1]} {heads}")
    return width // heads


def classifier(config: Config, path: Path, dense: str | None) -> Classifier:
    """A head that classifies."""
    labels = _labels(config, path)
    return Classifier(labels, meaning(config, labels, path), dense)


def _labels(config: Config, path: Path) -> tuple[str, ...]:
    """Names of classes, in their order; transformers leaves id2label out where it is its default of two labels."""
    given = config.get("id2label")
    if given is None:
        return tuple(f"LABEL_{i}" for i in range(size(config, "num_labels", path, default=2)))
    names = [given.get(str(i)) for i in range(len(given))] if isinstance(given, dict) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise ModelError(f"{path}: id2label must map '0', '1', ... to names")
    return tuple(str(name) for name in names)


def meaning(config: Config, labels: tuple[str, ...], path: Path) -> Says:
    """What the numbers of a head mean, as transformers' own pipeline takes them; a single one is a score."""
    given = config.get("problem_type")
    if given is not None and (not isinstance(given, str) or given not in PROBLEMS):
        raise ModelError(
            f"{path}: problem_type {given!r} is not supported; accepted: {', '.join(map(str, PROBLEMS))}"
        )
    meant = PROBLEMS.get(given, "label")
    return "score" if len(labels) == 1 and meant == "label" else meant


def named(labels: tuple[str, ...]) -> dict[str, object]:
    """Names of classes as a configuration has them."""
    names = {str(i): name for i, name in enumerate(labels)}
    return {"id2label": names, "label2id": {name: int(i) for i, name in names.items()}} if labels else {}


def generator(config: Config, path: Path, vocab: int, tied: bool, bos: int, eos: int) -> Generator:
    """A head that generates; `tied`, `bos` and `eos` are what transformers takes where the files say nothing."""
    tied = flag(config, "tie_word_embeddings", path, tied)
    begins = _ids(config.get("bos_token_id", bos), "bos_token_id", vocab, path)
    return Generator(tied, begins[0] if begins else None, _eos(config, path, vocab, eos))


def _eos(config: Config, path: Path, vocab: int, default: int) -> tuple[int, ...]:
    """generation_config.json goes before config.json, as in transformers."""
    generation = path.parent / "generation_config.json"
    given = read_optional(generation).get("eos_token_id")
    if given is not None:
        return _ids(given, "eos_token_id", vocab, generation)
    return _ids(config.get("eos_token_id", default), "eos_token_id", vocab, path)


def _ids(given: Any, key: str, vocab: int, path: Path) -> tuple[int, ...]:
    """Token ids; those outside the vocabulary, which small models inherit as defaults, never occur."""
    ids = given if isinstance(given, list) else [] if given is None else [given]
    if not all(isinstance(i, int) and not isinstance(i, bool) for i in ids):
        raise ModelError(f"{path}: {key} must be a token id or a list of them, not {given!r}")
    return tuple(i for i in ids if 0 <= i < vocab)
