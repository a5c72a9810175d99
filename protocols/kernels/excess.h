// Included inside each level's namespace: random combinations of what openings cut off; excess.py says the same.

// The lowest (plane 0) or the next bit of each of 64 bytes.
FN u64 plane_of(const u8 k[64], int plane) {
  u64 out = 0;
  for (int i = 0; i < 8; i++)
    out |= ((load64(k + 8 * i) >> plane & 0x0101010101010101) * 0x0102040810204080 >> 56) << (8 * i);
  return out;
}

// A wire's elements, modulo 4.
FN void excess_of(const Excess& f, const u8* high, const u8* mask, const u8* index, const u8* dealt, size_t n, u8* k) {
  const u64 half = u64(1) << (f.bits - 1), step = u64(1) << (f.bits - f.steps), last = (u64(1) << f.steps) - 1;
  const u64 own = f.party ? 1 : 0;
  for (size_t e = 0; e < n; e++) {
    const u64 opened = load64(index + 8 * e) & domain_mask(f.bits);
    const u64 place = (((opened + half) & domain_mask(f.bits)) + step / 2) >> (f.bits - f.steps);
    const u64 lane = load64(dealt + 8 * e) >> (2 * (place & last));
    const u64 known = (opened >> (f.bits - 1)) - u64(place == 0);
    k[e] = u8(((load64(high + 8 * e) >> f.shift << f.up) - (load64(mask + 8 * e) >> f.bits) - lane + own * known) & 3);
  }
}

// Sums modulo 4 of the elements times coins: a block of the stream has 64 coins in two planes, and the combinations
// begin one coin after another.
BODY void excess(const Excess& f, const u8* coins, const u8* high, const u8* mask, const u8* index, const u8* dealt,
                 size_t n, u64* out) {
  u64 low[COMBINATIONS] = {}, top[COMBINATIONS] = {};
  for (size_t at = 0; at < n; at += 64, coins += BLOCK) {
    u8 k[64] = {};
    if (n - at >= 64) {
      excess_of(f, high + 8 * at, mask + 8 * at, index + 8 * at, dealt + 8 * at, 64, k);
    } else {
      excess_of(f, high + 8 * at, mask + 8 * at, index + 8 * at, dealt + 8 * at, n - at, k);
    }
    const u64 ones = plane_of(k, 0), twos = plane_of(k, 1);
    const u64 a = load64(coins), b = load64(coins + 8), c = load64(coins + 16), d = load64(coins + 24);
    for (int i = 0; i < COMBINATIONS; i++) {
      const u64 one = a >> i | c << 1 << (63 - i), two = b >> i | d << 1 << (63 - i);
      const u64 x = one & ones, y = (one & twos) ^ (two & ones);
      top[i] ^= y ^ (low[i] & x);
      low[i] ^= x;
    }
  }
  for (int i = 0; i < COMBINATIONS; i++)
    out[i] = u64(__builtin_popcountll(low[i]) + 2 * __builtin_popcountll(top[i])) & 3;
}
