"""The files of sentence-transformers are obeyed, in all their formats, or refused by the name of what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import transformers

from privinf.errors import InputError, ModelError
from privinf.models.fold import fold
from privinf.models.sharing.calibrate import clear_answers
from privinf.models.source.checkpoint import load, read_spec
from privinf.models.spec import ModelSpec, TextRules
from privinf.models.text.tokenizer import Tokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "whale", "sea", "##s", "!", "a", "query", ":", "The"]
CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "vocab_size": len(WORDS),
    "max_position_embeddings": 24,
}
OLD = "sentence_transformers.models."
NEW = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}
TEXT = {
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}
PROMPTS = {"query": "query: ", "document": ""}


def put(folder: Path, name: str, content: Any) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def modules(*types: str) -> list[dict[str, Any]]:
    paths = ("", "1_Pooling", "2_Normalize")
    return [{"idx": i, "name": str(i), "path": paths[i], "type": kind} for i, kind in enumerate(types)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small encoder with weights and a lower-casing tokenizer, in the layout of version 5.4 and later."""
    torch.manual_seed(1)
    transformers.BertModel(transformers.BertConfig(**CONFIG)).save_pretrained(tmp_path)
    put(tmp_path, "config.json", CONFIG)
    rules = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    rules.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=False)
    rules.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    rules.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    rules.add_special_tokens(WORDS[:4])
    rules.save(str(tmp_path / "tokenizer.json"))
    put(tmp_path, "modules.json", modules(*NEW.values()))
    put(
        tmp_path,
        "1_Pooling/config.json",
        {"embedding_dimension": 8, "pooling_mode": "mean", "include_prompt": True},
    )
    put(tmp_path, "2_Normalize/config.json", {"module_input_name": "sentence_embedding"})
    put(tmp_path, "sentence_bert_config.json", TEXT)
    return tmp_path


def embedded(folder: Path, texts: list[str], **options: Any) -> np.ndarray:
    """What a client is answered, in the clear."""
    spec, tensors = load(folder)
    return clear_answers(spec, fold(spec, tensors), Tokenizer(folder).encode(texts, truncate=True, **options))


def library(
    folder: Path, texts: list[str], *, most: int, pooling: str = "mean", unit: bool = True
) -> np.ndarray:
    """What sentence-transformers documents: cut the text, pool the last hidden states, scale to unit length."""
    model = transformers.BertModel.from_pretrained(folder).eval()
    rules = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    rules.enable_truncation(most)
    rows = []
    for text in texts:
        with torch.inference_mode():
            states = model(torch.tensor([rules.encode(text).ids])).last_hidden_state[0]
        row = states.mean(0) if pooling == "mean" else states[0]
        rows.append((row / row.norm() if unit else row).numpy())
    return np.stack(rows)


LONG = "the whale sea a ! the sea whale a the the sea"
TEXTS = ["the whale", LONG]


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_newer_format_of_pooling(folder: Path, pooling: str) -> None:
    put(folder, "1_Pooling/config.json", {"embedding_dimension": 8, "pooling_mode": pooling})
    spec = read_spec(folder)
    assert (spec.pool.kind, spec.pool.unit) == (pooling, True)
    wanted = library(folder, TEXTS, most=24, pooling=pooling)
    assert np.abs(embedded(folder, TEXTS) - wanted).max() < 1e-5


def test_one_pooling_may_come_as_a_list(folder: Path) -> None:
    put(folder, "1_Pooling/config.json", {"embedding_dimension": 8, "pooling_mode": ["cls"]})
    assert read_spec(folder).pool.kind == "cls"


@pytest.mark.parametrize("pooling", [{}, {"pooling_mode_mean_tokens": False}, {"embedding_dimension": 8}])
def test_the_mean_is_the_default(folder: Path, pooling: dict[str, Any]) -> None:
    put(folder, "1_Pooling/config.json", pooling)
    assert read_spec(folder).pool.kind == "mean"


@pytest.mark.fast_cases(5)
@pytest.mark.parametrize(
    ("files", "longest"),
    [
        ({"sentence_bert_config.json": {"max_seq_length": 6, "do_lower_case": False}}, 6),
        ({"tokenizer_config.json": {"model_max_length": 7}}, 7),
        ({"tokenizer_config.json": {"model_max_length": 1000000000000000019884624838656}}, 24),
        ({"tokenizer_config.json": {"model_max_length": 1e30}}, 24),
        ({"tokenizer_config.json": {}}, 24),
        # What the Transformer's file says goes before the tokenizer's, also where it is more.
        (
            {
                "sentence_bert_config.json": {"max_seq_length": 9},
                "tokenizer_config.json": {"model_max_length": 7},
            },
            9,
        ),
        ({"sentence_bert_config.json": {"max_seq_length": None}}, 24),
        ({"sentence_bert_config.json": {"max_seq_length": 100}}, 24),
        ({"sentence_bert_config.json": {"max_seq_length": 9, "tokenizer_args": {"model_max_length": 5}}}, 5),
        ({"sentence_bert_config.json": TEXT | {"processor_kwargs": {"model_max_length": 5}}}, 5),
    ],
)
def test_texts_are_as_long_as_the_files_say(folder: Path, files: dict[str, Any], longest: int) -> None:
    for name, content in files.items():
        put(folder, name, content)
    spec = read_spec(folder)
    assert (spec.longest, spec.max_tokens) == (longest, 24)
    wanted = library(folder, TEXTS, most=longest)
    assert np.abs(embedded(folder, TEXTS) - wanted).max() < 1e-5
    if longest < 14:
        with pytest.raises(InputError, match=f"text 1 has 14 tokens and the model takes {longest}"):
            Tokenizer(folder).encode(TEXTS)


def test_older_names_of_the_file_count(folder: Path) -> None:
    (folder / "sentence_bert_config.json").unlink()
    put(folder, "sentence_roberta_config.json", {"max_seq_length": 5})
    assert read_spec(folder).longest == 5


def test_the_default_prompt_goes_before_every_text(folder: Path) -> None:
    put(
        folder,
        "config_sentence_transformers.json",
        {"model_type": "SentenceTransformer", "prompts": PROMPTS, "default_prompt_name": "query"},
    )
    prompted = library(folder, [f"query: {text}" for text in TEXTS], most=24)
    plain = library(folder, TEXTS, most=24)
    assert np.abs(embedded(folder, TEXTS) - prompted).max() < 1e-5
    assert np.abs(embedded(folder, TEXTS, prompt_name="document") - plain).max() < 1e-5
    assert np.abs(prompted - plain).max() > 1e-2


def test_prompts_are_chosen_by_name(folder: Path) -> None:
    put(folder, "config_sentence_transformers.json", {"prompts": PROMPTS, "default_prompt_name": None})
    prompted = library(folder, ["query: the whale"], most=24)
    assert np.abs(embedded(folder, ["the whale"], prompt_name="query") - prompted).max() < 1e-5
    with pytest.raises(InputError, match="no prompt 'passage'; choose one of document, query"):
        Tokenizer(folder).encode(["the whale"], prompt_name="passage")


def test_a_prompt_takes_room(folder: Path) -> None:
    put(folder, "sentence_bert_config.json", {"max_seq_length": 6})
    put(folder, "config_sentence_transformers.json", {"prompts": PROMPTS})
    with pytest.raises(InputError, match="text 0 has 7 tokens and the model takes 6"):
        Tokenizer(folder).encode(["the whale sea"], prompt_name="query")
    cut = library(folder, ["query: the whale sea"], most=6)
    assert np.abs(embedded(folder, ["the whale sea"], prompt_name="query") - cut).max() < 1e-5


def test_embeddings_are_cut_after_they_are_scaled(folder: Path) -> None:
    put(folder, "config_sentence_transformers.json", {"truncate_dim": 3, "similarity_fn_name": "dot"})
    assert read_spec(folder).answer_width == 3
    answers, wanted = embedded(folder, TEXTS), library(folder, TEXTS, most=24)[:, :3]
    assert answers.shape == (2, 3)
    assert np.abs(answers - wanted).max() < 1e-5


def test_lower_case_is_made_first(folder: Path) -> None:
    put(folder, "sentence_bert_config.json", {"max_seq_length": 24, "do_lower_case": True})
    first, second = Tokenizer(folder).encode(["The SEAs!", "the seas!"])
    assert first.tolist() == second.tolist() == [2, 4, 6, 7, 8, 3]
    put(folder, "sentence_bert_config.json", {"do_lower_case": False})
    assert Tokenizer(folder).encode(["The sea"])[0].tolist() == [2, 12, 6, 3]


@pytest.mark.fast_cases(12)
@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("config_sentence_transformers.json", {"model_type": "CrossEncoder"}, "model_type 'CrossEncoder'"),
        ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, "model_type 'SparseEncoder'"),
        ("config_sentence_transformers.json", {"default_prompt_name": "s2p"}, "default_prompt_name 's2p'"),
        ("config_sentence_transformers.json", {"prompts": ["query: "]}, "prompts"),
        ("config_sentence_transformers.json", {"prompts": {"query": 1}}, "prompts"),
        ("config_sentence_transformers.json", {"truncate_dim": 0}, "truncate_dim"),
        ("config_sentence_transformers.json", {"truncate_dims": 4}, "truncate_dims"),
        ("config_sentence_transformers.json", {"activation_fn": "torch.nn.Sigmoid"}, "activation_fn"),
        ("sentence_bert_config.json", {"max_seq_length": 0}, "max_seq_length"),
        ("sentence_bert_config.json", {"max_seq_length": "256"}, "max_seq_length"),
        ("sentence_bert_config.json", {"do_lower_case": "no"}, "do_lower_case"),
        ("sentence_bert_config.json", {"max_length": 9}, "max_length"),
        ("sentence_bert_config.json", TEXT | {"transformer_task": "fill-mask"}, "transformer_task"),
        (
            "sentence_bert_config.json",
            TEXT | {"module_output_name": "sentence_embedding"},
            "module_output_name",
        ),
        (
            "sentence_bert_config.json",
            TEXT
            | {"modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}}},
            "modality_config",
        ),
        (
            "sentence_bert_config.json",
            TEXT | {"processing_kwargs": {"text": {"max_length": 5}}},
            "processing_kwargs",
        ),
        ("sentence_bert_config.json", TEXT | {"query_length": 5}, "query_length"),
        (
            "sentence_bert_config.json",
            {"config_args": {"hidden_act": "relu"}},
            "config_args sets 'hidden_act'",
        ),
        ("sentence_bert_config.json", {"tokenizer_args": {"do_lower_case": True}}, "do_lower_case"),
        ("sentence_bert_config.json", {"model_args": []}, None),
        ("sentence_bert_config.json", {"model_args": {"torch_dtype": "float16"}}, None),
        ("tokenizer_config.json", {"model_max_length": 0}, "model_max_length"),
        ("tokenizer_config.json", {"model_max_length": True}, "model_max_length"),
        ("2_Normalize/config.json", {"module_input_name": "token_embeddings"}, "module_input_name"),
        ("2_Normalize/config.json", {"order": 1}, "order"),
    ],
)
def test_what_is_not_obeyed_is_refused_by_name(
    folder: Path, name: str, content: dict[str, Any], named: str | None
) -> None:
    put(folder, name, content)
    if named is None:
        assert isinstance(read_spec(folder), ModelSpec)
        return
    with pytest.raises(ModelError) as caught:
        read_spec(folder)
    assert named in str(caught.value)
    assert name.rsplit("/", 1)[-1] in str(caught.value)


def test_a_prompt_that_is_not_pooled_is_refused(folder: Path) -> None:
    put(folder, "1_Pooling/config.json", {"pooling_mode": "mean", "include_prompt": False})
    assert read_spec(folder).pool.kind == "mean"  # without prompts there is nothing to leave out
    put(folder, "config_sentence_transformers.json", {"prompts": PROMPTS})
    with pytest.raises(ModelError, match="include_prompt false"):
        read_spec(folder)


def test_a_folder_that_the_library_did_not_write_says_nothing_of_texts(tmp_path: Path) -> None:
    put(tmp_path, "config.json", CONFIG)
    assert read_spec(tmp_path).tokens.texts == TextRules()
