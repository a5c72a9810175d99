"""What both clients share: how they are made, and how what they are asked comes to their backend."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, Unpack

from privinf.errors import InputError
from privinf.options import changed, chosen
from privinf.sdk.backend import Begin, Conversation, Facts, Prompt, Texts
from privinf.sdk.connection import Connection, GivenTls
from privinf.sdk.modes import MODES
from privinf.sdk.options import GenerationKeywords, GenerationOptions, ModeName, Reading, ReadingKeywords


class BaseClient:
    """A model, in a mode; `model` is the client's directory of a shared or a covered model.

    Args:
        mode: "private" (two parties that learn nothing) or "equivariant" (one server that is told obfuscated values).
        parties: the addresses of both parties, for the private mode.
        server: the address of the one server, for the equivariant mode.
        tls: the client's certificate.
        deadline: seconds for each query.
        config: a TOML file of these; arguments and PRIVINF_* variables win over it.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        mode: ModeName = "private",
        parties: Sequence[str] | None = None,
        server: str | None = None,
        tls: GivenTls | None = None,
        deadline: float | None = None,
        insecure_no_tls: bool | None = None,
        config: str | Path | None = None,
    ) -> None:
        connection = Connection(parties, server, tls, deadline, insecure_no_tls, config)
        self._mode = MODES[mode]
        self._backend = self._mode.open(Path(model), connection)

    @property
    def facts(self) -> Facts:
        """What is known of the model before anything is asked."""
        return self._backend.facts

    @property
    def identity(self) -> NoReturn:
        """The name that `facts` had."""
        raise AttributeError("identity is now called facts")

    @property
    def sessions_left(self) -> int | None:
        """How many more calls the client's folder allows; None for any number."""
        return self._backend.sessions_left

    def check(self, texts: Texts, **reading: Unpack[ReadingKeywords]) -> None:
        """Raise InputError for the first text that the model cannot take; options as for `embed`. Nothing is asked."""
        self._backend.check(texts, chosen(Reading, reading))

    def _read(
        self, prompt: Prompt | Conversation, raw: bool, special_tokens: bool, given: GenerationKeywords
    ) -> Begin:
        """Read a prompt and how to continue it; nothing is asked yet."""
        if "stream" in given:
            raise InputError("stream: call `stream`, or `stream_chat` for a conversation, instead")
        options = chosen(GenerationOptions, given)
        if foreign := [name for name in changed(options) if name not in self._mode.options]:
            raise InputError(f"{', '.join(foreign)}: only the private mode supports that; leave it out")
        return self._backend.write(prompt, options, raw, special_tokens)
