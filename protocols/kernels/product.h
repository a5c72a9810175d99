// Included inside each level's namespace: matrix products modulo 2^64 and 2^32.

constexpr size_t DEPTH = 128;    // of a packed panel: with 3 vectors a row it lies in the first-level cache
constexpr size_t PANELS = 16;    // packed at once, so that rows of b are read in long runs
constexpr size_t ROWS = 256;     // of a that share packed panels
constexpr size_t FEW = 8;        // rows for which b streams through as it lies
constexpr size_t UNPACKED = 24;  // up to so many rows packing does not pay
constexpr int PANEL = 3;         // vectors in a panel's row
constexpr int TILE = VECTOR_BYTES == 64 ? 8 : 2;

template <class T>
struct Wide {
  typedef T type __attribute__((vector_size(VECTOR_BYTES)));
  typedef T loose __attribute__((vector_size(VECTOR_BYTES), aligned(1), may_alias));  // at any address
  static constexpr size_t lanes = VECTOR_BYTES / sizeof(T);
  static constexpr size_t panel = lanes * PANEL;
};

template <class T>
struct Matrix {
  const u8* at;
  size_t step;  // elements from row to row
  const u8* element(size_t row, size_t column) const { return at + (row * step + column) * sizeof(T); }
};

// A part of b as panels of whole rows, zero past the last column.
template <class T>
BODY void pack(const Matrix<T>& b, size_t row, size_t rows, size_t column, size_t columns, T* packed) {
  constexpr size_t width = Wide<T>::panel;
  for (size_t k = 0; k < rows; k++)
    for (size_t j = 0; j < columns; j += width) {
      T* to = packed + j * DEPTH + k * width;
      if (columns - j >= width) {
        memcpy(to, b.element(row + k, column + j), width * sizeof(T));
      } else {
        memset(to, 0, width * sizeof(T));
        memcpy(to, b.element(row + k, column + j), (columns - j) * sizeof(T));
      }
    }
}

// c += a b for COUNT rows of a and one panel of b.
template <class T, int COUNT>
BODY void tile(const Matrix<T>& a, size_t row, size_t inner, size_t depth, const T* packed, T* c, size_t step,
               size_t columns) {
  typedef typename Wide<T>::type Vector;
  typedef typename Wide<T>::loose Loose;
  constexpr size_t lanes = Wide<T>::lanes, width = Wide<T>::panel;
  Vector sums[COUNT][PANEL] = {};
  const u8* from[COUNT];
  for (int r = 0; r < COUNT; r++) from[r] = a.element(row + r, inner);
  for (size_t k = 0; k < depth; k++) {
    Vector right[PANEL];
    for (int p = 0; p < PANEL; p++) right[p] = *reinterpret_cast<const Loose*>(packed + k * width + p * lanes);
    for (int r = 0; r < COUNT; r++) {
      T left;
      memcpy(&left, from[r] + k * sizeof(T), sizeof(T));
      for (int p = 0; p < PANEL; p++) sums[r][p] += right[p] * left;
    }
  }
  for (int r = 0; r < COUNT; r++) {
    T whole[width];
    for (int p = 0; p < PANEL; p++) *reinterpret_cast<Loose*>(whole + p * lanes) = sums[r][p];
    for (size_t j = 0; j < columns; j++) c[r * step + j] += whole[j];
  }
}

template <class T>
BODY void tiles(const Matrix<T>& a, size_t row, size_t rows, size_t inner, size_t depth, const T* packed, T* c,
                size_t step, size_t columns) {
  size_t r = 0;
  for (; r + TILE <= rows; r += TILE) tile<T, TILE>(a, row + r, inner, depth, packed, c + r * step, step, columns);
  if (TILE > 4 && r + 4 <= rows) tile<T, 4>(a, row + r, inner, depth, packed, c + r * step, step, columns), r += 4;
  for (; r + 2 <= rows; r += 2) tile<T, 2>(a, row + r, inner, depth, packed, c + r * step, step, columns);
  if (r < rows) tile<T, 1>(a, row + r, inner, depth, packed, c + r * step, step, columns);
}

// c += a b for COUNT rows: b streams through once, eight of its rows at a time.
template <class T, int COUNT>
BODY void few(const Matrix<T>& a, const Matrix<T>& b, size_t k, size_t n, T* c) {
  typedef typename Wide<T>::type Vector;
  typedef typename Wide<T>::loose Loose;
  constexpr size_t lanes = Wide<T>::lanes, GROUP = 8;
  for (size_t inner = 0; inner < k; inner += GROUP) {
    const size_t depth = least(GROUP, k - inner);
    T left[GROUP][COUNT];
    for (size_t g = 0; g < depth; g++)
      for (int r = 0; r < COUNT; r++) memcpy(&left[g][r], a.element(size_t(r), inner + g), sizeof(T));
    size_t column = 0;
    for (; column + lanes <= n; column += lanes) {
      Vector sums[COUNT], right;
      for (int r = 0; r < COUNT; r++) sums[r] = *reinterpret_cast<const Loose*>(c + r * n + column);
      for (size_t g = 0; g < depth; g++) {
        right = *reinterpret_cast<const Loose*>(b.element(inner + g, column));
        for (int r = 0; r < COUNT; r++) sums[r] += right * left[g][r];
      }
      for (int r = 0; r < COUNT; r++) *reinterpret_cast<Loose*>(c + r * n + column) = sums[r];
    }
    for (; column < n; column++)
      for (size_t g = 0; g < depth; g++) {
        T right;
        memcpy(&right, b.element(inner + g, column), sizeof(T));
        for (int r = 0; r < COUNT; r++) c[r * n + column] += T(left[g][r] * right);
      }
  }
}

template <class T>
BODY void many(const Matrix<T>& a, const Matrix<T>& b, size_t m, size_t k, size_t n, T* c) {
  constexpr size_t width = Wide<T>::panel, group = width * PANELS;
  const Buffer panels(DEPTH * group * sizeof(T));
  T* packed = reinterpret_cast<T*>(panels.get());
  for (size_t row = 0; row < m; row += ROWS)
    for (size_t inner = 0; inner < k; inner += DEPTH)
      for (size_t column = 0; column < n; column += group) {
        const size_t depth = least(DEPTH, k - inner), columns = least(group, n - column);
        pack(b, inner, depth, column, columns, packed);
        for (size_t j = 0; j < columns; j += width)
          tiles(a, row, least(ROWS, m - row), inner, depth, packed + j * DEPTH, c + row * n + column + j, n,
                least(width, columns - j));
      }
}

template <class T>
BODY void few_rows(const Matrix<T>& a, const Matrix<T>& b, size_t m, size_t k, size_t n, T* c) {
  switch (m) {
    case 1: return few<T, 1>(a, b, k, n, c);
    case 2: return few<T, 2>(a, b, k, n, c);
    case 3: return few<T, 3>(a, b, k, n, c);
    case 4: return few<T, 4>(a, b, k, n, c);
    case 5: return few<T, 5>(a, b, k, n, c);
    case 6: return few<T, 6>(a, b, k, n, c);
    case 7: return few<T, 7>(a, b, k, n, c);
    default: return few<T, 8>(a, b, k, n, c);
  }
}

template <class T>
BODY void product(const u8* a_data, const u8* b_data, size_t m, size_t k, size_t n, T* c) {
  const Matrix<T> a = {a_data, k}, b = {b_data, n};
  memset(c, 0, m * n * sizeof(T));
  if (m > UNPACKED) return many<T>(a, b, m, k, n, c);
  for (size_t row = 0; row < m; row += FEW)
    few_rows<T>({a.element(row, 0), k}, b, least(FEW, m - row), k, n, c + row * n);
}
