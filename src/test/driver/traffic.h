// What a kernel's accesses to memory would cost a card: sectors and wavefronts, counted where `traffic=1` asks for it.
#pragma once

#include <string>

#include "access.h"

namespace standin {

// Of all warps of a kernel's launches. A request is one access of one warp; cp.async is two, one on each side.
struct Traffic {
  u64 instructions = 0, mma = 0;
  u64 global = 0;              // requests
  u64 sectors = 0;             // of 32 bytes that they touch
  u64 least_sectors = 0;       // that the bytes they touch would fill
  u64 shared = 0;              // requests
  u64 wavefronts = 0;          // passes through the 32 banks
  u64 least_wavefronts = 0;    // passes without bank conflicts

  void add(const Traffic& other);
};

// One request of the lanes in `mask`, each of `bytes` bytes.
void count_global(Traffic& traffic, const Access& access, u32 mask, u32 bytes);
void count_shared(Traffic& traffic, const Access& access, u32 mask, u32 bytes);

// Totals by kernel since the last forget_traffic().
void add_traffic(const std::string& kernel, const Traffic& traffic);
Traffic traffic_of(const std::string& kernel);
void forget_traffic();

}  // namespace standin
