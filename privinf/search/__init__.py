"""The search for architectures that are accurate and quick in shares."""

from importlib.util import find_spec

from privinf.errors import MissingExtra

if find_spec("optuna") is None:
    raise MissingExtra('a search needs optuna: pip install "privinf[search]"')
