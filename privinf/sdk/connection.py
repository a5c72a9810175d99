"""How a client reaches its servers: arguments win over PRIVINF_* variables, those over a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from privinf.config import Config, Tls
from privinf.errors import OptionError
from privinf.settings import load

GivenTls = Tls | dict[str, Path]  # paths named ca, cert and key add to what file and environment say
_SERVERS = {"parties": "private", "server": "equivariant"}


@dataclass(frozen=True)
class Connection:
    """What the constructor of a client was given; `config` is a TOML file, or else the one of PRIVINF_CONFIG."""

    parties: Sequence[str] | None = None
    server: str | None = None
    tls: GivenTls | None = None
    deadline: float | None = None
    insecure_no_tls: bool | None = None
    config: str | os.PathLike[str] | None = None

    def settings(self, kind: type[Config], **more: object) -> Config:
        """The configuration of a mode; InputError for the address of another mode's servers."""
        known = {item.name for item in fields(kind)}
        for name, mode in _SERVERS.items():
            if getattr(self, name) is not None and name not in known:
                needed = next(other for other in _SERVERS if other != name)
                raise OptionError(
                    f'{name} is for mode="{mode}" (--mode {mode}); this mode needs {needed} (--{needed})'
                )
        given = {item.name: getattr(self, item.name) for item in fields(self) if item.name in known}
        return load(kind, self.config or os.environ.get("PRIVINF_CONFIG") or None, **given, **more)
