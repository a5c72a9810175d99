"""The SDK of the equivariant mode: what `privinf.Client` offers, asked of one server that is not trusted."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, overload

import numpy as np

from privinf.config import EquivariantClientConfig, load
from privinf.equivariant import variants
from privinf.equivariant.asking.calls import BaseClient, asking, close_session, open_session
from privinf.equivariant.asking.images import ImageSide
from privinf.equivariant.asking.link import Link
from privinf.equivariant.asking.prompts import PromptSide
from privinf.equivariant.asking.sides import side_of
from privinf.equivariant.asking.texts import TextSide
from privinf.equivariant.asking.writing import Chooser, CoveredGenerationUsage, received
from privinf.equivariant.key import Key, KeyAbout
from privinf.equivariant.levels import WARNING, level_of
from privinf.equivariant.wire import F32, prompt_message
from privinf.errors import InputError
from privinf.sdk.answers import Classification
from privinf.sdk.asked import seconds
from privinf.sdk.base_client import Embeddings, GivenTls, Progress, Usage
from privinf.sdk.completions import Completion, TokenStream
from privinf.sdk.decoder_client import Message, Prompt
from privinf.sdk.generation import Wish, Written


@dataclass(frozen=True)
class CoveredUsage(Usage):
    """What an answer took; `query_bytes` were sent and `result_bytes` received, HTTP/2 and TLS not counted."""

    result_bytes: int = 0


class EquivariantClient:
    """Asks the one server; `model` is the client directory written by `privinf ee convert`.

    Use it as a context manager. The key stays here: the server gets covered ids or rows, and its answers are uncovered
    here. On connecting, a server whose model belongs to another key is refused.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        server: str | None = None,
        tls: GivenTls | None = None,
        deadline: float | None = None,
        insecure_no_tls: bool | None = None,
        config: str | Path | None = None,
    ) -> None:
        warn_once()
        self._config = load(
            EquivariantClientConfig,
            config or os.environ.get("PRIVINF_CONFIG") or None,
            server=server,
            tls=tls,
            deadline=deadline,
            insecure_no_tls=insecure_no_tls,
        )
        self._folder = Path(model)
        self._key = Key.load(self._folder)
        self._side = side_of(self._folder, self._key.about)
        self._link = Link(self._config, self._key.about)

    @property
    def about(self) -> KeyAbout:
        """What the key says of itself and of the model."""
        return self._key.about

    @property
    def sessions_left(self) -> int | None:
        """How many sessions can still be opened at level session; None at the others."""
        return variants.left(self._folder) if self._local else None

    def check(self, texts: str | Iterable[str], **options: Any) -> None:
        """Raise InputError for the first text that the model cannot take; options as for `embed`. Nothing is asked."""
        self._asked(self.about.task).read(texts, **options)

    def embed(
        self,
        texts: str | Iterable[str],
        *,
        truncate: bool = False,
        prompt_name: str | None = None,
        special_tokens: bool = False,
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> Embeddings:
        """Embed a text or several; options as for `privinf.Client.embed`."""
        options = {"truncate": truncate, "prompt_name": prompt_name, "special_tokens": special_tokens}
        rows, usage = self._ask("embed", texts, timeout, progress, **options)
        assert isinstance(self._side, TextSide)
        return Embeddings(self._side.finished(rows), usage)

    def classify(
        self,
        texts: str | Iterable[str] | F32,
        *,
        truncate: bool = False,
        special_tokens: bool = False,
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> Classification:
        """Classify texts, or images (images, channels, height, width) as the model's processor gives them."""
        options = {"truncate": truncate, "special_tokens": special_tokens}
        logits, usage = self._ask("classify", texts, timeout, progress, **options)
        assert not isinstance(self._side, PromptSide)
        return Classification(logits, self.about.labels, self._side.says, usage)

    @overload
    def generate(
        self,
        prompt: Prompt,
        *,
        stream: Literal[True],
        raw: bool = ...,
        special_tokens: bool = ...,
        timeout: float | None = ...,
        **wish: Any,
    ) -> TokenStream: ...
    @overload
    def generate(
        self,
        prompt: Prompt,
        *,
        stream: Literal[False] = ...,
        raw: bool = ...,
        special_tokens: bool = ...,
        timeout: float | None = ...,
        **wish: Any,
    ) -> Completion: ...
    def generate(
        self,
        prompt: Prompt,
        *,
        stream: bool = False,
        raw: bool = False,
        special_tokens: bool = False,
        timeout: float | None = None,
        **wish: Any,
    ) -> TokenStream | Completion:
        """Continue a prompt.

        Args:
            prompt: a text, or token ids as they are. A text is a user's message where the model has a chat template,
                unless it is `raw`.
            stream: iterate over tokens as they come, instead of waiting for all.
            special_tokens: let a text mean the control tokens that it spells. Never for text of others.
            timeout: seconds for all of it.
            wish: max_new_tokens, temperature (0 is greedy), top_k, top_p, repetition_penalty, seed, stop.

        Raises:
            InputError: an empty prompt, one that is too long, a token that is none, an option out of range.
        """
        tokens = self._written(self._prompts.prompt(prompt, raw, special_tokens), timeout, wish)
        return tokens if stream else _whole(tokens)

    @overload
    def chat(
        self,
        messages: Sequence[Message],
        *,
        stream: Literal[True],
        special_tokens: bool = ...,
        timeout: float | None = ...,
        **wish: Any,
    ) -> TokenStream: ...
    @overload
    def chat(
        self,
        messages: Sequence[Message],
        *,
        stream: Literal[False] = ...,
        special_tokens: bool = ...,
        timeout: float | None = ...,
        **wish: Any,
    ) -> Completion: ...
    def chat(
        self,
        messages: Sequence[Message],
        *,
        stream: bool = False,
        special_tokens: bool = False,
        timeout: float | None = None,
        **wish: Any,
    ) -> TokenStream | Completion:
        """Answer a conversation, a list of {"role": ..., "content": ...}; the rest is as for `generate`."""
        tokens = self._written(self._prompts.conversation(messages, special_tokens), timeout, wish)
        return tokens if stream else _whole(tokens)

    def close(self) -> None:
        """Release the connection; idempotent."""
        self._link.close()

    def __enter__(self) -> Self:
        self._link.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _local(self) -> bool:
        return level_of(self.about.level).local

    @property
    def _prompts(self) -> PromptSide:
        if isinstance(self._side, PromptSide):
            return self._side
        raise InputError(f"this model is for {self.about.task}: use {self.about.task}")

    def _asked(self, task: str) -> TextSide | ImageSide:
        """What reads requests of that task."""
        if self.about.task == task and not isinstance(self._side, PromptSide):
            return self._side
        use = "generate or chat" if self.about.task == "generate" else self.about.task
        raise InputError(f"this model is for {self.about.task}: use {use}")

    def _ask(
        self, task: str, asked: Any, timeout: float | None, progress: Progress | None, **options: Any
    ) -> tuple[F32, CoveredUsage]:
        side, timeout = self._asked(task), seconds(timeout)
        read: Any = side.read(asked, **options)
        began = time.monotonic()
        width = self.about.width if task == "embed" else len(self.about.labels)
        rows, queries = np.empty((len(read), width), dtype=np.float32), 0
        batches = side.batches(read, self._link.connect().max_rows)
        with asking(self._folder, self._link, side, self._key, timeout, local=self._local) as ask:
            for queries, batch in enumerate(batches, start=1):  # noqa: B007
                rows[list(batch.places)] = ask(batch)
                if progress is not None:
                    progress(len(batch.places))
        return rows, _usage(ask, queries, time.monotonic() - began)

    def _written(self, ids: Sequence[int], timeout: float | None, options: dict[str, Any]) -> TokenStream:
        """Begin a generation: the server begins at once, or at level session finds that its cover is new."""
        side, wish, timeout = self._prompts, self._prompts.wish(options), seconds(timeout)
        steps, end = self._begun(ids, wish, timeout)
        tokens = TokenStream(steps, side.tokenizer.decode, wish.stop, side.eos, wish.max_new_tokens, end)
        tokens.stats = CoveredGenerationUsage()
        return tokens

    def _begun(
        self, ids: Sequence[int], wish: Wish, timeout: float | None
    ) -> tuple[Iterator[Written], Callable[[bool], None]]:
        """Tokens as they come, and what ends them."""
        own, room = self._prompts.own, min(self._link.connect().context, self.about.context)
        if len(ids) > room:
            raise InputError(f"the prompt has {len(ids)} tokens and this server takes {room}: shorten it")
        if own is not None:
            opened = open_session(self._folder, self._link, self.about, timeout)
            return Chooser(own, opened, room).write(ids, wish), partial(close_session, opened)
        assert self._key.tokens is not None
        covered = self._key.tokens[np.asarray(ids)].tolist()
        prompt = prompt_message(self.about.id, covered, wish.max_new_tokens, wish.sampling)
        replies = self._link.generate(prompt, timeout)
        return received(prompt, replies, self._key, room), lambda clean: replies.cancel()


@cache
def warn_once() -> None:
    """Say on stderr what this mode is, at its first use in a process."""
    print(f"WARNING: {WARNING}", file=sys.stderr, flush=True)


def _usage(ask: BaseClient, queries: int, seconds: float) -> CoveredUsage:
    return CoveredUsage(
        queries=queries,
        rounds=queries,
        seconds=seconds,
        online_seconds=seconds,
        query_bytes=ask.sent,
        result_bytes=ask.received,
    )


def _whole(tokens: TokenStream) -> Completion:
    with tokens:
        for _ in tokens:
            pass
    return tokens.completion
