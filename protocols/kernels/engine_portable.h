// Blocks in plain C++: four a vector, AES bit-sliced over the batch.
#pragma once

#include "bitslice.h"

namespace privinf {
namespace portable {

#define FN static inline
#define BODY static
#define WIDE_BITS 0  // of vectors that instructions of x86 fill

constexpr int W = 4, I = 2;  // blocks in a vector, vectors in a batch
constexpr size_t VECTOR_BYTES = 16;

struct V {
  u64 lo[W], hi[W];
};
struct M {
  u64 m[W];  // all ones where the condition holds
};
typedef u64 Plane __attribute__((vector_size(16)));

#define EACH(statement)              \
  V out;                             \
  for (int w = 0; w < W; w++) {      \
    statement;                       \
  }                                  \
  return out

FN V load(const u8* p) { EACH(out.lo[w] = load64(p + 16 * w); out.hi[w] = load64(p + 16 * w + 8)); }
FN void store(u8* p, const V& x) {
  for (int w = 0; w < W; w++) memcpy(p + 16 * w, &x.lo[w], 8), memcpy(p + 16 * w + 8, &x.hi[w], 8);
}
FN void scatter(u8* p, size_t step, const V& x) {
  for (int w = 0; w < W; w++) memcpy(p + step * w, &x.lo[w], 8), memcpy(p + step * w + 8, &x.hi[w], 8);
}
FN V low_halves(const u8* p) { EACH(out.lo[w] = out.hi[w] = load64(p + 8 * w)); }
FN V splat(u64 lo, u64 hi) { EACH(out.lo[w] = lo; out.hi[w] = hi); }
FN V exclusive_or(const V& x, const V& y) { EACH(out.lo[w] = x.lo[w] ^ y.lo[w]; out.hi[w] = x.hi[w] ^ y.hi[w]); }
FN V both(const V& x, const V& y) { EACH(out.lo[w] = x.lo[w] & y.lo[w]; out.hi[w] = x.hi[w] & y.hi[w]); }
FN V either(const V& x, const V& y) { EACH(out.lo[w] = x.lo[w] | y.lo[w]; out.hi[w] = x.hi[w] | y.hi[w]); }
FN V twice(const V& x) { EACH(out.lo[w] = x.lo[w] << 1; out.hi[w] = x.hi[w] << 1); }
FN V half(const V& x) { EACH(out.lo[w] = x.lo[w] >> 1; out.hi[w] = x.hi[w] >> 1); }
FN V add64(const V& x, const V& y) { EACH(out.lo[w] = x.lo[w] + y.lo[w]; out.hi[w] = x.hi[w] + y.hi[w]); }
FN V sub64(const V& x, const V& y) { EACH(out.lo[w] = x.lo[w] - y.lo[w]; out.hi[w] = x.hi[w] - y.hi[w]); }
FN V mul64(const V& x, const V& y) { EACH(out.lo[w] = x.lo[w] * y.lo[w]; out.hi[w] = x.hi[w] * y.hi[w]); }
FN u64 load_signed32(const u8* p) {
  int32_t x;
  memcpy(&x, p, 4);
  return u64(int64_t(x));
}
// Two signed 32-bit numbers for each block, at `offset` from the block's own address; 16 bytes are there.
FN V small_pairs(const u8* const* at, size_t offset) {
  EACH(out.lo[w] = load_signed32(at[w] + offset); out.hi[w] = load_signed32(at[w] + offset + 4));
}
// Two numbers of some bytes for each block, `step` apart from block to block; reads 16 bytes.
FN V number_pairs(const u8* p, size_t step, int bytes) {
  const u64 some = ~u64(0) >> (64 - 8 * bytes);
  EACH(out.lo[w] = load64(p + step * w) & some; out.hi[w] = load64(p + step * w + bytes) & some);
}

// Lanes of 8 or 16 bits inside a word: the top bits are added apart, so that no carry crosses a lane.
template <int LANE>
FN u64 add_word(u64 x, u64 y) {
  constexpr u64 top = LANE == 8 ? 0x8080808080808080 : 0x8000800080008000;
  return ((x & ~top) + (y & ~top)) ^ ((x ^ y) & top);
}
template <int LANE>
FN u64 sub_word(u64 x, u64 y) {
  constexpr u64 top = LANE == 8 ? 0x8080808080808080 : 0x8000800080008000;
  return ((x | top) - (y & ~top)) ^ (~(x ^ y) & top);
}
template <int LANE>
FN V add_lanes(const V& x, const V& y) {
  EACH(out.lo[w] = add_word<LANE>(x.lo[w], y.lo[w]); out.hi[w] = add_word<LANE>(x.hi[w], y.hi[w]));
}
template <int LANE>
FN V sub_lanes(const V& x, const V& y) {
  EACH(out.lo[w] = sub_word<LANE>(x.lo[w], y.lo[w]); out.hi[w] = sub_word<LANE>(x.hi[w], y.hi[w]));
}

FN M everywhere(bool c) {
  M m;
  for (int w = 0; w < W; w++) m.m[w] = c ? ~u64(0) : 0;
  return m;
}
FN M lowest_bit(const V& x) {
  M m;
  for (int w = 0; w < W; w++) m.m[w] = u64(0) - (x.lo[w] & 1);
  return m;
}
FN M bit(const V& x, u64 which) {
  M m;
  for (int w = 0; w < W; w++) m.m[w] = u64(0) - u64((x.lo[w] & which) != 0);
  return m;
}
FN M mask_xor(const M& x, const M& y) {
  M m;
  for (int w = 0; w < W; w++) m.m[w] = x.m[w] ^ y.m[w];
  return m;
}
FN M mask_and(const M& x, const M& y) {
  M m;
  for (int w = 0; w < W; w++) m.m[w] = x.m[w] & y.m[w];
  return m;
}
FN void store_mask(u8* p, const M& m) {
  for (int w = 0; w < W; w++) p[w] = u8(m.m[w] & 1);
}
FN V where(const M& m, const V& x) { EACH(out.lo[w] = x.lo[w] & m.m[w]; out.hi[w] = x.hi[w] & m.m[w]); }
FN V blend(const M& m, const V& yes, const V& no) {
  return exclusive_or(no, where(m, exclusive_or(yes, no)));
}
FN V xor_where(const M& m, const V& x, const V& y) { return exclusive_or(x, where(m, y)); }
FN V add64_where(const M& m, const V& x, const V& y) { return add64(x, where(m, y)); }

FN V counter(u128 first) {
  EACH(out.lo[w] = __builtin_bswap64(u64((first + w) >> 64)); out.hi[w] = __builtin_bswap64(u64(first + w)));
}

FN void add_key(Plane q[8], const u64 left[8], const u64 right[8], const Plane& turned) {
  for (int k = 0; k < 8; k++) q[k] ^= (turned & (left[k] ^ right[k])) ^ left[k];
}

BODY void encrypt_planes(const Schedule& left, const Schedule& right, const Plane& turned, Plane q[8]) {
  bitslice::transpose(q);
  add_key(q, left.planes[0], right.planes[0], turned);
  for (int r = 1; r < ROUND_KEYS; r++) {
    bitslice::sbox(q);
    for (int k = 0; k < 8; k++) bitslice::shift_rows(q[k]);
    if (r < ROUND_KEYS - 1) bitslice::mix_columns(q);
    add_key(q, left.planes[r], right.planes[r], turned);
  }
  bitslice::transpose(q);
}

FN void encrypt_either(const Schedule& left, const Schedule& right, const M turn[I], V x[I]) {
  Plane q[8], turned;
  for (int i = 0; i < I; i++) {
    for (int w = 0; w < W; w++) q[w][i] = x[i].lo[w], q[w + 4][i] = x[i].hi[w];
    u64 pattern = 0;
    for (int w = 0; w < W; w++) pattern |= turn[i].m[w] & (u64(0x1111111111111111) << w);
    turned[i] = pattern;
  }
  encrypt_planes(left, right, turned, q);
  for (int i = 0; i < I; i++)
    for (int w = 0; w < W; w++) x[i].lo[w] = q[w][i], x[i].hi[w] = q[w + 4][i];
}

FN void encrypt(const Schedule& key, V x[I]) {
  const M never[I] = {everywhere(false), everywhere(false)};
  encrypt_either(key, key, never, x);
}

FN V orthomorphism(const V& x) { EACH(out.lo[w] = x.hi[w]; out.hi[w] = x.hi[w] ^ x.lo[w]); }

FN u64 sum_selected(const u64* words, const Table& table, size_t from, size_t count) {
  u64 sum = 0;
  for (size_t at = 0; at < count; at += 64) {
    const u64 word = words[at / 64];
    const u64* values = table.values + from + at;
    for (int j = 0; j < 64; j++) sum += values[j] & (u64(0) - (word >> j & 1));
  }
  return sum;
}

#include "level.h"

#undef EACH
#undef FN
#undef BODY
#undef WIDE_BITS

}  // namespace portable
}  // namespace privinf
