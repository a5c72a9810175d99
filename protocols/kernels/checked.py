"""The checks of a kernel's arguments, as closures that are made once: a pass makes thousands of small calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from privinf.protocols.kernels.interface import Kernels
from privinf.protocols.kernels.signature import (
    Array,
    Between,
    Exactly,
    Kind,
    Signature,
    Where,
    names_of,
    reader,
    signatures,
)

SIGNATURES = signatures(Kernels)
Sizes = dict[str, int]
Run = Callable[[Sequence[Any], Sizes], object]  # a backend's kernel, given what is known to be right
Rule = Callable[[Sequence[Any], Sizes], None]  # of all arguments, whose sizes are noted
Check = Callable[[object, Sizes], None]  # of one argument, of which it notes the sizes


def kernels(name: str, runs: Callable[[Signature], Run]) -> Kernels:
    """One backend behind its checks."""
    made = {kernel: _checked(signature, runs(signature)) for kernel, signature in SIGNATURES.items()}
    return cast(Kernels, SimpleNamespace(name=name, **made))


def _checked(signature: Signature, run: Run) -> Callable[..., object]:
    checks = tuple(enumerate(_check(parameter.name, parameter.kind) for parameter in signature.parameters))
    count = len(checks)
    rules = _rules(signature) + _lengths(signature)

    def call(*arguments: object) -> object:
        if len(arguments) != count:
            raise TypeError(f"{signature.name} takes {count} arguments, not {len(arguments)}")
        sizes: Sizes = {}
        for place, check in checks:  # at half the cost of a strict zip
            check(arguments[place], sizes)
        for rule in rules:
            rule(arguments, sizes)
        return run(arguments, sizes)

    call.__name__ = signature.name
    return call


def _check(name: str, kind: Kind) -> Check:
    if isinstance(kind, Array):
        return _array(name, kind)
    return _bytes(name, kind) if isinstance(kind, Exactly) else _number(name, kind)


def _bytes(name: str, kind: Exactly) -> Check:
    nbytes = kind.nbytes

    def check(value: object, sizes: Sizes) -> None:
        if not (isinstance(value, bytes) and len(value) == nbytes):
            raise ValueError(f"{name} must be {nbytes} bytes")

    return check


def _number(name: str, kind: Between) -> Check:
    low, high = kind.low, kind.high

    def check(value: object, sizes: Sizes) -> None:
        if not (isinstance(value, int) and low <= value <= high):
            raise ValueError(f"{name} must be in [{low}, {high}]")
        sizes[name] = value

    return check


def _array(name: str, kind: Array) -> Check:
    assert isinstance(kind.dtype, type)  # of results alone it depends on sizes
    dtype, rank = np.dtype(kind.dtype), len(kind.lengths)
    named = [(axis, length) for axis, length in enumerate(kind.lengths) if isinstance(length, str)]
    fixed = [(axis, length) for axis, length in enumerate(kind.lengths) if isinstance(length, int)]

    def check(value: object, sizes: Sizes) -> None:
        if not isinstance(value, np.ndarray):
            raise ValueError(f"{name} must be a NumPy array")
        if value.dtype != dtype:
            raise ValueError(f"{name} must have dtype {dtype}, not {value.dtype}")
        shape = value.shape
        if len(shape) != rank:
            raise ValueError(f"{name} must have {rank} axes, not shape {shape}")
        for axis, length in named:
            if sizes.setdefault(length, shape[axis]) != shape[axis]:
                raise _length(name, shape, axis, sizes[length])
        for axis, known in fixed:
            if shape[axis] != known:
                raise _length(name, shape, axis, known)
        if not value.flags.c_contiguous:
            raise ValueError(f"{name} must be C-contiguous")

    return check


def _length(name: str, shape: tuple[int, ...], axis: int, wanted: int) -> ValueError:
    return ValueError(f"{name} must have length {wanted} along axis {axis}, not shape {shape}")


def _rules(signature: Signature) -> tuple[Rule, ...]:
    """What must hold between sizes, or of an argument and sizes."""
    places = {parameter.name: place for place, parameter in enumerate(signature.parameters)}
    arrays = {parameter.name for parameter in signature.parameters if isinstance(parameter.kind, Array)}

    def made(where: Where) -> Rule:
        names = tuple((name, places[name] if name in arrays else None) for name in names_of(where.holds))

        def rule(arguments: Sequence[object], sizes: Sizes) -> None:
            values = [sizes[name] if place is None else arguments[place] for name, place in names]
            if not where.holds(*values):
                raise ValueError(where.message)

        return rule

    return tuple(made(where) for parameter in signature.parameters for where in parameter.rules)


def _lengths(signature: Signature) -> tuple[Rule, ...]:
    """Lengths that are made of sizes, once all of those are known."""

    def made(name: str, place: int, axis: int, wanted: Callable[[Sizes], int]) -> Rule:
        def rule(arguments: Sequence[Any], sizes: Sizes) -> None:
            shape = arguments[place].shape
            if shape[axis] != wanted(sizes):
                raise _length(name, shape, axis, wanted(sizes))

        return rule

    return tuple(
        made(parameter.name, place, axis, reader(length))
        for place, parameter in enumerate(signature.parameters)
        if isinstance(parameter.kind, Array)
        for axis, length in enumerate(parameter.kind.lengths)
        if not isinstance(length, int | str)
    )
