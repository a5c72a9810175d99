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

static const Level level = {dpf_gen,    dpf_points,    dpf_table,    dpf_whole,     onehot_gen,
                            onehot_sum, onehot_window, onehot_point, separable_gen, separable_eval,
                            powers_gen, powers_eval,   product<u64>, product<u32>,  stream,
                            excess};
