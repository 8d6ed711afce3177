// Running kernels: warps of a block interleave at barriers, blocks spread over a pool of host threads.
#pragma once

#include "fault.h"
#include "kernel.h"

namespace standin {

struct Grid {
  u32 grid[3];
  u32 block[3];
  u32 dynamic_shared;
};

// Runs the whole grid; throws the first Fault, with a message that names kernel, line, block and thread.
void execute(const Kernel& kernel, const Grid& grid, const std::vector<u8>& parameters);

// Ends the thread with a message; lane is the one to blame.
[[noreturn]] void fault(const Warp& w, const Instruction& in, int lane, Result code, const std::string& what);

// Handlers around an operation.
void with_control_word(Warp& w, const Instruction& in);
void wrap_handlers(Instruction& in);
void mark_straight_runs(Kernel& kernel);

// Totals since the last call of forget_instructions().
u64 warp_instructions();
u64 thread_instructions();
void forget_instructions();

// The lanes of cp.async in flight for this warp; keep: how many of the newest groups may stay in flight.
void finish_copies(Warp& w, u32 keep);

}  // namespace standin
