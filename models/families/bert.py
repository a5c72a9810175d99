"""BERT: learned positions, an embedding of each token's segment, a pooler before the classifier."""

from __future__ import annotations

from privinf.models.families._encoders import Encoder, projections

BERT = Encoder(
    family="bert",
    attention=projections("attention.self"),
    norm="attention.output.LayerNorm",
    classifier=("pooler.dense", "classifier"),
    typed=True,
)
ENTRY = BERT.entry("BertConfig", {"BertModel": "embed", "BertForSequenceClassification": "classify"})
