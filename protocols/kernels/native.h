// Types that every level of the native kernels shares, and the table of functions that a level provides.
#pragma once

#include <cfloat>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the native kernels read blocks as little-endian words; the NumPy reference serves other machines"
#endif

#if defined(__FAST_MATH__) || FLT_EVAL_METHOD != 0
#error "doubles must round after each operation, as in the NumPy reference"
#endif

namespace privinf {

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;
using i64 = int64_t;
using u128 = unsigned __int128;

enum Use { SEED = 0, FINAL = 2, USES = 6 };  // SEED: left key, then right key; FINAL: by block
constexpr int ROUND_KEYS = 11;
constexpr size_t BLOCK = 16;
constexpr int LEAF = 7;                  // a leaf of the 1-bit function holds 2^7 outputs
constexpr int MAX_BLOCKS = USES - FINAL;  // of a leaf
constexpr size_t CHUNK = size_t(1) << 17;  // table entries summed at once: bounds buffers, and 32-bit sums of bytes

// One AES-128 key, expanded as vector code and as bit-sliced code read it.
struct Schedule {
  alignas(64) u8 wide[ROUND_KEYS][64];  // each round key four times
  u64 planes[ROUND_KEYS][8];            // each bit of each byte, for every block of a plane
};

typedef Schedule Keys[USES];  // of the trees of one gate

// Inputs may lie at any address: received buffers are read in place.
inline u64 load64(const u8* p) {
  u64 x;
  memcpy(&x, p, 8);
  return x;
}

class Buffer {
 public:
  explicit Buffer(size_t bytes) : data_(static_cast<u8*>(aligned_alloc(64, (bytes + 127) / 64 * 64))) {
    if (!data_) throw std::bad_alloc();
  }
  ~Buffer() { free(data_); }
  Buffer(Buffer&& other) noexcept : data_(other.data_) { other.data_ = nullptr; }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  u8* get() const { return data_; }

 private:
  u8* data_;
};

// The elements of n, from `from` to before `to`, that one thread takes.
struct Span {
  size_t n, from, to;
};

// A batch's part of an array of `rows` rows of n items: where it begins, and the bytes from row to row.
struct Rows {
  const u8* at;
  size_t step;
  const u8* row(size_t r) const { return at + r * step; }
};

// Cuts batches of `width` elements from an array; only the last, partial one is copied and padded.
class Cut {
 public:
  Cut(const u8* source, size_t rows, size_t item, size_t n, size_t width)
      : source_(source), rows_(rows), item_(item), n_(n), width_(width), pad_(rows * width * item) {}
  Rows at(size_t element) const {
    const size_t left = n_ - element;
    if (left >= width_) return {source_ + element * item_, n_ * item_};
    memset(pad_.get(), 0, rows_ * width_ * item_);
    for (size_t r = 0; r < rows_; r++)
      memcpy(pad_.get() + r * width_ * item_, source_ + (r * n_ + element) * item_, left * item_);
    return {pad_.get(), width_ * item_};
  }

 private:
  const u8* source_;
  size_t rows_, item_, n_, width_;
  Buffer pad_;
};

// A matrix in two planes: its numbers' low 32 bits, and the next 8 or 16. Rows have `step` numbers.
struct Planes {
  const u8 *low, *high;
  int high_bytes;
  size_t step;
  Planes from(size_t row, size_t column) const {
    const size_t at = row * step + column;
    return {low + 4 * at, high + size_t(high_bytes) * at, high_bytes, step};
  }
};

// A table of signed numbers, reversed, less its least entry, and cut into bytes, so that a sum of selected entries
// is a few sums of bytes.
struct Table {
  size_t count, padded;
  int planes;
  u64 least;
  const u8* bytes;    // (planes, padded), zero past count
  const u64* values;  // (padded) reversed, zero past count
};

// A point function with `lanes` outputs of `lane_bytes` bytes, and the distances from an index that a sum covers.
struct Separable {
  int bits, low_bits, lane_bytes, lanes, blocks;
  int64_t first;        // the least distance
  size_t near, leaves;  // distances with a table; with the far ones, which are linear
  u64 far[3];
};

constexpr int MAX_POWER_LANES = 4;

// 2^scale (numerator / S)^(halves / 2) between 2^low and 2^high, for S modulo 2^bits; lanes' fraction bits are `fine`
// and `step` less for each further one.
struct Powers {
  int bits, low, high, lanes, fine, step, halves, scale;
  u64 numerator;
  int top() const { return high - 3; }    // log2 of the widest blocks that carry lanes
  int bottom() const { return low - 2; }  // and of the narrowest
  int blocks() const { return (lanes + 1) / 2; }
};

constexpr int COMBINATIONS = 20;

// How a wire's elements are put together from what a party holds of them; excess.py says the same.
struct Excess {
  bool party;
  int bits, steps, shift, up;
};

// By the exponent in halves: of each lane's coefficient, less its power of q, the terms in 1, q^2 and q^4.
constexpr double SERIES[2][MAX_POWER_LANES][3] = {
    {{1, 1 / 4., 9 / 64.}, {1, 3 / 8., 15 / 64.}, {3 / 4., 5 / 16., 105 / 512.}, {5 / 8., 35 / 128., 189 / 1024.}},
    {{1, 1, 1}, {2, 2, 2}, {2, 2, 2}, {2, 2, 2}},
};

// Byte shuffles that widen two numbers of so many bytes to 64 bits each.
struct Widening {
  u8 at[9][BLOCK];
  constexpr Widening() : at() {
    for (int bytes = 0; bytes <= 8; bytes++)
      for (int to = 0; to < int(BLOCK); to++) at[bytes][to] = to % 8 < bytes ? u8(to / 8 * bytes + to % 8) : 0x80;
  }
};
constexpr Widening WIDENING;

struct Level {
  void (*dpf_gen)(const Keys& keys, const u8* alpha, Span span, int bits, const u8* roots0, const u8* roots1, u8* cw,
                  u8* sign);
  void (*dpf_points)(const Keys& keys, int party, const u8* roots, const u8* cw, Span span, int bits, const u8* points,
                     size_t rows, int prefix, u8* out);
  void (*dpf_table)(const Keys& keys, int party, const u8* roots, const u8* cw, Span span, int bits, const u8* index,
                    u64 start, const Table& table, u64* out);
  void (*dpf_whole)(const Keys& keys, int party, const u8* roots, const u8* cw, Span span, int bits, u8* out);
  void (*onehot_gen)(const Keys& keys, const u8* alpha, Span span, int bits, int lane, const u8* roots0,
                     const u8* roots1, u8* cw);
  void (*onehot_sum)(const Keys& keys, int party, const u8* roots, const u8* cw, Span span, int bits, int lane,
                     const u8* index, size_t group, u8* out);
  void (*onehot_window)(const Keys& keys, int party, const u8* roots, const u8* cw, Span span, int bits, int lane,
                        const u8* index, size_t group, size_t count, u8* out);
  void (*onehot_point)(const Keys& keys, int party, const u8* roots, const u8* cw, Span span, int bits, int lane,
                       const u8* points, size_t rows, u64* out);
  void (*separable_gen)(const Keys& keys, const u8* mask, Span span, const Separable& f, const u8* payload,
                        const u8* roots0, const u8* roots1, u8* cw, u8* last);
  void (*separable_eval)(const Keys& keys, int party, const u8* roots, const u8* cw, const u8* last, Span span,
                         const Separable& f, const u8* index, const u8* tables, u64* out);
  void (*powers_gen)(const Keys& keys, const u8* mask, Span span, const Powers& f, const u8* roots0, const u8* roots1,
                     u8* cw, u8* values);
  void (*powers_eval)(const Keys& keys, int party, const u8* roots, const u8* cw, const u8* values, Span span,
                      const Powers& f, const u8* index, u64* out);
  void (*matmul64)(const u8* a, const u8* b, size_t m, size_t k, size_t n, size_t step, u64* c);
  void (*matmul32)(const u8* a, const u8* b, size_t m, size_t k, size_t n, size_t step, u32* c);
  void (*planes64)(const u8* a, const Planes& b, size_t m, size_t k, size_t n, size_t step, u64* c);  // few rows
  void (*join)(const Planes& b, size_t rows, size_t n, u64* to);
  void (*stream)(const Schedule& key, u128 first, u8* out, size_t bytes);
  void (*excess)(const Excess& f, const u8* coins, const u8* high, const u8* mask, const u8* index, const u8* dealt,
                 size_t n, u64* out);
};

inline int one_hot_inner(int lane) { return lane == 8 ? 4 : 3; }
inline u64 domain_mask(int bits) { return (u64(1) << bits) - 1; }
inline int max0(int x) { return x > 0 ? x : 0; }

}  // namespace privinf
