// Driver API: initialisation, the device, contexts, error names.
#include <cstdio>

#include "api.h"

using namespace standin;

namespace {

int attribute(const Card& card, int which) {
  switch (which) {
    case 1: return 1024;                            // MAX_THREADS_PER_BLOCK
    case 2: case 3: return 1024;                    // MAX_BLOCK_DIM_X, Y
    case 4: return 64;                              // MAX_BLOCK_DIM_Z
    case 5: return 0x7fffffff;                      // MAX_GRID_DIM_X
    case 6: case 7: return 65535;                   // MAX_GRID_DIM_Y, Z
    case 8: return 48 * 1024;                       // MAX_SHARED_MEMORY_PER_BLOCK
    case 9: return 64 * 1024;                       // TOTAL_CONSTANT_MEMORY
    case 10: return 32;                             // WARP_SIZE
    case 11: return 0x7fffffff;                     // MAX_PITCH
    case 12: case 82: return 65536;                 // MAX_REGISTERS_PER_BLOCK, PER_MULTIPROCESSOR
    case 13: return 1500000;                        // CLOCK_RATE, kHz
    case 14: return 512;                            // TEXTURE_ALIGNMENT
    case 16: return card.multiprocessors;           // MULTIPROCESSOR_COUNT
    case 19: case 31: case 41: return 1;            // CAN_MAP_HOST_MEMORY, CONCURRENT_KERNELS, UNIFIED_ADDRESSING
    case 33: return 1;                              // PCI_BUS_ID
    case 36: return 7000000;                        // MEMORY_CLOCK_RATE, kHz
    case 37: return 128;                            // GLOBAL_MEMORY_BUS_WIDTH
    case 38: return 4 << 20;                        // L2_CACHE_SIZE
    case 39: return card.major == 7 ? 1024 : card.minor == 0 ? 2048 : 1536;  // MAX_THREADS_PER_MULTIPROCESSOR
    case 40: return 2;                              // ASYNC_ENGINE_COUNT
    case 75: return card.major;                     // COMPUTE_CAPABILITY_MAJOR
    case 76: return card.minor;                     // COMPUTE_CAPABILITY_MINOR
    case 78: return 1;                              // STREAM_PRIORITIES_SUPPORTED
    case 81: return card.max_shared() + (card.major >= 8 ? 1024 : 0);  // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
    case 97: return card.max_shared();              // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
    case 106: return 16;                            // MAX_BLOCKS_PER_MULTIPROCESSOR
    case 111: return card.major >= 8 ? 1024 : 0;    // RESERVED_SHARED_MEMORY_PER_BLOCK
    case 18: case 20: case 32: case 34: case 35: case 50: case 83: return 0;
    default: throw Fault(kInvalidValue, format("device attribute %d is not known here", which));
  }
}

void check_device(int ordinal) {
  if (ordinal != 0) throw Fault(kInvalidDevice, format("device %d; there is one, number 0", ordinal));
}

}  // namespace

STANDIN_API int cuInit(unsigned flags) {
  return call("cuInit", Needs::Nothing, [&](State& s) {
    need(flags == 0, "the flags must be 0");
    s.initialised = true;
  });
}

STANDIN_API int cuDriverGetVersion(int* version) {
  return call("cuDriverGetVersion", Needs::Nothing, [&](State&) {
    need(version != nullptr, "null");
    *version = card().driver;
  });
}

STANDIN_API int cuDeviceGetCount(int* count) {
  return call("cuDeviceGetCount", Needs::Init, [&](State&) { *count = 1; });
}

STANDIN_API int cuDeviceGet(int* device, int ordinal) {
  return call("cuDeviceGet", Needs::Init, [&](State&) {
    check_device(ordinal);
    *device = ordinal;
  });
}

STANDIN_API int cuDeviceGetName(char* name, int bytes, int device) {
  return call("cuDeviceGetName", Needs::Init, [&](State&) {
    check_device(device);
    need(name != nullptr && bytes > 0, "no room for the name");
    std::snprintf(name, static_cast<size_t>(bytes), "%s", card().name.c_str());
  });
}

STANDIN_API int cuDeviceGetUuid(u8* uuid, int device) {
  return call("cuDeviceGetUuid", Needs::Init, [&](State&) {
    check_device(device);
    std::memcpy(uuid, "hone stand-in 00", 16);
  });
}
STANDIN_API int cuDeviceGetUuid_v2(u8* uuid, int device) { return cuDeviceGetUuid(uuid, device); }

STANDIN_API int cuDeviceTotalMem_v2(size_t* bytes, int device) {
  return call("cuDeviceTotalMem", Needs::Init, [&](State&) {
    check_device(device);
    *bytes = card().vram;
  });
}

STANDIN_API int cuDeviceGetAttribute(int* value, int which, int device) {
  return call("cuDeviceGetAttribute", Needs::Init, [&](State&) {
    check_device(device);
    *value = attribute(card(), which);
  });
}

STANDIN_API int cuDeviceGetPCIBusId(char* id, int bytes, int device) {
  return call("cuDeviceGetPCIBusId", Needs::Init, [&](State&) {
    check_device(device);
    std::snprintf(id, static_cast<size_t>(bytes), "0000:01:00.0");
  });
}

STANDIN_API int cuCtxCreate_v2(void** context, unsigned, int device) {
  return call("cuCtxCreate", Needs::Init, [&](State& s) {
    check_device(device);
    s.start_device();
    auto created = std::make_unique<Context>();
    *context = created.get();
    s.contexts.insert(created.get());
    current_context() = created.get();
    s.owned_contexts.emplace(*context, std::move(created));
  });
}

STANDIN_API int cuCtxDestroy_v2(void* context) {
  return call("cuCtxDestroy", Needs::Init, [&](State& s) {
    const auto found = s.owned_contexts.find(context);
    if (found == s.owned_contexts.end()) throw Fault(kInvalidContext, "no such context");
    s.contexts.erase(found->second.get());
    s.owned_contexts.erase(found);
    s.end_device();
  });
}

STANDIN_API int cuDevicePrimaryCtxRetain(void** context, int device) {
  return call("cuDevicePrimaryCtxRetain", Needs::Init, [&](State& s) {
    check_device(device);
    if (s.primary_users++ == 0) {
      s.start_device();
      s.primary = std::make_unique<Context>();
      s.primary->primary = true;
      s.contexts.insert(s.primary.get());
    }
    *context = s.primary.get();
  });
}

STANDIN_API int cuDevicePrimaryCtxRelease_v2(int device) {
  return call("cuDevicePrimaryCtxRelease", Needs::Init, [&](State& s) {
    check_device(device);
    if (s.primary_users == 0) throw Fault(kInvalidContext, "the primary context is not retained");
    if (--s.primary_users > 0) return;
    s.contexts.erase(s.primary.get());
    s.primary.reset();
    s.end_device();
  });
}

STANDIN_API int cuCtxSetCurrent(void* context) {
  return call("cuCtxSetCurrent", Needs::Init, [&](State& s) {
    if (context != nullptr && !s.contexts.contains(static_cast<Context*>(context))) {
      throw Fault(kInvalidContext, "no such context");
    }
    current_context() = static_cast<Context*>(context);
  });
}

STANDIN_API int cuCtxGetCurrent(void** context) {
  return call("cuCtxGetCurrent", Needs::Init, [&](State&) { *context = current_context(); });
}

STANDIN_API int cuCtxGetDevice(int* device) {
  return call("cuCtxGetDevice", Needs::Context, [&](State&) { *device = 0; });
}

STANDIN_API int cuCtxSynchronize() {
  return call("cuCtxSynchronize", Needs::Context, [&](State& s) {
    ++s.counters.synchronisations;
    s.streams.finish_all();
  });
}

STANDIN_API int cuGetErrorName(int code, const char** name) {
  *name = result_text(code).name;
  return *name != nullptr ? kSuccess : kInvalidValue;
}

STANDIN_API int cuGetErrorString(int code, const char** text) {
  *text = result_text(code).text;
  return *text != nullptr ? kSuccess : kInvalidValue;
}
