"""The private mode: shares of a query for each of two parties, and an answer added up of theirs."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from privinf.config import ClientConfig
from privinf.models.sharing.folder import read_about
from privinf.models.source.checkpoint import read_spec
from privinf.models.spec import Patches
from privinf.protocols.contract import QueryShape
from privinf.sdk.answers import F32, Classification, Embeddings, Usage
from privinf.sdk.asked import listed
from privinf.sdk.backend import (
    Begin,
    Conversation,
    Facts,
    Items,
    Prompt,
    Texts,
    of_prompt,
    of_texts,
    other_task,
    tokens_of,
)
from privinf.sdk.call import Call
from privinf.sdk.completions import Abreast, GenerationUsage, Growing, TokenStream
from privinf.sdk.connection import Connection
from privinf.sdk.decoder_client import DecoderSide
from privinf.sdk.decoding import Decoding, most_tokens
from privinf.sdk.encoder_client import EncoderSide, Request
from privinf.sdk.image_side import ImageRequest, ImageSide
from privinf.sdk.modes import Mode
from privinf.sdk.options import GenerationOptions, Reading
from privinf.sdk.room import warn_of_room
from privinf.sdk.several import BeginAll, Part, groups
from privinf.sdk.standing import PartyStatus
from privinf.sdk.transport import Link

Queries = EncoderSide | ImageSide
R = TypeVar("R", Request, ImageRequest, contravariant=True)
_LONGER = "`privinf share` with a larger --max-tokens allows longer ones"


class _Splits(Protocol[R]):
    """Who shares queries, and adds up what they are answered with."""

    def shares(self, request: R) -> tuple[bytes, ...]: ...

    def decode(self, request: R, parts: Sequence[bytes]) -> F32: ...


def _side_of(model: Path) -> DecoderSide | Queries:
    """By what the model is asked, and takes."""
    spec = read_spec(model)
    if spec.task == "generate":
        return DecoderSide(model)
    return ImageSide(model) if isinstance(spec.inputs, Patches) else EncoderSide(model)


class Private:
    """The client's folder of a shared model, and the way to both parties."""

    sessions_left = None

    def __init__(self, model: Path, connection: Connection) -> None:
        self._config = connection.settings(ClientConfig)
        read_about(model, "client")  # says what is wrong with a directory that is no shared model
        self._side = _side_of(model)
        self._seen: set[QueryShape] = set()
        self._link = Link(self._config, self._side.bundle.identity)

    @property
    def facts(self) -> Facts:
        """Model and plan, which both parties must attest."""
        spec, identity = self._side.bundle.spec, self._side.bundle.identity
        chat = isinstance(self._side, DecoderSide) and self._side.bundle.chat
        return Facts("private", spec.task, identity.model_id, identity.plan_hash, chat=chat)

    def connect(self) -> None:
        """Reach both parties."""
        self._link.connect()

    def close(self) -> None:
        """Release the connections; idempotent."""
        self._link.close()

    def status(self) -> tuple[PartyStatus, PartyStatus]:
        """What both parties have ready."""
        return self._link.status()

    def check(self, texts: Texts, reading: Reading) -> None:
        """Refuse the first text that the model cannot take."""
        side = self._asked(of_texts(self.facts.task))
        if isinstance(side, EncoderSide):
            side.read(listed(texts), reading)
        else:
            side.read(texts, reading)

    def embed(self, texts: Texts, reading: Reading, call: Call) -> Embeddings:
        """Vectors of texts."""
        vectors, usage = self._ask("embed", texts, reading, call)
        return Embeddings(vectors, usage)

    def classify(self, items: Items, reading: Reading, call: Call) -> Classification:
        """What the model's head says of texts or pictures."""
        logits, usage = self._ask("classify", items, reading, call)
        spec = self._asked("classify").bundle.spec
        return Classification(logits, spec.labels, spec.classifier.says, usage)

    def write(
        self, prompt: Prompt | Conversation, options: GenerationOptions, raw: bool, special_tokens: bool
    ) -> Begin:
        """Read a prompt, and the draft that is to be used."""
        side = self._decoder
        ids = tokens_of(side, prompt, raw, special_tokens)
        decoding = Decoding(side.bundle, [ids], [options])
        warn_of_room(options, most_tokens(side.bundle.layout, ids), _LONGER)

        def begin(call: Call) -> TokenStream:
            passes = self._link.generate(decoding.shape, call)
            steps = decoding.steps(partial(passes.step, timeout=call.timeout))
            alone = (written for (written,) in steps)
            return TokenStream(alone, side.tokenizer.decode, options, side.eos, passes.end)

        return begin

    def write_together(
        self,
        prompts: Sequence[Prompt | Conversation],
        options: Sequence[GenerationOptions],
        raw: bool,
        special_tokens: bool,
    ) -> BeginAll:
        """Read prompts; of those that advance together, servers learn the number and the longest one's bucket."""
        side, ids, rows = self._decoder, list[Sequence[int]](), 1
        for place, (prompt, own) in enumerate(zip(prompts, options, strict=True)):
            with of_prompt(place):
                ids.append(tokens_of(side, prompt, raw, special_tokens))
                rows = max(rows, Decoding(side.bundle, ids[-1:], [own]).shape.rows)
                warn_of_room(own, most_tokens(side.bundle.layout, ids[-1]), _LONGER)
        Decoding(
            side.bundle, ids[:2], options[:2]
        )  # what no two prompts can have together is refused here too
        most = side.bundle.layout.most_prompts(rows)

        def parts(call: Call) -> list[Part]:
            together = groups([len(one) for one in ids], min(most, self._link.most_together()))
            return [Part(places, partial(self._abreast, ids, options, places)) for places in together]

        return BeginAll(parts)

    def _abreast(
        self,
        ids: Sequence[Sequence[int]],
        options: Sequence[GenerationOptions],
        places: Sequence[int],
        call: Call,
    ) -> Abreast:
        """Ask those prompts in one session."""
        side, own = self._decoder, [options[place] for place in places]
        decoding = Decoding(side.bundle, [ids[place] for place in places], own)
        passes = self._link.generate(decoding.shape, call)
        usage = GenerationUsage(batch=len(places))
        answers = [
            Growing(side.tokenizer.decode, one, side.eos, usage, index) for index, one in enumerate(own)
        ]
        steps = decoding.steps(partial(passes.step, timeout=call.timeout))
        return Abreast(steps, answers, passes.end, decoding.drop)

    def _asked(self, task: str) -> Queries:
        """What reads texts or pictures for that task."""
        if not isinstance(self._side, DecoderSide) and self.facts.task == task:
            return self._side
        raise other_task(self.facts.task, task)

    @property
    def _decoder(self) -> DecoderSide:
        if isinstance(self._side, DecoderSide):
            return self._side
        raise other_task(self.facts.task, "generate")

    def _ask(self, task: str, items: Items, reading: Reading, call: Call) -> tuple[F32, Usage]:
        """One query after the other; those of one call share nothing."""
        side = self._asked(task)
        if isinstance(side, EncoderSide):
            texts = listed(items)
            return self._each(side, side.rows(len(texts)), side.requests(task, texts, reading), call)
        pictures = side.read(items, reading)
        return self._each(side, side.rows(len(pictures)), side.requests(task, pictures, Reading()), call)

    def _each(self, side: _Splits[R], rows: F32, requests: Iterable[R], call: Call) -> tuple[F32, Usage]:
        usage = Usage()
        for request in requests:
            self._warn(request.shape, call.timeout)
            first, second, stats = self._link.run(request.shape, partial(side.shares, request), call)
            rows[list(request.places)] = side.decode(request, (first, second))
            usage = usage.plus(stats)
            call.progress(len(request.places))
        return rows, usage

    def _warn(self, shape: QueryShape, timeout: float | None) -> None:
        """Say once of each shape that it is dear, or cannot be answered in time; small ones are not looked at."""
        from privinf import speed
        from privinf.sdk import costs

        if shape in self._seen or shape.batch * shape.tokens <= costs.SMALL_ROWS:
            return
        self._seen.add(shape)
        deadline = self._config.deadline if timeout is None else timeout
        cost = costs.query_cost(self._asked(shape.task).bundle, shape)
        if said := costs.warning(shape, cost, deadline, speed.stored()):
            warnings.warn(said, costs.CostWarning, stacklevel=5)


ENTRY = Mode(frozenset(item.name for item in fields(GenerationOptions)), Private)
