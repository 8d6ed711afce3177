// Where the lanes of one memory instruction point, checked: bounds, alignment, address space.
#pragma once

#include "warp.h"

namespace standin {

// Parameter is .param by a name, Param by a register.
enum class Space : u8 { Global, Shared, Local, Param, Parameter, Generic };

// Host addresses of the lanes; those of inactive lanes repeat an active one's.
struct Access {
  alignas(64) u64 at[kLanes];
  bool dense = false;          // lane l is at at[0] + l * bytes
};

// Resolves source register `reg` + offset for an access of `bytes` bytes; faults when a lane may not go there.
template <Space S>
void resolve(Warp& w, const Instruction& in, u32 reg, bool wide, s64 offset, u32 bytes, Access& access);

// One lane's address in any space (generic addressing); faults like resolve().
u8* translate(Warp& w, const Instruction& in, u64 address, u32 bytes, int lane);

template <class T>
inline T read_at(u64 host) {
  T value;
  std::memcpy(&value, reinterpret_cast<const void*>(host), sizeof(T));
  return value;
}
template <class T>
inline void write_at(u64 host, T value) {
  std::memcpy(reinterpret_cast<void*>(host), &value, sizeof(T));
}

}  // namespace standin
