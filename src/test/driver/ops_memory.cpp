// ld and st: all spaces, vectors of up to 16 bytes a lane. Cache hints say nothing here.
#include <algorithm>

#include "access.h"
#include "decoder.h"

namespace standin {
namespace {

using Quad = u32 __attribute__((vector_size(16)));

// Four lanes of four words each, turned: row i of the result holds word i of the lanes.
inline void turn(Quad (&r)[4]) {
  const Quad a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5), b = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
  const Quad c = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5), e = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
  r[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
  r[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
  r[2] = __builtin_shufflevector(b, e, 0, 1, 4, 5);
  r[3] = __builtin_shufflevector(b, e, 2, 3, 6, 7);
}

template <class T, int N>
void gather(Warp& w, const Instruction& in, const Access& access) {
  using S = Slot<T>;
  S* d[N];
  for (int i = 0; i < N; ++i) d[i] = w.lanes<S>(in.dst[i]);
  if (!w.full()) {
    each_lane(w.mask, [&](int l) {
      for (int i = 0; i < N; ++i) {
        d[i][l] = to_slot<T>(read_at<T>(access.at[l] + static_cast<u64>(i) * sizeof(T)));
      }
    });
    return;
  }
  if constexpr (N == 1) {
    if (access.dense) {
      const T* from = reinterpret_cast<const T*>(access.at[0]);
#pragma GCC ivdep
      for (int l = 0; l < kLanes; ++l) d[0][l] = to_slot<T>(from[l]);
      return;
    }
  }
  if constexpr (N == 4 && sizeof(T) == 4) {
    for (int l = 0; l < kLanes; l += 4) {
      Quad rows[4];
      for (int i = 0; i < 4; ++i) rows[i] = read_at<Quad>(access.at[l + i]);
      turn(rows);
      for (int i = 0; i < 4; ++i) std::memcpy(d[i] + l, &rows[i], 16);
    }
    return;
  }
  for (int l = 0; l < kLanes; ++l) {
    for (int i = 0; i < N; ++i) d[i][l] = to_slot<T>(read_at<T>(access.at[l] + static_cast<u64>(i) * sizeof(T)));
  }
}

template <class T, int N>
void scatter(Warp& w, const Instruction& in, const Access& access) {
  using S = Slot<T>;
  const S* value[N];
  for (int i = 0; i < N; ++i) value[i] = w.lanes<S>(in.src[1 + i]);
  if (!w.full()) {
    each_lane(w.mask, [&](int l) {
      for (int i = 0; i < N; ++i) {
        write_at<T>(access.at[l] + static_cast<u64>(i) * sizeof(T), static_cast<T>(value[i][l]));
      }
    });
    return;
  }
  if constexpr (N == 1) {
    if (access.dense) {
      T* to = reinterpret_cast<T*>(access.at[0]);
#pragma GCC ivdep
      for (int l = 0; l < kLanes; ++l) to[l] = static_cast<T>(value[0][l]);
      return;
    }
  }
  if constexpr (N == 4 && sizeof(T) == 4) {
    for (int l = 0; l < kLanes; l += 4) {
      Quad rows[4];
      for (int i = 0; i < 4; ++i) std::memcpy(&rows[i], value[i] + l, 16);
      turn(rows);
      for (int i = 0; i < 4; ++i) write_at<Quad>(access.at[l + i], rows[i]);
    }
    return;
  }
  for (int l = 0; l < kLanes; ++l) {
    for (int i = 0; i < N; ++i) {
      write_at<T>(access.at[l] + static_cast<u64>(i) * sizeof(T), static_cast<T>(value[i][l]));
    }
  }
}

// detail says whether the address register has 64 bits.
template <class T, int N, Space S>
void load(Warp& w, const Instruction& in) {
  Access access;
  resolve<S>(w, in, in.src[0], in.detail != 0, in.offset, sizeof(T) * N, access);
  gather<T, N>(w, in, access);
}
template <class T, int N, Space S>
void store(Warp& w, const Instruction& in) {
  Access access;
  resolve<S>(w, in, in.src[0], in.detail != 0, in.offset, sizeof(T) * N, access);
  scatter<T, N>(w, in, access);
}

// A parameter by its name: the same for every thread, and checked when it was decoded.
template <class T, int N>
void load_parameter(Warp& w, const Instruction& in) {
  const u64 from = reinterpret_cast<u64>(w.block->parameters) + static_cast<u64>(in.offset);
  for (int i = 0; i < N; ++i) {
    const T value = read_at<T>(from + static_cast<u64>(i) * sizeof(T));
    std::fill_n(w.lanes<Slot<T>>(in.dst[i]), kLanes, to_slot<T>(value));
  }
}

template <bool Load, class T, int N>
Handler by_space(Space space) {
  switch (space) {
    case Space::Global: return Load ? load<T, N, Space::Global> : store<T, N, Space::Global>;
    case Space::Shared: return Load ? load<T, N, Space::Shared> : store<T, N, Space::Shared>;
    case Space::Local: return Load ? load<T, N, Space::Local> : store<T, N, Space::Local>;
    case Space::Param: return Load ? load<T, N, Space::Param> : nullptr;
    case Space::Parameter: return Load ? load_parameter<T, N> : nullptr;
    default: return Load ? load<T, N, Space::Generic> : store<T, N, Space::Generic>;
  }
}
template <bool Load, class T>
Handler by_count(int count, Space space) {
  switch (count) {
    case 1: return by_space<Load, T, 1>(space);
    case 2: return by_space<Load, T, 2>(space);
    case 4: return sizeof(T) == 8 ? nullptr : by_space<Load, T, sizeof(T) == 8 ? 1 : 4>(space);
    default: return nullptr;
  }
}
template <bool Load>
Handler pick(Type type, int count, Space space) {
  switch (bytes_of(type)) {
    case 1: return Load && is_signed(type) ? by_count<Load, s8>(count, space) : by_count<Load, u8>(count, space);
    case 2: return Load && is_signed(type) ? by_count<Load, s16>(count, space) : by_count<Load, u16>(count, space);
    case 8: return by_count<Load, u64>(count, space);
    default: return by_count<Load, u32>(count, space);
  }
}

constexpr auto kExtend = [](auto a) { return a; };

// A narrow value in a wider register: what was loaded into `narrow` is extended into `wide`.
Handler pick_extend(Type type, int declared) {
  const bool sign = is_signed(type);
  if (declared == 8) {
    switch (bytes_of(type)) {
      case 1: return sign ? convert<s64, s8, kExtend> : convert<u64, u8, kExtend>;
      case 2: return sign ? convert<s64, s16, kExtend> : convert<u64, u16, kExtend>;
      default: return sign ? convert<s64, s32, kExtend> : convert<u64, u32, kExtend>;
    }
  }
  if (bytes_of(type) == 1) return declared == 2 ? convert<s16, s8, kExtend> : convert<s32, s8, kExtend>;
  return convert<s32, s16, kExtend>;
}

void skip_hints(Opcode& o) {
  o.ignore_starting_with("L1::");
  o.ignore_starting_with("L2::");
  for (const char* hint : {"ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc", "volatile", "relaxed", "acquire", "release",
                           "weak", "cta", "cluster", "gpu", "sys", "mmio", "unified"}) {
    o.has(hint);
  }
}

Space space_of(Opcode& o, const Decoder::Address& address) {
  const bool param = o.one_of({"param", "param::entry", "param::func"}) >= 0;
  const int named = o.one_of({"global", "shared", "shared::cta", "local", "const"});
  if (param) {
    return address.space == "local" ? Space::Local : address.space == "param" ? Space::Parameter : Space::Param;
  }
  switch (named) {
    case 0: case 4: return Space::Global;
    case 1: case 2: return Space::Shared;
    case 3: return Space::Local;
    default: return Space::Generic;
  }
}

int vector_of(Opcode& o) {
  const int vector = o.one_of({"v2", "v4"});
  return vector < 0 ? 1 : vector == 0 ? 2 : 4;
}

void ld(Decoder& d, Opcode& o, const Statement& s) {
  skip_hints(o);
  const Type type = o.type();
  const int count = vector_of(o);
  const Decoder::Address address = d.address(s.operands.at(1));
  const Space space = space_of(o, address);
  const Operand& to = s.operands.at(0);
  if (static_cast<int>(to.words.size()) != count) d.fail("the vector has the wrong number of registers");
  std::vector<std::pair<u32, u32>> extended;
  Instruction& in = d.emit(pick<true>(type, count, space));
  in.alu = space == Space::Param || space == Space::Parameter;
  in.offset = address.offset;
  if (space == Space::Parameter) {
    in.offset += static_cast<s64>(address.value);
    const s64 bytes = count * bytes_of(type);
    if (in.offset < 0 || in.offset + bytes > d.parameter_bytes() || in.offset % bytes != 0) {
      d.fail("no parameter of " + std::to_string(bytes) + " bytes lies here");
    }
  }
  in.detail = d.width_of(address.base) == 8;
  in.range = d.new_range();
  for (const Word& word : to.words) {
    const u32 reg = word.text == "_" ? d.temporary(bytes_of(type) == 8 ? 8 : 4) : d.find_register(word.text);
    if (reg == Decoder::kNone || d.width_of(reg) == 0) d.fail("'" + std::string(word.text) + "' cannot be loaded");
    const int declared = d.declared_bytes(reg);
    if (declared < bytes_of(type)) d.fail("'" + std::string(word.text) + "' is too narrow");
    // Unsigned bytes and halves fill a 32-bit slot as they are.
    if (declared > bytes_of(type) && (declared == 8 || is_signed(type))) {
      const u32 narrow = d.temporary(4);
      extended.emplace_back(reg, narrow);
      d.destination(narrow);
    } else {
      d.destination(reg);
    }
  }
  d.source(address.base);
  for (const auto& [wide, narrow] : extended) {
    d.emit(pick_extend(type, d.declared_bytes(wide)));
    d.destination(wide);
    d.source(narrow);
  }
}

void st(Decoder& d, Opcode& o, const Statement& s) {
  skip_hints(o);
  const Type type = o.type();
  const int count = vector_of(o);
  const Decoder::Address address = d.address(s.operands.at(0));
  const Space space = space_of(o, address);
  const Operand& from = s.operands.at(1);
  if (static_cast<int>(from.words.size()) != count) d.fail("the vector has the wrong number of registers");
  std::vector<u32> values;
  for (const Word& word : from.words) values.push_back(d.narrowed(word, bytes_of(type)));
  Instruction& in = d.emit(pick<false>(type, count, space));
  in.alu = false;
  in.offset = address.offset;
  in.detail = d.width_of(address.base) == 8;
  in.range = d.new_range();
  d.source(address.base);
  for (const u32 value : values) d.source(value);
}

void nothing(Warp&, const Instruction&) {}

}  // namespace

void register_memory(Registry& registry) {
  registry["ld"] = ld;
  registry["ldu"] = ld;
  registry["st"] = st;
  // Memory is coherent here, and hints do nothing.
  const auto ignored = [](Decoder& d, Opcode& o, const Statement&) {
    o.ignore_starting_with("");
    d.emit(nothing);
  };
  for (const char* name : {"membar", "fence", "prefetch", "prefetchu", "discard", "applypriority", "nanosleep"}) {
    registry[name] = ignored;
  }
  registry["createpolicy"] = [](Decoder& d, Opcode& o, const Statement& s) {
    o.ignore_starting_with("");
    d.emit(unary<u64, kExtend>);
    d.destination(s.operands.at(0));
    d.source(d.constant(0, 8));
  };
}

}  // namespace standin
