"""From magnitudes that were seen, with headroom, to rings: of values, scores, activations and norms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

from privinf.errors import ModelError
from privinf.models.plan.rings import AttentionRings
from privinf.models.plan.scales import Scales
from privinf.protocols import ring
from privinf.protocols.masked.gates import activation, exp2, power, softmax
from privinf.protocols.masked.gates.norm import NormSpec

HEADROOM = 3  # bits kept free above every calibrated range
KNOWN = 1  # the same where the range is that of a whole table, and rounding alone can pass it
SAME_ACTIVATION = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}
INVERSE_GAIN = 10  # significant bits of a row's inverse deviation at the largest calibrated variance
MAX_FRACTION = 16  # of a centred row before it is normalised: finer would not fit the sum of squares
BUCKET_BITS = 7  # of the histogram that finds a row's largest score: its keys grow with 2^BUCKET_BITS
FINEST = (2, 1, 0)  # log2 of the last pass's buckets, in score units: the first that fits


class RangeTable(Protocol):
    """Calibrated magnitudes by site, in real units."""

    @property
    def low(self) -> Mapping[str, float]: ...
    @property
    def high(self) -> Mapping[str, float]: ...


def bits_for(magnitude: float, scale: int, headroom: int = HEADROOM) -> int:
    """Ring of a value at `scale` with headroom, its sign, and the bit that lifting needs."""
    return math.ceil(math.log2(max(magnitude, 2.0**-scale))) + headroom + scale + 2


def sum_bits(tokens: int) -> int:
    """Bits by which the sum of so many rows may be longer than each of them."""
    return (tokens - 1).bit_length()


def known_activation(name: str) -> str:
    """An activation as gates and tables call it."""
    return SAME_ACTIVATION.get(name, name)


def attention_rings(
    site: str, high: Mapping[str, float], max_tokens: int, outer: int, scales: Scales
) -> AttentionRings:
    """The rings of one attention over up to `max_tokens` keys, which feeds a linear layer of `outer` bits.

    Queries and keys have the ring of their scores.
    """
    # Rounded up to a quarter of an octave: the plan is public and need not name the largest score exactly.
    scores = 2.0 ** (math.ceil(4 * math.log2(max(high[f"{site}.scores"], 1.0))) / 4 + HEADROOM)
    narrow = bits_for(high[f"{site}.v"], scales.values)
    for fine in FINEST:
        scale = softmax.weight_scale(fine)
        inverse = scales.inverse(max_tokens, fine)
        # A row of weights, each at most one, times values: at most max_tokens times the normalised result.
        mixed = bits_for(high[f"{site}.attended"] * max_tokens, scale + scales.values)
        value_bits = max(mixed, narrow, inverse.high + 2)
        attended = outer + scales.mixed + softmax.slack(fine) + inverse.scale - scales.outer
        if max(value_bits + exp2.dropped(scale), attended) <= 64:
            break
    else:
        raise ModelError(f"{site}: values too large for texts of {max_tokens} tokens")
    # Weights this far below a row's largest vanish: padding lies lower than any real score by as much.
    vanish = exp2.BLOCK * exp2.blocks(scale)
    half = 2 * scores + vanish / 2
    try:
        coarse, units = _buckets(half, fine)
    except ModelError as error:
        raise ModelError(f"{site}: {error}") from None
    offset, pad, bits = math.ceil(scores + vanish / 2), -(2 * scores + vanish), units + scales.scores
    keys = bits + scales.product - scales.scores
    return AttentionRings(bits, offset, coarse, fine, pad, narrow, value_bits, keys, keys, outer)


def _buckets(half: float, fine: int) -> tuple[int, int]:
    """log2 of the coarse buckets and of the range, in score units, for centred scores up to `half`.

    One pass where that takes at most 2^BUCKET_BITS buckets, otherwise two with the fewest zero tests together.
    """
    least = math.ceil(math.log2(2 * exp2.BLOCK * exp2.blocks(softmax.weight_scale(fine))))

    def units(coarse: int) -> int:
        # The bucket above the largest, and the last block of the exponential, must not wrap around.
        return max(math.ceil(math.log2(2 * half + 2 * 2**coarse + exp2.BLOCK + 2)), least)

    def tests(coarse: int) -> int:
        return (1 << (units(coarse) - coarse)) + (2 << (coarse - fine))

    fitting = [c for c in range(fine, fine + BUCKET_BITS + 3) if units(c) - c <= BUCKET_BITS]
    if not fitting:
        raise ModelError(f"attention scores up to {half / 2:.0f} leave every ring")
    best = fine if fitting[0] == fine else min(fitting, key=tests)
    return best, units(best)


def hidden_bits(site: str, high: Mapping[str, float], name: str, scales: Scales) -> int:
    """The ring of an activation's input, at the scale of rows."""
    try:
        return activation.input_bits(known_activation(name), high[site] * 2**HEADROOM, scales.rows)
    except ValueError as error:
        raise ModelError(f"{site}: {error}") from None


def norm_spec(
    site: str,
    ranges: RangeTable,
    scale: int,
    out_bits: int,
    rows: int,
    width: int,
    eps: float,
    *,
    gain: int = INVERSE_GAIN,
    precision: int = power.PRECISION,
    headroom: int = HEADROOM,
) -> NormSpec:
    """How the rows at a site are normalised, of `width` values at `scale`, to `rows` fraction bits.

    gain: significant bits of the inverse deviation at the largest variance; precision: those of its table's index.
    headroom: bits that are kept free above the ranges.
    """
    smallest, largest = ranges.low[f"{site}.square"], ranges.high[f"{site}.square"]
    if not smallest > 0:
        raise ModelError(f"{site}: a row of zeros cannot be normalised")
    inverse_scale = 64 + rows - out_bits
    deviation = math.ceil(math.log2(largest) / 2)
    room = 60 - math.ceil(math.log2(width)) - math.ceil(math.log2(largest)) - 2 * headroom
    fraction = min(inverse_scale - gain - deviation, scale, MAX_FRACTION, room // 2)
    if math.log2(smallest) / 2 + fraction < 6:
        raise ModelError(f"{site}: rows' deviations span too wide a range to be normalised in 64 bits")
    return NormSpec(
        width=width,
        bits=bits_for(ranges.high[f"{site}.residual"], scale, headroom),
        drop=scale - fraction,
        scale=fraction,
        low=math.floor(math.log2(smallest)) - 2 * headroom,
        high=math.ceil(math.log2(largest)) + 2 * headroom,
        eps=eps,
        inverse_scale=min(inverse_scale, fraction + gain + deviation),
        out_scale=rows,
        out_bits=out_bits,
        precision=precision,
    )


def require_norm(norm: NormSpec) -> None:
    """Refuse what would fail at the first query: a power beyond its table, a product beyond every ring."""
    try:
        norm.power()
    except ValueError as error:
        raise ModelError("the rows' deviations leave every table of inverse roots") from error
    if norm.product_bits > ring.MAX_BITS:
        raise ModelError("a normalisation needs more than 64 bits")
