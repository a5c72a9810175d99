"""Makes privinf importable from this checkout on a machine that has torch and NumPy and nothing else of ours."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
CIPHERS = (
    "cryptography",
    "cryptography.hazmat",
    "cryptography.hazmat.primitives",
    "cryptography.hazmat.primitives.ciphers",
    "cryptography.hazmat.primitives.ciphers.algorithms",
    "cryptography.hazmat.primitives.ciphers.modes",
)


class Absent(ModuleType):
    """A module whose names import and refuse to be called."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*_: object, **__: object) -> NoReturn:
            raise ImportError(f"{self.__name__} is not installed")

        return refuse


def attach() -> None:
    """Import privinf from here: in a checkout protocols/ lies beside the folder privinf/, not inside it."""
    sys.path.insert(0, str(ROOT))
    import privinf

    privinf.__path__.append(str(ROOT))
    try:
        import cryptography  # noqa: F401
    except ImportError:  # the kernels name its AES when they are imported; ring arithmetic never calls it
        sys.modules.update({name: Absent(name) for name in CIPHERS})
