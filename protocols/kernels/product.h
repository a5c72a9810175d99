// Included inside each level's namespace: matrix products modulo powers of two, by Winograd's inner product (1968),
//   a0 b0 + a1 b1 = (a0 + b1)(a1 + b0) - a0 a1 - b0 b1,
// which multiplies half as often: what it takes away belongs to a row of a alone, or to a column of b alone.

constexpr size_t DEPTH = 192;    // rows of b in a packed panel, which lies in the first-level cache
constexpr size_t PANELS = 8;     // packed at once; the next ones are fetched meanwhile
constexpr size_t ROWS = 256;     // of a that share packed panels
constexpr size_t FEW = 8;        // rows for which b streams through as it lies,
constexpr size_t GROUP = 8;      // so many of its rows at a time
constexpr size_t UNPACKED = 16;  // up to so many rows packing does not pay
constexpr int PANEL = 2;         // vectors in a panel's row
constexpr int TILE = VECTOR_BYTES == 64 ? 8 : VECTOR_BYTES == 32 ? 4 : 2;  // rows of a whose sums fill the registers
static_assert(DEPTH % 2 == 0, "a pair of rows stays together");

// A part of b that is needed soon: fetched in equal portions.
struct Soon {
  Rows b;
  size_t rows, bytes, row = 0, byte = 0, portion = 0;
  FN void share_out(Soon& soon, size_t portions) {
    soon.portion = (soon.rows * ((soon.bytes + 63) / 64) + portions - 1) / portions;
  }
  FN void fetch(Soon& soon) {
    for (size_t i = 0; i < soon.portion && soon.row < soon.rows; i++) {
      __builtin_prefetch(soon.b.row(soon.row) + soon.byte, 0, 2);
      if ((soon.byte += 64) >= soon.bytes) soon.byte = 0, soon.row++;
    }
  }
};

// A vector of numbers whose low 32 bits lie in one place and the next 8 or 16 in another.
typedef u64 Words __attribute__((vector_size(VECTOR_BYTES)));

template <class HIGH>
FN Words side_by_side(const u8* low, const u8* high) {
#if WIDE_BITS == 512
  const auto top = reinterpret_cast<const __m128i*>(high);
  const __m512i above = sizeof(HIGH) == 1 ? _mm512_cvtepu8_epi64(_mm_loadl_epi64(top))
                                          : _mm512_cvtepu16_epi64(_mm_loadu_si128(top));
  const __m512i below = _mm512_cvtepu32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(low)));
  return reinterpret_cast<Words>(_mm512_or_si512(below, _mm512_slli_epi64(above, 32)));
#elif WIDE_BITS == 256
  const __m256i above = sizeof(HIGH) == 1 ? _mm256_cvtepu8_epi64(_mm_loadu_si32(high))
                                          : _mm256_cvtepu16_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(high)));
  const __m256i below = _mm256_cvtepu32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(low)));
  return reinterpret_cast<Words>(_mm256_or_si256(below, _mm256_slli_epi64(above, 32)));
#else
  Words whole;
  for (size_t i = 0; i < VECTOR_BYTES / 8; i++) {
    u32 x;
    HIGH y;
    memcpy(&x, low + 4 * i, sizeof x);
    memcpy(&y, high + sizeof y * i, sizeof y);
    whole[i] = u64(y) << 32 | x;
  }
  return whole;
#endif
}

// The numbers of a whole machine word.
template <class NUMBER>
struct Whole {
  typedef NUMBER T;
  typedef T Vector __attribute__((vector_size(VECTOR_BYTES)));
  static constexpr T mask = T(-1);
  FN Vector add_product(Vector sum, Vector x, Vector y) { return sum + x * y; }
};

// RING: the numbers T, the mask of what the result keeps, and sum + x y.
template <class RING>
struct Product {
  typedef typename RING::T T;
  typedef typename RING::Vector Vector;
  typedef T Loose __attribute__((vector_size(VECTOR_BYTES), aligned(1), may_alias));  // at any address
  static constexpr size_t lanes = VECTOR_BYTES / sizeof(T), width = lanes * PANEL, row_bytes = width * sizeof(T);
  static constexpr size_t panel_bytes = (DEPTH + 1) * row_bytes;  // the last row: sums that belong to its columns

  // Where a tile adds its sums: less than a panel's width of columns at b's edge; what is kept of them.
  struct Result {
    T* at;
    size_t step, columns;
    T keep;
  };

  FN Vector load(const u8* p) { return *reinterpret_cast<const Loose*>(p); }
  FN void store(u8* p, Vector x) { *reinterpret_cast<Loose*>(p) = x; }
  FN T entry(const u8* p) {
    T x;
    memcpy(&x, p, sizeof x);
    return x;
  }

  FN Vector all(T x) { return Vector{} + x; }

  // c += sums. Every loop over vectors is short, for the compiler to keep them in registers.
  template <int COUNT>
  FN void add_to(const Result& c, const Vector sums[][PANEL]) {
    T sum[COUNT][width], *to = c.columns < width ? sum[0] : c.at;
    const size_t step = c.columns < width ? width : c.step;
    if (c.columns < width)
      for (int r = 0; r < COUNT; r++) memcpy(sum[r], c.at + r * c.step, c.columns * sizeof(T));
    for (int r = 0; r < COUNT; r++)
      for (int p = 0; p < PANEL; p++) {
        u8* at = reinterpret_cast<u8*>(to + r * step + p * lanes);
        store(at, (load(at) + sums[r][p]) & c.keep);
      }
    if (c.columns < width)
      for (int r = 0; r < COUNT; r++) memcpy(c.at + r * c.step, sum[r], c.columns * sizeof(T));
  }

  // c += a b for COUNT rows of a and a panel, up to the products in pairs of a's columns.
  template <int COUNT>
  BODY void tile(const Rows& a, size_t depth, const u8* panel, const Result& c) {
    Vector sums[COUNT][PANEL];
    const u8 *from[COUNT], *at = panel;
    for (int r = 0; r < COUNT; r++) {
      from[r] = a.row(size_t(r));
      for (int p = 0; p < PANEL; p++) sums[r][p] = load(panel + DEPTH * row_bytes + p * VECTOR_BYTES);
    }
    size_t k = 0;
    for (; k + 2 <= depth; k += 2, at += 2 * row_bytes) {
      Vector even[PANEL], odd[PANEL];
      for (int p = 0; p < PANEL; p++) even[p] = load(at + p * VECTOR_BYTES);
      for (int p = 0; p < PANEL; p++) odd[p] = load(at + row_bytes + p * VECTOR_BYTES);
      for (int r = 0; r < COUNT; r++) {
        const T left = entry(from[r] + k * sizeof(T)), right = entry(from[r] + (k + 1) * sizeof(T));
        for (int p = 0; p < PANEL; p++) sums[r][p] = RING::add_product(sums[r][p], odd[p] + left, even[p] + right);
      }
    }
    if (k < depth)
      for (int r = 0; r < COUNT; r++) {
        const Vector left = all(entry(from[r] + k * sizeof(T)));
        for (int p = 0; p < PANEL; p++) sums[r][p] = RING::add_product(sums[r][p], load(at + p * VECTOR_BYTES), left);
      }
    add_to<COUNT>(c, sums);
  }

  // Tiles of COUNT rows from `row` on, and some cache lines of `soon` with each; returns the first row left.
  template <int COUNT>
  FN size_t tiles(size_t row, size_t rows, const Rows& a, size_t depth, const u8* panel, const Result& c, Soon& soon) {
    for (; row + COUNT <= rows; row += COUNT) {
      Soon::fetch(soon);
      tile<COUNT>({a.row(row), a.step}, depth, panel, {c.at + row * c.step, c.step, c.columns, c.keep});
    }
    return row;
  }

  // A panel of b, zero past its last column, and under it, negated, the sum of even rows times odd rows.
  BODY void pack(const Rows& b, size_t depth, size_t columns, u8* packed) {
    if (columns < width) memset(packed, 0, panel_bytes);
    for (size_t k = 0; k < depth; k++) {
      if (columns < width) memcpy(packed + k * row_bytes, b.row(k), columns * sizeof(T));
      else memcpy(packed + k * row_bytes, b.row(k), row_bytes);  // of a length that the compiler knows
    }
    for (size_t part = 0; part < row_bytes; part += VECTOR_BYTES) {
      Vector pairs = {};
      const u8* at = packed + part;
      for (size_t k = 0; k + 2 <= depth; k += 2, at += 2 * row_bytes)
        pairs = RING::add_product(pairs, load(at), load(at + row_bytes));
      store(packed + DEPTH * row_bytes + part, Vector{} - pairs);
    }
  }

  // Panels of b, packed, times rows of a.
  BODY void panels(const Rows& a, size_t rows, const Rows& b, size_t depth, const Result& c, Soon& soon, u8* packed) {
    for (size_t j = 0; j < c.columns; j += width) {
      const size_t columns = least(width, c.columns - j);
      pack({b.at + j * sizeof(T), b.step}, depth, columns, packed + j / width * panel_bytes);
    }
    Soon::share_out(soon, (c.columns + width - 1) / width * ((rows + TILE - 1) / TILE));
    for (size_t j = 0; j < c.columns; j += width) {
      const u8* panel = packed + j / width * panel_bytes;
      const Result part = {c.at + j, c.step, least(width, c.columns - j), c.keep};
      size_t row = tiles<TILE>(0, rows, a, depth, panel, part, soon);
      if (TILE > 4) row = tiles<4>(row, rows, a, depth, panel, part, soon);
      if (TILE > 2) row = tiles<2>(row, rows, a, depth, panel, part, soon);
      tiles<1>(row, rows, a, depth, panel, part, soon);
    }
  }

  BODY void many(const Rows& a, const Rows& b, size_t m, size_t k, size_t n, size_t step, T* c) {
    constexpr size_t group = width * PANELS;
    const Buffer packed(PANELS * panel_bytes);
    begin(a, m, k, n, step, c);
    for (size_t row = 0; row < m; row += ROWS)
      for (size_t inner = 0; inner < k; inner += DEPTH)
        for (size_t column = 0; column < n; column += group) {
          const size_t depth = least(DEPTH, k - inner), columns = least(group, n - column);
          const bool over = column + group >= n;  // then the next panels are the first ones of deeper rows
          const size_t next = over ? 0 : column + group, deeper = over ? inner + depth : inner;
          const size_t bytes = least(group, n - next) * sizeof(T);
          Soon soon = {{b.row(deeper) + next * sizeof(T), b.step}, least(DEPTH, k - deeper), bytes};
          const Result part = {c + row * step + column, step, columns, inner + depth == k ? RING::mask : T(-1)};
          panels({a.row(row) + inner * sizeof(T), a.step}, least(ROWS, m - row),
                 {b.row(inner) + column * sizeof(T), b.step}, depth, part, soon, packed.get());
        }
  }

  // The sum of a row's products in pairs.
  BODY T neighbours(const u8* row, size_t k) {
    Vector sums = {};
    T sum = 0;
    size_t j = 0;
    for (; j + lanes < k; j += lanes)  // the even lanes count
      sums = RING::add_product(sums, load(row + j * sizeof(T)), load(row + (j + 1) * sizeof(T)));
    for (size_t i = 0; i < lanes; i += 2) sum += sums[i];
    for (; j + 2 <= k; j += 2) sum += entry(row + j * sizeof(T)) * entry(row + (j + 1) * sizeof(T));
    return sum;
  }

  // Minus the sums that belong to rows of a.
  BODY void begin(const Rows& a, size_t m, size_t k, size_t n, size_t step, T* c) {
    for (size_t row = 0; row < m; row++) {
      const T start = T(0) - neighbours(a.row(row), k);
      for (size_t j = 0; j < n; j++) c[row * step + j] = start;
    }
  }

  // Where `few` reads b: as it lies,
  struct Lying {
    Rows b;
    FN Vector vector(const Lying& s, size_t row, size_t column) { return load(s.b.row(row) + column * sizeof(T)); }
    FN T number(const Lying& s, size_t row, size_t column) { return entry(s.b.row(row) + column * sizeof(T)); }
  };

  // or in two planes, numbers of 64 bits alone.
  template <class HIGH>
  struct Split {
    Planes b;
    FN Vector vector(const Split& s, size_t row, size_t column) {
      const Planes at = s.b.from(row, column);
      return side_by_side<HIGH>(at.low, at.high);
    }
    FN T number(const Split& s, size_t row, size_t column) {
      const Planes at = s.b.from(row, column);
      HIGH high;
      u32 low;
      memcpy(&high, at.high, sizeof high);
      memcpy(&low, at.low, sizeof low);
      return T(high) << 32 | low;
    }
  };

  // c += a b for COUNT rows, product by product: b streams through once, some of its rows at a time.
  template <int COUNT, class SOURCE>
  BODY void few(const Rows& a, const SOURCE& b, size_t k, size_t n, size_t step, T* c) {
    for (size_t inner = 0; inner < k; inner += GROUP) {
      const size_t depth = least(GROUP, k - inner);
      const T keep = inner + depth == k ? RING::mask : T(-1);
      T left[GROUP][COUNT];
      for (size_t g = 0; g < depth; g++)
        for (int r = 0; r < COUNT; r++) left[g][r] = entry(a.row(size_t(r)) + (inner + g) * sizeof(T));
      size_t column = 0;
      for (; column + lanes <= n; column += lanes) {
        Vector sums[COUNT];
        for (int r = 0; r < COUNT; r++) sums[r] = load(reinterpret_cast<const u8*>(c + r * step + column));
        for (size_t g = 0; g < depth; g++) {
          const Vector right = SOURCE::vector(b, inner + g, column);
          for (int r = 0; r < COUNT; r++) sums[r] = RING::add_product(sums[r], right, all(left[g][r]));
        }
        for (int r = 0; r < COUNT; r++) store(reinterpret_cast<u8*>(c + r * step + column), sums[r] & keep);
      }
      for (; column < n; column++)
        for (int r = 0; r < COUNT; r++) {
          T& sum = c[r * step + column];
          for (size_t g = 0; g < depth; g++) sum += T(left[g][r] * SOURCE::number(b, inner + g, column));
          sum &= keep;
        }
    }
  }

  template <class SOURCE>
  BODY void few_rows(const Rows& a, const SOURCE& b, size_t m, size_t k, size_t n, size_t step, T* c) {
    switch (m) {
      case 1: return few<1>(a, b, k, n, step, c);
      case 2: return few<2>(a, b, k, n, step, c);
      case 3: return few<3>(a, b, k, n, step, c);
      case 4: return few<4>(a, b, k, n, step, c);
      case 5: return few<5>(a, b, k, n, step, c);
      case 6: return few<6>(a, b, k, n, step, c);
      case 7: return few<7>(a, b, k, n, step, c);
      default: return few<8>(a, b, k, n, step, c);
    }
  }

  template <class SOURCE>
  BODY void unpacked(const Rows& a, const SOURCE& b, size_t m, size_t k, size_t n, size_t step, T* c) {
    for (size_t row = 0; row < m; row++) memset(c + row * step, 0, n * sizeof(T));
    for (size_t row = 0; row < m; row += FEW)
      few_rows({a.row(row), a.step}, b, least(FEW, m - row), k, n, step, c + row * step);
  }

  BODY void run(const u8* a_data, const u8* b_data, size_t m, size_t k, size_t n, size_t step, T* c) {
    const Rows a = {a_data, k * sizeof(T)}, b = {b_data, step * sizeof(T)};
    if (m > UNPACKED) return many(a, b, m, k, n, step, c);
    unpacked(a, Lying{b}, m, k, n, step, c);
  }

  BODY void run_split(const u8* a_data, const Planes& b, size_t m, size_t k, size_t n, size_t step, T* c) {
    const Rows a = {a_data, k * sizeof(T)};
    if (b.high_bytes == 1) return unpacked(a, Split<u8>{b}, m, k, n, step, c);
    unpacked(a, Split<u16>{b}, m, k, n, step, c);
  }
};

// n columns of a product, those of b and c lying in rows of `step` numbers.
template <class T>
BODY void product(const u8* a, const u8* b, size_t m, size_t k, size_t n, size_t step, T* c) {
  Product<Whole<T>>::run(a, b, m, k, n, step, c);
}
