// Products modulo 2^bits, at most 2^56, by AMX: bytes times bytes, of which only those that reach the result.
#pragma once

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "native.h"

namespace privinf {
namespace amx {

#define TARGET __attribute__((target("avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,amx-tile,amx-int8")))
#define FN static inline TARGET __attribute__((always_inline))
#define BODY static TARGET

constexpr int MOST = 7;            // bytes of a number: one more would need a sum above 2^56
constexpr size_t SIDE = 16;        // rows of a and columns of b in a tile
constexpr size_t DEEP = 64;        // of a's columns
constexpr size_t TILE = 1024;      // bytes
constexpr size_t DEPTH = 768;      // of a's columns packed at once, in the second-level cache; 7 * 768 * 255^2 < 2^32
constexpr size_t ROWS = 256;       // of a, likewise
constexpr size_t PANELS = 4;       // of b, SIDE columns each
constexpr size_t LEAST_ROWS = 32, LEAST_DEPTH = 64, LEAST_COLUMNS = 16;

FN size_t least(size_t x, size_t y) { return x < y ? x : y; }
FN size_t groups(size_t n, size_t size) { return (n + size - 1) / size; }

struct alignas(64) Shape {
  u8 palette = 1, start = 0, reserved[14] = {};
  u16 row_bytes[16] = {};
  u8 rows[16] = {};
  Shape() {
    for (int i = 0; i < 8; i++) row_bytes[i] = 64, rows[i] = 16;
  }
};

// The 64 bytes that an instruction shuffles by.
struct alignas(64) Places {
  u8 at[64];
};

// Byte l of number e goes to 8 l + e.
constexpr Places by_byte() {
  Places p = {};
  for (int i = 0; i < 64; i++) p.at[i] = u8(i % 8 * 8 + i / 8);
  return p;
}

// Bytes first to first + 3 of eight numbers and of eight others, in pairs: byte by byte, number by number.
constexpr Places in_pairs(int first) {
  Places p = {};
  for (int i = 0; i < 64; i++) p.at[i] = u8((i % 2) * 64 + i / 2 % 8 * 8 + first + i / 16);
  return p;
}

// Pairs of one vector and of another, in fours; from the half that begins at pair `first`. Places of 16 bits.
struct alignas(64) Wide {
  u16 at[32];
};
constexpr Wide in_fours(int first) {
  Wide p = {};
  for (int i = 0; i < 32; i++) p.at[i] = u16((i % 2) * 32 + first + i / 2);
  return p;
}

constexpr Places BY_BYTE = by_byte(), LOW_PAIRS = in_pairs(0), HIGH_PAIRS = in_pairs(4);
constexpr Wide LOW_FOURS = in_fours(0), HIGH_FOURS = in_fours(16);

FN __m512i all_of(const void* p) { return _mm512_load_si512(p); }

// What is left of eight numbers from `at` on.
FN __m512i some(const u8* at, size_t left) {
  return left >= 8 ? _mm512_loadu_si512(at) : _mm512_maskz_loadu_epi64(__mmask8((1u << left) - 1), at);
}

// Eight vectors of eight 64-bit numbers, turned.
FN void turn(__m512i x[8]) {
  __m512i y[8];
  for (int i = 0; i < 4; i++) {
    y[2 * i] = _mm512_unpacklo_epi64(x[2 * i], x[2 * i + 1]);
    y[2 * i + 1] = _mm512_unpackhi_epi64(x[2 * i], x[2 * i + 1]);
  }
  for (int i = 0; i < 2; i++)
    for (int odd = 0; odd < 2; odd++) {
      const __m512i first = y[4 * i + odd], second = y[4 * i + 2 + odd];
      x[4 * i + odd] = _mm512_shuffle_i64x2(first, second, 0x88);      // blocks 0 and 2 of both
      x[4 * i + odd + 2] = _mm512_shuffle_i64x2(first, second, 0xdd);  // blocks 1 and 3
    }
  for (int odd = 0; odd < 2; odd++)
    for (int block = 0; block < 2; block++) {
      const __m512i first = x[odd + 2 * block], second = x[4 + odd + 2 * block];
      y[odd + 2 * block] = _mm512_shuffle_i64x2(first, second, 0x88);
      y[4 + odd + 2 * block] = _mm512_shuffle_i64x2(first, second, 0xdd);
    }
  for (int i = 0; i < 8; i++) x[i] = y[i];
}

// Rows of a, at most SIDE, cut into tiles: for each DEEP of its columns, a tile for each byte.
BODY void pack_left(const Rows& a, size_t rows, size_t depth, int bytes, u8* to) {
  const __m512i places = all_of(&BY_BYTE);
  const size_t steps = groups(depth, DEEP);
  if (rows < SIDE) memset(to, 0, steps * size_t(bytes) * TILE);
  for (size_t row = 0; row < rows; row++)
    for (size_t step = 0; step < steps; step++) {
      __m512i x[8];
      for (size_t i = 0; i < 8; i++) {
        const size_t at = step * DEEP + 8 * i;
        x[i] = _mm512_permutexvar_epi8(places, some(a.row(row) + 8 * at, at < depth ? depth - at : 0));
      }
      turn(x);
      for (int i = 0; i < bytes; i++) _mm512_store_si512(to + (step * size_t(bytes) + size_t(i)) * TILE + row * 64, x[i]);
    }
}

// Columns of b, cut into panels of SIDE and those into tiles alike; a tile's row holds four rows of b, column by column.
BODY void pack_right(const Rows& b, size_t depth, size_t columns, int bytes, size_t panel, u8* to) {
  const __m512i low = all_of(&LOW_PAIRS), high = all_of(&HIGH_PAIRS);
  const __m512i first = all_of(&LOW_FOURS), second = all_of(&HIGH_FOURS);
  for (size_t row = 0; row < groups(depth, DEEP) * DEEP; row += 4)
    for (size_t half = 0; half < groups(columns, SIDE) * 2; half++) {
      __m512i x[4];
      for (size_t i = 0; i < 4; i++) {
        const size_t left = row + i < depth && columns > 8 * half ? columns - 8 * half : 0;
        x[i] = left ? some(b.row(row + i) + 64 * half, left) : _mm512_setzero_si512();
      }
      u8* tile = to + half / 2 * panel + row / DEEP * size_t(bytes) * TILE + row % DEEP * SIDE + half % 2 * 32;
      for (int i = 0; i < bytes; i += 4) {
        const __m512i upper = _mm512_permutex2var_epi8(x[0], i ? high : low, x[1]);
        const __m512i lower = _mm512_permutex2var_epi8(x[2], i ? high : low, x[3]);
        for (int pair = 0; pair < 4 && i + pair < bytes; pair += 2) {
          const __m512i fours = _mm512_permutex2var_epi16(upper, pair ? second : first, lower);
          u8* at = tile + size_t(i + pair) * TILE;
          _mm256_store_si256(reinterpret_cast<__m256i*>(at), _mm512_castsi512_si256(fours));
          if (i + pair + 1 < bytes)
            _mm256_store_si256(reinterpret_cast<__m256i*>(at + TILE), _mm512_extracti64x4_epi64(fours, 1));
        }
      }
    }
}

template <int SUM>
FN void multiply() {
  if constexpr (SUM == 0) _tile_dpbuud(0, 6, 7);
  if constexpr (SUM == 1) _tile_dpbuud(1, 6, 7);
  if constexpr (SUM == 2) _tile_dpbuud(2, 6, 7);
  if constexpr (SUM == 3) _tile_dpbuud(3, 6, 7);
  if constexpr (SUM == 4) _tile_dpbuud(4, 6, 7);
  if constexpr (SUM == 5) _tile_dpbuud(5, 6, 7);
}

// Byte I of a times bytes J and up of b, for the sums of both places from FROM to before UNTIL.
template <int FROM, int UNTIL, int I, int J>
FN void row_of_bytes(const u8* b) {
  if constexpr (I + J < UNTIL) {
    if constexpr (I + J >= FROM) {
      _tile_loadd(7, b + size_t(J) * TILE, 64);
      multiply<I + J - FROM>();
    }
    row_of_bytes<FROM, UNTIL, I, J + 1>(b);
  }
}

template <int FROM, int UNTIL, int I>
FN void all_bytes(const u8* a, const u8* b) {
  if constexpr (I < UNTIL) {
    _tile_loadd(6, a + size_t(I) * TILE, 64);
    row_of_bytes<FROM, UNTIL, I, 0>(b);
    all_bytes<FROM, UNTIL, I + 1>(a, b);
  }
}

// Sums of products of bytes whose places add up to FROM, to FROM + 1 and so on, of `steps` tiles: 32-bit numbers.
template <int BYTES, int FROM, int UNTIL>
BODY void sums(const u8* a, const u8* b, size_t steps, u8* out) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  for (size_t step = 0; step < steps; step++)
    all_bytes<FROM, UNTIL, 0>(a + step * BYTES * TILE, b + step * BYTES * TILE);
  _tile_stored(0, out, 64);
  if constexpr (UNTIL - FROM > 1) _tile_stored(1, out + TILE, 64);
  if constexpr (UNTIL - FROM > 2) _tile_stored(2, out + 2 * TILE, 64);
  if constexpr (UNTIL - FROM > 3) _tile_stored(3, out + 3 * TILE, 64);
  if constexpr (UNTIL - FROM > 4) _tile_stored(4, out + 4 * TILE, 64);
  if constexpr (UNTIL - FROM > 5) _tile_stored(5, out + 5 * TILE, 64);
}

// Where a tile of the result lies, what is in it, and what is kept.
struct Result {
  u64* at;
  size_t step, rows, columns;
  u64 keep;
  bool begun;
};

template <int BYTES>
BODY void put(const u8* sums, const Result& c) {
  for (size_t row = 0; row < c.rows; row++)
    for (size_t half = 0; 8 * half < c.columns; half++) {
      const size_t left = c.columns - 8 * half;
      const __mmask8 there = left >= 8 ? 0xff : __mmask8((1u << left) - 1);
      u64* to = c.at + row * c.step + 8 * half;
      __m512i sum = c.begun ? _mm512_maskz_loadu_epi64(there, to) : _mm512_setzero_si512();
      for (int i = 0; i < BYTES; i++) {
        const u8* from = sums + size_t(i) * TILE + row * 64 + 32 * half;
        const __m512i part = _mm512_cvtepu32_epi64(_mm256_load_si256(reinterpret_cast<const __m256i*>(from)));
        sum = _mm512_add_epi64(sum, _mm512_slli_epi64(part, unsigned(8 * i)));
      }
      _mm512_mask_storeu_epi64(to, there, _mm512_and_si512(sum, _mm512_set1_epi64(i64(c.keep))));
    }
}

template <int BYTES>
BODY void tile(const u8* a, const u8* b, size_t steps, const Result& c) {
  alignas(64) u8 found[BYTES * TILE];
  if constexpr (BYTES == MOST) {
    sums<BYTES, 0, 4>(a, b, steps, found);
    sums<BYTES, 4, BYTES>(a, b, steps, found + 4 * TILE);
  } else {
    sums<BYTES, 0, BYTES>(a, b, steps, found);
  }
  put<BYTES>(found, c);
}

template <int BYTES>
BODY void run(const Rows& a, const Rows& b, size_t m, size_t k, size_t n, u64 keep, size_t step, u64* c) {
  const size_t most = groups(least(k, DEPTH), DEEP) * BYTES * TILE;
  const Buffer left(groups(least(m, ROWS), SIDE) * most), right(PANELS * most);
  for (size_t row = 0; row < m; row += ROWS)
    for (size_t inner = 0; inner < k; inner += DEPTH) {
      const size_t rows = least(ROWS, m - row), depth = least(DEPTH, k - inner), steps = groups(depth, DEEP);
      const size_t one = steps * BYTES * TILE;
      for (size_t r = 0; r < rows; r += SIDE)
        pack_left({a.row(row + r) + 8 * inner, a.step}, least(SIDE, rows - r), depth, BYTES, left.get() + r / SIDE * one);
      for (size_t from = 0; from < n; from += PANELS * SIDE) {
        const size_t columns = least(PANELS * SIDE, n - from);
        pack_right({b.row(inner) + 8 * from, b.step}, depth, columns, BYTES, one, right.get());
        for (size_t column = 0; column < columns; column += SIDE)
          for (size_t r = 0; r < rows; r += SIDE)
            tile<BYTES>(left.get() + r / SIDE * one, right.get() + column / SIDE * one, steps,
                        {c + (row + r) * step + from + column, step, least(SIDE, rows - r),
                         least(SIDE, columns - column), inner + depth == k ? keep : ~u64(0), inner > 0});
      }
    }
}

BODY void product(const u8* a_data, const u8* b_data, size_t m, size_t k, size_t n, int bits, size_t step, u64* c) {
  const Rows a = {a_data, 8 * k}, b = {b_data, 8 * step};
  const u64 keep = (u64(1) << bits) - 1;
  const Shape shape;
  _tile_loadconfig(&shape);
  switch ((bits + 7) / 8) {
    case 1: run<1>(a, b, m, k, n, keep, step, c); break;
    case 2: run<2>(a, b, m, k, n, keep, step, c); break;
    case 3: run<3>(a, b, m, k, n, keep, step, c); break;
    case 4: run<4>(a, b, m, k, n, keep, step, c); break;
    case 5: run<5>(a, b, m, k, n, keep, step, c); break;
    case 6: run<6>(a, b, m, k, n, keep, step, c); break;
    default: run<7>(a, b, m, k, n, keep, step, c);
  }
  _tile_release();
}

// Below these sizes, vectors are as fast.
inline bool pays(size_t m, size_t k, size_t n, int bits) {
  return bits <= 8 * MOST && m >= LEAST_ROWS && k >= LEAST_DEPTH && n >= LEAST_COLUMNS;
}

// Whether this processor has the tiles, and the system lends this process their registers.
inline bool lent() {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d >> 24 & 3) != 3 || !__builtin_cpu_supports("avx512vbmi")) return false;
  constexpr long REQUEST = 0x1023, TILES = 18;
  return syscall(SYS_arch_prctl, REQUEST, TILES) == 0;
}

#undef TARGET
#undef FN
#undef BODY

}  // namespace amx
}  // namespace privinf
