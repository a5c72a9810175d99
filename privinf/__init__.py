"""privinf: transformers on data that only its owner can read."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from privinf import errors

__version__ = "0.1.0"

if TYPE_CHECKING:
    from privinf.config import Tls as Tls
    from privinf.errors import *  # noqa: F403
    from privinf.sdk.answers import Classification as Classification
    from privinf.sdk.answers import Embeddings as Embeddings
    from privinf.sdk.async_client import AsyncClient as AsyncClient
    from privinf.sdk.client import Client as Client
    from privinf.sdk.completions import Completion as Completion

_ERRORS = [name for name, kind in vars(errors).items() if isinstance(kind, type)]
_HOMES = {
    "AsyncClient": "privinf.sdk.async_client",
    "Classification": "privinf.sdk.answers",
    "Client": "privinf.sdk.client",
    "Completion": "privinf.sdk.completions",
    "Embeddings": "privinf.sdk.answers",
    "Tls": "privinf.config",
    **dict.fromkeys(_ERRORS, "privinf.errors"),
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    """Load on first use, so that `import privinf` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'privinf' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """What is there, and what is loaded on first use."""
    return sorted({*globals(), *__all__})
