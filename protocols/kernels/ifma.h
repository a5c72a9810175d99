// Products modulo 2^52 by AVX-512 IFMA: eight exact multiply-and-adds an instruction, on the low 52 bits of numbers.
#pragma once

#include <immintrin.h>

#include "native.h"

namespace privinf {
namespace ifma {

#define TARGET __attribute__((target("avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512ifma,bmi,bmi2")))
#define FN static inline TARGET __attribute__((always_inline))
#define BODY static TARGET
#define WIDE_BITS 512  // of vectors that instructions of x86 fill

constexpr size_t VECTOR_BYTES = 64;

FN size_t least(size_t x, size_t y) { return x < y ? x : y; }

#include "product.h"

// Sums may wrap at 2^64 and bits from 52 up may be anything: the low 52 bits depend on low bits alone.
struct Low52 {
  typedef u64 T;
  typedef T Vector __attribute__((vector_size(VECTOR_BYTES)));
  static constexpr T mask = (T(1) << 52) - 1;
  FN Vector add_product(Vector sum, Vector x, Vector y) {
    return reinterpret_cast<Vector>(_mm512_madd52lo_epu64(
        reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(x), reinterpret_cast<__m512i>(y)));
  }
};

BODY void product52(const u8* a, const u8* b, size_t m, size_t k, size_t n, size_t step, u64* c) {
  Product<Low52>::run(a, b, m, k, n, step, c);
}

BODY void planes52(const u8* a, const Planes& b, size_t m, size_t k, size_t n, size_t step, u64* c) {
  Product<Low52>::run_split(a, b, m, k, n, step, c);
}

#undef TARGET
#undef FN
#undef BODY
#undef WIDE_BITS

}  // namespace ifma
}  // namespace privinf
