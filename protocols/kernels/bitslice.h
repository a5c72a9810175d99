// AES-128 without tables or AES instructions: blocks lie across eight planes of bits, and time never depends on data.
//
// A plane word holds one bit of every byte of four blocks: bit 8 b + j belongs to byte b of word j, where words 0-3
// are the low halves of the blocks and words 4-7 their high halves. The S-box inverts in GF((2^4)^2) with
// Y^2 = Y + z^3 over z^4 = z + 1; maps between the fields were searched for the fewest additions.
#pragma once

#include <initializer_list>

#include "native.h"

namespace privinf {
namespace bitslice {

template <class T>
struct Nibble {
  T c[4];
};

template <class T>
inline Nibble<T> add(const Nibble<T>& a, const Nibble<T>& b) {
  return {{a.c[0] ^ b.c[0], a.c[1] ^ b.c[1], a.c[2] ^ b.c[2], a.c[3] ^ b.c[3]}};
}

template <class T>
inline Nibble<T> multiply(const Nibble<T>& a, const Nibble<T>& b) {
  const T z4 = (a.c[1] & b.c[3]) ^ (a.c[2] & b.c[2]) ^ (a.c[3] & b.c[1]);
  const T z5 = (a.c[2] & b.c[3]) ^ (a.c[3] & b.c[2]), z6 = a.c[3] & b.c[3];
  return {{(a.c[0] & b.c[0]) ^ z4, (a.c[0] & b.c[1]) ^ (a.c[1] & b.c[0]) ^ z4 ^ z5,
           (a.c[0] & b.c[2]) ^ (a.c[1] & b.c[1]) ^ (a.c[2] & b.c[0]) ^ z5 ^ z6,
           (a.c[0] & b.c[3]) ^ (a.c[1] & b.c[2]) ^ (a.c[2] & b.c[1]) ^ (a.c[3] & b.c[0]) ^ z6}};
}

// a^2 z^3 + a b + b^2, the norm of a Y + b
template <class T>
inline Nibble<T> norm(const Nibble<T>& a, const Nibble<T>& b) {
  const T a23 = a.c[2] ^ a.c[3];
  const Nibble<T> squares = {{a.c[2] ^ b.c[0] ^ b.c[2], a.c[1] ^ a23 ^ b.c[2], a.c[1] ^ b.c[1] ^ b.c[3],
                              a.c[0] ^ a23 ^ b.c[3]}};
  return add(squares, multiply(a, b));
}

template <class T>
inline Nibble<T> inverse(const Nibble<T>& x) {
  const T a = x.c[0], b = x.c[1], c = x.c[2], d = x.c[3];
  const T ab = a & b, ac = a & c, ad = a & d, bc = b & c, bd = b & d, cd = c & d;
  return {{a ^ b ^ c ^ d ^ ac ^ bc ^ (a & bc) ^ (b & cd), ab ^ ac ^ bc ^ d ^ bd ^ (b & ad),
           ab ^ c ^ ac ^ d ^ ad ^ (a & cd), b ^ c ^ d ^ ad ^ bd ^ cd ^ (b & cd)}};
}

// The S-box less its constant 0x63, which the round keys absorb.
template <class T>
inline void sbox(T q[8]) {
  const T u0 = q[5] ^ q[7], u1 = q[4] ^ q[6], u2 = q[2] ^ q[3], u3 = u0 ^ u2;
  const Nibble<T> b = {{q[0] ^ u0, q[2], u1 ^ u3, q[3] ^ q[4]}};
  const Nibble<T> a = {{q[5] ^ u1, q[1] ^ q[7] ^ u1, u3, u0}};
  const Nibble<T> n = inverse(norm(a, b));
  const Nibble<T> hi = multiply(a, n), lo = multiply(add(a, b), n);
  const T y0 = lo.c[0], y1 = lo.c[1], y2 = lo.c[2], y3 = lo.c[3];
  const T y4 = hi.c[0], y5 = hi.c[1], y6 = hi.c[2], y7 = hi.c[3];
  const T v0 = y0 ^ y5, v1 = y1 ^ y2, v2 = y3 ^ v0, v3 = y4 ^ v2, v4 = y6 ^ y7;
  q[0] = y0 ^ y2 ^ y6;
  q[1] = v1 ^ v3;
  q[2] = y6 ^ v2;
  q[3] = y2 ^ v0;
  q[4] = y1 ^ v3;
  q[5] = y3 ^ y5 ^ v1 ^ v4;
  q[6] = y4 ^ v4;
  q[7] = v1;
}

template <class T>
inline void swap_move(T& x, T& y, int shift, u64 mask) {
  const T moved = ((x >> shift) ^ y) & mask;
  y ^= moved;
  x ^= moved << shift;
}

// Eight words of bytes into eight planes of bits, and back: its own inverse.
template <class T>
inline void transpose(T q[8]) {
  for (int i = 0; i < 8; i += 2) swap_move(q[i], q[i + 1], 1, 0x5555555555555555);
  for (int i : {0, 1, 4, 5}) swap_move(q[i], q[i + 2], 2, 0x3333333333333333);
  for (int i = 0; i < 4; i++) swap_move(q[i], q[i + 4], 4, 0x0F0F0F0F0F0F0F0F);
}

template <class T>
inline void shift_rows(T& x) {
  const T row1 = ((x >> 32) & u64(0xFF00)) | ((x << 28) & (u64(0x0F) << 40)) | ((x << 36) & (u64(0xF0) << 40));
  const T row2 = ((x >> 4) & u64(0x000F0000000F0000)) | ((x << 4) & u64(0x00F0000000F00000));
  const T row3 = ((x << 32) & (u64(0xFF) << 56)) | ((x >> 36) & (u64(0x0F) << 24)) | ((x >> 28) & (u64(0xF0) << 24));
  x = (x & u64(0x000000FF000000FF)) | row1 | row2 | row3;
}

template <class T>
inline T next_row(const T& x) {
  return ((x >> 8) & u64(0x00FFFFFF00FFFFFF)) | ((x << 24) & u64(0xFF000000FF000000));
}

template <class T>
inline T opposite_row(const T& x) {
  return ((x >> 16) & u64(0x0000FFFF0000FFFF)) | ((x << 16) & u64(0xFFFF0000FFFF0000));
}

template <class T>
inline void mix_columns(T q[8]) {
  T next[8], both[8];
  for (int k = 0; k < 8; k++) next[k] = next_row(q[k]), both[k] = q[k] ^ next[k];
  for (int k = 0; k < 8; k++) {
    T doubled = both[(k + 7) % 8];
    if (k == 1 || k == 3 || k == 4) doubled ^= both[7];
    q[k] = doubled ^ next[k] ^ opposite_row(both[k]);
  }
}

constexpr int SIDE_BY_SIDE = 8;  // keys that one pass through the S-box substitutes words of

// The S-box on each byte of some words.
inline void substitute(u32 words[SIDE_BY_SIDE]) {
  u64 q[8];
  for (int j = 0; j < 8; j++) q[j] = words[j];
  transpose(q);
  sbox(q);
  transpose(q);
  for (int j = 0; j < 8; j++) words[j] = u32(q[j]) ^ 0x63636363;
}

inline void spread_key(const u32* w, Schedule& out) {
  for (int r = 0; r < ROUND_KEYS; r++) {
    for (int copy = 0; copy < 4; copy++) memcpy(out.wide[r] + 16 * copy, w + 4 * r, BLOCK);
    for (int j = 0; j < 8; j++) memcpy(&out.planes[r][j], w + 4 * r + (j < 4 ? 0 : 2), 8);
    for (int j = 0; j < 8; j++) out.planes[r][j] ^= r ? 0x6363636363636363 : 0;
    transpose(out.planes[r]);
  }
}

// Expands up to eight keys of 16 bytes, one after the other.
inline void expand(const u8* raw, int count, Schedule* out) {
  u32 w[SIDE_BY_SIDE][4 * ROUND_KEYS] = {}, rcon = 1;
  for (int k = 0; k < count; k++) memcpy(w[k], raw + BLOCK * k, BLOCK);
  for (int i = 4; i < 4 * ROUND_KEYS; i += 4) {
    u32 turned[SIDE_BY_SIDE];
    for (int k = 0; k < SIDE_BY_SIDE; k++) turned[k] = w[k][i - 1] >> 8 | w[k][i - 1] << 24;
    substitute(turned);
    for (int k = 0; k < count; k++) {
      w[k][i] = w[k][i - 4] ^ turned[k] ^ rcon;
      for (int j = 1; j < 4; j++) w[k][i + j] = w[k][i + j - 4] ^ w[k][i + j - 1];
    }
    rcon = rcon << 1 ^ (rcon >> 7) * 0x11B;
  }
  for (int k = 0; k < count; k++) spread_key(w[k], out[k]);
}

}  // namespace bitslice
}  // namespace privinf
