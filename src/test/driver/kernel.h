// A kernel ready to run: its instructions, its parameters and what it needs of the card.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "syntax.h"
#include "warp.h"

namespace standin {

struct Module;

struct Parameter {
  u32 offset;
  u32 bytes;
};

enum class Special : u8 {
  TidX, TidY, TidZ, NtidX, NtidY, NtidZ, CtaidX, CtaidY, CtaidZ, NctaidX, NctaidY, NctaidZ, LaneId, WarpId, NwarpId,
  MaskEq, MaskLt, MaskLe, MaskGt, MaskGe, DynamicShared, TotalShared, SmId, NsmId, GridId, None
};

struct SpecialRegister {
  Special which;
  u32 place;
};
struct Constant {
  u64 value;
  u8 width;                    // 4 or 8; 0 for a predicate
  u32 place;
};

struct Kernel {
  std::string name;
  Module* module = nullptr;
  std::vector<Instruction> code;
  std::vector<Parameter> parameters;
  std::vector<std::vector<int>> tables;      // brx.idx
  std::vector<Constant> constants;
  std::vector<SpecialRegister> specials;
  u32 parameter_bytes = 0;
  u32 register_bytes = 0;                    // of one warp
  u32 virtual_registers = 0;
  u32 static_shared = 0;
  u32 dynamic_offset = 0;                    // where dynamic shared memory starts
  u32 local_bytes = 0;                       // of one lane
  u32 ranges = 0;
  int max_threads = 0;
  int required_threads[3] = {0, 0, 0};
  int max_dynamic_shared = 48 * 1024;        // cuFuncSetAttribute(8)
  u64 launches = 0;
};

struct Global {
  u64 address;
  u64 bytes;
};

// A loaded file. Instructions keep offsets only, so that the text is needed for messages alone.
struct Module {
  Program program;
  std::vector<std::string_view> lines;
  std::unordered_map<std::string, Global> globals;
  std::unordered_map<std::string, std::unique_ptr<Kernel>> kernels;
  int maximum_registers = 0;
};

}  // namespace standin
