"""Reads what sentence-transformers wrote beside an encoder, and refuses by name what is not obeyed here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from privinf.errors import ModelError
from privinf.models.source.reading import Config, Keys, flag, read_json, read_object, read_optional, size
from privinf.models.spec import WITHOUT_TEXT, Pool, Pooling, TextRules

LIBRARY = "sentence_transformers."  # how the types of its own modules begin
POOLING = "1_Pooling"  # where it is without modules.json
ABOUT = "config_sentence_transformers.json"
TOKENIZER = "tokenizer_config.json"
# The first of these that is there counts, as in the library.
TEXTS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
CLIENT_FILES = (ABOUT, TOKENIZER, *TEXTS)  # what a client needs of them: servers see no text
OLD_POOLINGS = {  # before version 5.4, in the order in which the library joins them
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
DIMENSIONS = ("embedding_dimension", "word_embedding_dimension")

ABOUT_KEYS = Keys(
    "sentence-transformers",
    {"prompts", "default_prompt_name", "truncate_dim"},
    {"model_type": ("SentenceTransformer", None)},
    # How vectors are compared changes none of them.
    {"__version__", "similarity_fn_name", "requirements"},
)
ARGUMENTS = ("model", "config", "processor", "tokenizer")
TEXT_KEYS = Keys(
    "sentence-transformers' Transformer",
    {"max_seq_length", "do_lower_case"}
    | {f"{name}_{kind}" for name in ARGUMENTS for kind in ("args", "kwargs")},
    {
        "transformer_task": ("feature-extraction",),
        "modality_config": ({"text": {"method": "forward", "method_output_name": "last_hidden_state"}}, None),
        "module_output_name": ("token_embeddings", None),
        "processing_kwargs": ({}, None),
        "query_length": (None,),
        "document_length": (None,),
        "query_expansion": (None,),
        "tokenizer_name_or_path": (None,),
    },
    {"unpad_inputs"},
)
# Arguments that say how the library loads or computes, and not what.
INERT = """
attn_implementation dtype torch_dtype trust_remote_code use_safetensors low_cpu_mem_usage add_pooling_layer
device_map use_fast revision token cache_dir local_files_only
"""
POOLING_KEYS = Keys(
    "sentence-transformers' Pooling", {"pooling_mode", "include_prompt", *DIMENSIONS, *OLD_POOLINGS}
)
NORMALIZE_KEYS = Keys(
    "sentence-transformers' Normalize",
    frozenset(),
    {"module_input_name": ("sentence_embedding",), "module_output_name": ("sentence_embedding", None)},
)
MODULE_KEYS = {"idx", "name", "path", "type", "kwargs"}
ACCEPTED = (("Transformer",), ("Transformer", "Pooling"), ("Transformer", "Pooling", "Normalize"))


def read_sentence(folder: Path, width: int) -> tuple[Pool, TextRules]:
    """All that the library's files say of an encoder of this width, whichever of them are there."""
    pooling, normalize, include_prompt = _modules_of(folder, width)
    about = read_optional(folder / ABOUT, ABOUT_KEYS)
    texts = _texts(folder, about)
    if not include_prompt and any(prompt for _, prompt in texts.prompts):
        raise ModelError(
            f"{folder}: include_prompt false in Pooling's config.json is not supported together with prompts"
        )
    given = about.get("truncate_dim")
    dimension = None if given is None else min(size(about, "truncate_dim", folder / ABOUT), width)
    return Pool(pooling, normalize, dimension), texts


def refuse_cross_encoder(folder: Path, config: Config) -> None:
    """A model of pairs of texts has the files of a classifier, and answers nothing when it is given one."""
    path = folder / "config.json"
    theirs = config.get("sentence_transformers")
    about = read_optional(folder / ABOUT)
    if (
        "sbert_ce_default_activation_function" in config
        or (isinstance(theirs, Mapping) and "activation_fn" in theirs)
        or about.get("model_type") == "CrossEncoder"
    ):
        raise ModelError(f"{path}: a CrossEncoder scores pairs of texts, and pairs are not supported")


def _texts(folder: Path, about: Config) -> TextRules:
    """What the files say of texts; `about` is the library's own configuration."""
    path = next((folder / name for name in TEXTS if (folder / name).exists()), folder / TEXTS[0])
    config = read_optional(path, TEXT_KEYS)
    prompts = _prompts(about, folder / ABOUT)
    default = about.get("default_prompt_name")
    if default is not None and default not in {*dict(prompts), *WITHOUT_TEXT}:
        raise ModelError(f"{folder / ABOUT}: default_prompt_name {default!r} names none of the prompts")
    lower = flag(config, "do_lower_case", path, False)
    return TextRules(_longest(folder, config, path), prompts, default, lower)


def _prompts(about: Config, path: Path) -> tuple[tuple[str, str], ...]:
    given = about.get("prompts") or {}
    if not isinstance(given, dict) or not all(isinstance(text, str | None) for text in given.values()):
        raise ModelError(f"{path}: prompts must map names to texts")
    return tuple((name, text or "") for name, text in given.items())


def _longest(folder: Path, config: Config, path: Path) -> int | None:
    """Where the library cuts a text: the arguments of its tokenizer come first, the tokenizer's own limit last."""
    arguments = {name: _arguments(config, name, path) for name in ARGUMENTS}
    for name in ("processor", "tokenizer"):
        if arguments[name].get("model_max_length") is not None:
            return size(arguments[name], "model_max_length", path)
    if config.get("max_seq_length") is not None:
        return size(config, "max_seq_length", path)
    return tokenizer_limit(folder)


def _arguments(config: Config, name: str, path: Path) -> Config:
    """What the library would pass on to transformers when it loads a part of the model."""
    known = {*INERT.split(), *(("model_max_length",) if name in ("processor", "tokenizer") else ())}
    found: dict[str, Any] = {}
    for key in (f"{name}_args", f"{name}_kwargs"):
        given = config.get(key) or {}
        if not isinstance(given, dict):
            raise ModelError(f"{path}: {key} must be an object, not {given!r}")
        if unknown := sorted(set(given) - known):
            raise ModelError(
                f"{path}: {key} sets {', '.join(map(repr, unknown))}, which could change what the model computes"
            )
        found |= given
    return found


def tokenizer_limit(folder: Path) -> int | None:
    """The longest text by the tokenizer's own file; a huge number there means none."""
    path = folder / TOKENIZER
    given = read_optional(path).get("model_max_length")
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not given >= 1:
        raise ModelError(f"{path}: model_max_length must be a positive number, not {given!r}")
    return int(given)


def _modules_of(folder: Path, width: int) -> tuple[Pooling | None, bool, bool]:
    """Pooling, whether vectors have unit length, and whether a prompt's rows are pooled too."""
    path, steps = folder / "modules.json", _steps(folder)
    kinds = tuple(kind for kind, _ in steps)
    if kinds not in ACCEPTED:
        raise ModelError(
            f"{path}: modules {', '.join(kinds) or 'none'} are not supported; "
            "accepted: Transformer, then Pooling, then Normalize"
        )
    if steps[0][1] not in ("", "."):
        raise ModelError(
            f"{path}: the Transformer must lie in the model's own directory, not {steps[0][1]!r}"
        )
    pooled, unit = len(steps) > 1, len(steps) > 2
    chosen, include = _pooling(folder / steps[1][1] / "config.json", width) if pooled else (None, True)
    if unit:
        read_optional(folder / steps[2][1] / "config.json", NORMALIZE_KEYS)
    return chosen, unit, include


def pooling_files(folder: Path) -> list[str]:
    """Where the pooling is configured, seen from the model's directory."""
    return [str(PurePosixPath(place) / "config.json") for kind, place in _steps(folder) if kind == "Pooling"]


def _steps(folder: Path) -> list[tuple[str, str]]:
    """Kind and folder of each module; without modules.json a pooling where it is configured."""
    path = folder / "modules.json"
    if not path.exists():
        pooling = [("Pooling", POOLING)] if (folder / POOLING / "config.json").exists() else []
        return [("Transformer", ""), *pooling]
    value = read_json(path)
    if not isinstance(value, list):
        raise ModelError(f"{path} holds a JSON {type(value).__name__}, not a list")
    return [_module(step, path) for step in value]


def _module(step: Any, path: Path) -> tuple[str, str]:
    """Kind and folder; the folder stays under the model's, and code of the model's own is named in full."""
    kind, place = (step.get("type"), step.get("path", "")) if isinstance(step, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(place, str):
        raise ModelError(f"{path}: each module needs a type and a path")
    if PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts:
        raise ModelError(f"{path}: module path {place!r} leaves the directory")
    unknown = sorted(set(step) - MODULE_KEYS) + (["kwargs"] if step.get("kwargs") else [])
    if unknown:
        raise ModelError(
            f"{path}: {', '.join(unknown)} of module {kind!r} could change what the model computes"
        )
    return (kind.rsplit(".", 1)[-1] if kind.startswith(LIBRARY) else kind), place


def _pooling(path: Path, width: int) -> tuple[Pooling, bool]:
    config = read_object(path)
    POOLING_KEYS.check(config, path)
    modes = _modes(config)
    for key in DIMENSIONS:
        if config.get(key, width) != width:
            raise ModelError(f"{path}: {key} differs from hidden_size {width}")
    include = flag(config, "include_prompt", path, True)
    if modes not in (["mean"], ["cls"]):
        raise ModelError(
            f"{path}: pooling {', '.join(map(str, modes))} is not supported; accepted: mean or cls alone"
        )
    return modes[0], include


def _modes(config: Config) -> list[Any]:
    """The poolings whose results are joined; the mean where none is chosen, as in the library."""
    given = config.get("pooling_mode")
    if given is not None:
        return given if isinstance(given, list) else [given]
    return [mode for key, mode in OLD_POOLINGS.items() if config.get(key)] or ["mean"]
