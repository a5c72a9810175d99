"""privinf: transformers on data that nobody but the asker may read."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from privinf.client import AsyncClient as AsyncClient
    from privinf.client import Classification as Classification
    from privinf.client import Client as Client
    from privinf.client import Embeddings as Embeddings
    from privinf.completions import Completion as Completion
    from privinf.config import Tls as Tls
    from privinf.errors import PrivinfError as PrivinfError

_HOMES = {
    "AsyncClient": "privinf.client",
    "Classification": "privinf.client",
    "Client": "privinf.client",
    "Completion": "privinf.completions",
    "Embeddings": "privinf.client",
    "PrivinfError": "privinf.errors",
    "Tls": "privinf.config",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    """Load on first use, so that `import privinf` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'privinf' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
