#include "access.h"

#include "device.h"
#include "execute.h"
#include "traffic.h"

namespace standin {
namespace {

[[noreturn]] void misaligned(Warp& w, const Instruction& in, int lane, u64 address, u32 bytes) {
  fault(w, in, lane, kMisalignedAddress,
        format("address 0x%llx is not aligned to %u bytes", static_cast<unsigned long long>(address), bytes));
}

// Lane by lane, after the quick test against the last known allocation failed.
void check_global(Warp& w, const Instruction& in, const Access& access, u32 bytes) {
  const DeviceMemory& memory = device().memory;
  const Allocation* common = nullptr;
  bool same = true;
  each_lane(w.mask, [&](int lane) {
    const u64 address = access.at[lane] + kDeviceBit;
    const Allocation* found = memory.find(address, bytes);
    if (found == nullptr) {
      fault(w, in, lane, kIllegalAddress, format("%u bytes of global memory at ", bytes) + memory.describe(address));
    }
    if (common != nullptr && found != common) same = false;
    common = found;
  });
  if (same && common != nullptr) {
    const u64 low = reinterpret_cast<u64>(host_of(common->address));
    w.ranges[in.range] = {low, low + common->bytes};
  }
}

// The lanes' addresses as given, with an active lane's value in the inactive ones.
void read_addresses(Warp& w, u32 reg, bool wide, u64 offset, Access& access) {
  if (wide) {
    const u64* base = w.lanes<u64>(reg);
    for (int l = 0; l < kLanes; ++l) access.at[l] = base[l] + offset;
  } else {
    const u32* base = w.lanes<u32>(reg);
    for (int l = 0; l < kLanes; ++l) access.at[l] = static_cast<u64>(base[l]) + offset;
  }
  if (!w.full()) {
    const u64 valid = access.at[std::countr_zero(w.mask)];
    for (int l = 0; l < kLanes; ++l) access.at[l] = w.mask & (1u << l) ? access.at[l] : valid;
  }
}

// Shared, local and parameter memory: offsets in [0, size).
void check_offsets(Warp& w, const Instruction& in, const Access& access, u64 size, u32 bytes, const char* space) {
  u64 outside = 0, odd = 0;
  const u64 last = size - bytes;
  for (int l = 0; l < kLanes; ++l) {
    outside |= access.at[l] | (last - access.at[l]);
    odd |= access.at[l];
  }
  // The top bit is set where an offset is negative or beyond the last one.
  if (static_cast<s64>(outside) < 0) {
    each_lane(w.mask, [&](int lane) {
      const u64 at = access.at[lane];
      if (at > size || bytes > size - at) {
        fault(w, in, lane, kIllegalAddress,
              format("%u bytes of %s memory at offset %lld, which has %llu bytes", bytes, space,
                     static_cast<long long>(at), static_cast<unsigned long long>(size)));
      }
    });
  }
  if (odd & (bytes - 1)) {
    each_lane(w.mask, [&](int lane) {
      if (access.at[lane] & (bytes - 1)) misaligned(w, in, lane, access.at[lane], bytes);
    });
  }
}

void make_dense(const Warp& w, Access& access, u32 bytes) {
  u64 differs = w.full() ? 0 : 1;
  for (int l = 0; l < kLanes; ++l) differs |= (access.at[l] - access.at[0]) ^ (static_cast<u64>(l) * bytes);
  access.dense = differs == 0;
}

}  // namespace

template <>
void resolve<Space::Global>(Warp& w, const Instruction& in, u32 reg, bool wide, s64 offset, u32 bytes,
                            Access& access) {
  read_addresses(w, reg, wide, static_cast<u64>(offset) - kDeviceBit, access);
  const Range range = w.ranges[in.range];
  const u64 last = range.high - bytes;
  u64 outside = 0, odd = 0;
  // Inside means that neither difference is negative; both wrap to the same sum, so one sign bit tells.
  for (int l = 0; l < kLanes; ++l) {
    outside |= (access.at[l] - range.low) | (last - access.at[l]);
    odd |= access.at[l];
  }
  if (static_cast<s64>(outside) < 0) check_global(w, in, access, bytes);
  if (odd & (bytes - 1)) {
    each_lane(w.mask, [&](int lane) {
      if (access.at[lane] & (bytes - 1)) misaligned(w, in, lane, access.at[lane] + kDeviceBit, bytes);
    });
  }
  if (w.traffic != nullptr) count_global(*w.traffic, access, w.mask, bytes);
  make_dense(w, access, bytes);
}

template <>
void resolve<Space::Shared>(Warp& w, const Instruction& in, u32 reg, bool wide, s64 offset, u32 bytes,
                            Access& access) {
  read_addresses(w, reg, wide, static_cast<u64>(offset), access);
  check_offsets(w, in, access, w.block->shared_bytes, bytes, "shared");
  if (w.traffic != nullptr) count_shared(*w.traffic, access, w.mask, bytes);
  const u64 base = reinterpret_cast<u64>(w.block->shared);
  for (int l = 0; l < kLanes; ++l) access.at[l] += base;
  make_dense(w, access, bytes);
}

template <>
void resolve<Space::Local>(Warp& w, const Instruction& in, u32 reg, bool wide, s64 offset, u32 bytes,
                           Access& access) {
  read_addresses(w, reg, wide, static_cast<u64>(offset), access);
  check_offsets(w, in, access, w.local_bytes, bytes, "local");
  const u64 base = reinterpret_cast<u64>(w.local);
  for (int l = 0; l < kLanes; ++l) access.at[l] += base + static_cast<u64>(l) * w.local_bytes;
}

template <>
void resolve<Space::Param>(Warp& w, const Instruction& in, u32 reg, bool wide, s64 offset, u32 bytes,
                           Access& access) {
  read_addresses(w, reg, wide, static_cast<u64>(offset), access);
  check_offsets(w, in, access, w.block->parameter_bytes, bytes, "parameter");
  const u64 base = reinterpret_cast<u64>(w.block->parameters);
  for (int l = 0; l < kLanes; ++l) access.at[l] += base;
}

template <>
void resolve<Space::Generic>(Warp& w, const Instruction& in, u32 reg, bool wide, s64 offset, u32 bytes,
                             Access& access) {
  const u64 first = wide ? w.lanes<u64>(reg)[std::countr_zero(w.mask)] : 0;
  if (first & kDeviceBit) return resolve<Space::Global>(w, in, reg, wide, offset, bytes, access);
  read_addresses(w, reg, wide, static_cast<u64>(offset), access);
  const int valid = std::countr_zero(w.mask);
  each_lane(w.mask, [&](int lane) {
    access.at[lane] = reinterpret_cast<u64>(translate(w, in, access.at[lane], bytes, lane));
  });
  for (int l = 0; l < kLanes; ++l) access.at[l] = w.mask & (1u << l) ? access.at[l] : access.at[valid];
}

u8* translate(Warp& w, const Instruction& in, u64 address, u32 bytes, int lane) {
  if (address & (bytes - 1)) misaligned(w, in, lane, address, bytes);
  if (address & kDeviceBit) {
    const DeviceMemory& memory = device().memory;
    if (memory.find(address, bytes) == nullptr) {
      fault(w, in, lane, kIllegalAddress, format("%u bytes of global memory at ", bytes) + memory.describe(address));
    }
    return host_of(address);
  }
  const u64 shared = address - kSharedWindow, local = address - kLocalWindow;
  if (shared < kWindowSize) {
    if (shared + bytes <= w.block->shared_bytes) return w.block->shared + shared;
    fault(w, in, lane, kIllegalAddress, format("%u bytes of shared memory at offset %llu, which has %u bytes", bytes,
                                               static_cast<unsigned long long>(shared), w.block->shared_bytes));
  }
  if (local < kWindowSize) {
    if (local + bytes <= w.local_bytes) return w.local + static_cast<u64>(lane) * w.local_bytes + local;
    fault(w, in, lane, kIllegalAddress, format("%u bytes of local memory at offset %llu, which has %u bytes", bytes,
                                               static_cast<unsigned long long>(local), w.local_bytes));
  }
  fault(w, in, lane, kIllegalAddress, format("%u bytes at ", bytes) + device().memory.describe(address));
}

}  // namespace standin
