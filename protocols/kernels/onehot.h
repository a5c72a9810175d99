// Included inside each level's namespace: the point function with outputs in Z_2^8 or Z_2^16, 16 or 8 a leaf.

template <int LANE>
FN V negate_where(M m, V x) {
  return blend(m, sub_lanes<LANE>(splat(0, 0), x), x);
}

template <int LANE>
BODY void onehot_gen_lanes(const Keys& keys, const u8* alpha, Span span, int bits, const u8* roots0, const u8* roots1,
                           u8* cw) {
  const size_t n = span.n;
  const int depth = max0(bits - one_hot_inner(LANE));
  const Cut alphas(alpha, 1, 8, n, E), first(roots0, 1, BLOCK, n, E), second(roots1, 1, BLOCK, n, E);
  for (size_t e = span.from; e < span.to; e += E) {
    const size_t filled = least(E, span.to - e);
    const u8* numbers = alphas.at(e).at;
    State at[2];
    begin(first.at(e).at, false, at[0]);
    begin(second.at(e).at, true, at[1]);
    deal_path(keys, numbers, depth, bits, at, cw + e * BLOCK, n, filled);
    u8 unit[BLOCK * E] = {};
    for (size_t j = 0; j < E; j++)
      unit[BLOCK * j + (load64(numbers + 8 * j) & domain_mask(bits) & (128 / LANE - 1)) * (LANE / 8)] = 1;
    for (int b = 0; b < 2; b++) hash(keys, FINAL, at[b].s);
    V word[I];
    for (int i = 0; i < I; i++) {
      const V rest = sub_lanes<LANE>(at[1].s[i], at[0].s[i]);
      word[i] = negate_where<LANE>(at[1].t[i], add_lanes<LANE>(rest, load(unit + BLOCK * W * i)));
    }
    store_batch(cw + (size_t(depth) * n + e) * BLOCK, word, filled);
  }
}

// A party's outputs at a leaf, before the sign of party 1.
template <int LANE>
FN void leaf_lanes(const Keys& keys, const State& at, const u8* words, V out[I]) {
  V word[I];
  for (int i = 0; i < I; i++) out[i] = at.s[i];
  hash(keys, FINAL, out);
  load_batch(words, word);
  for (int i = 0; i < I; i++) out[i] = add_lanes<LANE>(out[i], where(at.t[i], word[i]));
}

template <int LANE>
struct Lane;
template <>
struct Lane<8> {
  typedef u8 type __attribute__((may_alias));
};
template <>
struct Lane<16> {
  typedef u16 type __attribute__((may_alias));
};

// Every output of each element, one row an element: twice over, so that any rotation is one run.
template <int LANE>
BODY void whole_rows(const Keys& keys, bool party, const Rows& roots, const Rows& cw, int bits, V* nodes, u8* rows) {
  const int depth = max0(bits - one_hot_inner(LANE));
  const size_t leaves = size_t(1) << depth, size = (size_t(LANE) / 8) << bits, step = 2 * size + BLOCK;
  const u64 first[E] = {};
  const V* leaf = window<true>(keys, party, roots, cw, depth, first, leaves, nodes, nodes + leaves * I);
  for (size_t at = 0; at < leaves; at++) {
    State end;
    V out[I];
    for (int i = 0; i < I; i++) end.s[i] = clear_control(leaf[at * I + i]), end.t[i] = lowest_bit(leaf[at * I + i]);
    leaf_lanes<LANE>(keys, end, cw.row(size_t(depth)), out);
    for (int i = 0; i < I; i++) {
      u8* to = rows + step * W * i + BLOCK * at;
      scatter(to, step, out[i]);
      if (size >= BLOCK) scatter(to + size, step, out[i]);
    }
  }
  for (size_t j = 0; size < BLOCK && j < E; j++) memcpy(rows + j * step + size, rows + j * step, size);
}

template <class T>
BODY void add_run(T* sum, const T* run, size_t count) {
  for (size_t v = 0; v < count; v++) sum[v] = T(sum[v] + run[v]);
}

template <class T>
BODY void finish_group(bool party, T* sum, T* out, size_t count) {
  for (size_t v = 0; v < count; v++) out[v] = party ? T(0 - sum[count - 1 - v]) : sum[count - 1 - v];
  memset(sum, 0, count * sizeof(T));
}

template <int LANE>
BODY void onehot_sum_lanes(const Keys& keys, int party, const u8* roots, const u8* cw, Span span, int bits,
                           const u8* index, size_t group, u8* out) {
  const size_t n = span.n;
  typedef typename Lane<LANE>::type T;
  const size_t levels = size_t(max0(bits - one_hot_inner(LANE))) + 1, count = size_t(1) << bits;
  const size_t step = 2 * count * sizeof(T) + BLOCK;
  const Cut root(roots, 1, BLOCK, n, E), word(cw, levels, BLOCK, n, E), indices(index, 1, 8, n, E);
  const Buffer nodes(2 * (sizeof(V) * I << (levels - 1))), rows(step * E + BLOCK), sums(count * sizeof(T));
  T* sum = reinterpret_cast<T*>(sums.get());
  memset(sum, 0, count * sizeof(T));
  for (size_t e = span.from; e < span.to; e += E) {
    const Rows r = root.at(e), c = word.at(e), x = indices.at(e);
    prefetch(c, levels, n, e);
    whole_rows<LANE>(keys, party, r, c, bits, reinterpret_cast<V*>(nodes.get()), rows.get());
    for (size_t j = 0; j < least(E, span.to - e); j++) {
      const size_t turn = (load64(x.at + 8 * j) + 1) & (count - 1);
      add_run(sum, reinterpret_cast<const T*>(rows.get() + j * step) + turn, count);
      if ((e + j + 1) % group == 0)
        finish_group(party, sum, reinterpret_cast<T*>(out) + (e + j) / group * count, count);
    }
  }
}

// The same for the first `count` values alone; the caller sees to it that they cover fewer leaves than there are.
template <int LANE>
BODY void onehot_window_lanes(const Keys& keys, int party, const u8* roots, const u8* cw, Span span, int bits,
                              const u8* index, size_t group, size_t count, u8* out) {
  const size_t n = span.n;
  typedef typename Lane<LANE>::type T;
  const int inner = one_hot_inner(LANE), depth = bits - inner;
  const size_t leaves = ((count + (size_t(1) << inner) - 2) >> inner) + 1, step = (leaves + 1) * BLOCK;
  const Cut root(roots, 1, BLOCK, n, E), word(cw, size_t(depth) + 1, BLOCK, n, E), indices(index, 1, 8, n, E);
  const Buffer nodes(2 * leaves * sizeof(V) * I), rows(step * E), sums(count * sizeof(T));
  V* node = reinterpret_cast<V*>(nodes.get());
  T* sum = reinterpret_cast<T*>(sums.get());
  memset(sum, 0, count * sizeof(T));
  for (size_t e = span.from; e < span.to; e += E) {
    const Rows r = root.at(e), c = word.at(e), x = indices.at(e);
    prefetch(c, size_t(depth) + 1, n, e);
    u64 low[E], first[E];
    for (size_t j = 0; j < E; j++) {
      low[j] = (load64(x.at + 8 * j) - (count - 1)) & domain_mask(bits);
      first[j] = low[j] >> inner;
    }
    const V* leaf = window<false>(keys, party, r, c, depth, first, leaves, node, node + leaves * I);
    for (size_t at = 0; at < leaves; at++) {
      State end;
      V lanes[I];
      for (int i = 0; i < I; i++) end.s[i] = clear_control(leaf[at * I + i]), end.t[i] = lowest_bit(leaf[at * I + i]);
      leaf_lanes<LANE>(keys, end, c.row(size_t(depth)), lanes);
      for (int i = 0; i < I; i++) scatter(rows.get() + step * W * i + BLOCK * at, step, lanes[i]);
    }
    for (size_t j = 0; j < least(E, span.to - e); j++) {
      add_run(sum, reinterpret_cast<const T*>(rows.get() + j * step) + (low[j] & (128 / LANE - 1)), count);
      if ((e + j + 1) % group == 0)
        finish_group(party, sum, reinterpret_cast<T*>(out) + (e + j) / group * count, count);
    }
  }
}

template <int LANE>
BODY void onehot_point_lanes(const Keys& keys, int party, const u8* roots, const u8* cw, Span span, int bits,
                             const u8* points, size_t rows, u64* out) {
  const size_t n = span.n;
  typedef typename Lane<LANE>::type T;
  const int depth = max0(bits - one_hot_inner(LANE));
  const Cut root(roots, 1, BLOCK, n, E), word(cw, size_t(depth) + 1, BLOCK, n, E), point(points, rows, 8, n, E);
  for (size_t e = span.from; e < span.to; e += E) {
    const Rows r = root.at(e), c = word.at(e), p = point.at(e);
    prefetch(c, size_t(depth) + 1, n, e);
    for (size_t row = 0; row < rows; row++) {
      State at;
      V numbers[I], leaf[I];
      M turn[I];
      begin(r.at, party, at);
      load_numbers(p.row(row), numbers);
      for (int level = 0; level < depth; level++) {
        directions(numbers, bits - 1 - level, turn);
        descend(keys, c.row(size_t(level)), turn, at);
      }
      leaf_lanes<LANE>(keys, at, c.row(size_t(depth)), leaf);
      alignas(16) u8 lanes[BLOCK * E];
      for (int i = 0; i < I; i++) store(lanes + BLOCK * W * i, leaf[i]);
      for (size_t j = 0; j < least(E, span.to - e); j++) {
        const size_t low = load64(p.row(row) + 8 * j) & domain_mask(bits) & (128 / LANE - 1);
        const T value = reinterpret_cast<const T*>(lanes + BLOCK * j)[low];
        out[row * n + e + j] = T(party ? 0 - value : value);
      }
    }
  }
}

BODY void onehot_gen(const Keys& keys, const u8* alpha, Span span, int bits, int lane, const u8* roots0,
                     const u8* roots1, u8* cw) {
  (lane == 8 ? onehot_gen_lanes<8> : onehot_gen_lanes<16>)(keys, alpha, span, bits, roots0, roots1, cw);
}

BODY void onehot_sum(const Keys& keys, int party, const u8* roots, const u8* cw, Span span, int bits, int lane,
                     const u8* index, size_t group, u8* out) {
  (lane == 8 ? onehot_sum_lanes<8> : onehot_sum_lanes<16>)(keys, party, roots, cw, span, bits, index, group, out);
}

BODY void onehot_point(const Keys& keys, int party, const u8* roots, const u8* cw, Span span, int bits, int lane,
                       const u8* points, size_t rows, u64* out) {
  (lane == 8 ? onehot_point_lanes<8> : onehot_point_lanes<16>)(keys, party, roots, cw, span, bits, points, rows, out);
}

BODY void onehot_window(const Keys& keys, int party, const u8* roots, const u8* cw, Span span, int bits, int lane,
                        const u8* index, size_t group, size_t count, u8* out) {
  const auto window_lanes = lane == 8 ? onehot_window_lanes<8> : onehot_window_lanes<16>;
  window_lanes(keys, party, roots, cw, span, bits, index, group, count, out);
}
