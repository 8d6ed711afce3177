#include "traffic.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>

namespace standin {
namespace {

constexpr u32 kSector = 32, kBanks = 32, kBankBytes = 4, kPassBytes = 128;

std::mutex mutex;
std::unordered_map<std::string, Traffic> by_kernel;

u64 divided_up(u64 a, u64 b) { return (a + b - 1) / b; }

// Sorts the first `count` and leaves each value once; how many there are.
u32 distinct(u64* values, u32 count) {
  std::sort(values, values + count);
  return static_cast<u32>(std::unique(values, values + count) - values);
}

// The words that some lanes of one pass want: the bank that most of them lie in is served one word at a time.
void count_pass(Traffic& traffic, u64* words, u32 count) {
  const u32 wanted = distinct(words, count);
  u32 in_bank[kBanks] = {}, most = 0;
  for (u32 i = 0; i < wanted; ++i) most = std::max(most, ++in_bank[words[i] % kBanks]);
  traffic.wavefronts += most;
  traffic.least_wavefronts += divided_up(wanted, kBanks);
}

}  // namespace

void Traffic::add(const Traffic& other) {
  instructions += other.instructions;
  mma += other.mma;
  global += other.global;
  sectors += other.sectors;
  least_sectors += other.least_sectors;
  shared += other.shared;
  wavefronts += other.wavefronts;
  least_wavefronts += other.least_wavefronts;
}

// Accesses are aligned, so that none crosses a sector, and a lane's bytes are another's or none of them.
void count_global(Traffic& traffic, const Access& access, u32 mask, u32 bytes) {
  u64 at[kLanes];
  u32 count = 0;
  each_lane(mask, [&](int lane) { at[count++] = access.at[lane]; });
  count = distinct(at, count);
  ++traffic.global;
  traffic.least_sectors += divided_up(static_cast<u64>(count) * bytes, kSector);
  for (u32 i = 0; i < count; ++i) at[i] /= kSector;
  traffic.sectors += distinct(at, count);
}

// 32 lanes of 4 bytes pass together, 16 of 8 and 8 of 16.
void count_shared(Traffic& traffic, const Access& access, u32 mask, u32 bytes) {
  const u32 together = std::min<u32>(kLanes, kPassBytes / bytes), each = std::max(1u, bytes / kBankBytes);
  ++traffic.shared;
  for (u32 first = 0; first < kLanes; first += together) {
    u64 words[kLanes];
    u32 count = 0;
    for (u32 lane = first; lane < first + together; ++lane) {
      if (!(mask >> lane & 1)) continue;
      for (u32 i = 0; i < each; ++i) words[count++] = access.at[lane] / kBankBytes + i;
    }
    if (count > 0) count_pass(traffic, words, count);
  }
}

void add_traffic(const std::string& kernel, const Traffic& traffic) {
  const std::lock_guard lock(mutex);
  by_kernel[kernel].add(traffic);
}

Traffic traffic_of(const std::string& kernel) {
  const std::lock_guard lock(mutex);
  const auto found = by_kernel.find(kernel);
  return found == by_kernel.end() ? Traffic{} : found->second;
}

void forget_traffic() {
  const std::lock_guard lock(mutex);
  by_kernel.clear();
}

}  // namespace standin
