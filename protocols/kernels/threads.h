// One call on several threads: each takes a span of the elements, and all write to places of their own.
#pragma once

#include <atomic>
#include <exception>
#include <thread>
#include <vector>

#include "native.h"

namespace privinf {

// Elements of a tree of some levels, or work that takes as long: half a millisecond, which some twenty threads take to
// start
constexpr double WORTH = 4096;

inline std::atomic<size_t> most_threads{1};

template <class Call>
int guarded(const Call& call) {
  try {
    call();
    return 0;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}

inline void require(int failed) {
  if (failed) throw std::bad_alloc();
}

// Calls with spans of whole groups that together cover n elements, each of which takes as long as `weight` trees.
template <class Call>
int spread_out(size_t n, size_t group, double weight, const Call& call) {
  const size_t groups = group ? n / group : 0, most = most_threads;
  size_t parts = groups < most ? groups : most;
  while (parts > 1 && double(n) * weight < WORTH * double(parts)) parts--;
  if (parts <= 1) return guarded([&] { call(Span{n, 0, n}); });
  std::atomic<int> failed{0};
  const auto part = [&](size_t p) {
    const Span span = {n, groups * p / parts * group, groups * (p + 1) / parts * group};
    if (guarded([&] { call(span); })) failed = 1;
  };
  std::vector<std::thread> others;
  size_t begun = 1;
  try {
    others.reserve(parts);
    for (; begun < parts; begun++) others.emplace_back(part, begun);
  } catch (const std::exception&) {  // the system gives no more: this thread takes what is left
  }
  part(0);
  for (size_t p = begun; p < parts; p++) part(p);
  for (std::thread& other : others) other.join();
  return failed;
}

}  // namespace privinf
