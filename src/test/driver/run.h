// Between flow.cpp (one warp) and execute.cpp (its block).
#pragma once

#include "warp.h"

namespace standin {

// Runs until every group has returned or waits.
void run_warp(Warp& w);

void wait_at_barrier(Warp& w, Group& group, const Instruction& in);
void arrive_at_barrier(Warp& w, const Instruction& in, u32 lanes);

constexpr u32 kBarriers = 16;

}  // namespace standin
