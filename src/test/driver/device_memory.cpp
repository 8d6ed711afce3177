#include "device_memory.h"

#include <sys/mman.h>

#include <algorithm>

#include "fault.h"
#include "warp.h"

namespace standin {
namespace {

constexpr u64 kAlign = 512;
constexpr u64 kGap = 512;
constexpr u64 kPage = 4096;

u64 align_up(u64 value, u64 to) { return (value + to - 1) / to * to; }

}  // namespace

DeviceMemory::~DeviceMemory() { release(); }

void DeviceMemory::release() {
  if (base_ != nullptr) munmap(base_, reserved_);
  base_ = nullptr;
  live_.clear();
  used_ = peak_ = 0;
}

void DeviceMemory::reset(u64 capacity) {
  release();
  capacity_ = capacity;
  // Addresses are cheap: twice the size leaves room for gaps and for holes that nothing fits.
  reserved_ = align_up(2 * capacity + (64ull << 20), kPage);
  void* base = mmap(nullptr, reserved_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) throw Fault(kOutOfMemory, "the host cannot reserve the card's address range");
  base_ = static_cast<u8*>(base);
}

u64 DeviceMemory::allocate(u64 bytes, bool poison) {
  if (bytes == 0) throw Fault(kInvalidValue, "an allocation of 0 bytes");
  if (bytes > capacity_ - used_) {
    throw Fault(kOutOfMemory, format("%llu bytes do not fit: %llu of %llu bytes are in use",
                                     static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(used_),
                                     static_cast<unsigned long long>(capacity_)));
  }
  const u64 start = device_of(base_);
  u64 at = start + kAlign;
  for (const auto& [address, allocation] : live_) {
    if (at + bytes + kGap <= address) break;
    at = align_up(address + allocation.bytes + kGap, kAlign);
  }
  if (at + bytes + kGap > start + reserved_) throw Fault(kOutOfMemory, "no hole in the address range is large enough");
  live_.emplace(at, Allocation{at, bytes});
  used_ += bytes;
  peak_ = std::max(peak_, used_);
  if (poison) std::memset(host_of(at), 0xff, bytes);
  return at;
}

void DeviceMemory::free(u64 address) {
  const auto found = live_.find(address);
  if (found == live_.end()) throw Fault(kInvalidValue, "cuMemFree of " + describe(address));
  const u64 first = align_up(reinterpret_cast<u64>(host_of(address)), kPage);
  const u64 last = (reinterpret_cast<u64>(host_of(address)) + found->second.bytes) / kPage * kPage;
  if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
  used_ -= found->second.bytes;
  live_.erase(found);
}

const Allocation* DeviceMemory::find(u64 address, u64 bytes) const {
  auto next = live_.upper_bound(address);
  if (next == live_.begin()) return nullptr;
  const Allocation& a = std::prev(next)->second;
  const u64 inside = address - a.address;
  return inside <= a.bytes && bytes <= a.bytes - inside ? &a : nullptr;
}

std::string DeviceMemory::describe(u64 address) const {
  const auto show = [](const Allocation& a) {
    return format("allocation 0x%llx of %llu bytes", static_cast<unsigned long long>(a.address),
                  static_cast<unsigned long long>(a.bytes));
  };
  const std::string name = format("0x%llx, ", static_cast<unsigned long long>(address));
  const auto next = live_.upper_bound(address);
  if (next != live_.begin()) {
    const Allocation& before = std::prev(next)->second;
    const u64 inside = address - before.address;
    if (inside < before.bytes) {
      return name + format("%llu bytes into ", static_cast<unsigned long long>(inside)) + show(before);
    }
    if (inside - before.bytes < (1ull << 32)) {
      return name + format("%llu bytes behind the end of ", static_cast<unsigned long long>(inside - before.bytes))
             + show(before);
    }
  }
  if (next != live_.end() && next->first - address < (1ull << 32)) {
    return name + format("%llu bytes before ", static_cast<unsigned long long>(next->first - address))
           + show(next->second);
  }
  return name + "which is near no allocation";
}

}  // namespace standin
