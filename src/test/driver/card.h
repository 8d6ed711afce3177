// The card that the driver pretends to have. Set it before cuInit, or between contexts.
#pragma once

#include <string>

#include "types.h"

namespace standin {

struct Card {
  int major = 8, minor = 0;
  u64 vram = 4ull << 30;
  int driver = 12000;                 // as cuDriverGetVersion says it: 1000 major + 10 minor
  int multiprocessors = 4;
  std::string name = "Hone stand-in";
  int threads = 0;                    // of the host that run blocks; 0: one for each of its cores
  bool poison = false;                // fresh allocations are filled with 0xff
  bool traffic = false;               // kernels' accesses are counted
  bool eager = false;                 // copies run as early as they may, not as late
  u64 graph_node = 256;               // bytes of its memory for each node of an executable graph
  u64 pinned = ~0ull;                 // bytes of host memory that it page-locks
  u64 instruction_limit = 1ull << 36; // of one block's warp, then CUDA_ERROR_LAUNCH_TIMEOUT

  int compute_capability() const { return 10 * major + minor; }
  int max_shared() const;             // of one block, by opt-in
  int ptx_version() const;            // the newest that the claimed driver takes: 80 for 8.0
  int host_threads() const;
};

Card& card();

// "cc=8.6 vram=2147483648 driver=12000 sms=4 threads=2 poison=1 eager=1 traffic=1 pinned=65536 graph_node=256 name=A card": name takes the rest.
// Throws Fault(kInvalidValue) that names the wrong word.
void configure(Card& card, const std::string& settings);

}  // namespace standin
