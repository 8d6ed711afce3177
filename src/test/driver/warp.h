// One warp of 32 lanes as a structure of arrays, and the predecoded instructions that run on it.
#pragma once

#include <array>
#include <deque>
#include <vector>

#include "types.h"

namespace standin {

struct Warp;
struct Instruction;
struct Kernel;
struct Traffic;
using Handler = void (*)(Warp&, const Instruction&);

// What an instruction does to the flow of its warp; everything but None and Sync ends a straight run.
enum class Flow : u8 {
  None,
  Sync,        // needs the lanes of its member mask together
  Branch,
  Table,       // brx.idx
  Return,
  Barrier,     // bar.sync, bar.red
  Arrive,      // bar.arrive
  Trap,
};

// Operands are byte offsets from Warp::registers once registers are placed (virtual numbers before that):
// 32 words of 4 or 8 bytes for a register, one word of 32 bits for a predicate.
struct Instruction {
  Handler full = nullptr;      // all 32 lanes are active
  Handler part = nullptr;      // some are not
  Handler op = nullptr;        // the operation itself, wrapped by full and part
  Handler inner = nullptr;     // what with_control_word() wraps
  u32 dst[4] = {};
  u32 src[10] = {};
  u32 guard = 0;
  u32 straight = 0;            // how many instructions from here run one after another with all lanes active
  u32 straight_part = 0;       // and with some
  s64 offset = 0;              // added to the address
  s64 offset2 = 0;             // cp.async: added to the source's address
  int target = -1;             // Branch: instruction; Table: index of Kernel::tables
  int line = 0;
  u32 detail = 0;              // the operation's own constant (mask, byte count, mode)
  u32 range = 0;               // memory: its place in Warp::ranges
  u8 destinations = 0, sources = 0;
  u8 width[4] = {};            // of each destination: 0 predicate, 4 or 8 bytes
  bool guarded = false, guard_negated = false;
  bool alu = true;             // writes only its destinations, reads no memory: inactive lanes may run as well
  bool aligned = false;        // Sync: needs all 32 lanes; else the lanes of the last source
  Flow flow = Flow::None;
};

struct Range {
  u64 low = 1, high = 0;       // addresses known to lie in one allocation
};

// Copies that cp.async has started and no wait has finished: the data lands at the wait, not before.
struct AsyncCopy {
  u32 mask;
  u32 bytes;
  u32 destination[kLanes];
  u32 filled[kLanes];          // bytes that come from the source; the rest is zero
  const u8* source[kLanes];
};
struct AsyncGroup {
  u32 mask;                    // lanes that committed it and have not waited for it
  u32 finishing = 0;           // lanes that a wait finishes now
  std::vector<AsyncCopy> copies;
};

// Lanes that share a program counter.
struct Group {
  enum State : u8 { Ready, AtBarrier, AtSync };
  u32 mask;
  int pc;
  State state = Ready;
  u32 barrier = 0;             // AtBarrier: which
  u32 expected = 0;            // AtBarrier: threads it waits for, 0 for all of the block
};

struct Block {
  u8* shared = nullptr;
  u32 shared_bytes = 0;
  const u8* parameters = nullptr;
  u32 parameter_bytes = 0;
  u32 x = 0, y = 0, z = 0;
};

struct Warp {
  u8* registers = nullptr;
  u32 mask = 0;                // active lanes
  u32 live = 0;                // lanes that have not returned
  u32 started = 0;             // lanes that exist
  Block* block = nullptr;
  u8* local = nullptr;         // local_bytes for each lane
  u32 local_bytes = 0;
  Range* ranges = nullptr;     // per memory instruction
  const Kernel* kernel = nullptr;
  Traffic* traffic = nullptr;       // where accesses are counted; null: nowhere
  int index = 0;
  int pc = 0;
  std::vector<Group> groups;
  std::vector<AsyncCopy> copies;    // not committed yet
  std::deque<AsyncGroup> async;     // committed, not waited for
  u64 warp_instructions = 0, thread_instructions = 0, instruction_limit = 0;
  u32* arrivals = nullptr;          // of the block's barriers, by bar.arrive

  template <class T>
  T* lanes(u32 offset) {
    return reinterpret_cast<T*>(registers + offset);
  }
  u32& predicate(u32 offset) { return *reinterpret_cast<u32*>(registers + offset); }
  bool full() const { return mask == kAllLanes; }
};

// Device addresses are host addresses with this bit set: a host that follows one faults, as with a real card.
constexpr u64 kDeviceBit = 1ull << 47;
// Generic addresses of shared and local memory; the offset is below them.
constexpr u64 kSharedWindow = 1ull << 45;
constexpr u64 kLocalWindow = 1ull << 44;
constexpr u64 kWindowSize = 1ull << 32;

inline u8* host_of(u64 device) { return reinterpret_cast<u8*>(device & ~kDeviceBit); }
inline u64 device_of(const u8* host) { return reinterpret_cast<u64>(host) | kDeviceBit; }

// Runs f(lane) for each active lane.
template <class F>
inline void each_lane(u32 mask, F f) {
  for (u32 m = mask; m != 0; m &= m - 1) f(std::countr_zero(m));
}

// ---- values in slots --------------------------------------------------------------------------------------------

// A register holds 8- and 16-bit values zero-extended in 32 bits.
template <class T>
using Slot = std::conditional_t<sizeof(T) == 8, u64, u32>;

template <class T>
inline T from_slot(Slot<T> value) {
  if constexpr (sizeof(T) == sizeof(Slot<T>)) {
    return std::bit_cast<T>(value);
  } else {
    return static_cast<T>(value);
  }
}
template <class T>
inline Slot<T> to_slot(T value) {
  if constexpr (sizeof(T) == sizeof(Slot<T>)) {
    return std::bit_cast<Slot<T>>(value);
  } else {
    return static_cast<std::make_unsigned_t<T>>(value);
  }
}

// The lanes whose word is not zero, as bits. Words are 0 or ~0.
u32 bits_of(const u32* words);

// ---- operations on all lanes ------------------------------------------------------------------------------------

template <class T, auto F>
void unary(Warp& w, const Instruction& in) {
  auto* d = w.lanes<Slot<T>>(in.dst[0]);
  const auto* a = w.lanes<Slot<T>>(in.src[0]);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) d[l] = to_slot<T>(static_cast<T>(F(from_slot<T>(a[l]))));
}

template <class T, auto F>
void binary(Warp& w, const Instruction& in) {
  auto* d = w.lanes<Slot<T>>(in.dst[0]);
  const auto* a = w.lanes<Slot<T>>(in.src[0]);
  const auto* b = w.lanes<Slot<T>>(in.src[1]);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) {
    d[l] = to_slot<T>(static_cast<T>(F(from_slot<T>(a[l]), from_slot<T>(b[l]))));
  }
}

template <class T, auto F>
void ternary(Warp& w, const Instruction& in) {
  auto* d = w.lanes<Slot<T>>(in.dst[0]);
  const auto* a = w.lanes<Slot<T>>(in.src[0]);
  const auto* b = w.lanes<Slot<T>>(in.src[1]);
  const auto* c = w.lanes<Slot<T>>(in.src[2]);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) {
    d[l] = to_slot<T>(static_cast<T>(F(from_slot<T>(a[l]), from_slot<T>(b[l]), from_slot<T>(c[l]))));
  }
}

// D and A differ: conversions, wide products, counts.
template <class D, class A, auto F>
void convert(Warp& w, const Instruction& in) {
  auto* d = w.lanes<Slot<D>>(in.dst[0]);
  const auto* a = w.lanes<Slot<A>>(in.src[0]);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) d[l] = to_slot<D>(static_cast<D>(F(from_slot<A>(a[l]))));
}

}  // namespace standin
