// The card's memory: one reserved address range, a size that allocation cannot exceed, and a table of what is live.
#pragma once

#include <map>
#include <string>

#include "types.h"

namespace standin {

struct Allocation {
  u64 address = 0;             // as the device sees it
  u64 bytes = 0;
};

class DeviceMemory {
 public:
  DeviceMemory() = default;
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  // Gives back everything and starts again with this many bytes.
  void reset(u64 capacity);
  // 512-byte aligned, with an unmapped gap behind it; Fault(kOutOfMemory) when it does not fit.
  u64 allocate(u64 bytes, bool poison);
  void free(u64 address);
  // The live allocation that holds [address, address + bytes), or null.
  const Allocation* find(u64 address, u64 bytes) const;
  // "48 bytes behind the end of allocation 0x... (1024 bytes)", for messages.
  std::string describe(u64 address) const;

  u64 capacity() const { return capacity_; }
  u64 used() const { return used_; }
  u64 peak() const { return peak_; }
  u64 count() const { return live_.size(); }
  void forget_peak() { peak_ = used_; }

 private:
  void release();

  u8* base_ = nullptr;
  u64 reserved_ = 0, capacity_ = 0, used_ = 0, peak_ = 0;
  std::map<u64, Allocation> live_;   // by address
};

}  // namespace standin
