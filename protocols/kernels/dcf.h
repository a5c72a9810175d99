// Included inside each level's namespace: the comparison function with a payload in Z_2^64 (Boyle et al. 2021).

FN void store_numbers(u64* out, const V x[I], size_t filled) {
  u64 whole[E];
  for (int i = 0; i < I; i++) store_low(reinterpret_cast<u8*>(whole + W * i), x[i]);
  memcpy(out, whole, 8 * filled);
}

FN V negate64_where(M m, V x) { return blend(m, sub64(splat(0, 0), x), x); }

// Party 1's value less party 0's, from the low halves of a hash of the seeds.
FN void value_difference(int use, const State at[2], V out[I]) {
  V values[2][I];
  for (int b = 0; b < 2; b++) {
    for (int i = 0; i < I; i++) values[b][i] = at[b].s[i];
    hash(use, values[b]);
  }
  for (int i = 0; i < I; i++) out[i] = sub64(values[1][i], values[0][i]);
}

// The value correction of a level; `sums` carries the difference of the parties' sums so far on alpha's path.
FN void deal_value(const State at[2], const M turn[I], const V beta[I], V sums[I], V word[I]) {
  V left[I], right[I];
  value_difference(VALUE, at, left);
  value_difference(VALUE + 1, at, right);
  for (int i = 0; i < I; i++) {
    const V lost = add64_where(turn[i], blend(turn[i], left[i], right[i]), beta[i]);
    word[i] = negate64_where(at[1].t[i], sub64(lost, sums[i]));
    sums[i] = sub64(lost, blend(turn[i], right[i], left[i]));
  }
}

BODY void dcf_gen(const u8* alpha, const u8* beta, size_t n, int bits, const u8* roots0, const u8* roots1, u8* cw,
                  u64* vcw) {
  const Cut alphas(alpha, 1, 8, n, E), betas(beta, 1, 8, n, E);
  const Cut first(roots0, 1, BLOCK, n, E), second(roots1, 1, BLOCK, n, E);
  for (size_t e = 0; e < n; e += E) {
    const size_t filled = least(E, n - e);
    State at[2];
    V numbers[I], payload[I], sums[I], word[I];
    M turn[I];
    begin(first.at(e).at, false, at[0]);
    begin(second.at(e).at, true, at[1]);
    load_numbers(alphas.at(e).at, numbers);
    load_numbers(betas.at(e).at, payload);
    for (int i = 0; i < I; i++) sums[i] = splat(0, 0);
    for (int level = 0; level < bits; level++) {
      directions(numbers, bits - 1 - level, turn);
      deal_value(at, turn, payload, sums, word);
      store_numbers(vcw + size_t(level) * n + e, word, filled);
      deal(turn, at, word);
      store_batch(cw + (size_t(level) * n + e) * BLOCK, word, filled);
    }
    value_difference(FINAL, at, word);
    for (int i = 0; i < I; i++) word[i] = negate64_where(at[1].t[i], sub64(word[i], sums[i]));
    store_numbers(vcw + size_t(bits) * n + e, word, filled);
  }
}

// Adds a hash of the seeds, corrected, to the sums.
FN void collect(const State& at, const V value[I], const u8* corrections, V sums[I]) {
  V correction[I];
  load_numbers(corrections, correction);
  for (int i = 0; i < I; i++) sums[i] = add64_where(at.t[i], add64(sums[i], value[i]), correction[i]);
}

BODY void dcf_walk(bool party, const Rows& roots, const Rows& cw, const Rows& vcw, int bits, const u8* points, u64* out,
                   size_t filled) {
  State at;
  V numbers[I], value[I], sums[I];
  M turn[I];
  begin(roots.at, party, at);
  load_numbers(points, numbers);
  for (int i = 0; i < I; i++) sums[i] = splat(0, 0);
  for (int level = 0; level < bits; level++) {
    directions(numbers, bits - 1 - level, turn);
    for (int i = 0; i < I; i++) value[i] = at.s[i];
    hash_turned(VALUE, turn, value);
    collect(at, value, vcw.row(size_t(level)), sums);
    descend(cw.row(size_t(level)), turn, at);
  }
  for (int i = 0; i < I; i++) value[i] = at.s[i];
  hash(FINAL, value);
  collect(at, value, vcw.row(size_t(bits)), sums);
  for (int i = 0; i < I; i++) sums[i] = negate64_where(everywhere(party), sums[i]);
  store_numbers(out, sums, filled);
}

BODY void dcf_eval(int party, const u8* roots, const u8* cw, const u8* vcw, size_t n, int bits, const u8* points,
                   size_t rows, u64* out) {
  const Cut root(roots, 1, BLOCK, n, E), word(cw, size_t(bits), BLOCK, n, E);
  const Cut values(vcw, size_t(bits) + 1, 8, n, E), point(points, rows, 8, n, E);
  for (size_t e = 0; e < n; e += E) {
    const Rows r = root.at(e), c = word.at(e), v = values.at(e), p = point.at(e);
    prefetch(c, size_t(bits), BLOCK, n, e);
    prefetch(v, size_t(bits) + 1, 8, n, e);
    for (size_t row = 0; row < rows; row++)
      dcf_walk(party, r, c, v, bits, p.row(row), out + row * n + e, least(E, n - e));
  }
}
