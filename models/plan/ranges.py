"""From magnitudes that were seen, with headroom, to rings: of values, scores, activations and norms."""

from __future__ import annotations

import math
from collections.abc import Mapping

from privinf.errors import ModelError
from privinf.models.engines.observers import Ranges
from privinf.models.functions import FUNCTIONS
from privinf.models.plan.scales import Scales
from privinf.models.spec import ModelSpec
from privinf.protocols import ring
from privinf.protocols.masked.gates import power
from privinf.protocols.masked.gates.norm import NormSpec
from privinf.protocols.masked.watched import SPARE

Limits = dict[str, tuple[float, float]]  # by site: the smallest magnitude that is held, and the largest
HEADROOM = 3  # bits kept free above every calibrated range
KNOWN = 1  # the same where the range is that of a whole table, and rounding alone can pass it
INVERSE_GAIN = 10  # significant bits of a row's inverse deviation at the largest calibrated variance
FINER = 1  # bits that it has besides where its product has room: a drop may cost a whole unit
MAX_FRACTION = 16  # of a centred row before it is normalised: finer would not fit the sum of squares


def bits_for(magnitude: float, scale: int, headroom: int = HEADROOM) -> int:
    """Ring of a value at `scale` with headroom, its sign, and the bit that lifting needs."""
    return math.ceil(math.log2(max(magnitude, 2.0**-scale))) + headroom + scale + 2


def pixel_bits(magnitude: float, scales: Scales) -> int:
    """Ring in which pixels are opened: they are rounded, and lifted below a quarter of it."""
    return bits_for(magnitude + 2.0**-scales.pixels, scales.pixels, 0)


def held(bits: int, scale: int) -> tuple[float, float]:
    """Limits of values at `scale`, which keep two bits of their ring: the sign, and what lifting needs."""
    return 0.0, 2.0 ** (bits - scale - 2)


def sum_bits(tokens: int) -> int:
    """Bits by which the sum of so many rows may be longer than each of them."""
    return (tokens - 1).bit_length()


def hidden_bits(site: str, high: Mapping[str, float], name: str, scales: Scales) -> int:
    """The ring of an activation's input, at the scale of rows."""
    function = FUNCTIONS[name]
    try:
        bits = function.input_bits(high[site] * 2**HEADROOM, scales.rows)
    except ValueError as error:
        raise ModelError(f"{site}: {error}") from None
    while function.most(bits, scales.rows) < flagged(bits - function.unsure, scales.rows):
        bits += 1
    return bits


def room_bits(inner: int, name: str, scales: Scales) -> int:
    """The ring of rows before an activation whose input has `inner` bits: it has room for the check of that."""
    return inner + scales.weight + SPARE - FUNCTIONS[name].unsure


def flagged(bits: int, scale: int) -> float:
    """Above this magnitude a check in a ring of `bits` bits is sure to find it; below 7/9 of it finds nothing."""
    return 1.125 * 2.0 ** (bits - scale - 1)


def norm_spec(
    site: str,
    ranges: Ranges,
    spec: ModelSpec,
    scale: int,
    out_bits: int,
    rows: int,
    *,
    gain: int = INVERSE_GAIN,
    lanes: int = power.ROOT.count,
    headroom: int = HEADROOM,
) -> NormSpec:
    """How the rows at a site are normalised, of values at `scale`, to `rows` fraction bits.

    gain: significant bits of the inverse deviation at the largest variance; lanes: polynomials that it is put together
    from. headroom: bits that are kept free above the ranges.
    """
    smallest, largest = ranges.low[f"{site}.square"], ranges.high[f"{site}.square"]
    if not smallest > 0:
        raise ModelError(f"{site}: a row of zeros cannot be normalised")
    inverse_scale = 64 + rows - out_bits
    deviation = math.ceil(math.log2(largest) / 2)
    room = 60 - math.ceil(math.log2(spec.width)) - math.ceil(math.log2(largest)) - 2 * headroom
    fraction = min(inverse_scale - gain - deviation, scale, MAX_FRACTION, room // 2)
    if math.log2(smallest) / 2 + fraction < 6:
        raise ModelError(f"{site}: rows' deviations span too wide a range to be normalised in 64 bits")
    norm = NormSpec(
        width=spec.width,
        bits=bits_for(ranges.high[f"{site}.residual"], scale, headroom),
        drop=scale - fraction,
        scale=fraction,
        low=math.floor(math.log2(smallest)) - 2 * headroom,
        high=math.ceil(math.log2(largest)) + 2 * headroom,
        eps=spec.eps,
        inverse_scale=min(inverse_scale, fraction + gain + deviation + FINER),
        out_scale=rows,
        out_bits=out_bits,
        lanes=lanes,
    )
    _require(norm)
    return norm


def _require(norm: NormSpec) -> None:
    """Refuse what would fail at the first query: a power out of its domain, a product beyond every ring."""
    try:
        norm.power()
    except ValueError as error:
        raise ModelError("the rows' deviations leave the domain of inverse roots") from error
    if norm.product_bits > ring.MAX_BITS:
        raise ModelError("a normalisation needs more than 64 bits")
