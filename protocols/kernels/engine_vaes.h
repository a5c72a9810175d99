// Blocks in VAES and AVX-512: four a vector, thirty-two in flight.
#pragma once

#include <immintrin.h>

#include "native.h"

namespace privinf {
namespace vaes512 {

#define TARGET __attribute__((target("aes,vaes,avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,bmi,bmi2,popcnt")))
#define FN static inline TARGET __attribute__((always_inline))
#define BODY static TARGET
#define WIDE_BITS 512  // of vectors that instructions of x86 fill

constexpr int W = 4, I = 8;  // blocks in a vector, vectors in a batch
constexpr size_t VECTOR_BYTES = 64;

typedef __m512i V;
typedef __mmask8 M;  // two equal bits a block

FN V load(const u8* p) { return _mm512_loadu_si512(p); }
FN void store(u8* p, V x) { _mm512_storeu_si512(p, x); }
FN void scatter(u8* p, size_t step, V x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_castsi512_si128(x));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + step), _mm512_extracti32x4_epi32(x, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 2 * step), _mm512_extracti32x4_epi32(x, 2));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 3 * step), _mm512_extracti32x4_epi32(x, 3));
}
FN V low_halves(const u8* p) {
  const __m256i four = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3), _mm512_castsi256_si512(four));
}
FN V splat(u64 lo, u64 hi) {
  return _mm512_broadcast_i32x4(_mm_set_epi64x(static_cast<long long>(hi), static_cast<long long>(lo)));
}
FN V exclusive_or(V x, V y) { return _mm512_xor_si512(x, y); }
FN V both(V x, V y) { return _mm512_and_si512(x, y); }
FN V either(V x, V y) { return _mm512_or_si512(x, y); }
FN V twice(V x) { return _mm512_slli_epi64(x, 1); }
FN V half(V x) { return _mm512_srli_epi64(x, 1); }
FN V add64(V x, V y) { return _mm512_add_epi64(x, y); }
FN V sub64(V x, V y) { return _mm512_sub_epi64(x, y); }
FN V mul64(V x, V y) { return _mm512_mullo_epi64(x, y); }
FN __m128i block(const u8* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
FN V four(const u8* p, const u8* q, const u8* r, const u8* s) {
  const V x = _mm512_inserti32x4(_mm512_castsi128_si512(block(p)), block(q), 1);
  return _mm512_inserti32x4(_mm512_inserti32x4(x, block(r), 2), block(s), 3);
}
FN V small_pairs(const u8* const* at, size_t offset) {
  const V x = four(at[0] + offset, at[1] + offset, at[2] + offset, at[3] + offset);
  return _mm512_srai_epi64(_mm512_shuffle_epi32(x, _MM_PERM_BBAA), 32);
}
FN V number_pairs(const u8* p, size_t step, int bytes) {
  const V x = four(p, p + step, p + 2 * step, p + 3 * step);
  return _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(block(WIDENING.at[bytes])));
}
template <int LANE>
FN V add_lanes(V x, V y) {
  return LANE == 8 ? _mm512_add_epi8(x, y) : _mm512_add_epi16(x, y);
}
template <int LANE>
FN V sub_lanes(V x, V y) {
  return LANE == 8 ? _mm512_sub_epi8(x, y) : _mm512_sub_epi16(x, y);
}

FN M everywhere(bool c) { return M(c ? 0xFF : 0); }
FN M lowest_bit(V x) {
  return _mm512_test_epi64_mask(_mm512_shuffle_epi32(x, _MM_PERM_BABA), _mm512_set1_epi64(1));
}
FN M bit(V x, u64 which) { return _mm512_test_epi64_mask(x, _mm512_set1_epi64(static_cast<long long>(which))); }
FN M mask_xor(M x, M y) { return M(x ^ y); }
FN M mask_and(M x, M y) { return M(x & y); }
FN void store_mask(u8* p, M m) {
  for (int w = 0; w < W; w++) p[w] = u8(m >> (2 * w) & 1);
}
FN V where(M m, V x) { return _mm512_maskz_mov_epi64(m, x); }
FN V blend(M m, V yes, V no) { return _mm512_mask_blend_epi64(m, no, yes); }
FN V xor_where(M m, V x, V y) { return _mm512_mask_xor_epi64(x, m, x, y); }
FN V add64_where(M m, V x, V y) { return _mm512_mask_add_epi64(x, m, x, y); }

FN V counter(u128 first) {
  const V from = splat(u64(first >> 64), u64(first));
  const V count = _mm512_add_epi64(from, _mm512_setr_epi64(0, 0, 0, 1, 0, 2, 0, 3));
  const M carry = M(_mm512_cmplt_epu64_mask(count, from) >> 1);
  const V whole = _mm512_mask_add_epi64(count, carry, count, _mm512_set1_epi64(1));
  return _mm512_shuffle_epi8(whole, splat(0x0001020304050607, 0x08090A0B0C0D0E0F));
}

FN V round_key(const Schedule& key, int r) { return _mm512_load_si512(key.wide[r]); }

FN void encrypt(const Schedule& key, V x[I]) {
  for (int i = 0; i < I; i++) x[i] = _mm512_xor_si512(x[i], round_key(key, 0));
  for (int r = 1; r < ROUND_KEYS - 1; r++)
    for (int i = 0; i < I; i++) x[i] = _mm512_aesenc_epi128(x[i], round_key(key, r));
  for (int i = 0; i < I; i++) x[i] = _mm512_aesenclast_epi128(x[i], round_key(key, ROUND_KEYS - 1));
}

FN void encrypt_either(const Schedule& left, const Schedule& right, const M turn[I], V x[I]) {
  for (int r = 0; r < ROUND_KEYS; r++) {
    const V no = round_key(left, r), yes = round_key(right, r);
    for (int i = 0; i < I; i++) {
      const V k = blend(turn[i], yes, no);
      if (r == 0) x[i] = _mm512_xor_si512(x[i], k);
      else if (r < ROUND_KEYS - 1) x[i] = _mm512_aesenc_epi128(x[i], k);
      else x[i] = _mm512_aesenclast_epi128(x[i], k);
    }
  }
}

// (high, low) to (high xor low, high)
FN V orthomorphism(V x) {
  return _mm512_xor_si512(_mm512_shuffle_epi32(x, _MM_PERM_DCDC), _mm512_bslli_epi128(x, 8));
}

// Sums of bytes under masks: a mask bit becomes a byte -1, and dot products of bytes add up minus the sums.
template <int PLANES>
BODY u64 sum_planes(const u64* words, const Table& table, size_t from, size_t count) {
  __m512i even[PLANES > 0 ? PLANES : 1] = {}, odd[PLANES > 0 ? PLANES : 1] = {};
  u64 chosen = 0;
  const u8* bytes = table.bytes + from;
  for (size_t at = 0; at < count; at += 128, bytes += 128) {  // words and planes are zero up to a multiple of 128
    const u64 low = words[at / 64], high = words[at / 64 + 1];
    const __m512i first = _mm512_movm_epi8(low), second = _mm512_movm_epi8(high);
    chosen += u64(_mm_popcnt_u64(low)) + u64(_mm_popcnt_u64(high));
    for (int p = 0; p < PLANES; p++) {
      even[p] = _mm512_dpbusd_epi32(even[p], _mm512_loadu_si512(bytes + p * table.padded), first);
      odd[p] = _mm512_dpbusd_epi32(odd[p], _mm512_loadu_si512(bytes + p * table.padded + 64), second);
    }
  }
  u64 sum = chosen * table.least;
  for (int p = 0; p < PLANES; p++)
    sum -= u64(static_cast<long long>(_mm512_reduce_add_epi32(_mm512_add_epi32(even[p], odd[p])))) << (8 * p);
  return sum;
}

#include "planes.h"
#include "level.h"

#undef TARGET
#undef FN
#undef BODY
#undef WIDE_BITS

}  // namespace vaes512
}  // namespace privinf
