"""What tells the families of decoders apart in their config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from privinf.models.families import HARMLESS_KEYS
from privinf.models.settings import Keys

DecoderName = Literal["gpt2", "llama"]

# Every decoder's: each is read in models/decoder_spec.py.
READ = """
model_type architectures vocab_size tie_word_embeddings bos_token_id eos_token_id
"""
READ_KEYS = frozenset(READ.split())
FIXED: Mapping[str, tuple[Any, ...]] = {
    "is_encoder_decoder": (False, None),
    "add_cross_attention": (False, None),
    "cross_attention_hidden_size": (None,),
    "pruned_heads": ({}, None),
    "sliding_window": (None,),
    "use_sliding_window": (False, None),
    "layer_types": (None,),
}
# What changes which tokens transformers generates, and is nothing at these values.
NO_CONSTRAINTS: Mapping[str, tuple[Any, ...]] = {
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "suppress_tokens": (None, []),
    "begin_suppress_tokens": (None, []),
    "bad_words_ids": (None, []),
    "exponential_decay_length_penalty": (None,),
    "no_repeat_ngram_size": (0, None),
    "encoder_no_repeat_ngram_size": (0, None),
}
# Keys of encoders that matter to no decoder, and settings of sampling that old files keep beside the model's.
HARMLESS = """
attention_dropout attn_pdrop embd_pdrop resid_pdrop id2label num_labels problem_type is_decoder
summary_type summary_use_proj summary_activation summary_proj_to_labels summary_first_dropout
do_sample max_length max_new_tokens min_length temperature top_k top_p
is_llama_config transformers.js_config
"""
HARMLESS_TO_DECODERS = (HARMLESS_KEYS - READ_KEYS - set(NO_CONSTRAINTS)) | frozenset(HARMLESS.split())


@dataclass(frozen=True)
class DecoderFamily:
    """One family: what it calls its sizes, and what transformers takes where it says nothing."""

    config: str
    architecture: str
    layers: str
    width: str
    heads: str
    ffn: str
    max_tokens: str
    activation: str
    eps: str
    fixed: Mapping[str, tuple[Any, ...]]
    default_activation: str
    default_eps: float
    default_tied: bool
    default_bos: int
    default_eos: int
    default_ffn: int | None = None  # in widths
    kv_heads: str = ""  # as many as heads where the family has no such key
    head_width: str = ""
    rotary: bool = False
    harmless: frozenset[str] = frozenset()

    @property
    def keys(self) -> Keys:
        """The keys that a configuration of this family may have."""
        sizes = (
            self.layers,
            self.width,
            self.heads,
            self.ffn,
            self.max_tokens,
            self.kv_heads,
            self.head_width,
        )
        rope = {"rope_theta", "rope_parameters", "rope_scaling"} if self.rotary else set()
        read = READ_KEYS | {name for name in (*sizes, self.activation, self.eps) if name} | rope
        return Keys(
            self.config, read, {**FIXED, **NO_CONSTRAINTS, **self.fixed}, HARMLESS_TO_DECODERS | self.harmless
        )


DECODERS: Mapping[DecoderName, DecoderFamily] = {
    "gpt2": DecoderFamily(
        config="GPT2Config",
        architecture="GPT2LMHeadModel",
        layers="n_layer",
        width="n_embd",
        heads="n_head",
        ffn="n_inner",
        max_tokens="n_positions",
        activation="activation_function",
        eps="layer_norm_epsilon",
        fixed={
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "reorder_and_upcast_attn": (False,),
        },
        default_activation="gelu_new",
        default_eps=1e-5,
        default_tied=True,
        default_bos=50256,
        default_eos=50256,
        default_ffn=4,
        harmless=frozenset({"n_ctx"}),  # the size of a mask that older versions stored
    ),
    "llama": DecoderFamily(
        config="LlamaConfig",
        architecture="LlamaForCausalLM",
        layers="num_hidden_layers",
        width="hidden_size",
        heads="num_attention_heads",
        ffn="intermediate_size",
        max_tokens="max_position_embeddings",
        activation="hidden_act",
        eps="rms_norm_eps",
        fixed={
            "attention_bias": (False,),
            "mlp_bias": (False,),
            "pretraining_tp": (1,),
            "partial_rotary_factor": (1.0, None),
            "rope_interleaved": (False,),
        },
        default_activation="silu",
        default_eps=1e-6,
        default_tied=False,
        default_bos=1,
        default_eos=2,
        kv_heads="num_key_value_heads",
        head_width="head_dim",
        rotary=True,
        harmless=frozenset({"max_sequence_length"}),  # of the first Llamas; nothing reads it
    ),
}
