"""What tells the families of encoders apart: their configurations' keys, their tensors' names, their positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from privinf.models.engines import relative

Name = Literal["bert", "mpnet"]
Head = Literal["none", "bert-classifier"]

ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu")

# Keys that shape the forward pass: each is read in models/spec.py.
READ_KEYS = frozenset(
    (
        "model_type",
        "architectures",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "vocab_size",
        "max_position_embeddings",
        "hidden_act",
        "layer_norm_eps",
        "id2label",
        "num_labels",
        "problem_type",
    )
)
# Keys that shape it too, and that have one value we implement.
FIXED_KEYS: Mapping[str, tuple[Any, ...]] = {
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False, None),
    "is_encoder_decoder": (False, None),
    "add_cross_attention": (False, None),
    "cross_attention_hidden_size": (None,),
    "pruned_heads": ({}, None),
}
# Keys that matter to training, to generation or to other libraries, and never to the output of an encoder.
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
output_scores
eos_token_ids decoder_start_token_id forced_bos_token_id forced_eos_token_id suppress_tokens begin_suppress_tokens
max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty num_return_sequences
temperature top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size
encoder_no_repeat_ngram_size bad_words_ids remove_invalid_values exponential_decay_length_penalty
"""
HARMLESS_KEYS = frozenset(HARMLESS.split()) | frozenset(HISTORY.split())


@dataclass(frozen=True)
class Family:
    """One family: `attention` names its projections and `norm` the attention's LayerNorm inside a layer."""

    config: str
    read_keys: frozenset[str]
    fixed_keys: Mapping[str, tuple[Any, ...]]
    classes: Mapping[str, Head]
    attention: Mapping[str, str]
    norm: str
    classifier: tuple[str, str]
    typed: bool = False  # adds an embedding of the token's type
    first_position: int = 0  # row of the position table that the first token takes
    pad: int = 0  # token id of padding
    buckets: int = 0  # of relative positions; none where only absolute ones count


FAMILIES: Mapping[Name, Family] = {
    "bert": Family(
        config="BertConfig",
        read_keys=READ_KEYS | {"type_vocab_size"},
        fixed_keys=FIXED_KEYS,
        classes={"BertModel": "none", "BertForSequenceClassification": "bert-classifier"},
        attention={
            "q": "attention.self.query",
            "k": "attention.self.key",
            "v": "attention.self.value",
            "out": "attention.output.dense",
        },
        norm="attention.output.LayerNorm",
        classifier=("pooler.dense", "classifier"),
        typed=True,
    ),
    "mpnet": Family(
        config="MPNetConfig",
        read_keys=READ_KEYS,
        # transformers counts in 32 buckets whatever this key says.
        fixed_keys={**FIXED_KEYS, "relative_attention_num_buckets": (relative.BUCKETS,)},
        # Encoders of sentence-transformers keep the name of the model that they were trained from.
        classes={
            "MPNetModel": "none",
            "MPNetForMaskedLM": "none",
            "MPNetForSequenceClassification": "bert-classifier",
        },
        attention={part: f"attention.attn.{part[0]}" for part in ("q", "k", "v", "out")},
        norm="attention.LayerNorm",
        classifier=("classifier.dense", "classifier.out_proj"),
        first_position=2,
        pad=1,
        buckets=relative.BUCKETS,
    ),
}
