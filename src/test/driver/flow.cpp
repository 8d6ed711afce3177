// One warp until it has to wait: the groups of lanes that share a program counter take turns, lowest first, and merge
// where they meet.
#include <algorithm>

#include "execute.h"
#include "run.h"

namespace standin {
namespace {

constexpr int kNowhere = 1 << 30;

// The destinations of lanes outside the mask keep their values.
void merged(Warp& w, const Instruction& in) {
  alignas(64) u8 saved[4][256];
  for (int i = 0; i < in.destinations; ++i) {
    std::memcpy(saved[i], w.registers + in.dst[i], in.width[i] == 0 ? 4 : in.width[i] * kLanes);
  }
  in.op(w, in);
  const u32 mask = w.mask;
  for (int i = 0; i < in.destinations; ++i) {
    if (in.width[i] == 0) {
      u32& p = w.predicate(in.dst[i]);
      p = (p & mask) | (*reinterpret_cast<u32*>(saved[i]) & ~mask);
    } else if (in.width[i] == 4) {
      u32* d = w.lanes<u32>(in.dst[i]);
      const u32* old = reinterpret_cast<const u32*>(saved[i]);
      for (int l = 0; l < kLanes; ++l) d[l] = mask & (1u << l) ? d[l] : old[l];
    } else {
      u64* d = w.lanes<u64>(in.dst[i]);
      const u64* old = reinterpret_cast<const u64*>(saved[i]);
      for (int l = 0; l < kLanes; ++l) d[l] = mask & (1u << l) ? d[l] : old[l];
    }
  }
}

u32 guard_bits(Warp& w, const Instruction& in) {
  const u32 p = w.predicate(in.guard);
  return in.guard_negated ? ~p : p;
}

template <bool Alu>
void guarded(Warp& w, const Instruction& in) {
  const u32 mask = w.mask, active = guard_bits(w, in) & mask;
  if (active == 0) return;
  w.mask = active;
  if (Alu && active != kAllLanes) merged(w, in);
  else in.op(w, in);
  w.mask = mask;
}

// Lanes at a Sync instruction: true when it ran; false when the group waits for lanes that are elsewhere.
bool synchronise(Warp& w, Group& group, const Instruction& in) {
  const u32 active = in.guarded ? group.mask & guard_bits(w, in) : group.mask;
  if (active == 0) return true;
  u32 wanted = w.started;
  if (!in.aligned) {
    const u32* members = w.lanes<u32>(in.src[in.sources - 1]);
    wanted = 0;
    each_lane(active, [&](int l) { wanted |= members[l]; });
    wanted &= w.live;
  }
  if (const u32 missing = wanted & w.live & ~active; missing != 0) {
    if (missing & group.mask) {
      fault(w, in, std::countr_zero(missing), kIllegalInstruction,
            format("divergent: lanes 0x%08x do not take part, their guard is false", missing & group.mask));
    }
    group.state = Group::AtSync;
    return false;
  }
  w.mask = active;
  in.op(w, in);
  w.mask = group.mask;
  return true;
}

// The ready group with the lowest program counter, merged with all that stand there; -1 when none is ready.
int choose(Warp& w) {
  int best = -1;
  for (size_t i = 0; i < w.groups.size(); ++i) {
    if (w.groups[i].state == Group::Ready && (best < 0 || w.groups[i].pc < w.groups[static_cast<size_t>(best)].pc)) {
      best = static_cast<int>(i);
    }
  }
  if (best < 0 || w.groups.size() == 1) return best;
  Group chosen = w.groups[static_cast<size_t>(best)];
  chosen.mask = 0;
  std::erase_if(w.groups, [&](const Group& g) {
    if (g.pc != chosen.pc || g.state == Group::AtBarrier) return false;
    chosen.mask |= g.mask;
    return true;
  });
  w.groups.push_back(chosen);
  return static_cast<int>(w.groups.size()) - 1;
}

// The next place ahead where other lanes of the warp stand.
int next_meeting(const Warp& w, const Group& self) {
  int limit = kNowhere;
  for (const Group& g : w.groups) {
    if (g.pc > self.pc && g.state != Group::AtBarrier) limit = std::min(limit, g.pc);
  }
  return limit;
}

void split_table(Warp& w, size_t index, const Instruction& in, u32 active) {
  const std::vector<int>& table = w.kernel->tables[static_cast<size_t>(in.target)];
  const u32* choice = w.lanes<u32>(in.src[0]);
  Group& group = w.groups[index];
  group.mask &= ~active;
  group.pc++;
  const bool empty = group.mask == 0;
  if (empty) w.groups.erase(w.groups.begin() + static_cast<std::ptrdiff_t>(index));
  for (size_t t = 0; t < table.size(); ++t) {
    u32 mask = 0;
    each_lane(active, [&](int l) { mask |= static_cast<u32>(choice[l] == t) << l; });
    active &= ~mask;
    if (mask != 0) w.groups.push_back({mask, table[t]});
  }
  if (active != 0) fault(w, in, std::countr_zero(active), kIllegalInstruction, "brx.idx beyond its table");
}

// Runs the group until it branches apart, meets others, waits or ends. Its place in w.groups may change.
void run_group(Warp& w, size_t index) {
  const Instruction* code = w.kernel->code.data();
  const u32 mask = w.groups[index].mask;
  const bool full = mask == kAllLanes;
  const int limit = next_meeting(w, w.groups[index]);
  const u64 lanes = static_cast<u64>(std::popcount(mask));
  int pc = w.groups[index].pc;
  w.mask = mask;
  while (pc < limit) {
    const int start = pc;
    if (full) {
      const int end = std::min(limit, pc + static_cast<int>(code[pc].straight));
      for (; pc < end; ++pc) code[pc].full(w, code[pc]);
    } else {
      const int end = std::min(limit, pc + static_cast<int>(code[pc].straight_part));
      for (; pc < end; ++pc) code[pc].part(w, code[pc]);
    }
    w.warp_instructions += static_cast<u64>(pc - start) + 1;
    w.thread_instructions += (static_cast<u64>(pc - start) + 1) * lanes;
    if (pc >= limit) break;
    const Instruction& in = code[pc];
    if (in.flow == Flow::None) continue;
    Group& group = w.groups[index];
    group.pc = pc;
    if (in.flow == Flow::Sync) {
      if (!synchronise(w, group, in)) return;
      ++pc;
      continue;
    }
    const u32 active = in.guarded ? mask & guard_bits(w, in) : mask;
    if (active == 0) {
      ++pc;
      continue;
    }
    switch (in.flow) {
      case Flow::Branch:
        if (w.warp_instructions > w.instruction_limit) {
          fault(w, in, std::countr_zero(active), kLaunchTimeout, "the warp has run too many instructions");
        }
        if (active == mask) {
          pc = in.target;
          if (w.groups.size() > 1) {
            group.pc = pc;
            return;
          }
          continue;
        }
        group.mask = mask & ~active;
        group.pc = pc + 1;
        w.groups.push_back({active, in.target});
        return;
      case Flow::Table:
        split_table(w, index, in, active);
        return;
      case Flow::Return:
        w.live &= ~active;
        group.mask = mask & ~active;
        group.pc = pc + 1;
        if (group.mask == 0) w.groups.erase(w.groups.begin() + static_cast<std::ptrdiff_t>(index));
        return;
      case Flow::Barrier:
        if (active != mask) {
          w.groups.push_back({mask & ~active, pc + 1});
          w.groups[index].mask = active;
        }
        wait_at_barrier(w, w.groups[index], in);
        return;
      case Flow::Arrive:
        arrive_at_barrier(w, in, active);
        ++pc;
        continue;
      default:
        fault(w, in, std::countr_zero(active), kLaunchFailed, "trap");
    }
  }
  w.groups[index].pc = pc;
}

}  // namespace

void wrap_handlers(Instruction& in) {
  if (in.op == nullptr) return;
  if (in.guarded) {
    in.full = in.part = in.alu ? guarded<true> : guarded<false>;
  } else {
    in.full = in.op;
    in.part = in.alu ? merged : in.op;
  }
}

void mark_straight_runs(Kernel& kernel) {
  u32 run = 0, part = 0;
  for (size_t i = kernel.code.size(); i-- > 0;) {
    Instruction& in = kernel.code[i];
    run = in.flow == Flow::None || (in.flow == Flow::Sync && !in.guarded) ? run + 1 : 0;
    part = in.flow == Flow::None ? part + 1 : 0;
    in.straight = run;
    in.straight_part = part;
  }
}

#if defined(__SSE2__)
void with_control_word(Warp& w, const Instruction& in) {
  const u32 before = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(in.detail);
  in.inner(w, in);
  __builtin_ia32_ldmxcsr(before);
}
#else
#error "rounding modes other than nearest are written for x86-64"
#endif

void run_warp(Warp& w) {
  for (int index = choose(w); index >= 0; index = choose(w)) run_group(w, static_cast<size_t>(index));
}

}  // namespace standin
