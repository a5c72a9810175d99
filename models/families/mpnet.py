"""MPNet: positions counted from row 2, and relative ones in 32 buckets besides."""

from __future__ import annotations

from privinf.models.engines import relative
from privinf.models.families import Family
from privinf.models.families._common import HARMLESS_KEYS
from privinf.models.families._encoders import BUFFER, FIXED_KEYS, READ_KEYS, Encoder
from privinf.models.source.reading import Keys

MPNET = Encoder(
    family="mpnet",
    attention={part: f"attention.attn.{part[0]}" for part in ("q", "k", "v", "out")},
    norm="attention.LayerNorm",
    classifier=("classifier.dense", "classifier.out_proj"),
    first=2,
    pad=1,
    buckets=relative.BUCKETS,
)
# transformers counts in 32 buckets whatever this key says.
FIXED = {**FIXED_KEYS, "relative_attention_num_buckets": (relative.BUCKETS,)}
ENTRY = Family(
    keys=Keys("MPNetConfig", READ_KEYS, FIXED, HARMLESS_KEYS),
    # Encoders of sentence-transformers keep the name of the model that they were trained from.
    classes={
        "MPNetModel": "embed",
        "MPNetForMaskedLM": "embed",
        "MPNetForSequenceClassification": "classify",
    },
    bare="MPNetModel",
    prefix="mpnet.",
    read=MPNET.read,
    write=MPNET.write,
    tensors=MPNET.tensors,
    counted=BUFFER,
)
