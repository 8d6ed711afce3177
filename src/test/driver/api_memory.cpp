// Driver API: allocation, copies, fills.
#include <algorithm>
#include <cstdlib>

#include "api.h"
#include "warp.h"

using namespace standin;

namespace {

u8* checked(u64 address, u64 bytes, const char* what) {
  if (device().memory.find(address, bytes) == nullptr) {
    throw Fault(kInvalidValue, format("%s of %llu bytes at ", what, static_cast<unsigned long long>(bytes))
                                   + device().memory.describe(address));
  }
  return host_of(address);
}

// Pinned memory is read when the copy runs; of pageable memory the driver takes a copy at once.
void upload(State& s, void* stream, u64 to, const void* from, u64 bytes) {
  if (bytes == 0) return;
  need(from != nullptr, "the source is null");
  u8* target = checked(to, bytes, "cuMemcpyHtoD");
  s.counters.to_device_bytes += bytes;
  if (s.is_pinned(from, bytes)) {
    s.streams.submit(s.stream(stream), Work::Copy, [=] { std::memcpy(target, from, bytes); });
    return;
  }
  const u8* bytes_of_source = static_cast<const u8*>(from);
  auto staged = std::make_shared<std::vector<u8>>(bytes_of_source, bytes_of_source + bytes);
  s.streams.submit(s.stream(stream), Work::Copy, [=] { std::memcpy(target, staged->data(), staged->size()); });
}

// A copy to pageable memory returns when it is complete.
void download(State& s, void* stream, void* to, u64 from, u64 bytes) {
  if (bytes == 0) return;
  need(to != nullptr, "the target is null");
  const u8* source = checked(from, bytes, "cuMemcpyDtoH");
  s.counters.to_host_bytes += bytes;
  const auto& queue = s.stream(stream);
  if (!s.is_pinned(to, bytes) && queue->capture != nullptr) {
    throw Fault(kStreamCaptureUnsupported, "a copy to pageable memory cannot be captured");
  }
  s.streams.submit(queue, Work::Copy, [=] { std::memcpy(to, source, bytes); });
  if (!s.is_pinned(to, bytes)) s.streams.finish(queue);
}

void copy(State& s, void* stream, u64 to, u64 from, u64 bytes) {
  if (bytes == 0) return;
  u8* target = checked(to, bytes, "cuMemcpyDtoD, target");
  const u8* source = checked(from, bytes, "cuMemcpyDtoD, source");
  s.streams.submit(s.stream(stream), Work::Copy, [=] { std::memmove(target, source, bytes); });
}

template <class T>
void fill(State& s, void* stream, u64 to, T value, u64 count) {
  if (count == 0) return;
  u8* target = checked(to, count * sizeof(T), "cuMemset");
  need(to % sizeof(T) == 0, "cuMemset of a misaligned address");
  s.streams.submit(s.stream(stream), Work::Copy, [=] { std::fill_n(reinterpret_cast<T*>(target), count, value); });
}

void pin(State& s, const void* host, u64 bytes) { s.pinned.emplace(static_cast<const u8*>(host), bytes); }

}  // namespace

STANDIN_API int cuMemGetInfo_v2(size_t* free, size_t* total) {
  return call("cuMemGetInfo", Needs::Context, [&](State&) {
    *free = device().memory.capacity() - device().memory.used();
    *total = device().memory.capacity();
  });
}

STANDIN_API int cuMemAlloc_v2(u64* address, size_t bytes) {
  return call("cuMemAlloc", Needs::Context, [&](State& s) {
    *address = device().memory.allocate(bytes, card().poison);
    ++s.counters.allocations;
  });
}

STANDIN_API int cuMemFree_v2(u64 address) {
  return call("cuMemFree", Needs::Context, [&](State& s) {
    if (address == 0) return;
    s.streams.finish_all();
    device().memory.free(address);
    ++s.counters.frees;
  });
}

STANDIN_API int cuMemHostAlloc(void** host, size_t bytes, unsigned) {
  return call("cuMemHostAlloc", Needs::Context, [&](State& s) {
    need(bytes > 0, "0 bytes");
    if (s.pinned_bytes() + bytes > card().pinned) throw Fault(kOutOfMemory, "the host pins no more memory");
    *host = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (*host == nullptr) throw Fault(kOutOfMemory, "the host has no memory");
    pin(s, *host, bytes);
  });
}
STANDIN_API int cuMemAllocHost_v2(void** host, size_t bytes) { return cuMemHostAlloc(host, bytes, 0); }

STANDIN_API int cuMemFreeHost(void* host) {
  return call("cuMemFreeHost", Needs::Context, [&](State& s) {
    const auto found = s.pinned.find(static_cast<u8*>(host));
    if (found == s.pinned.end()) throw Fault(kInvalidValue, "no such host allocation");
    s.streams.finish_all();
    s.pinned.erase(found);
    std::free(host);
  });
}

STANDIN_API int cuMemHostRegister_v2(void* host, size_t bytes, unsigned) {
  return call("cuMemHostRegister", Needs::Context, [&](State& s) {
    need(host != nullptr && bytes > 0, "nothing to register");
    if (s.is_pinned(host, 1)) throw Fault(kHostMemoryAlreadyRegistered, "registered already");
    pin(s, host, bytes);
  });
}

STANDIN_API int cuMemHostUnregister(void* host) {
  return call("cuMemHostUnregister", Needs::Context, [&](State& s) {
    if (!s.pinned.contains(static_cast<u8*>(host))) throw Fault(kHostMemoryNotRegistered, "not registered");
    s.streams.finish_all();
    s.pinned.erase(static_cast<u8*>(host));
  });
}

STANDIN_API int cuMemcpyHtoDAsync_v2(u64 to, const void* from, size_t bytes, void* stream) {
  return call("cuMemcpyHtoDAsync", Needs::Context, [&](State& s) { upload(s, stream, to, from, bytes); });
}
STANDIN_API int cuMemcpyDtoHAsync_v2(void* to, u64 from, size_t bytes, void* stream) {
  return call("cuMemcpyDtoHAsync", Needs::Context, [&](State& s) { download(s, stream, to, from, bytes); });
}
STANDIN_API int cuMemcpyDtoDAsync_v2(u64 to, u64 from, size_t bytes, void* stream) {
  return call("cuMemcpyDtoDAsync", Needs::Context, [&](State& s) { copy(s, stream, to, from, bytes); });
}
STANDIN_API int cuMemcpyHtoD_v2(u64 to, const void* from, size_t bytes) {
  return call("cuMemcpyHtoD", Needs::Context, [&](State& s) {
    upload(s, nullptr, to, from, bytes);
    s.streams.finish(s.streams.default_stream());
  });
}
STANDIN_API int cuMemcpyDtoH_v2(void* to, u64 from, size_t bytes) {
  return call("cuMemcpyDtoH", Needs::Context, [&](State& s) {
    download(s, nullptr, to, from, bytes);
    s.streams.finish(s.streams.default_stream());
  });
}
STANDIN_API int cuMemcpyDtoD_v2(u64 to, u64 from, size_t bytes) {
  return call("cuMemcpyDtoD", Needs::Context, [&](State& s) { copy(s, nullptr, to, from, bytes); });
}

STANDIN_API int cuMemsetD8Async(u64 to, u8 value, size_t count, void* stream) {
  return call("cuMemsetD8Async", Needs::Context, [&](State& s) { fill<u8>(s, stream, to, value, count); });
}
STANDIN_API int cuMemsetD16Async(u64 to, u16 value, size_t count, void* stream) {
  return call("cuMemsetD16Async", Needs::Context, [&](State& s) { fill<u16>(s, stream, to, value, count); });
}
STANDIN_API int cuMemsetD32Async(u64 to, u32 value, size_t count, void* stream) {
  return call("cuMemsetD32Async", Needs::Context, [&](State& s) { fill<u32>(s, stream, to, value, count); });
}
STANDIN_API int cuMemsetD8_v2(u64 to, u8 value, size_t count) { return cuMemsetD8Async(to, value, count, nullptr); }
STANDIN_API int cuMemsetD16_v2(u64 to, u16 value, size_t count) { return cuMemsetD16Async(to, value, count, nullptr); }
STANDIN_API int cuMemsetD32_v2(u64 to, u32 value, size_t count) { return cuMemsetD32Async(to, value, count, nullptr); }
