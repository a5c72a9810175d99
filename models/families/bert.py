"""BERT: learned positions, an embedding of each token's segment, a pooler before the classifier."""

from __future__ import annotations

from privinf.models.families import Family
from privinf.models.families._common import HARMLESS_KEYS
from privinf.models.families._encoders import BUFFER, FIXED_KEYS, READ_KEYS, Encoder
from privinf.models.source.reading import Keys

BERT = Encoder(
    family="bert",
    attention={
        "q": "attention.self.query",
        "k": "attention.self.key",
        "v": "attention.self.value",
        "out": "attention.output.dense",
    },
    norm="attention.output.LayerNorm",
    classifier=("pooler.dense", "classifier"),
    typed=True,
)
ENTRY = Family(
    keys=Keys("BertConfig", READ_KEYS | {"type_vocab_size"}, FIXED_KEYS, HARMLESS_KEYS),
    classes={"BertModel": "embed", "BertForSequenceClassification": "classify"},
    bare="BertModel",
    prefix="bert.",
    read=BERT.read,
    write=BERT.write,
    tensors=BERT.tensors,
    counted=BUFFER,
)
