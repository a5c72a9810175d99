// Included inside each level's namespace: the point function with 1-bit outputs.

BODY void dpf_gen(const Keys& keys, const u8* alpha, Span span, int bits, const u8* roots0, const u8* roots1, u8* cw,
                  u8* sign) {
  const size_t n = span.n;
  const int depth = max0(bits - LEAF);
  const Cut alphas(alpha, 1, 8, n, E), first(roots0, 1, BLOCK, n, E), second(roots1, 1, BLOCK, n, E);
  for (size_t e = span.from; e < span.to; e += E) {
    const size_t filled = least(E, span.to - e);
    const u8* numbers = alphas.at(e).at;
    State at[2];
    begin(first.at(e).at, false, at[0]);
    begin(second.at(e).at, true, at[1]);
    deal_path(keys, numbers, depth, bits, at, cw + e * BLOCK, n, filled);
    u8 leaves[2][BLOCK * E], control[E];
    for (int b = 0; b < 2; b++) {
      hash(keys, FINAL, at[b].s);
      for (int i = 0; i < I; i++) store(leaves[b] + BLOCK * W * i, at[b].s[i]);
    }
    for (int i = 0; i < I; i++) store_mask(control + W * i, at[0].t[i]);
    for (size_t j = 0; j < filled; j++) {
      const u64 low = load64(numbers + 8 * j) & domain_mask(bits) & 127;
      u8* word = cw + (size_t(depth) * n + e + j) * BLOCK;
      for (size_t c = 0; c < BLOCK; c++) word[c] = leaves[0][BLOCK * j + c] ^ leaves[1][BLOCK * j + c];
      word[low / 8] ^= u8(1 << low % 8);
      const u8 own = leaves[0][BLOCK * j + low / 8] ^ u8(word[low / 8] & (0 - control[j]));
      sign[e + j] = own >> low % 8 & 1;
    }
  }
}

// The parity of bits 0..low, or bit `low`, of a leaf.
FN u8 leaf_output(const u8* leaf, u64 low, bool prefix) {
  const u64 word = load64(leaf + low / 64 * 8);
  if (!prefix) return u8(word >> (low & 63) & 1);
  const u64 upto = word & ((u64(2) << (low & 63)) - 1);
  return u8(__builtin_parityll(low < 64 ? upto : upto ^ load64(leaf)));
}

BODY void walk_points(const Keys& keys, bool party, const Rows& roots, const Rows& cw, int bits, const u8* points,
                      bool prefix, u8* out, size_t filled) {
  const int depth = max0(bits - LEAF);
  State at;
  V numbers[I], leaf[I];
  M turn[I], parity[I];
  begin(roots.at, party, at);
  load_numbers(points, numbers);
  for (int i = 0; i < I; i++) parity[i] = everywhere(false);
  for (int level = 0; level < depth; level++) {
    M above[I];
    for (int i = 0; i < I; i++) above[i] = at.t[i];
    directions(numbers, bits - 1 - level, turn);
    descend(keys, cw.row(size_t(level)), turn, at);
    for (int i = 0; i < I; i++) parity[i] = mask_xor(parity[i], mask_and(turn[i], mask_xor(above[i], at.t[i])));
  }
  leaf_bits(keys, at, cw.row(size_t(depth)), leaf);
  u8 leaves[BLOCK * E], parities[E];
  for (int i = 0; i < I; i++) store(leaves + BLOCK * W * i, leaf[i]), store_mask(parities + W * i, parity[i]);
  for (size_t j = 0; j < filled; j++) {
    const u64 low = load64(points + 8 * j) & domain_mask(bits) & 127;
    out[j] = leaf_output(leaves + BLOCK * j, low, prefix) ^ (prefix ? parities[j] : 0);
  }
}

BODY void dpf_points(const Keys& keys, int party, const u8* roots, const u8* cw, Span span, int bits, const u8* points,
                     size_t rows, int prefix, u8* out) {
  const size_t n = span.n;
  const size_t words = size_t(max0(bits - LEAF)) + 1;
  const Cut root(roots, 1, BLOCK, n, E), word(cw, words, BLOCK, n, E), point(points, rows, 8, n, E);
  for (size_t e = span.from; e < span.to; e += E) {
    const Rows r = root.at(e), c = word.at(e), p = point.at(e);
    prefetch(c, words, n, e);
    for (size_t row = 0; row < rows; row++)
      walk_points(keys, party, r, c, bits, p.row(row), prefix, out + row * n + e, least(E, span.to - e));
  }
}

// A row of leaf bits as the window is read: twice over where it is the whole domain.
FN void complete_row(u64* row, size_t leaves, int bits, bool whole) {
  for (int known = bits; known < 6; known++) {
    const u64 next = u64(1) << (1 << known);
    row[0] = (row[0] & (next - 1)) * (next + 1);
  }
  if (bits < LEAF) row[1] = row[0];
  if (whole) memcpy(row + 2 * leaves, row, BLOCK * leaves);
}

// `count` bits of a row from `offset` on, as words; zero up to a multiple of two words.
FN void select(const u64* row, u64 offset, size_t count, u64* words) {
  const size_t whole = (count + 63) / 64;
  const u64* from = row + offset / 64;
  const int shift = int(offset % 64);
  for (size_t j = 0; j < whole; j++) words[j] = from[j] >> shift | from[j + 1] << 1 << (63 - shift);
  if (count % 64) words[whole - 1] &= (u64(1) << count % 64) - 1;
  words[whole] = 0;
}

struct Window {
  size_t count, leaves, row;  // entries of the table; leaves that cover them; words in a row of leaf bits
  bool whole;                 // the leaves are the whole domain
  Window(size_t entries, int depth) : count(entries), leaves(((entries + 126) >> LEAF) + 1) {
    whole = depth < 40 && leaves >= size_t(1) << depth;
    if (whole) leaves = size_t(1) << depth;
    row = 4 * leaves + 2;
  }
};

// The leaf bits of each element's window that begins at low, one row an element.
BODY void window_rows(const Keys& keys, bool party, const Rows& roots, const Rows& cw, int bits, const u64* low,
                      const Window& part, V* nodes, u64* rows) {
  const int depth = max0(bits - LEAF);
  u64 first[E];
  for (size_t j = 0; j < E; j++) first[j] = part.whole ? 0 : low[j] >> LEAF;
  V* other = nodes + part.leaves * I;
  const V* leaf = part.whole ? window<true>(keys, party, roots, cw, depth, first, part.leaves, nodes, other)
                             : window<false>(keys, party, roots, cw, depth, first, part.leaves, nodes, other);
  for (size_t at = 0; at < part.leaves; at++) {
    State end;
    V bits_of_leaf[I];
    for (int i = 0; i < I; i++) end.s[i] = clear_control(leaf[at * I + i]), end.t[i] = lowest_bit(leaf[at * I + i]);
    leaf_bits(keys, end, cw.row(size_t(depth)), bits_of_leaf);
    for (int i = 0; i < I; i++)
      scatter(reinterpret_cast<u8*>(rows + part.row * W * i + 2 * at), part.row * 8, bits_of_leaf[i]);
  }
  for (size_t j = 0; j < E; j++) complete_row(rows + j * part.row, part.leaves, bits, part.whole);
}

BODY void dpf_table(const Keys& keys, int party, const u8* roots, const u8* cw, Span span, int bits, const u8* index,
                    u64 start, const Table& table, u64* out) {
  const size_t n = span.n;
  const size_t levels = size_t(max0(bits - LEAF)) + 1;
  const Window most(least(table.count, CHUNK), int(levels) - 1);
  const Cut root(roots, 1, BLOCK, n, E), word(cw, levels, BLOCK, n, E), indices(index, 1, 8, n, E);
  const Buffer nodes(2 * most.leaves * sizeof(V) * I), rows(8 * most.row * E + 64), words(CHUNK / 8 + 64);
  u64 *row = reinterpret_cast<u64*>(rows.get()), *selected = reinterpret_cast<u64*>(words.get());
  for (size_t e = span.from; e < span.to; e += E) {
    const Rows r = root.at(e), c = word.at(e), x = indices.at(e);
    prefetch(c, levels, n, e);
    const size_t filled = least(E, span.to - e);
    for (size_t from = 0; from < table.count; from += CHUNK) {
      const Window part(least(CHUNK, table.count - from), int(levels) - 1);
      u64 low[E];
      for (size_t j = 0; j < E; j++)
        low[j] = (load64(x.at + 8 * j) - start - (table.count - 1) + from) & domain_mask(bits);
      window_rows(keys, party, r, c, bits, low, part, reinterpret_cast<V*>(nodes.get()), row);
      for (size_t j = 0; j < filled; j++) {
        select(row + j * part.row, part.whole ? low[j] : low[j] & 127, part.count, selected);
        out[e + j] += sum_selected(selected, table, from, part.count);
      }
    }
    for (size_t j = 0; party && j < filled; j++) out[e + j] = 0 - out[e + j];
  }
}

// The bits of the whole domain, 16 bytes a leaf, one row an element.
BODY void dpf_whole(const Keys& keys, int party, const u8* roots, const u8* cw, Span span, int bits, u8* out) {
  const size_t n = span.n;
  const int depth = max0(bits - LEAF);
  const size_t leaves = size_t(1) << depth, size = BLOCK * leaves;
  const Cut root(roots, 1, BLOCK, n, E), word(cw, size_t(depth) + 1, BLOCK, n, E);
  const Buffer nodes(2 * leaves * sizeof(V) * I), rows(size * E);
  V *from = reinterpret_cast<V*>(nodes.get()), *to = from + leaves * I;
  const u64 first[E] = {};
  for (size_t e = span.from; e < span.to; e += E) {
    const Rows r = root.at(e), c = word.at(e);
    const V* leaf = window<true>(keys, party, r, c, depth, first, leaves, from, to);
    for (size_t at = 0; at < leaves; at++) {
      State end;
      V found[I];
      for (int i = 0; i < I; i++) end.s[i] = clear_control(leaf[at * I + i]), end.t[i] = lowest_bit(leaf[at * I + i]);
      leaf_bits(keys, end, c.row(size_t(depth)), found);
      for (int i = 0; i < I; i++) scatter(rows.get() + size * W * i + BLOCK * at, size, found[i]);
    }
    memcpy(out + size * e, rows.get(), size * least(E, span.to - e));
  }
}
