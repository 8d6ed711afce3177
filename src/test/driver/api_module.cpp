// Driver API: modules, functions, launches.
#include <algorithm>

#include "api.h"
#include "decoder.h"
#include "execute.h"

using namespace standin;

namespace {

// The error log of the JIT, where the caller gave a buffer (CU_JIT_ERROR_LOG_BUFFER and its size).
void write_log(unsigned count, const int* options, void** values, const std::string& text) {
  char* buffer = nullptr;
  size_t size = 0;
  void** size_slot = nullptr;
  for (unsigned i = 0; i < count; ++i) {
    if (options[i] == 5) buffer = static_cast<char*>(values[i]);
    if (options[i] == 6) {
      size = static_cast<u32>(reinterpret_cast<u64>(values[i]));
      size_slot = &values[i];
    }
  }
  if (buffer == nullptr || size == 0) return;
  const size_t length = std::min(text.size(), size - 1);
  std::memcpy(buffer, text.data(), length);
  buffer[length] = '\0';
  *size_slot = reinterpret_cast<void*>(static_cast<u64>(length + 1));
}

[[noreturn]] void reject(Result code, int line, const std::string& what) {
  throw Fault(code, format("ptxas application ptx input, line %d; error   : ", line) + what);
}

void check_target(const Program& program) {
  const Card& c = card();
  if (program.version > c.ptx_version()) {
    reject(kUnsupportedPtxVersion, program.version_line,
           format("Unsupported .version %d.%d; current version is '%d.%d'", program.version / 10, program.version % 10,
                  c.ptx_version() / 10, c.ptx_version() % 10));
  }
  const std::string target(program.target);
  char* end = nullptr;
  const long number = target.starts_with("sm_") ? std::strtol(target.c_str() + 3, &end, 10) : 0;
  const bool exact = end != nullptr && *end != '\0';
  if (number < 50) reject(kInvalidPtx, program.target_line, "Unsupported .target '" + target + "'");
  if (number > c.compute_capability() || (exact && number != c.compute_capability())) {
    reject(kNoBinaryForGpu, program.target_line,
           format("SM version specified by .target is higher than default SM version assumed: %s on sm_%d",
                  target.c_str(), c.compute_capability()));
  }
}

void place_variables(Module& module) {
  for (const Variable& v : module.program.variables) {
    if (v.space == "shared") continue;
    if (v.bytes == 0) reject(kInvalidPtx, v.line, "'" + std::string(v.name) + "' is external");
    const u64 address = device().memory.allocate(v.bytes, false);
    u8* place = host_of(address);
    std::memset(place, 0, v.bytes);
    std::copy(v.initial.begin(), v.initial.end(), place);
    module.globals[std::string(v.name)] = {address, v.bytes};
  }
  for (const Variable& v : module.program.variables) {
    for (const auto& [offset, name] : v.addresses) {
      const auto found = module.globals.find(std::string(name));
      if (found == module.globals.end()) reject(kInvalidPtx, v.line, "'" + std::string(name) + "' is not declared");
      std::memcpy(host_of(module.globals[std::string(v.name)].address) + offset, &found->second.address, 8);
    }
  }
}

void forget_variables(const Module& module) {
  for (const auto& [name, global] : module.globals) device().memory.free(global.address);
}

std::unique_ptr<Module> load(const char* text) {
  auto module = std::make_unique<Module>();
  try {
    module->program = parse(text);
    check_target(module->program);
    const std::string_view all(*module->program.text);
    for (size_t start = 0; start <= all.size();) {
      const size_t end = std::min(all.find('\n', start), all.size());
      module->lines.push_back(all.substr(start, end - start));
      start = end + 1;
    }
    place_variables(*module);
    decode_module(*module);
  } catch (const SyntaxError& error) {
    forget_variables(*module);
    reject(kInvalidPtx, error.line(), error.what());
  } catch (const std::out_of_range&) {
    forget_variables(*module);
    reject(kInvalidPtx, 0, "an instruction has too few operands");
  } catch (const Fault&) {
    forget_variables(*module);
    throw;
  }
  return module;
}

void check_launch(const Kernel& k, const Grid& g) {
  const u64 threads = static_cast<u64>(g.block[0]) * g.block[1] * g.block[2];
  const auto refuse = [&](const std::string& what) { throw Fault(kInvalidValue, "kernel " + k.name + ": " + what); };
  if (g.grid[0] == 0 || g.grid[1] == 0 || g.grid[2] == 0 || g.grid[0] > 0x7fffffffu || g.grid[1] > 65535
      || g.grid[2] > 65535) {
    refuse(format("a grid of %u x %u x %u blocks", g.grid[0], g.grid[1], g.grid[2]));
  }
  if (threads == 0 || g.block[0] > 1024 || g.block[1] > 1024 || g.block[2] > 64 || threads > 1024) {
    refuse(format("a block of %u x %u x %u threads", g.block[0], g.block[1], g.block[2]));
  }
  if (k.max_threads > 0 && threads > static_cast<u64>(k.max_threads)) {
    refuse(format("a block of %u threads, .maxntid allows %d", static_cast<u32>(threads), k.max_threads));
  }
  const int* required = k.required_threads;
  const auto as_required = [](u32 have, int want) { return have == static_cast<u32>(want); };
  if (required[0] > 0 && !std::equal(g.block, g.block + 3, required, as_required)) {
    refuse(format("a block of %u x %u x %u threads, .reqntid says %d x %d x %d", g.block[0], g.block[1], g.block[2],
                  required[0], required[1], required[2]));
  }
  const u32 allowed = static_cast<u32>(k.max_dynamic_shared);
  if (g.dynamic_shared > allowed) {
    refuse(format("%u bytes of dynamic shared memory, %u are allowed (cuFuncSetAttribute 8 raises it)",
                  g.dynamic_shared, allowed));
  }
  if (k.static_shared + g.dynamic_shared > static_cast<u32>(card().max_shared())) {
    refuse(format("%u + %u bytes of shared memory, the card has %d", k.static_shared, g.dynamic_shared,
                  card().max_shared()));
  }
}

}  // namespace

STANDIN_API int cuModuleLoadDataEx(void** module, const void* image, unsigned count, int* options, void** values) {
  return call("cuModuleLoadDataEx", Needs::Context, [&](State& s) {
    need(module != nullptr && image != nullptr, "null");
    try {
      auto loaded = load(static_cast<const char*>(image));
      *module = loaded.get();
      for (const auto& [name, kernel] : loaded->kernels) s.kernels.emplace(kernel.get(), kernel.get());
      s.modules.emplace(*module, std::move(loaded));
    } catch (const Fault& fault) {
      write_log(count, options, values, fault.what());
      throw;
    }
  });
}
STANDIN_API int cuModuleLoadData(void** module, const void* image) {
  return cuModuleLoadDataEx(module, image, 0, nullptr, nullptr);
}

STANDIN_API int cuModuleUnload(void* module) {
  return call("cuModuleUnload", Needs::Context, [&](State& s) {
    const auto found = s.modules.find(module);
    if (found == s.modules.end()) throw Fault(kInvalidHandle, "no such module");
    s.streams.finish_all();
    for (const auto& [name, kernel] : found->second->kernels) s.kernels.erase(kernel.get());
    forget_variables(*found->second);
    s.modules.erase(found);
  });
}

STANDIN_API int cuModuleGetFunction(void** function, void* module, const char* name) {
  return call("cuModuleGetFunction", Needs::Context, [&](State& s) {
    const auto found = s.modules.find(module);
    if (found == s.modules.end()) throw Fault(kInvalidHandle, "no such module");
    const auto kernel = found->second->kernels.find(name);
    if (kernel == found->second->kernels.end()) throw Fault(kNotFound, std::string("no kernel '") + name + "'");
    *function = kernel->second.get();
  });
}

STANDIN_API int cuModuleGetGlobal_v2(u64* address, size_t* bytes, void* module, const char* name) {
  return call("cuModuleGetGlobal", Needs::Context, [&](State& s) {
    const auto found = s.modules.find(module);
    if (found == s.modules.end()) throw Fault(kInvalidHandle, "no such module");
    const auto global = found->second->globals.find(name);
    if (global == found->second->globals.end()) throw Fault(kNotFound, std::string("no variable '") + name + "'");
    if (address != nullptr) *address = global->second.address;
    if (bytes != nullptr) *bytes = global->second.bytes;
  });
}

STANDIN_API int cuFuncGetAttribute(int* value, int which, void* function) {
  return call("cuFuncGetAttribute", Needs::Context, [&](State& s) {
    const Kernel& k = s.kernel(function);
    switch (which) {
      case 0: *value = k.max_threads > 0 ? k.max_threads : 1024; break;
      case 1: *value = static_cast<int>(k.static_shared); break;
      case 2: *value = 0; break;
      case 3: *value = static_cast<int>(k.local_bytes); break;
      case 4: *value = static_cast<int>(std::min<u32>(255, k.register_bytes / 128)); break;
      case 5: *value = k.module->program.version; break;
      case 6: *value = card().compute_capability(); break;
      case 8: *value = k.max_dynamic_shared; break;
      case 9: *value = -1; break;
      default: throw Fault(kInvalidValue, format("function attribute %d is not known here", which));
    }
  });
}

STANDIN_API int cuFuncSetAttribute(void* function, int which, int value) {
  return call("cuFuncSetAttribute", Needs::Context, [&](State& s) {
    Kernel& k = s.kernel(function);
    if (which == 9) return;
    if (which != 8) throw Fault(kInvalidValue, format("function attribute %d cannot be set", which));
    const int most = card().max_shared() - static_cast<int>(k.static_shared);
    if (value < 0 || value > most) {
      throw Fault(kInvalidValue, format("kernel %s: %d bytes of dynamic shared memory, the card has %d", k.name.c_str(),
                                        value, most));
    }
    k.max_dynamic_shared = value;
  });
}

STANDIN_API int cuFuncGetParamInfo(void* function, size_t index, size_t* offset, size_t* bytes) {
  return call("cuFuncGetParamInfo", Needs::Context, [&](State& s) {
    if (card().driver < 12040) throw Fault(kNotSupported, "cuFuncGetParamInfo came with driver 12.4");
    const Kernel& k = s.kernel(function);
    need(index < k.parameters.size(), "the kernel has fewer parameters");
    if (offset != nullptr) *offset = k.parameters[index].offset;
    if (bytes != nullptr) *bytes = k.parameters[index].bytes;
  });
}

STANDIN_API int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void* function, int threads, size_t dynamic) {
  return call("cuOccupancyMaxActiveBlocksPerMultiprocessor", Needs::Context, [&](State& s) {
    const Kernel& k = s.kernel(function);
    need(threads > 0 && threads <= 1024, "block size");
    const int reserved = card().major >= 8 ? 1024 : 0;
    const int shared = static_cast<int>(k.static_shared + dynamic) + reserved;
    const int by_shared = (card().max_shared() + reserved) / std::max(shared, 1);
    *blocks = std::min({by_shared, 1536 / threads, 16});
  });
}

std::function<void()> standin::kernel_work(State& s, void* function, const Grid& grid, void** arguments) {
  const Kernel& k = s.kernel(function);
  check_launch(k, grid);
  need(arguments != nullptr || k.parameters.empty(), "the kernel has parameters, kernelParams is null");
  auto parameters = std::make_shared<std::vector<u8>>(k.parameter_bytes + 16);
  for (size_t i = 0; i < k.parameters.size(); ++i) {
    if (arguments[i] == nullptr) {
      throw Fault(kInvalidValue, format("kernel %s: kernelParams[%zu] is null", k.name.c_str(), i));
    }
    std::memcpy(parameters->data() + k.parameters[i].offset, arguments[i], k.parameters[i].bytes);
  }
  return device_work([&k, grid, parameters] {
    Counters& counters = state().counters;
    ++counters.launches;
    Launched& launched = counters.kernels[k.name];
    ++launched.launches;
    launched.blocks += static_cast<u64>(grid.grid[0]) * grid.grid[1] * grid.grid[2];
    execute(k, grid, *parameters);
  });
}

STANDIN_API int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                               unsigned bz, unsigned shared, void* stream, void** arguments, void** extra) {
  return call("cuLaunchKernel", Needs::Context, [&](State& s) {
    need(extra == nullptr, "'extra' is not supported, use kernelParams");
    const Grid grid{{gx, gy, gz}, {bx, by, bz}, shared};
    s.streams.submit(s.stream(stream), Work::Kernel, kernel_work(s, function, grid, arguments));
  });
}
