// Included inside each level's namespace: shares of 1/S or 1/sqrt(S) of an opened number; powers.py says the same.
//
// Arithmetic on doubles is elementwise and its order is part of what is computed: every machine must round alike.

constexpr int NEAR = 4;                  // blocks in an octave, and the first distance that a level serves
constexpr int DISTANCES = 2 * NEAR + 1;  // that are looked at where powers end
constexpr int PLACE_BITS = 32;           // of a place in its block
constexpr u64 SATURATED = u64(1) << 62;  // on a power that is an end's
static_assert(MAX_POWER_LANES <= 2 * MAX_BLOCKS, "each pair of lanes has a key");

typedef u64 LaneWords[MAX_POWER_LANES][E];
typedef double Numbers[E];

// The double whose bits these are, and back.
FN double as_double(u64 bits) {
  double x;
  memcpy(&x, &bits, 8);
  return x;
}
FN u64 bits_of(double x) {
  u64 bits;
  memcpy(&bits, &x, 8);
  return bits;
}
FN double power_of_two(int exponent) { return as_double(u64(1023 + exponent) << 52); }
// Exact below 2^52, by a double in whose lowest bits it stands.
FN double to_double(u64 x) { return as_double(x | 0x4330000000000000) - 0x1p52; }
// The nearest integer, the even one of two; up to 2^50 either way.
FN u64 to_integer(double x) { return bits_of(x + 0x1.8p52) - bits_of(0x1.8p52); }

// Twice the places of numbers in their blocks of 2^level.
FN void twice_places(const u64 numbers[E], int level, Numbers out) {
  const int kept = level < PLACE_BITS ? level : PLACE_BITS;
  const double unit = power_of_two(1 - kept);
  for (size_t e = 0; e < E; e++) out[e] = to_double((numbers[e] & domain_mask(level)) >> (level - kept)) * unit;
}

FN int fraction(const Powers& f, int lane) { return lane ? f.fine - f.step * (lane - 1) : 0; }

// Chebyshev polynomials of each mask's place, as integers.
BODY void payload(const Powers& f, const u64 masks[E], int level, LaneWords out) {
  Numbers y, before, at;
  twice_places(masks, level, y);
  for (size_t e = 0; e < E; e++) y[e] = y[e] - 1.0, before[e] = 1.0, at[e] = y[e], out[0][e] = 1;
  for (int lane = 1; lane < f.lanes; lane++) {
    const double unit = power_of_two(fraction(f, lane));
    for (size_t e = 0; e < E; e++) {
      out[lane][e] = to_integer(at[e] * unit);
      const double next = (y[e] + y[e]) * at[e] - before[e];
      before[e] = at[e], at[e] = next;
    }
  }
}

// What lanes at a place are multiplied with, by a = 2 distance - 1 + twice the index's place; lanes left out get none.
BODY void coefficients(const Powers& f, int level, const Numbers a, LaneWords out) {
  const double unit = double(f.numerator) * power_of_two(2 - level);
  Numbers q, squared, lead;
  for (size_t e = 0; e < E; e++) {
    q[e] = a[e] - __builtin_sqrt(a[e] * a[e] - 1.0);
    squared[e] = q[e] * q[e], lead[e] = q[e] * unit;
  }
  if (f.halves == 1)
    for (size_t e = 0; e < E; e++) lead[e] = __builtin_sqrt(lead[e]);
  for (int lane = 0; lane < f.lanes; lane++) {
    const double *terms = SERIES[f.halves - 1][lane], scale = power_of_two(f.scale - fraction(f, lane));
    for (size_t e = 0; e < E; e++) {
      const double series = terms[0] + squared[e] * (terms[1] + squared[e] * terms[2]);
      out[lane][e] = to_integer((lead[e] * series) * scale);
      lead[e] = lead[e] * q[e];
    }
  }
  if (f.lanes % 2) memset(out[f.lanes], 0, sizeof out[0]);
}

// The curve at 2^exponent, an end, marked.
FN u64 of_power(const Powers& f, int exponent) {
  const double ratio = double(f.numerator) * power_of_two(-exponent);
  return to_integer((f.halves == 2 ? ratio : __builtin_sqrt(ratio)) * power_of_two(f.scale)) + SATURATED;
}

BODY void powers_gen(const Keys& keys, const u8* mask, Span span, const Powers& f, const u8* roots0, const u8* roots1,
                     u8* cw, u8* values) {
  const size_t n = span.n;
  const Cut masks(mask, 1, 8, n, E), first(roots0, 1, BLOCK, n, E), second(roots1, 1, BLOCK, n, E);
  const size_t lanes = size_t(f.lanes), item = 8 * lanes;
  for (size_t e = span.from; e < span.to; e += E) {
    const size_t filled = least(E, span.to - e);
    u64 numbers[E], difference[2 * MAX_BLOCKS * E], words[MAX_POWER_LANES * E];
    LaneWords lane_words;
    V wide[I], word[I];
    M turn[I];
    u8 control[E];
    State at[2];
    memcpy(numbers, masks.at(e).at, sizeof numbers);
    load_numbers(reinterpret_cast<const u8*>(numbers), wide);
    begin(first.at(e).at, false, at[0]);
    begin(second.at(e).at, true, at[1]);
    for (int level = f.bits - 1; level >= f.bottom(); level--) {
      directions(wide, level, turn);
      deal(keys, turn, at, word);
      store_batch(cw + (size_t(f.bits - 1 - level) * n + e) * BLOCK, word, filled);
      if (level > f.top()) continue;
      payload(f, numbers, level, lane_words);
      lane_differences(keys, at, f.blocks(), difference);
      for (int i = 0; i < I; i++) store_mask(control + W * i, at[1].t[i]);
      for (size_t j = 0; j < E; j++)
        for (size_t lane = 0; lane < lanes; lane++) {
          const u64 value = lane_words[lane][j] + difference[2 * MAX_BLOCKS * j + lane];
          words[lanes * j + lane] = (value ^ (0 - u64(control[j]))) + control[j];
        }
      memcpy(values + (size_t(f.top() - level) * n + e) * item, words, filled * item);
    }
  }
}

// One level of a batch: where indices lie in their blocks, whether their blocks are odd, and the lanes' corrections.
struct Octave {
  int level;
  Numbers twice;
  u64 odd[E];
  M turn[I];
  V correction[MAX_POWER_LANES / 2][I];
};

FN void octave_at(const Powers& f, int level, const u64 index[E], const u8* values, Octave& octave) {
  u8 words[8 * MAX_POWER_LANES * E + BLOCK];
  V numbers[I];
  const size_t item = 8 * size_t(f.lanes);
  memcpy(words, values, item * E);
  octave.level = level;
  twice_places(index, level, octave.twice);
  for (size_t e = 0; e < E; e++) octave.odd[e] = index[e] >> level & 1;
  load_numbers(reinterpret_cast<const u8*>(index), numbers);
  directions(numbers, level, octave.turn);
  for (int block = 0; block < f.blocks(); block++)
    for (int i = 0; i < I; i++)
      octave.correction[block][i] = number_pairs(words + item * W * i + BLOCK * block, item, 8);
}

FN V pairs(const u64 even[E], const u64 odd[E], int i) {
  const V first = low_halves(reinterpret_cast<const u8*>(even + W * i));
  const V second = low_halves(reinterpret_cast<const u8*>(odd + W * i));
  return either(both(first, splat(~u64(0), 0)), both(second, splat(0, ~u64(0))));
}

// Adds the first 2 `blocks` lanes of a node times factors.
FN void add_lanes_of(const Keys& keys, const V node[I], int blocks, const Octave& octave, const LaneWords factors,
                     V sums[I]) {
  V seeds[I], x[I];
  for (int i = 0; i < I; i++) seeds[i] = clear_control(node[i]);
  for (int block = 0; block < blocks; block++) {
    hash_end(keys, seeds, block, x);
    for (int i = 0; i < I; i++) {
      const V share = add64_where(lowest_bit(node[i]), x[i], octave.correction[block][i]);
      sums[i] = add64(sums[i], mul64(share, pairs(factors[2 * block], factors[2 * block + 1], i)));
    }
  }
}

// The widest blocks, whose nodes are given from the farthest on: the first lane takes the end's power from each.
BODY void add_widest(const Keys& keys, const Powers& f, const Octave& octave, const V* nodes, u64 low, u64 high,
                     V sums[I]) {
  for (int distance = 0; distance < DISTANCES; distance++) {
    LaneWords factors;
    Numbers a;
    const bool far = distance >= NEAR;
    if (far) {
      for (size_t e = 0; e < E; e++) a[e] = (2.0 * distance - 1.0) + octave.twice[e];
      coefficients(f, octave.level, a, factors);
    } else {
      memset(factors, 0, sizeof factors);
    }
    const u64 constant = (!far && octave.level == f.bottom() ? low : 0) - high;
    for (size_t e = 0; e < E; e++) factors[0][e] += constant;
    add_lanes_of(keys, nodes + (DISTANCES - 1 - distance) * I, far ? f.blocks() : 1, octave, factors, sums);
  }
}

// The node at place k of those below the near ones is at distance k - 1, or at k where the index's block is odd: it
// has children's order, so right before left. `low` is zero but on the last level.
BODY void add_children(const Keys& keys, const Powers& f, const Octave& octave, const V* nodes, u64 low, V sums[I]) {
  LaneWords factors;
  for (int place = NEAR; place < 2 * NEAR; place++) {
    Numbers a;
    for (size_t e = 0; e < E; e++)
      a[e] = ((2.0 * place - 3.0) + 2.0 * to_double(octave.odd[e])) + octave.twice[e];
    coefficients(f, octave.level, a, factors);
    for (int lane = 0; place == NEAR && lane < f.lanes; lane++)  // here an even block is at distance 3
      for (size_t e = 0; e < E; e++)
        factors[lane][e] = (factors[lane][e] & (0 - octave.odd[e])) + (lane ? 0 : low & (octave.odd[e] - 1));
    add_lanes_of(keys, nodes + (place ^ 1) * I, f.blocks(), octave, factors, sums);
  }
  if (octave.level != f.bottom()) return;
  memset(factors, 0, sizeof factors);
  for (int place = 0; place < NEAR; place++) {
    for (size_t e = 0; e < E; e++) factors[0][e] = place ? low : low & (0 - octave.odd[e]);
    add_lanes_of(keys, nodes + (place ^ 1) * I, 1, octave, factors, sums);
  }
}

BODY void powers_batch(const Keys& keys, bool party, const Rows& roots, const Rows& cw, const Rows& values,
                       const Powers& f, const u8* index, u64* out, size_t filled) {
  const u64 low = of_power(f, f.low), high = of_power(f, f.high);
  u64 numbers[E], first[E], totals[2 * E];
  V from[2 * NEAR * I + I], to[2 * NEAR * I + I], near[NEAR][I], words[2][I], sums[I];
  Octave octave;
  memcpy(numbers, index, sizeof numbers);
  for (size_t e = 0; e < E; e++) first[e] = (numbers[e] >> f.top()) - u64(DISTANCES - 1);
  const V* nodes = window<false>(keys, party, roots, cw, f.bits - f.top(), first, DISTANCES, from, to);
  for (int i = 0; i < I; i++) sums[i] = splat(0, 0);
  octave_at(f, f.top(), numbers, values.row(0), octave);
  add_widest(keys, f, octave, nodes, low, high, sums);
  for (int d = 0; d < NEAR; d++) memcpy(near[d], nodes + (DISTANCES - 1 - d) * I, sizeof near[d]);
  for (int level = f.top() - 1; level >= f.bottom(); level--) {
    one_sided(cw.row(size_t(f.bits - 1 - level)), words[0], words[1]);
    for (int d = 0; d < NEAR; d++) children(keys, near[d], words, from + 2 * d * I);
    octave_at(f, level, numbers, values.row(size_t(f.top() - level)), octave);
    add_children(keys, f, octave, from, level == f.bottom() ? low : 0, sums);
    for (int d = 0; d < NEAR; d++)
      for (int i = 0; i < I; i++)
        near[d][i] = blend(octave.turn[i], from[(d ^ 1) * I + i], from[((d + 1) ^ 1) * I + i]);
  }
  for (int i = 0; i < I; i++) store(reinterpret_cast<u8*>(totals + 2 * W * i), sums[i]);
  for (size_t j = 0; j < filled; j++) {
    const u64 sum = totals[2 * j] + totals[2 * j + 1];
    out[j] = party ? high - sum : sum;
  }
}

BODY void powers_eval(const Keys& keys, int party, const u8* roots, const u8* cw, const u8* values, Span span,
                      const Powers& f, const u8* index, u64* out) {
  const size_t n = span.n;
  const size_t levels = size_t(f.bits - f.bottom()), octaves = size_t(f.high - f.low);
  const Cut root(roots, 1, BLOCK, n, E), word(cw, levels, BLOCK, n, E), indices(index, 1, 8, n, E);
  const Cut value(values, octaves, 8 * size_t(f.lanes), n, E);
  for (size_t e = span.from; e < span.to; e += E) {
    const Rows r = root.at(e), c = word.at(e), v = value.at(e), x = indices.at(e);
    prefetch(c, levels, n, e);
    powers_batch(keys, party, r, c, v, f, x.at, out + e, least(E, span.to - e));
  }
}
