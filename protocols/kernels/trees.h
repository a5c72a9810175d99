// Included inside each level's namespace: walks down generator trees, a batch of elements side by side.
// trees.py says the same in NumPy.

constexpr size_t E = size_t(W) * I;  // elements in a batch

struct State {
  V s[I];  // seeds, two lowest bits clear
  M t[I];
};

FN V clear_control(V x) { return both(x, splat(~u64(3), ~u64(0))); }

FN void hash(const Keys& keys, int use, V x[I]) {
  V tweaked[I];
  for (int i = 0; i < I; i++) tweaked[i] = x[i] = orthomorphism(x[i]);
  encrypt(keys[use], x);
  for (int i = 0; i < I; i++) x[i] = exclusive_or(x[i], tweaked[i]);
}

// Under the left or the right key of a pair, by each block's own direction.
FN void hash_turned(const Keys& keys, int use, const M turn[I], V x[I]) {
  V tweaked[I];
  for (int i = 0; i < I; i++) tweaked[i] = x[i] = orthomorphism(x[i]);
  encrypt_either(keys[use], keys[use + 1], turn, x);
  for (int i = 0; i < I; i++) x[i] = exclusive_or(x[i], tweaked[i]);
}

FN void begin(const u8* roots, bool party, State& at) {
  for (int i = 0; i < I; i++) at.s[i] = clear_control(load(roots + BLOCK * W * i)), at.t[i] = everywhere(party);
}

// The child's state from its hash, the parent's control bit and the correction word.
FN void correct(const V hashed[I], const V word[I], const M turn[I], State& at) {
  for (int i = 0; i < I; i++) {
    const V control = xor_where(at.t[i], hashed[i], blend(turn[i], half(word[i]), word[i]));
    at.s[i] = clear_control(xor_where(at.t[i], hashed[i], word[i]));
    at.t[i] = lowest_bit(control);
  }
}

FN void load_batch(const u8* p, V x[I]) {
  for (int i = 0; i < I; i++) x[i] = load(p + BLOCK * W * i);
}

FN void descend(const Keys& keys, const u8* words, const M turn[I], State& at) {
  V hashed[I], word[I];
  for (int i = 0; i < I; i++) hashed[i] = at.s[i];
  hash_turned(keys, SEED, turn, hashed);
  load_batch(words, word);
  correct(hashed, word, turn, at);
}

// All elements turn to the same side.
FN void descend_alike(const Keys& keys, const u8* words, bool right, State& at) {
  V hashed[I], word[I];
  M turn[I];
  for (int i = 0; i < I; i++) hashed[i] = at.s[i], turn[i] = everywhere(right);
  hash(keys, SEED + right, hashed);
  load_batch(words, word);
  correct(hashed, word, turn, at);
}

FN void leaf_bits(const Keys& keys, const State& at, const u8* words, V out[I]) {
  V word[I];
  for (int i = 0; i < I; i++) out[i] = at.s[i];
  hash(keys, FINAL, out);
  load_batch(words, word);
  for (int i = 0; i < I; i++) out[i] = xor_where(at.t[i], out[i], word[i]);
}

FN void load_numbers(const u8* numbers, V x[I]) {
  for (int i = 0; i < I; i++) x[i] = low_halves(numbers + 8 * W * i);
}

FN void directions(const V numbers[I], int position, M turn[I]) {
  for (int i = 0; i < I; i++) turn[i] = bit(numbers[i], u64(1) << position);
}

// Both parties' states one level down, and the level's correction words.
FN void deal(const Keys& keys, const M turn[I], State at[2], V word[I]) {
  V left[2][I], right[2][I];
  for (int b = 0; b < 2; b++) {
    for (int i = 0; i < I; i++) left[b][i] = right[b][i] = at[b].s[i];
    hash(keys, SEED, left[b]);
    hash(keys, SEED + 1, right[b]);
  }
  for (int i = 0; i < I; i++) {
    const V l = exclusive_or(left[0][i], left[1][i]), r = exclusive_or(right[0][i], right[1][i]);
    const V control = either(both(l, splat(1, 0)), both(twice(r), splat(2, 0)));
    const V kept = blend(turn[i], splat(2, 0), splat(1, 0));
    word[i] = exclusive_or(clear_control(blend(turn[i], l, r)), exclusive_or(control, kept));
  }
  for (int b = 0; b < 2; b++) {
    V hashed[I];
    for (int i = 0; i < I; i++) hashed[i] = blend(turn[i], right[b][i], left[b][i]);
    correct(hashed, word, turn, at[b]);
  }
}

FN void store_batch(u8* out, const V x[I], size_t filled) {
  if (filled == E) {
    for (int i = 0; i < I; i++) store(out + BLOCK * W * i, x[i]);
    return;
  }
  u8 whole[BLOCK * E];
  for (int i = 0; i < I; i++) store(whole + BLOCK * W * i, x[i]);
  memcpy(out, whole, BLOCK * filled);
}

FN size_t least(size_t a, size_t b) { return a < b ? a : b; }

// Walks both parties down alpha's path; correction words go to cw, rows n elements apart.
FN void deal_path(const Keys& keys, const u8* alpha, int depth, int bits, State at[2], u8* cw, size_t n,
                  size_t filled) {
  V numbers[I], word[I];
  M turn[I];
  load_numbers(alpha, numbers);
  for (int level = 0; level < depth; level++) {
    directions(numbers, bits - 1 - level, turn);
    deal(keys, turn, at, word);
    store_batch(cw + size_t(level) * n * BLOCK, word, filled);
  }
}

// Starts fetching a later batch's correction words: there are more streams than a processor follows by itself.
FN void prefetch(const Rows& cw, size_t levels, size_t n, size_t e) {
  constexpr size_t AHEAD = 3 * E;
  if (e + AHEAD + E > n) return;
  for (size_t level = 0; level < levels; level++)
    for (size_t line = 0; line < BLOCK * E; line += 64) __builtin_prefetch(cw.row(level) + BLOCK * AHEAD + line);
}

// Leaves first, first + 1, ... modulo 2^depth of each element's tree, a seed and its control bit in one block.
// Level by level: `nodes` consecutive nodes cover every element's part. ALIGNED: every first leaf is 0, so that all
// elements turn alike. Returns the buffer that holds the leaves.
template <bool ALIGNED>
BODY V* window(const Keys& keys, bool party, const Rows& roots, const Rows& cw, int depth, const u64* first,
               size_t leaves, V* from, V* to) {
  V start[I];
  State at;
  M odd[I], even[I];
  load_numbers(reinterpret_cast<const u8*>(first), start);
  begin(roots.at, party, at);
  for (int i = 0; i < I; i++) from[i] = xor_where(at.t[i], at.s[i], splat(1, 0));
  size_t parents = 1;
  for (int level = 0; level < depth; level++) {
    const int above = depth - 1 - level;
    const size_t span = size_t(1) << above;
    const size_t nodes = least(((leaves + span - 2) >> above) + 1, level < 40 ? size_t(2) << level : ~size_t(0));
    directions(start, above, odd);
    for (int i = 0; i < I; i++) even[i] = mask_xor(odd[i], everywhere(true));
    for (size_t j = 0; j < nodes; j++) {
      const size_t next = (j + 1) >> 1;
      const V *a = from + (j >> 1) * I, *b = from + (next == parents ? 0 : next) * I;
      for (int i = 0; i < I; i++) {
        const V node = !ALIGNED && j & 1 ? blend(odd[i], b[i], a[i]) : a[i];
        at.s[i] = clear_control(node), at.t[i] = lowest_bit(node);
      }
      if (ALIGNED) descend_alike(keys, cw.row(size_t(level)), j & 1, at);
      else descend(keys, cw.row(size_t(level)), j & 1 ? even : odd, at);
      for (int i = 0; i < I; i++) to[j * I + i] = xor_where(at.t[i], at.s[i], splat(1, 0));
    }
    V* swap = from;
    from = to, to = swap, parents = nodes;
  }
  return from;
}
