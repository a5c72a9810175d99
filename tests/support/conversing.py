"""Chat templates and tokenizers of several kinds, and directories that hold both."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from privinf.models.text.chat import ChatTemplate
from privinf.models.text.control import ControlledTokenizer

SENTENCES = (Path(__file__).parents[1] / "data" / "sentences.txt").read_text("utf-8")
SPECIALS = ["<s>", "</s>", "<|start|>", "<|end|>", "<|role|>", "<|im_start|>", "<|im_end|>"]

MARKED = """\
{%- if messages[0].role != 'system' %}
    {{- '<|start|>system\\nYou are a ship.<|end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|start|>' + message.role + '\\n' + message['content'] + '<|end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start|>assistant\\n' }}{% endif %}
"""
BRACKETS = """\
{%- set talk = messages[1:] if messages[0].role == 'system' else messages %}
{%- for message in talk %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Roles must alternate: user, assistant, user.') }}
    {%- endif %}
    {%- set words = message.content | trim %}
    {%- if loop.first and talk | length < messages | length %}
        {%- set words = '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' + words %}
    {%- endif %}
    {{- bos_token + '[INST] ' + words + ' [/INST]' if message.role == 'user' else ' ' + words + ' ' + eos_token }}
{%- endfor %}
"""
DATED = """\
{{- bos_token }}
{%- if strftime_now is defined %}{% set day = strftime_now('%d %b %Y') %}{% endif %}
{%- if tools is not none %}{{ raise_exception('no tools') }}{% endif %}
{%- set told = namespace(system='') %}
{%- if messages[0].role == 'system' %}{% set told.system = messages[0].content | trim %}{% endif %}
{{- '<|start|>system<|role|>\\n\\nToday: ' + day + '\\n' + told.system + '<|end|>' }}
{%- for message in messages %}
    {%- if message.role == 'system' %}{% continue %}{% endif %}
    {{- '<|start|>' ~ message.role ~ '<|role|>\\n\\n' }}
    {%- generation %}{{ message.content | trim }}{% endgeneration %}{{ '<|end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start|>assistant<|role|>\\n\\n' }}{% endif %}
"""
LAST = """\
{{- bos_token }}
{%- if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set messages = messages[1:] %}{% endif %}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {{- '[INST] ' }}
        {%- if loop.last and system is defined %}{{ system + '\\n\\n' }}{% endif %}
        {{- message.content + '[/INST]' }}
    {%- else %}
        {{- ' ' + message.content + eos_token }}
    {%- endif %}
{%- endfor %}
"""
PLAIN = """\
{% if messages[0]['role'] == 'system' %}
{{ raise_exception('This model takes no system message.') }}
{% endif %}
{% for message in messages %}
  {% if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}
{{ role | title }}: {{ message['content'] }}
{% endfor %}
{% if add_generation_prompt %}
Model:{% endif %}
"""
JSON = "{% for message in messages %}{{ message | tojson }}{{ dict(a='<&>', b=[1]) | tojson(indent=2) }}\n{% endfor %}"
CHATML = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
CLOSED = """\
{{- bos_token }}
{%- for message in messages %}
    {{- '<' + message.role + '>' + message.content + '</' + message.role + '>' + eos_token }}
{%- endfor %}
{%- if add_generation_prompt %}<assistant>{% endif %}
"""
TEMPLATES = {
    "chatml": CHATML,
    "closed": CLOSED,
    "marked": MARKED,
    "brackets": BRACKETS,
    "dated": DATED,
    "last": LAST,
    "plain": PLAIN,
    "json": JSON,
}


def byte_level() -> Tokenizer:
    rules = Tokenizer(models.BPE())
    rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rules.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        show_progress=False,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    rules.train_from_iterator([SENTENCES, "\n\n\n\n a \n\n b" * 50, ":: [[ ]] .. User: Model:" * 50], trainer)
    return rules


def whole_text() -> Tokenizer:
    """Merges across words, and puts a space before the text, as Llama 2 does."""
    rules = Tokenizer(models.BPE(unk_token="<s>"))
    rules.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(
        vocab_size=600, show_progress=False, special_tokens=SPECIALS, max_token_length=6
    )
    lines = [f"[INST] {line[:80]}" for line in SENTENCES.splitlines()]
    rules.train_from_iterator([*lines, "<<SYS>>\n<</SYS>>\n\n", MARKED, DATED], trainer)
    return rules


def metaspace(scheme: str) -> Tokenizer:
    """Puts a space before the first word or before every piece between special tokens, as newer Llamas do."""
    rules = Tokenizer(models.BPE(unk_token="<unk>"))
    rules.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    rules.decoder = decoders.Metaspace(prepend_scheme=scheme)
    trainer = trainers.BpeTrainer(vocab_size=700, show_progress=False, special_tokens=["<unk>", *SPECIALS])
    rules.train_from_iterator([SENTENCES, MARKED, DATED, CHATML], trainer)
    return rules


def unigram() -> Tokenizer:
    """Its special tokens are pieces of its vocabulary too, which any text could be cut into."""
    rules = Tokenizer(models.Unigram())
    rules.pre_tokenizer = pre_tokenizers.Metaspace()
    rules.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=500, show_progress=False, special_tokens=["<unk>", *SPECIALS], unk_token="<unk>"
    )
    rules.train_from_iterator(SENTENCES.splitlines(), trainer)
    return rules


def words() -> Tokenizer:
    """Cuts at spaces alone, so that a special token amid spaces is a word of its vocabulary."""
    text = sorted({word for line in SENTENCES.splitlines() for word in line.split()})[:300]
    names = ["<unk>", *SPECIALS, *text]
    rules = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    rules.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    rules.add_special_tokens(["<unk>", *SPECIALS])
    return rules


def pieces() -> Tokenizer:
    """As BERT's: lower case, and special tokens that take the space before them."""
    rules = Tokenizer(models.WordPiece(unk_token="<unk>"))
    rules.normalizer = normalizers.BertNormalizer()
    rules.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rules.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=600, show_progress=False, special_tokens=["<unk>", *SPECIALS]
    )
    rules.train_from_iterator(SENTENCES.splitlines(), trainer)
    rules.add_special_tokens([AddedToken("<|end|>", lstrip=True, normalized=False)])
    return rules


TOKENIZERS = {
    "byte level": byte_level(),
    "whole text": whole_text(),
    "first space": metaspace("first"),
    "every space": metaspace("always"),
    "unigram": unigram(),
    "words": words(),
    "pieces": pieces(),
}


def template_of(folder: Path, now: datetime | None = None) -> ChatTemplate:
    return ChatTemplate(folder, ControlledTokenizer(folder / "tokenizer.json"), now)


def made(folder: Path, template: str | None, tokenizer: str = "byte level", **config: object) -> Path:
    folder.mkdir(exist_ok=True)
    TOKENIZERS[tokenizer].save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        **config,
    }
    if template is not None:
        settings["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    return folder
