// Shared by the api_*.cpp files: the state of the process, and how each entry point reports.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>

#include "device.h"
#include "execute.h"
#include "kernel.h"
#include "stream.h"

#define STANDIN_API extern "C" __attribute__((visibility("default")))

namespace standin {

struct Context {
  bool primary = false;
};

// Of one kernel.
struct Launched {
  u64 launches = 0, blocks = 0;
};

struct Counters {
  u64 launches = 0, allocations = 0, frees = 0, to_device_bytes = 0, to_host_bytes = 0, synchronisations = 0,
      graph_launches = 0;
  std::map<std::string, Launched> kernels;
};

struct State {
  std::recursive_mutex mutex;
  bool initialised = false;
  Streams streams;
  Counters counters;
  std::set<Context*> contexts;
  std::unique_ptr<Context> primary;
  int primary_users = 0;
  std::unordered_map<void*, std::unique_ptr<Context>> owned_contexts;
  std::unordered_map<void*, std::shared_ptr<Stream>> streams_by_handle;
  std::unordered_map<void*, std::unique_ptr<Event>> events;
  std::unordered_map<void*, std::unique_ptr<Graph>> graphs;
  std::unordered_map<void*, std::shared_ptr<Graph>> executables;
  std::unordered_map<void*, u64> executable_memory;   // addresses
  std::unordered_map<void*, std::unique_ptr<Module>> modules;
  std::unordered_map<void*, Kernel*> kernels;
  std::map<const u8*, u64> pinned;             // host memory by address

  std::shared_ptr<Stream> stream(void* handle);
  Event& event(void* handle);
  Kernel& kernel(void* handle);
  bool is_pinned(const void* host, u64 bytes) const;
  u64 pinned_bytes() const;
  void start_device();                         // with the first context
  void end_device();                           // with the last one
};

State& state();
Context*& current_context();

// Which state an entry point needs.
enum class Needs { Nothing, Init, Context };

// Runs the body of an entry point: locks, checks, and turns a Fault into its code and standin_last_fault()'s text.
template <class F>
int call(const char* name, Needs needs, F body) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  try {
    if (needs != Needs::Nothing && !s.initialised) throw Fault(kNotInitialized, "cuInit has not been called");
    if (needs == Needs::Context) {
      if (current_context() == nullptr) throw Fault(kInvalidContext, "the thread has no current context");
      if (device().sticky != kSuccess) return device().sticky;
    }
    body(s);
    return kSuccess;
  } catch (const Fault& fault) {
    if (device().sticky == kSuccess) device().last_fault = std::string(name) + ": " + fault.what();
    return fault.code();
  } catch (const std::exception& failure) {
    device().last_fault = std::string(name) + ": " + failure.what();
    return kLaunchFailed;
  }
}

inline void need(bool condition, const char* what) {
  if (!condition) throw Fault(kInvalidValue, what);
}

// A launch whose parameters are copied: checked now, run later.
std::function<void()> kernel_work(State& s, void* function, const Grid& grid, void** arguments);

// Work that the card does: its fault sticks to the context.
std::function<void()> device_work(std::function<void()> work);

}  // namespace standin
