"""Softmax attention: exponentials of scores in base two below their row's largest, over their sum."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping
from itertools import product

from privinf.errors import ModelError
from privinf.models.attention import Parts, Variant, parts_of
from privinf.models.cache import POLICIES
from privinf.models.ops import Heads, Ops, Rows, Sum
from privinf.models.parts import Attention, planned
from privinf.models.plan.ranges import HEADROOM, Limits, bits_for, flagged, held
from privinf.models.plan.rings import AttentionRings
from privinf.models.plan.scales import Scales
from privinf.protocols.masked.gates import exp2, softmax
from privinf.protocols.masked.watched import SPARE

# Of the histograms that find a row's largest score: keys grow with 2^bits. Up to the first one pass takes about as much
# as two, and a round less.
ONE_PASS_BITS, BUCKET_BITS = 8, 7
FINEST = (2, 1, 0)  # log2 of the last pass's buckets, in score units: the first that fits
DIGITS = (softmax.INVERSE_BITS, softmax.INVERSE_BITS - 1)  # of an inverse sum: the first that fits


def attend(ops: Ops[Sum, Rows], part: Attention, heads: Heads[Rows]) -> Generator[None, None, Rows]:
    """Values mixed by the weights of each row's scores, heads side by side."""
    yield
    view = POLICIES[part.cache](ops, part, heads)
    weights = ops.softmax(part, ops.scores(part, heads.queries, view.keys))
    return ops.mix(part, weights, view.values)


def attention_rings(
    site: str, high: Mapping[str, float], max_tokens: int, outer: int, scales: Scales
) -> AttentionRings:
    """The rings of one attention over up to `max_tokens` keys, which feeds a linear layer of `outer` bits.

    Queries and keys have the ring of their scores.
    """
    # Rounded up to a quarter of an octave: the plan is public and need not name the largest score exactly.
    scores = 2.0 ** (math.ceil(4 * math.log2(max(high[f"{site}.scores"], 1.0))) / 4 + HEADROOM)
    narrow = bits_for(high[f"{site}.v"], scales.values)
    for fine, digits in product(FINEST, DIGITS):
        scale = softmax.weight_scale(fine)
        try:
            inverse = softmax.inverse_power(max_tokens, fine, digits)
        except ValueError:
            continue
        # A row of weights, each at most one, times values: at most max_tokens times the normalised result.
        mixed = bits_for(high[f"{site}.attended"] * max_tokens, scale + scales.values)
        value_bits = max(mixed, narrow, inverse.high + 2)
        attended = outer + scales.mixed + softmax.slack(fine) + inverse.scale - scales.outer
        if max(value_bits + exp2.DROPPED, attended) <= 64:
            break
    else:
        raise ModelError(f"{site}: values too large for texts of {max_tokens} tokens")
    # Weights this far below a row's largest vanish: padding lies lower than any real score by as much.
    vanish = exp2.BLOCK * exp2.blocks(scale)
    half = 2 * scores + vanish / 2
    try:
        coarse, units = _buckets(half, vanish, fine)
    except ModelError as error:
        raise ModelError(f"{site}: {error}") from None
    # Up to the largest score that a check lets pass, which is not below a third of what it was planned for.
    most = flagged(units - SPARE, 0)
    offset, pad, bits = math.ceil(most + vanish / 2), -(2 * most + vanish), units + scales.scores
    keys = bits + scales.product - scales.scores
    return AttentionRings(bits, offset, coarse, fine, pad, narrow, value_bits, keys, keys, outer, digits)


def _buckets(half: float, vanish: float, fine: int) -> tuple[int, int]:
    """log2 of the coarse buckets and of the range, in score units, for centred scores up to `half`.

    One pass where 2^ONE_PASS_BITS buckets do, otherwise two of up to 2^BUCKET_BITS with the fewest zero tests together.
    """
    least = math.ceil(math.log2(2 * exp2.BLOCK * exp2.blocks(softmax.weight_scale(fine))))

    def units(coarse: int) -> int:
        # The bucket above the largest, and the last block of the exponential, must not wrap around: neither for the
        # scores that are planned for, nor for those of 9/64 of the ring that a check lets pass.
        edge = 2 * 2**coarse + exp2.BLOCK + 2
        return max(math.ceil(math.log2(max(2 * half + edge, (vanish + edge) * 16 / 7))), least)

    def tests(coarse: int) -> int:
        return (1 << (units(coarse) - coarse)) + (2 << (coarse - fine))

    if units(fine) - fine <= ONE_PASS_BITS:
        return fine, units(fine)
    fitting = [c for c in range(fine, fine + BUCKET_BITS + 3) if units(c) - c <= BUCKET_BITS]
    if not fitting:
        raise ModelError(f"attention scores up to {half / 2:.0f} leave every ring")
    best = min(fitting, key=tests)
    return best, units(best)


def limits(part: Attention, scales: Scales, tokens: int) -> Limits:
    rings, site = planned(part.rings), part.site
    weight = softmax.weight_scale(rings.fine)
    vanish = exp2.BLOCK * exp2.blocks(weight)
    mixed = held(rings.value_bits, weight + scales.values)[1]
    found = {
        f"{site}.scores": (0.0, rings.offset - vanish / 2),
        f"{site}.v": held(rings.narrow_bits, scales.values),
        f"{site}.attended": (0.0, mixed / tokens),
    }
    if part.rotary is None:
        return found
    return found | {
        f"{site}.q": held(rings.query_bits, scales.qk),
        f"{site}.k": held(rings.key_bits, scales.qk),
    }


def tables(part: Attention, scales: Scales, tokens: int) -> Iterator[tuple[str, Parts]]:
    """Exponentials, and inverse sums, which depend on the octave of a row's length alone."""
    rings = planned(part.rings)
    weight = softmax.weight_scale(rings.fine)
    yield f"exponential {rings.fine}", parts_of(exp2.factors(scales.scores, weight))
    for octave in range((tokens - 1).bit_length() + 1):
        yield repr(rings.inverse(1 << octave)), []


ENTRY = Variant(attend, attention_rings, tables, limits)
