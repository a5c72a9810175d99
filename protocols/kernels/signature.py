"""What a kernel's annotations say of its arguments and results, read once for every backend."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Annotated, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

T = TypeVar("T")
Sizes = Mapping[str, int]  # of a call: its numbers, and the lengths that its arrays leave free, by name
Rule = Callable[..., int]  # of sizes, which its parameters name
# A str is free: the first array that has it decides; or, of results, a number's name
Length = int | str | Rule


@dataclass(frozen=True)
class Between:
    """A whole number within both ends."""

    low: int
    high: int


@dataclass(frozen=True)
class Exactly:
    """So many bytes."""

    nbytes: int


class Array:
    """A C-contiguous array of this dtype, which may depend on sizes, and of these lengths."""

    def __init__(self, dtype: type[np.generic] | Callable[..., type[np.generic]], *lengths: Length) -> None:
        self.dtype, self.lengths = dtype, lengths


@dataclass(frozen=True)
class Where:
    """What must hold of the sizes beside, and what is said if it does not."""

    holds: Callable[..., bool]
    message: str


Kind = Between | Exactly | Array


@dataclass(frozen=True)
class Parameter:
    """One argument."""

    name: str
    kind: Kind
    rules: tuple[Where, ...]


@dataclass(frozen=True)
class Signature:
    """One kernel: what it takes, what it gives, and the free lengths in the order in which arrays name them."""

    name: str
    parameters: tuple[Parameter, ...]
    results: tuple[Array, ...]
    free: tuple[str, ...]


def signatures(protocol: type) -> dict[str, Signature]:
    """Read every method of a protocol."""
    methods = {name: item for name, item in vars(protocol).items() if inspect.isfunction(item)}
    return {name: _read(method) for name, method in methods.items() if not name.startswith("_")}


def _read(method: Callable[..., object]) -> Signature:
    hints = get_type_hints(method, include_extras=True)
    result = hints.pop("return")
    parameters = tuple(_parameter(name, hint) for name, hint in hints.items())
    several = get_args(result) if get_origin(result) is tuple else (result,)
    results = tuple(_array(hint) for hint in several)
    arrays = [parameter.kind for parameter in parameters if isinstance(parameter.kind, Array)]
    free = dict.fromkeys(length for array in arrays for length in array.lengths if isinstance(length, str))
    return Signature(method.__name__, parameters, results, tuple(free))


def _parameter(name: str, hint: object) -> Parameter:
    said = get_args(hint)[1:]
    (kind,) = (item for item in said if isinstance(item, Between | Exactly | Array))
    return Parameter(name, kind, tuple(item for item in said if isinstance(item, Where)))


def _array(hint: object) -> Array:
    assert get_origin(hint) is Annotated
    (array,) = (item for item in get_args(hint)[1:] if isinstance(item, Array))
    return array


def names_of(rule: Callable[..., object]) -> tuple[str, ...]:
    """Return the sizes that a rule is made of."""
    return tuple(inspect.signature(rule).parameters)


def reader(length: Length) -> Callable[[Sizes], int]:
    """Return what reads a length of the sizes of a call."""
    if isinstance(length, int):
        return lambda sizes: length
    return itemgetter(length) if isinstance(length, str) else applied(length)


def applied(rule: Callable[..., T]) -> Callable[[Sizes], T]:
    """Return what applies a rule to the sizes of a call."""
    names = names_of(rule)
    if len(names) == 1:
        (name,) = names
        return lambda sizes: rule(sizes[name])
    values = itemgetter(*names)
    return lambda sizes: rule(*values(sizes))


def maker(array: Array) -> Callable[[Sizes], np.ndarray]:
    """Return what makes an empty result for the sizes of a call."""
    lengths, given = [reader(length) for length in array.lengths], array.dtype
    if not isinstance(given, type):
        chosen = applied(given)
        return lambda sizes: np.empty([length(sizes) for length in lengths], chosen(sizes))
    dtype = np.dtype(given)
    if len(lengths) == 1:
        (only,) = lengths
        return lambda sizes: np.empty(only(sizes), dtype)
    return lambda sizes: np.empty([length(sizes) for length in lengths], dtype)
