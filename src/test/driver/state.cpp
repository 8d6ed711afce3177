#include <algorithm>

#include "api.h"

namespace standin {

Device& device() {
  // Neither is ever destroyed: threads of the host may still call while the process ends.
  static Device* instance = new Device;
  return *instance;
}

State& state() {
  static State* instance = new State;
  return *instance;
}

Context*& current_context() {
  thread_local Context* current = nullptr;
  if (current != nullptr && !state().contexts.contains(current)) current = nullptr;
  return current;
}

std::shared_ptr<Stream> State::stream(void* handle) {
  // 0, CU_STREAM_LEGACY and CU_STREAM_PER_THREAD; the last would need streams of its own.
  if (handle == nullptr || handle == reinterpret_cast<void*>(1)) return streams.default_stream();
  const auto found = streams_by_handle.find(handle);
  if (found == streams_by_handle.end()) throw Fault(kInvalidHandle, "no such stream");
  return found->second;
}

Event& State::event(void* handle) {
  const auto found = events.find(handle);
  if (found == events.end()) throw Fault(kInvalidHandle, "no such event");
  return *found->second;
}

Kernel& State::kernel(void* handle) {
  const auto found = kernels.find(handle);
  if (found == kernels.end()) throw Fault(kInvalidHandle, "no such function");
  return *found->second;
}

bool State::is_pinned(const void* host, u64 bytes) const {
  const u8* start = static_cast<const u8*>(host);
  auto next = pinned.upper_bound(start);
  if (next == pinned.begin()) return false;
  --next;
  return start + bytes <= next->first + next->second;
}

u64 State::pinned_bytes() const {
  u64 bytes = 0;
  for (const auto& [host, size] : pinned) bytes += size;
  return bytes;
}

void State::start_device() {
  if (!contexts.empty()) return;
  device().memory.reset(card().vram);
  device().sticky = kSuccess;
  device().last_fault.clear();
  streams.reset();
}

void State::end_device() {
  if (!contexts.empty()) return;
  streams.reset();
  streams_by_handle.clear();
  events.clear();
  graphs.clear();
  executables.clear();
  executable_memory.clear();
  kernels.clear();
  modules.clear();
  device().memory.reset(card().vram);
  device().sticky = kSuccess;
}

std::function<void()> device_work(std::function<void()> work) {
  return [work = std::move(work)] {
    try {
      work();
    } catch (const Fault& fault) {
      device().sticky = fault.code();
      device().last_fault = fault.what();
      state().streams.drop();
      throw;
    }
  };
}

}  // namespace standin
