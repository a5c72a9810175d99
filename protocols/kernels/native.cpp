// The C interface of the native kernels; Python checks every argument before it calls.

#include "native.h"
#include "threads.h"

#if defined(__GNUC__) && !defined(__clang__)
// The compiler's own AVX-512 header reads undefined vectors on purpose.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "engine_portable.h"

#if defined(__x86_64__)
#include "engine_aesni.h"
#include "engine_vaes.h"
#include "ifma.h"
#if defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)  // which know the tiles
#include "amx.h"
#define PRIVINF_AMX
#endif
#endif

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace privinf {

namespace {

const Level* level_of(int level) {
#if defined(__x86_64__)
  if (level >= 2) return &vaes512::level;
  if (level == 1) return &aesni::level;
#endif
  return level == 0 ? &portable::level : nullptr;
}

struct Expanded {
  explicit Expanded(const u8* raw) { bitslice::expand(raw, USES, keys); }
  Keys keys;
};

// Reverses a table, and cuts it into bytes above its least entry.
class TableParts {
 public:
  TableParts(const u8* source, size_t count)
      : padded_((count + 127) / 128 * 128), values_(8 * padded_), least_(count ? INT64_MAX : 0) {
    int64_t most = count ? INT64_MIN : 0;
    u64* values = reinterpret_cast<u64*>(values_.get());
    memset(values, 0, 8 * padded_);
    for (size_t j = 0; j < count; j++) {
      values[j] = load64(source + 8 * (count - 1 - j));
      const int64_t value = static_cast<int64_t>(values[j]);
      if (value < least_) least_ = value;
      if (value > most) most = value;
    }
    while (planes_ < 8 && (u64(most) - u64(least_)) >> (8 * planes_)) planes_++;
    bytes_ = new Buffer(size_t(planes_) * padded_);
    memset(bytes_->get(), 0, size_t(planes_) * padded_);
    for (int p = 0; p < planes_; p++)
      for (size_t j = 0; j < count; j++)
        bytes_->get()[size_t(p) * padded_ + j] = u8((values[j] - u64(least_)) >> (8 * p));
    table = {count, padded_, planes_, u64(least_), bytes_->get(), values};
  }
  ~TableParts() { delete bytes_; }
  TableParts(const TableParts&) = delete;
  TableParts& operator=(const TableParts&) = delete;

  Table table;

 private:
  size_t padded_;
  Buffer values_;
  Buffer* bytes_ = nullptr;
  int planes_ = 0;
  int64_t least_;
};

// What the leaves of so many outputs take, in trees of some levels.
double leaves_of(i64 outputs) { return double(outputs >> LEAF) + 1; }

u64 low_bits(int bits) { return bits == 64 ? ~u64(0) : (u64(1) << bits) - 1; }

// Elements of `bits` bits one after the other, from the lowest bit of the first byte up.
struct BitWriter {
  u8* out;
  u128 pending = 0;  // bits that fill no whole byte yet, before and after
  int filled = 0;

  void put(u64 value, int bits) {
    pending |= static_cast<u128>(value) << filled;
    for (filled += bits; filled >= 8; filled -= 8, pending >>= 8) *out++ = static_cast<u8>(pending);
  }
  void end() {
    if (filled) *out = static_cast<u8>(pending);
  }
};

void pack_bits(const u8* x, size_t n, int bits, u8* out) {
  const u64 mask = low_bits(bits);
  const size_t safe = bits <= 56 && n > 64 ? n - 64 : 0;  // eight bytes may be written at each of these
  u64 pending = 0;
  int filled = 0;
  for (size_t i = 0; i < safe; i++) {
    pending |= (load64(x + 8 * i) & mask) << filled;
    memcpy(out, &pending, 8);
    const int whole = (filled + bits) / 8;
    out += whole, pending >>= 8 * whole, filled = (filled + bits) % 8;
  }
  BitWriter rest{out, pending, filled};
  for (size_t i = safe; i < n; i++) rest.put(load64(x + 8 * i) & mask, bits);
  rest.end();
}

void unpack_bits(const u8* in, size_t n, int bits, u64* out) {
  const u64 mask = low_bits(bits);
  const size_t bytes = (n * size_t(bits) + 7) / 8, safe = bits <= 57 && n > 64 ? n - 64 : 0;
  for (size_t i = 0; i < safe; i++) out[i] = load64(in + i * size_t(bits) / 8) >> (i * size_t(bits) % 8) & mask;
  for (size_t i = safe; i < n; i++) {
    const size_t at = i * size_t(bits) / 8, left = bytes - at;
    const int shift = static_cast<int>(i * size_t(bits) % 8);
    u8 window[9] = {};
    memcpy(window, in + at, left < 9 ? left : 9);
    u64 value = load64(window) >> shift;
    if (shift + bits > 64) value |= static_cast<u64>(window[8]) << (64 - shift);
    out[i] = value & mask;
  }
}

template <int WIDTH>
void unpack_bytes(const u8* in, size_t n, u64 mask, u64* out) {
  const size_t safe = n > 8 / WIDTH ? n - 8 / WIDTH : 0;
  for (size_t i = 0; i < safe; i++) out[i] = load64(in + i * WIDTH) & mask;
  for (size_t i = safe; i < n; i++) {
    u64 value = 0;
    memcpy(&value, in + i * WIDTH, WIDTH);
    out[i] = value & mask;
  }
}

template <int WIDTH = 1>
void unpack_any(int width, const u8* in, size_t n, u64 mask, u64* out) {
  if (width == WIDTH) return unpack_bytes<WIDTH>(in, n, mask, out);
  if constexpr (WIDTH < 8) unpack_any<WIDTH + 1>(width, in, n, mask, out);
}

// start: a key, and the first counter, highest byte first.
int fill(int level, const u8* start, u8* out, size_t bytes) {
  constexpr size_t PAGE = 4096;  // a batch of blocks at every level is a part of it
  Schedule schedule;
  bitslice::expand(start, 1, &schedule);
  const u64 high = __builtin_bswap64(load64(start + BLOCK)), low = __builtin_bswap64(load64(start + BLOCK + 8));
  const u128 first = u128(high) << 64 | low;
  return spread_out((bytes + PAGE - 1) / PAGE, 1, 16, [&](Span pages) {
    const size_t from = pages.from * PAGE, to = pages.to * PAGE < bytes ? pages.to * PAGE : bytes;
    level_of(level)->stream(schedule, first + from / BLOCK, out + from, to - from);
  });
}

int dpf_points(int level, const u8* tree, i64 party, const u8* roots, const u8* cw, i64 bits, const u8* points, i64 n,
               i64 rows, int prefix, u8* out) {
  const Expanded expanded(tree);
  return spread_out(size_t(n), 1, double(rows), [&](Span span) {
    level_of(level)->dpf_points(expanded.keys, int(party), roots, cw, span, int(bits), points, size_t(rows), prefix,
                                out);
  });
}

// n columns of a product, those of b and c lying in rows of `step` numbers.
template <class T>
using Multiply = void (*)(const u8* a, const u8* b, size_t m, size_t k, size_t n, size_t step, T* c);

constexpr size_t NARROWING_ROWS = 32;  // of a: from so many on, halving the operands costs less than it saves

Buffer narrowed(const u8* x, size_t rows, size_t columns, size_t step) {
  Buffer found(4 * rows * columns);
  u32* to = reinterpret_cast<u32*>(found.get());
  for (size_t row = 0; row < rows; row++)
    for (size_t j = 0; j < columns; j++) to[row * columns + j] = u32(load64(x + 8 * (row * step + j)));
  return found;
}

void keep_low(u64* c, size_t rows, size_t columns, size_t step, u64 keep) {
  for (size_t row = 0; row < rows; row++)
    for (size_t j = 0; j < columns; j++) c[row * step + j] &= keep;
}

// Modulo 2^32 on numbers of half the size.
void narrow_product(Multiply<u32> multiply, const u8* a, const u8* b, size_t m, size_t k, size_t n, size_t step,
                    u64* c) {
  const Buffer left = narrowed(a, m, k, k), right = narrowed(b, k, n, step), sums(4 * m * n);
  u32* found = reinterpret_cast<u32*>(sums.get());
  multiply(left.get(), right.get(), m, k, n, n, found);
  for (size_t row = 0; row < m; row++)
    for (size_t j = 0; j < n; j++) c[row * step + j] = found[row * n + j];
}

// Modulo 2^bits, by the fastest instructions of the level: IFMA and AMX are features of their own.
void product_of(int level, const u8* a, const u8* b, size_t m, size_t k, size_t n, int bits, size_t step, u64* c) {
#if defined(PRIVINF_AMX)
  if (level == 3 && amx::pays(m, k, n, bits)) return amx::product(a, b, m, k, n, bits, step, c);
#endif
  int exact = 64;
  if (bits <= 32 && m >= NARROWING_ROWS) {
    exact = 32;
    narrow_product(level_of(level)->matmul32, a, b, m, k, n, step, c);
#if defined(__x86_64__)
  } else if (bits <= 52 && level >= 2 && __builtin_cpu_supports("avx512ifma")) {
    exact = 52;
    ifma::product52(a, b, m, k, n, step, c);
#endif
  } else {
    level_of(level)->matmul64(a, b, m, k, n, step, c);
  }
  if (bits < exact) keep_low(c, m, n, step, low_bits(bits));
}

// The same for a b in planes: what many rows meet is put together first, some columns at a time.
void planes_of(int level, const u8* a, const Planes& b, size_t m, size_t k, size_t n, int bits, u64* c) {
  constexpr size_t FEW_ROWS = 16, WIDE = 128;
  if (m <= FEW_ROWS) {
#if defined(__x86_64__)
    const bool fast = level >= 2 && __builtin_cpu_supports("avx512ifma");
    const auto product = fast ? ifma::planes52 : level_of(level)->planes64;
#else
    const auto product = level_of(level)->planes64;
#endif
    product(a, b, m, k, n, b.step, c);
    return keep_low(c, m, n, b.step, low_bits(bits));
  }
  const Buffer whole(8 * k * WIDE), sums(8 * m * WIDE);
  u64 *right = reinterpret_cast<u64*>(whole.get()), *found = reinterpret_cast<u64*>(sums.get());
  for (size_t column = 0; column < n; column += WIDE) {
    const size_t columns = n - column < WIDE ? n - column : WIDE;
    level_of(level)->join(b.from(0, column), k, columns, right);
    product_of(level, a, whole.get(), m, k, columns, bits, columns, found);
    for (size_t row = 0; row < m; row++)
      memcpy(c + row * b.step + column, found + row * columns, 8 * columns);
  }
}

// Where all matrices of a meet one b, their rows are those of one matrix. Threads take blocks of columns. The product is
// told where in b its columns begin.
template <class T, class Product>
int products(const Product& product, const u8* a, i64 batch, i64 m, i64 k, i64 shared, i64 columns, T* c) {
  constexpr size_t WIDE = 256;              // columns in a block
  constexpr double MULTIPLICATIONS = 1024;  // that take as long as a tree
  if (batch * m * columns == 0) return 0;
  const size_t rows = size_t(shared == 1 ? batch * m : m), many = size_t(shared == 1 ? 1 : batch);
  const size_t depth = size_t(k), n = size_t(columns), blocks = (n + WIDE - 1) / WIDE;
  const double weight = double(rows) * double(depth) * double(n < WIDE ? n : WIDE) / MULTIPLICATIONS;
  return spread_out(many * blocks, 1, weight, [&](Span span) {
    for (size_t at = span.from, to; at < span.to; at = to) {
      const size_t i = at / blocks, end = (i + 1) * blocks;
      to = span.to < end ? span.to : end;
      const size_t from = (at - i * blocks) * WIDE, until = to == end ? n : (to - i * blocks) * WIDE;
      product(a + i * rows * depth * sizeof(T), i * depth * n + from, rows, depth, until - from, n,
              c + i * rows * n + from);
    }
  });
}

}  // namespace
}  // namespace privinf

using namespace privinf;

// Every kernel takes the level, the arguments of kernels/interface.py in its order, numbers as 64 bits, then the lengths
// that arrays leave free, then where its results go.

EXPORT int privinf_pack(int, const u8* x, i64 bits, i64 n, u8* out) {
  pack_bits(x, size_t(n), int(bits), out);
  return 0;
}

EXPORT int privinf_unpack(int, const u8* in, i64 bits, i64 count, u64* out) {
  if (bits % 8) {
    unpack_bits(in, size_t(count), int(bits), out);
  } else {
    unpack_any(int(bits / 8), in, size_t(count), low_bits(int(bits)), out);
  }
  return 0;
}

EXPORT int privinf_spread(int, const u8* in, i64 bits, i64 count, u64* out) {
  unpack_any(int(bits + 7) / 8, in, size_t(count), low_bits(int(bits)), out);
  return 0;
}

EXPORT int privinf_abi() { return 13; }

// How many threads one call may take, of a size that is worth it.
EXPORT int privinf_threads(i64 most) {
  most_threads = size_t(most);
  return 0;
}

// The fastest level of this processor.
EXPORT int privinf_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool aes = __builtin_cpu_supports("aes") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                    __builtin_cpu_supports("avx512vnni");
  const bool vaes = __builtin_cpu_supports("vaes");
  if (!aes || !wide || !vaes) return aes;
#if defined(PRIVINF_AMX)
  return amx::lent() ? 3 : 2;
#else
  return 2;
#endif
#else
  return 0;
#endif
}

// tree: the keys of one gate's trees, 16 bytes for each use.
EXPORT int privinf_dpf_gen(int level, const u8* tree, const u8* alpha, i64 bits, const u8* roots0, const u8* roots1,
                           i64 n, u8* cw, u8* sign) {
  const Expanded expanded(tree);
  return spread_out(size_t(n), 1, 1, [&](Span span) {
    level_of(level)->dpf_gen(expanded.keys, alpha, span, int(bits), roots0, roots1, cw, sign);
  });
}

EXPORT int privinf_dpf_prefix(int level, const u8* tree, i64 party, const u8* roots, const u8* cw, i64 bits,
                              const u8* points, i64 n, i64 rows, u8* out) {
  return dpf_points(level, tree, party, roots, cw, bits, points, n, rows, 1, out);
}

EXPORT int privinf_dpf_bit(int level, const u8* tree, i64 party, const u8* roots, const u8* cw, i64 bits,
                           const u8* points, i64 n, i64 rows, u8* out) {
  return dpf_points(level, tree, party, roots, cw, bits, points, n, rows, 0, out);
}

EXPORT int privinf_dpf_table(int level, const u8* tree, i64 party, const u8* roots, const u8* cw, i64 bits,
                             const u8* index, i64 start, const u8* table, i64 n, i64 count, u64* out) {
  const u64 first = u64(start) & domain_mask(int(bits));
  memset(out, 0, 8 * size_t(n));
  if (!count) return 0;
  const Expanded expanded(tree);
  return guarded([&] {
    const TableParts parts(table, size_t(count));
    require(spread_out(size_t(n), 1, leaves_of(count), [&](Span span) {
      level_of(level)->dpf_table(expanded.keys, int(party), roots, cw, span, int(bits), index, first, parts.table,
                                 out);
    }));
  });
}

EXPORT int privinf_dpf_whole(int level, const u8* tree, i64 party, const u8* roots, const u8* cw, i64 bits, i64 n,
                             u8* out) {
  const Expanded expanded(tree);
  return spread_out(size_t(n), 1, leaves_of(i64(1) << bits), [&](Span span) {
    level_of(level)->dpf_whole(expanded.keys, int(party), roots, cw, span, int(bits), out);
  });
}

EXPORT int privinf_onehot_gen(int level, const u8* tree, const u8* alpha, i64 bits, i64 lane, const u8* roots0,
                              const u8* roots1, i64 n, u8* cw) {
  const Expanded expanded(tree);
  return spread_out(size_t(n), 1, 1, [&](Span span) {
    level_of(level)->onehot_gen(expanded.keys, alpha, span, int(bits), int(lane), roots0, roots1, cw);
  });
}

EXPORT int privinf_onehot_sum(int level, const u8* tree, i64 party, const u8* roots, const u8* cw, i64 bits, i64 lane,
                              const u8* index, i64 group, i64 n, u8* out) {
  const Expanded expanded(tree);
  return spread_out(size_t(n), size_t(group), 1, [&](Span span) {
    level_of(level)->onehot_sum(expanded.keys, int(party), roots, cw, span, int(bits), int(lane), index, size_t(group),
                                out);
  });
}

// A window that touches every leaf is cut from the whole.
EXPORT int privinf_onehot_window(int level, const u8* tree, i64 party, const u8* roots, const u8* cw, i64 bits,
                                 i64 lane, const u8* index, i64 group, i64 count, i64 n, u8* out) {
  const int inner = one_hot_inner(int(lane));
  const i64 leaves = ((count + (i64(1) << inner) - 2) >> inner) + 1;
  const size_t row = size_t(count * lane / 8), whole = size_t(lane / 8) << bits;
  if (leaves < i64(1) << max0(int(bits) - inner)) {
    const Expanded expanded(tree);
    return spread_out(size_t(n), size_t(group), 1, [&](Span span) {
      level_of(level)->onehot_window(expanded.keys, int(party), roots, cw, span, int(bits), int(lane), index,
                                     size_t(group), size_t(count), out);
    });
  }
  const size_t groups = size_t(n / group);
  return guarded([&] {
    const Buffer sums(groups * whole);
    require(privinf_onehot_sum(level, tree, party, roots, cw, bits, lane, index, group, n, sums.get()));
    for (size_t g = 0; g < groups; g++) memcpy(out + g * row, sums.get() + g * whole, row);
  });
}

EXPORT int privinf_onehot_point(int level, const u8* tree, i64 party, const u8* roots, const u8* cw, i64 bits,
                                i64 lane, const u8* points, i64 n, i64 rows, u64* out) {
  const Expanded expanded(tree);
  return spread_out(size_t(n), 1, double(rows), [&](Span span) {
    level_of(level)->onehot_point(expanded.keys, int(party), roots, cw, span, int(bits), int(lane), points,
                                  size_t(rows), out);
  });
}

EXPORT int privinf_separable_gen(int level, const u8* tree, const u8* mask, i64 bits, i64 low_bits, const u8* payload,
                                 i64 lane_bytes, const u8* roots0, const u8* roots1, i64 n, i64 lanes, u8* cw,
                                 u8* last) {
  const int many = int(lanes);
  const Separable f = {int(bits), int(low_bits), int(lane_bytes), many, (many + 1) / 2, 0, 0, 0, {}};
  const Expanded expanded(tree);
  return spread_out(size_t(n), 1, 1, [&](Span span) {
    level_of(level)->separable_gen(expanded.keys, mask, span, f, payload, roots0, roots1, cw, last);
  });
}

// far: three numbers; the far distances are left out where all are zero.
EXPORT int privinf_separable_eval(int level, const u8* tree, i64 party, const u8* roots, const u8* cw, const u8* last,
                                  i64 bits, i64 low_bits, i64 lane_bytes, const u8* index, i64 first, const u8* tables,
                                  const u8* far, i64 n, i64 near, i64 lanes, u64* out) {
  const u64 line[3] = {load64(far), load64(far + 8), load64(far + 16)};
  const bool all = line[0] | line[1] | line[2];
  const size_t leaves = all ? size_t((u64(1) << (bits - 1)) - u64(first)) : size_t(near);
  const int many = int(lanes);
  const Separable f = {int(bits), int(low_bits), int(lane_bytes), many, (many + 1) / 2,
                       first,     size_t(near),  leaves,          {line[0], line[1], line[2]}};
  const Expanded expanded(tree);
  return spread_out(size_t(n), 1, 1, [&](Span span) {
    level_of(level)->separable_eval(expanded.keys, int(party), roots, cw, last, span, f, index, tables, out);
  });
}

EXPORT int privinf_powers_gen(int level, const u8* tree, const u8* mask, i64 bits, i64 low, i64 high, i64 lanes,
                              i64 fine, i64 step, const u8* roots0, const u8* roots1, i64 n, u8* cw, u8* values) {
  const Powers f = {int(bits), int(low), int(high), int(lanes), int(fine), int(step), 0, 0, 0};
  const Expanded expanded(tree);
  return spread_out(size_t(n), 1, 1, [&](Span span) {
    level_of(level)->powers_gen(expanded.keys, mask, span, f, roots0, roots1, cw, values);
  });
}

EXPORT int privinf_powers_eval(int level, const u8* tree, i64 party, const u8* roots, const u8* cw, const u8* values,
                               i64 bits, i64 low, i64 high, i64 lanes, i64 fine, i64 step, i64 halves, i64 numerator,
                               i64 scale, const u8* index, i64 n, u64* out) {
  const Powers f = {int(bits), int(low),    int(high),  int(lanes),    int(fine),
                    int(step), int(halves), int(scale), u64(numerator)};
  const Expanded expanded(tree);
  return spread_out(size_t(n), 1, 4, [&](Span span) {
    level_of(level)->powers_eval(expanded.keys, int(party), roots, cw, values, span, f, index, out);
  });
}

EXPORT int privinf_ring_matmul(int level, const u8* a, const u8* b, i64 bits, i64 batch, i64 m, i64 k, i64 shared,
                               i64 columns, u64* c) {
  const auto product = [&](const u8* left, size_t at, size_t rows, size_t depth, size_t n, size_t step, u64* to) {
    product_of(level, left, b + 8 * at, rows, depth, n, int(bits), step, to);
  };
  return products(product, a, batch, m, k, shared, columns, c);
}

EXPORT int privinf_ring_matmul_planes(int level, const u8* a, const u8* low, const u8* high, i64 bits, i64 batch, i64 m,
                                      i64 k, i64 shared, i64 columns, u64* c) {
  const Planes b = {low, high, bits <= 40 ? 1 : 2, size_t(columns)};
  const auto product = [&](const u8* left, size_t at, size_t rows, size_t depth, size_t n, size_t, u64* to) {
    planes_of(level, left, b.from(0, at), rows, depth, n, int(bits), to);
  };
  return products(product, a, batch, m, k, shared, columns, c);
}

EXPORT int privinf_ring_matmul32(int level, const u8* a, const u8* b, i64 batch, i64 m, i64 k, i64 shared, i64 columns,
                                 u32* c) {
  const auto product = [&](const u8* left, size_t at, size_t rows, size_t depth, size_t n, size_t step, u32* to) {
    level_of(level)->matmul32(left, b + 4 * at, rows, depth, n, step, to);
  };
  return products(product, a, batch, m, k, shared, columns, c);
}

EXPORT int privinf_stream(int level, const u8* start, i64 bytes, u8* out) {
  return fill(level, start, out, size_t(bytes));
}

EXPORT int privinf_excess(int level, const u8* coins, i64 party, const u8* high, i64 shift, i64 up, const u8* mask,
                          const u8* index, i64 bits, const u8* dealt, i64 steps, i64 n, u64* out) {
  const Excess f = {party != 0, int(bits), int(steps), int(shift), int(up)};
  return guarded([&] {
    const size_t bytes = BLOCK * (size_t(n + 63) / 64 + 1);
    const Buffer drawn(bytes);
    require(fill(level, coins, drawn.get(), bytes));
    level_of(level)->excess(f, drawn.get(), high, mask, index, dealt, size_t(n), out);
  });
}
