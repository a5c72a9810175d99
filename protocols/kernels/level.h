// Included inside each level's namespace, after its engine: the kernels on that engine, and their table.

#include "trees.h"

#include "dpf.h"
#include "onehot.h"
#include "separable.h"
#include "powers.h"
#include "excess.h"
#include "product.h"

BODY void stream(const Schedule& key, u128 first, u8* out, size_t bytes) {
  V x[I];
  for (size_t at = 0; at < bytes; at += BLOCK * E) {
    for (int i = 0; i < I; i++) x[i] = counter(first + at / BLOCK + size_t(W) * i);
    encrypt(key, x);
    if (bytes - at >= BLOCK * E) {
      for (int i = 0; i < I; i++) store(out + at + BLOCK * W * i, x[i]);
    } else {
      u8 whole[BLOCK * E];
      for (int i = 0; i < I; i++) store(whole + BLOCK * W * i, x[i]);
      memcpy(out + at, whole, bytes - at);
    }
  }
}

// Numbers in two planes side by side again: rows of n, from planes whose rows have b.step numbers.
template <class HIGH>
BODY void joined(const Planes& b, size_t rows, size_t n, u64* to) {
  constexpr size_t lanes = VECTOR_BYTES / 8;
  for (size_t row = 0; row < rows; row++, to += n) {
    size_t j = 0;
    for (; j + lanes <= n; j += lanes) {
      const Planes at = b.from(row, j);
      const Words whole = side_by_side<HIGH>(at.low, at.high);
      memcpy(to + j, &whole, sizeof whole);
    }
    for (; j < n; j++) to[j] = Product<Whole<u64>>::Split<HIGH>::number({b}, row, j);
  }
}

BODY void join(const Planes& b, size_t rows, size_t n, u64* to) {
  if (b.high_bytes == 1) return joined<u8>(b, rows, n, to);
  joined<u16>(b, rows, n, to);
}

BODY void planes64(const u8* a, const Planes& b, size_t m, size_t k, size_t n, size_t step, u64* c) {
  Product<Whole<u64>>::run_split(a, b, m, k, n, step, c);
}

static const Level level = {dpf_gen,    dpf_points,    dpf_table,    dpf_whole,     onehot_gen,
                            onehot_sum, onehot_window, onehot_point, separable_gen, separable_eval,
                            powers_gen, powers_eval,   product<u64>, product<u32>,  planes64,
                            join,       stream,        excess};
