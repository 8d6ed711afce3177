// The stand-in's own functions: the card, counters, the last fault.
#include "api.h"
#include "execute.h"
#include "traffic.h"

using namespace standin;

namespace {

long long of_traffic(const std::string& what, const Traffic& t) {
  const std::pair<const char*, u64> known[] = {
      {"instructions", t.instructions}, {"mma", t.mma}, {"global", t.global}, {"sectors", t.sectors},
      {"least_sectors", t.least_sectors}, {"shared", t.shared}, {"wavefronts", t.wavefronts},
      {"least_wavefronts", t.least_wavefronts}};
  for (const auto& [name, value] : known) {
    if (what == name) return static_cast<long long>(value);
  }
  return -1;
}

}  // namespace

// See Card and configure(); takes effect at once, the memory's size with the next first context.
STANDIN_API int standin_configure(const char* settings) {
  return call("standin_configure", Needs::Nothing, [&](State&) { configure(card(), settings); });
}

// Back to the defaults, without contexts: for tests that share a process.
STANDIN_API void standin_reset() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  s.contexts.clear();
  s.owned_contexts.clear();
  s.primary.reset();
  s.primary_users = 0;
  s.end_device();
  card() = Card{};
  s.counters = Counters{};
  forget_instructions();
  forget_traffic();
  device().last_fault.clear();
}

// A counter by name, -1 for an unknown one: launches, kernel:NAME, blocks:NAME, allocations, frees, live_allocations,
// bytes_in_use, peak_bytes, pinned_bytes, to_device_bytes, to_host_bytes, synchronisations, graph_launches,
// warp_instructions, thread_instructions; with the setting traffic=1 of each kernel instructions:NAME, mma:NAME,
// global:NAME, sectors:NAME, least_sectors:NAME, shared:NAME, wavefronts:NAME, least_wavefronts:NAME (see Traffic).
STANDIN_API long long standin_counter(const char* text) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  const std::string name(text);
  const Counters& c = s.counters;
  const auto number = [](u64 value) { return static_cast<long long>(value); };
  const bool blocks = name.starts_with("blocks:");
  if (blocks || name.starts_with("kernel:")) {
    const auto found = c.kernels.find(name.substr(7));
    return found == c.kernels.end() ? 0 : number(blocks ? found->second.blocks : found->second.launches);
  }
  if (const size_t colon = name.find(':'); colon != std::string::npos) {
    return of_traffic(name.substr(0, colon), traffic_of(name.substr(colon + 1)));
  }
  if (name == "launches") return number(c.launches);
  if (name == "allocations") return number(c.allocations);
  if (name == "frees") return number(c.frees);
  if (name == "live_allocations") return number(device().memory.count());
  if (name == "bytes_in_use") return number(device().memory.used());
  if (name == "peak_bytes") return number(device().memory.peak());
  if (name == "to_device_bytes") return number(c.to_device_bytes);
  if (name == "to_host_bytes") return number(c.to_host_bytes);
  if (name == "pinned_bytes") return number(s.pinned_bytes());
  if (name == "synchronisations") return number(c.synchronisations);
  if (name == "graph_launches") return number(c.graph_launches);
  if (name == "warp_instructions") return number(warp_instructions());
  if (name == "thread_instructions") return number(thread_instructions());
  return -1;
}

// Sets the counters to zero and the peak to what is in use.
STANDIN_API void standin_forget() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  s.counters = Counters{};
  device().memory.forget_peak();
  forget_instructions();
  forget_traffic();
}

// The text of the last failure: for a kernel its name, PTX line, block and thread, address and allocation.
STANDIN_API const char* standin_last_fault() { return device().last_fault.c_str(); }
