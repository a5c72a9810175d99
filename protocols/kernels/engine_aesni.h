// Blocks in AES-NI and AVX2: one a vector, eight in flight.
#pragma once

#include <immintrin.h>

#include "native.h"

namespace privinf {
namespace aesni {

#define TARGET __attribute__((target("aes,avx2,bmi2,popcnt")))
#define FN static inline TARGET __attribute__((always_inline))
#define BODY static TARGET
#define WIDE_BITS 256  // of vectors that instructions of x86 fill

constexpr int W = 1, I = 8;  // blocks in a vector, vectors in a batch
constexpr size_t VECTOR_BYTES = 32;

typedef __m128i V;
typedef __m128i M;  // all ones where the condition holds

FN V load(const u8* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
FN void store(u8* p, V x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), x); }
FN void scatter(u8* p, size_t, V x) { store(p, x); }
FN V low_halves(const u8* p) { return _mm_set1_epi64x(static_cast<long long>(load64(p))); }
FN V splat(u64 lo, u64 hi) { return _mm_set_epi64x(static_cast<long long>(hi), static_cast<long long>(lo)); }
FN V exclusive_or(V x, V y) { return _mm_xor_si128(x, y); }
FN V both(V x, V y) { return _mm_and_si128(x, y); }
FN V either(V x, V y) { return _mm_or_si128(x, y); }
FN V twice(V x) { return _mm_slli_epi64(x, 1); }
FN V half(V x) { return _mm_srli_epi64(x, 1); }
FN V add64(V x, V y) { return _mm_add_epi64(x, y); }
FN V sub64(V x, V y) { return _mm_sub_epi64(x, y); }
FN V mul64(V x, V y) {
  const V crossed = _mm_mullo_epi32(x, _mm_shuffle_epi32(y, 0xB1));
  const V upper = _mm_add_epi32(crossed, _mm_slli_epi64(crossed, 32));
  return _mm_add_epi64(_mm_mul_epu32(x, y), _mm_and_si128(upper, splat(~u64(0) << 32, ~u64(0) << 32)));
}
FN V small_pairs(const u8* const* at, size_t offset) {
  return _mm_cvtepi32_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(*at + offset)));
}
FN V number_pairs(const u8* p, size_t, int bytes) { return _mm_shuffle_epi8(load(p), load(WIDENING.at[bytes])); }
template <int LANE>
FN V add_lanes(V x, V y) {
  return LANE == 8 ? _mm_add_epi8(x, y) : _mm_add_epi16(x, y);
}
template <int LANE>
FN V sub_lanes(V x, V y) {
  return LANE == 8 ? _mm_sub_epi8(x, y) : _mm_sub_epi16(x, y);
}

FN M everywhere(bool c) { return _mm_set1_epi32(c ? -1 : 0); }
FN M lowest_bit(V x) {
  return _mm_sub_epi64(_mm_setzero_si128(), _mm_and_si128(_mm_shuffle_epi32(x, 0x44), _mm_set1_epi64x(1)));
}
FN M bit(V x, u64 which) {
  const V chosen = _mm_set1_epi64x(static_cast<long long>(which));
  return _mm_cmpeq_epi64(_mm_and_si128(x, chosen), chosen);
}
FN M mask_xor(M x, M y) { return _mm_xor_si128(x, y); }
FN M mask_and(M x, M y) { return _mm_and_si128(x, y); }
FN void store_mask(u8* p, M m) { *p = u8(_mm_cvtsi128_si32(m) & 1); }
FN V where(M m, V x) { return _mm_and_si128(m, x); }
FN V blend(M m, V yes, V no) { return _mm_blendv_epi8(no, yes, m); }
FN V xor_where(M m, V x, V y) { return _mm_xor_si128(x, _mm_and_si128(m, y)); }
FN V add64_where(M m, V x, V y) { return _mm_add_epi64(x, _mm_and_si128(m, y)); }

FN V counter(u128 first) { return splat(__builtin_bswap64(u64(first >> 64)), __builtin_bswap64(u64(first))); }

FN void encrypt(const Schedule& key, V x[I]) {
  for (int i = 0; i < I; i++) x[i] = _mm_xor_si128(x[i], load(key.wide[0]));
  for (int r = 1; r < ROUND_KEYS - 1; r++)
    for (int i = 0; i < I; i++) x[i] = _mm_aesenc_si128(x[i], load(key.wide[r]));
  for (int i = 0; i < I; i++) x[i] = _mm_aesenclast_si128(x[i], load(key.wide[ROUND_KEYS - 1]));
}

FN void encrypt_either(const Schedule& left, const Schedule& right, const M turn[I], V x[I]) {
  for (int r = 0; r < ROUND_KEYS; r++) {
    const V no = load(left.wide[r]), change = _mm_xor_si128(no, load(right.wide[r]));
    for (int i = 0; i < I; i++) {
      const V k = xor_where(turn[i], no, change);
      if (r == 0) x[i] = _mm_xor_si128(x[i], k);
      else if (r < ROUND_KEYS - 1) x[i] = _mm_aesenc_si128(x[i], k);
      else x[i] = _mm_aesenclast_si128(x[i], k);
    }
  }
}

// (high, low) to (high xor low, high)
FN V orthomorphism(V x) { return _mm_xor_si128(_mm_shuffle_epi32(x, 0xEE), _mm_slli_si128(x, 8)); }

// Sums of bytes under masks: a word's bits become bytes of ones, 32 at a time.
template <int PLANES>
BODY u64 sum_planes(const u64* words, const Table& table, size_t from, size_t count) {
  const __m256i spread = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
  const __m256i bits = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
  __m256i sums[PLANES > 0 ? PLANES : 1] = {};
  u64 chosen = 0;
  for (size_t at = 0; at < count; at += 64) {
    chosen += u64(_mm_popcnt_u64(words[at / 64]));
    for (int part = 0; part < 2; part++) {
      const __m256i word = _mm256_set1_epi32(static_cast<int>(words[at / 64] >> (32 * part)));
      const __m256i mask = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(word, spread), bits), bits);
      const u8* bytes = table.bytes + from + at + 32 * part;
      for (int p = 0; p < PLANES; p++) {
        const __m256i some = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + p * table.padded));
        const __m256i sum = _mm256_sad_epu8(_mm256_and_si256(some, mask), _mm256_setzero_si256());
        sums[p] = _mm256_add_epi64(sums[p], sum);
      }
    }
  }
  u64 sum = chosen * table.least;
  for (int p = 0; p < PLANES; p++) {
    u64 lanes[4];
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), sums[p]);
    sum += (lanes[0] + lanes[1] + lanes[2] + lanes[3]) << (8 * p);
  }
  return sum;
}

#include "planes.h"
#include "level.h"

#undef TARGET
#undef FN
#undef BODY
#undef WIDE_BITS

}  // namespace aesni
}  // namespace privinf
