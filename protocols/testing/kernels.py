"""The suite of a backend of the kernels: the reference's bytes, from any buffer; what is wrong is refused by name.

Arguments are drawn from the signatures, so that a kernel that is added is tried without a word here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from privinf.protocols.kernels import Kernels, load
from privinf.protocols.kernels.checked import SIGNATURES
from privinf.protocols.kernels.signature import Array, Between, Exactly, Signature, reader

DRAWS = 12
TRIES = 2000  # for sizes that keep all rules
DENSE = 10  # bits of what is evaluated as a whole: more would take long
LENGTHS = (1, 2, 6, 72)  # less than a batch, and whole batches with a part of one, at every level
NUMBERS = (0, 1, 2, 3, 7, 8, 9, 14, 16, 33, 62)
REFERENCE = load("reference")
NONE: Mapping[str, int] = {}


class KernelSuite:
    """Subclass it and name the backends that are to give the reference's bytes."""

    backends: ClassVar[Mapping[str, Kernels]]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run every test on every kernel of every backend."""
        metafunc.parametrize("kernels", list(self.backends.values()), ids=list(self.backends))
        metafunc.parametrize("kernel", list(SIGNATURES))

    def test_bytes_are_the_references(self, kernels: Kernels, kernel: str) -> None:
        """Whatever the sizes, with values of any bits."""
        for arguments in draws(SIGNATURES[kernel]):
            same(getattr(kernels, kernel)(*arguments), getattr(REFERENCE, kernel)(*arguments))

    def test_received_buffers_are_read_in_place(self, kernels: Kernels, kernel: str) -> None:
        """Arrays that are read-only and lie at odd addresses."""
        for arguments in draws(SIGNATURES[kernel], 3):
            shifted = [odd(x) if isinstance(x, np.ndarray) else x for x in arguments]
            same(getattr(kernels, kernel)(*shifted), getattr(kernels, kernel)(*arguments))

    def test_bad_arguments_are_refused(self, kernels: Kernels, kernel: str) -> None:
        """Each by its name, by itself."""
        (arguments,) = draws(SIGNATURES[kernel], 1)
        for place, parameter in enumerate(SIGNATURES[kernel].parameters):
            for bad in spoiled(arguments[place], parameter.kind):
                given = [*arguments[:place], bad, *arguments[place + 1 :]]
                with pytest.raises(ValueError, match=rf"\b{parameter.name}\b"):
                    getattr(kernels, kernel)(*given)


def draws(
    signature: Signature, count: int = DRAWS, lengths: Mapping[str, int] = NONE, tried: Kernels = REFERENCE
) -> list[list[Any]]:
    """Return lists of arguments that keep all rules, the same in every run.

    lengths: those that are given, by name; all others are drawn. tried: the backend that is asked about rules.
    """
    rng, found = np.random.default_rng(len(signature.name)), list[list[Any]]()
    for _ in range(TRIES):
        arguments = _drawn(signature, rng, lengths)
        try:
            getattr(tried, signature.name)(*arguments)
        except ValueError:
            continue
        found.append(arguments)
        if len(found) == count:
            return found
    raise AssertionError(f"{signature.name}: its rules leave too few sizes")


def _drawn(signature: Signature, rng: np.random.Generator, lengths: Mapping[str, int]) -> list[Any]:
    sizes = {name: lengths.get(name, int(rng.choice(LENGTHS))) for name in signature.free}
    kinds = {parameter.name: parameter.kind for parameter in signature.parameters}
    sizes |= {name: _number(kind, rng) for name, kind in kinds.items() if isinstance(kind, Between)}
    return [_value(kind, sizes, rng) if name not in sizes else sizes[name] for name, kind in kinds.items()]


def _number(kind: Between, rng: np.random.Generator) -> int:
    if kind.low < 0:
        return int(rng.integers(-9, 9))
    most = DENSE if kind.low < 8 and kind.high <= 20 else kind.high
    return int(rng.choice([number for number in NUMBERS if kind.low <= number <= most]))


def _value(kind: Any, sizes: Mapping[str, int], rng: np.random.Generator) -> Any:
    if isinstance(kind, Exactly):
        return rng.bytes(kind.nbytes)
    shape, dtype = [reader(length)(sizes) for length in kind.lengths], np.dtype(kind.dtype)
    return np.frombuffer(rng.bytes(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape)


def spoiled(value: Any, kind: Any) -> Sequence[Any]:
    """Return values near a good one that no kernel takes."""
    if isinstance(kind, Between):
        return [kind.low - 1, kind.high + 1, 1.0]
    if isinstance(kind, Exactly):
        return [value[:-1], "0" * len(value)]
    assert isinstance(kind, Array)
    wide = np.zeros((*value.shape[:-1], 2 * value.shape[-1]), value.dtype)[..., ::2]
    bad = [value[None], value.astype(np.float32), value.tolist()]
    bad += [wide] if value.shape[-1] > 1 and value.size > 1 else []  # of one entry the steps do not matter
    return bad + ([value.astype(value.dtype.newbyteorder())] if value.itemsize > 1 else [])


def odd(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the same array, read-only, in a buffer that begins at an odd address."""
    return np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)


def same(found: Any, wanted: Any) -> None:
    """Compare results, one or several, in type, shape and bytes."""
    several = isinstance(wanted, tuple)
    for one, other in zip(found if several else [found], wanted if several else [wanted], strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_array_equal(one, other)
