// Included inside each level's namespace: the point function with a payload vector, and sums of table rows times it.

FN void hash_end(const Keys& keys, const V seeds[I], int block, V x[I]) {
  for (int i = 0; i < I; i++) x[i] = seeds[i];
  hash(keys, FINAL + block, x);
}

// Party 1's lanes less party 0's, 2 * MAX_BLOCKS an element.
FN void lane_differences(const Keys& keys, const State at[2], int blocks, u64* out) {
  for (int block = 0; block < blocks; block++) {
    V lanes[2][I];
    for (int b = 0; b < 2; b++) hash_end(keys, at[b].s, block, lanes[b]);
    for (int i = 0; i < I; i++) {
      u64* to = out + 2 * (MAX_BLOCKS * W * i + block);
      scatter(reinterpret_cast<u8*>(to), MAX_BLOCKS * BLOCK, sub64(lanes[1][i], lanes[0][i]));
    }
  }
}

BODY void separable_gen(const Keys& keys, const u8* mask, Span span, const Separable& f, const u8* payload,
                        const u8* roots0, const u8* roots1, u8* cw, u8* last) {
  const size_t n = span.n;
  const Cut masks(mask, 1, 8, n, E), first(roots0, 1, BLOCK, n, E), second(roots1, 1, BLOCK, n, E);
  const size_t lanes = size_t(f.lanes), item = lanes * size_t(f.lane_bytes);
  const Buffer packed(E * item + BLOCK);
  for (size_t e = span.from; e < span.to; e += E) {
    const size_t filled = least(E, span.to - e);
    const u8 *numbers = masks.at(e).at, *row[E];
    for (size_t j = 0; j < E; j++) {
      row[j] = payload + (load64(numbers + 8 * j) & domain_mask(f.low_bits)) * lanes * 8;
      __builtin_prefetch(row[j]), __builtin_prefetch(row[j] + 8 * lanes - 1);
    }
    State at[2];
    u64 difference[2 * MAX_BLOCKS * E];
    u8 control[E], *to = packed.get();
    begin(first.at(e).at, false, at[0]);
    begin(second.at(e).at, true, at[1]);
    deal_path(keys, numbers, f.bits, f.bits + f.low_bits, at, cw + e * BLOCK, n, filled);
    lane_differences(keys, at, f.blocks, difference);
    for (int i = 0; i < I; i++) store_mask(control + W * i, at[1].t[i]);
    for (size_t j = 0; j < filled; j++)
      for (size_t lane = 0; lane < lanes; lane++, to += f.lane_bytes) {
        const u64 value = load64(row[j] + 8 * lane) + difference[2 * MAX_BLOCKS * j + lane];
        const u64 word = (value ^ (0 - u64(control[j]))) + control[j];
        memcpy(to, &word, 8);  // the next lane covers what is too much
      }
    memcpy(last + e * item, packed.get(), filled * item);
  }
}

// Rows of 32-bit numbers by the low part of the index: those of all distances side by side, farthest first, each
// padded to whole blocks. A buffer has room to read a block at its last number.
BODY void pack_rows(const u8* tables, const Separable& f, u8* to) {
  const size_t lows = size_t(1) << f.low_bits, size = size_t(f.lanes) * 4, padded = size_t(f.blocks) * 8;
  for (size_t low = 0; low < lows; low++)
    for (size_t j = f.near; j-- > 0; to += padded) {
      memset(to + padded - 8, 0, 8);
      memcpy(to, tables + (j * lows + low) * size, size);
    }
}

// Correction words with the control correction of one side alone, in bit 0.
FN void one_sided(const u8* words, V left[I], V right[I]) {
  for (int i = 0; i < I; i++) {
    const V word = load(words + BLOCK * W * i);
    left[i] = both(word, splat(~u64(2), ~u64(0)));
    right[i] = either(clear_control(word), both(half(word), splat(1, 0)));
  }
}

FN void children(const Keys& keys, const V node[I], const V words[2][I], V* to) {
  V tweaked[I];
  for (int i = 0; i < I; i++) tweaked[i] = orthomorphism(clear_control(node[i]));
  for (int side = 0; side < 2; side++) {
    V x[I];
    for (int i = 0; i < I; i++) x[i] = tweaked[i];
    encrypt(keys[SEED + side], x);
    for (int i = 0; i < I; i++) {
      const V plain = both(exclusive_or(x[i], tweaked[i]), splat(~u64(2), ~u64(0)));
      to[side * I + i] = xor_where(lowest_bit(node[i]), plain, words[side][i]);
    }
  }
}

// Consecutive nodes, a seed and its control bit in one block: node k is block k, or k + 1 where odd, of a ring.
struct Nodes {
  V *at, *other;
  size_t size;
  M odd[I];
};

FN void node_at(const Nodes& nodes, size_t k, V out[I]) {
  const V *a = nodes.at + k * I, *b = nodes.at + (k + 1 == nodes.size ? 0 : k + 1) * I;
  for (int i = 0; i < I; i++) out[i] = blend(nodes.odd[i], b[i], a[i]);
}

// What `window` finds, by both children of every parent: some nodes are of no use, but all blocks share a key.
BODY void spread(const Keys& keys, bool party, const Rows& roots, const Rows& cw, int depth, const u64* first,
                 size_t leaves, Nodes& nodes) {
  V start[I], words[2][I], node[I];
  State at;
  load_numbers(reinterpret_cast<const u8*>(first), start);
  begin(roots.at, party, at);
  for (int i = 0; i < I; i++) nodes.at[i] = xor_where(at.t[i], at.s[i], splat(1, 0)), nodes.odd[i] = everywhere(false);
  nodes.size = 1;
  size_t parents = 1;
  for (int level = 0; level < depth; level++) {
    const int above = depth - 1 - level;
    one_sided(cw.row(size_t(level)), words[0], words[1]);
    for (size_t j = 0; j < parents; j++) {
      node_at(nodes, j, node);
      children(keys, node, words, nodes.other + 2 * j * I);
    }
    V* swap = nodes.at;
    nodes.at = nodes.other, nodes.other = swap, nodes.size = 2 * parents;
    directions(start, above, nodes.odd);
    parents = least(((leaves + (size_t(1) << above) - 2) >> above) + 1, size_t(2) << level);
  }
}

BODY void leaves_of(const Keys& keys, bool party, const Rows& roots, const Rows& cw, const Separable& f,
                    const u64* first, V* buffer, Nodes& nodes) {
  constexpr size_t NARROW = 4;  // up to here each node under a key of its own costs less
  nodes = {buffer, buffer + (f.leaves + 2) * I, f.leaves, {}};
  if (f.leaves > NARROW) return spread(keys, party, roots, cw, f.bits, first, f.leaves, nodes);
  nodes.at = window<false>(keys, party, roots, cw, f.bits, first, f.leaves, nodes.at, nodes.other);
  for (int i = 0; i < I; i++) nodes.odd[i] = everywhere(false);
}

// Sums of the first two lanes at the far leaves, plain and with weights far, far - 1, ..., 1.
FN void sum_far(const Keys& keys, const Nodes& nodes, size_t far, const V correction[I], V plain[I], V weighted[I]) {
  for (int i = 0; i < I; i++) plain[i] = weighted[i] = splat(0, 0);
  for (size_t k = 0; k < far; k++) {
    V node[I], x[I];
    node_at(nodes, k, node);
    for (int i = 0; i < I; i++) x[i] = clear_control(node[i]);
    hash(keys, FINAL, x);
    for (int i = 0; i < I; i++) {
      plain[i] = add64(plain[i], add64_where(lowest_bit(node[i]), x[i], correction[i]));
      weighted[i] = add64(weighted[i], plain[i]);
    }
  }
}

// Sums of rows times lanes at the other leaves; both lanes of a block are yet to be added.
FN void sum_near(const Keys& keys, const Nodes& nodes, const Separable& f, const V correction[][I],
                 const u8* const* rows, V sums[I]) {
  for (int i = 0; i < I; i++) sums[i] = splat(0, 0);
  for (size_t k = f.leaves - f.near, at = 0; k < f.leaves; k++) {
    V node[I], seeds[I], x[I];
    node_at(nodes, k, node);
    for (int i = 0; i < I; i++) seeds[i] = clear_control(node[i]);
    for (int block = 0; block < f.blocks; block++, at += 8) {
      hash_end(keys, seeds, block, x);
      for (int i = 0; i < I; i++) {
        const V share = add64_where(lowest_bit(node[i]), x[i], correction[block][i]);
        sums[i] = add64(sums[i], mul64(share, small_pairs(rows + W * i, at)));
      }
    }
  }
}

BODY void separable_batch(const Keys& keys, bool party, const Rows& roots, const Rows& cw, const u8* last,
                          const Separable& f, const u8* index, const u8* rows, V* buffer, u64* out, size_t filled) {
  const size_t row = f.near * size_t(f.blocks) * 8, item = size_t(f.lanes * f.lane_bytes);
  const u64 shift = u64(f.first + int64_t(f.near) - 1);  // the distance before the first far one
  const u8* chosen[E];
  u64 low[E], first[E], sums[3][2 * E];
  for (size_t j = 0; j < E; j++) {
    const u64 x = load64(index + 8 * j);
    low[j] = x & domain_mask(f.low_bits), chosen[j] = rows + low[j] * row;
    first[j] = ((x >> f.low_bits) - shift - (f.leaves - f.near)) & domain_mask(f.bits);
    __builtin_prefetch(chosen[j]), __builtin_prefetch(chosen[j] + row - 1);
  }
  V correction[MAX_BLOCKS][I], near[I], plain[I], weighted[I];
  for (int block = 0; block < f.blocks; block++)
    for (int i = 0; i < I; i++)
      correction[block][i] = number_pairs(last + item * W * i + 2 * block * f.lane_bytes, item, f.lane_bytes);
  Nodes nodes;
  leaves_of(keys, party, roots, cw, f, first, buffer, nodes);
  sum_far(keys, nodes, f.leaves - f.near, correction[0], plain, weighted);
  sum_near(keys, nodes, f, correction, chosen, near);
  for (int i = 0; i < I; i++) {
    store(reinterpret_cast<u8*>(sums[0] + 2 * W * i), near[i]);
    store(reinterpret_cast<u8*>(sums[1] + 2 * W * i), plain[i]);
    store(reinterpret_cast<u8*>(sums[2] + 2 * W * i), weighted[i]);
  }
  for (size_t j = 0; j < filled; j++) {
    const u64 base = f.far[0] * ((shift << f.low_bits) + low[j]) + f.far[1];
    const u64 far = base * sums[1][2 * j] + f.far[2] * sums[1][2 * j + 1] + (f.far[0] << f.low_bits) * sums[2][2 * j];
    const u64 sum = sums[0][2 * j] + sums[0][2 * j + 1] + far;
    out[j] = (party ? 0 - sum : sum) & (~u64(0) >> (64 - 8 * f.lane_bytes));
  }
}

BODY void separable_eval(const Keys& keys, int party, const u8* roots, const u8* cw, const u8* last, Span span,
                         const Separable& f, const u8* index, const u8* tables, u64* out) {
  const size_t n = span.n;
  const size_t levels = size_t(f.bits), item = size_t(f.lanes * f.lane_bytes);
  const Cut root(roots, 1, BLOCK, n, E), word(cw, levels, BLOCK, n, E), indices(index, 1, 8, n, E);
  const Buffer buffer(2 * (f.leaves + 2) * sizeof(V) * I), rows((f.near << f.low_bits) * size_t(f.blocks) * 8);
  const Buffer end(E * item + BLOCK);
  pack_rows(tables, f, rows.get());
  for (size_t e = span.from; e < span.to; e += E) {
    const Rows r = root.at(e), c = word.at(e), x = indices.at(e);
    const size_t filled = least(E, span.to - e);
    const u8* lanes = last + e * item;
    prefetch(c, levels, n, e);
    if ((n - e) * item < E * item + BLOCK) {  // a block read at the last lane would pass the end
      memset(end.get(), 0, E * item + BLOCK);
      memcpy(end.get(), lanes, filled * item);
      lanes = end.get();
    }
    separable_batch(keys, party, r, c, lanes, f, x.at, rows.get(), reinterpret_cast<V*>(buffer.get()), out + e, filled);
  }
}
