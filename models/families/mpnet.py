"""MPNet: positions counted from row 2, and relative ones in 32 buckets besides."""

from __future__ import annotations

from privinf.models.engines import relative
from privinf.models.families._encoders import Encoder

MPNET = Encoder(
    family="mpnet",
    attention={part: f"attention.attn.{part[0]}" for part in ("q", "k", "v", "out")},
    norm="attention.LayerNorm",
    classifier=("classifier.dense", "classifier.out_proj"),
    first=2,
    pad=1,
    buckets=relative.BUCKETS,
)
ENTRY = MPNET.entry(
    "MPNetConfig",
    # Encoders of sentence-transformers keep the name of the model that they were trained from.
    {"MPNetModel": "embed", "MPNetForMaskedLM": "embed", "MPNetForSequenceClassification": "classify"},
    # transformers counts in 32 buckets whatever this key says.
    {"relative_attention_num_buckets": (relative.BUCKETS,)},
)
