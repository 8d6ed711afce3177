// From statements to predecoded instructions. Each ops_*.cpp registers the opcodes that it runs.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kernel.h"
#include "syntax.h"

namespace standin {

class Decoder;

// An opcode taken apart: "ld.global.v2.b32" is base "ld" with modifiers global, v2, b32. A modifier that no one asks
// for is an error, so that nothing is ignored by mistake.
class Opcode {
 public:
  explicit Opcode(std::string_view text);
  std::string_view base() const { return base_; }
  std::string_view text() const { return text_; }
  bool has(std::string_view modifier);
  // The first of the alternatives that is there, else -1.
  int one_of(std::initializer_list<std::string_view> alternatives);
  // The n-th type from the end: type() of cvt.f32.s32 is S32, type(1) is F32.
  Type type(int from_end = 0);
  // The n-th modifier, marked as seen.
  std::string_view modifier(size_t index);
  size_t modifiers() const { return parts_.size(); }
  // A modifier that nothing has asked for, or an empty text.
  std::string_view leftover() const;
  void ignore_starting_with(std::string_view prefix);

 private:
  std::string_view text_, base_;
  std::vector<std::string_view> parts_;
  std::vector<bool> seen_;
};

using Decode = void (*)(Decoder&, Opcode&, const Statement&);
using Registry = std::unordered_map<std::string_view, Decode>;

bool decode_integer(Decoder& d, Opcode& o, const Statement& s);
bool decode_half(Decoder& d, Opcode& o, const Statement& s);

void register_integer(Registry&);
void register_logic(Registry&);
void register_float(Registry&);
void register_convert(Registry&);
void register_compare(Registry&);
void register_move(Registry&);
void register_memory(Registry&);
void register_atomic(Registry&);
void register_async(Registry&);
void register_warp(Registry&);
void register_matrix(Registry&);
void register_flow(Registry&);

class Decoder {
 public:
  Decoder(Module& module, Kernel& kernel);
  void kernel(const Function& function);

  // ---- for the opcode decoders ----

  [[noreturn]] void fail(const std::string& what) const;
  // An instruction's own needs: .target sm_<target> and .version <version / 10> or later.
  void require(int target, int version, const char* what) const;
  // A new instruction of the current statement, guarded as it is; the reference holds until the next one.
  Instruction& emit(Handler op);
  Instruction& last() { return kernel_.code.back(); }
  // The usual form: operand 0 is the destination, the others are the sources, with the bytes of their types (0 for a
  // predicate), and there are no more.
  Instruction& emit(Handler op, const Statement& s, int result, std::initializer_list<int> sources);
  // Fails unless the statement has so many operands.
  void takes(const Statement& s, size_t operands) const;
  void destination(const Operand& operand);
  void destination(u32 reg);
  // Appends the operand's registers (an immediate becomes a constant register); bytes of the type, 0 for a predicate.
  void source(const Operand& operand, int bytes);
  void source(u32 reg);
  // The register of a predicate; of a negated one, a register that an instruction emitted here fills.
  u32 predicate(const Word& word);
  // The register of a plain operand; narrowed() takes a 64-bit one's low half, by an instruction that it emits first.
  u32 value(const Word& word, int bytes, s64 offset = 0);
  u32 narrowed(const Word& word, int bytes);
  u32 temporary(int width);
  u32 constant(u64 value, int width);
  // The register of a name, or none.
  static constexpr u32 kNone = ~0u;
  u32 find_register(std::string_view name);
  int width_of(u32 reg) const { return widths_[reg]; }
  // Declared bytes: 2 for .b16, which lives in 4.
  int declared_bytes(u32 reg) const { return declared_[reg]; }

  struct Address {
    u32 base;                  // a register of 4 or 8 bytes
    s64 offset;
    std::string_view space;    // of a symbol: shared, local, param, global, const; empty for a register
    u64 value = 0;             // of a symbol
  };
  Address address(const Operand& operand);
  u32 parameter_bytes() const { return kernel_.parameter_bytes; }
  u32 new_range() { return kernel_.ranges++; }
  // Wraps the last instruction to run under another rounding or flush-to-zero mode.
  void control_word(u32 mxcsr);

  void branch(std::string_view label);
  void branch_table(const Operand& index, std::string_view targets);
  void returns();
  void call(const Statement& statement);

 private:
  struct Symbol {
    enum Kind { Shared, Dynamic, Local, Parameter, Global } kind;
    u64 value;
  };
  struct Scope {
    std::unordered_map<std::string_view, u32> names;
    std::vector<std::pair<RegisterDeclaration, u32>> families;
    std::unordered_map<std::string_view, Symbol> symbols;
  };
  // One body being decoded: the kernel, or a function at one of its call sites.
  struct Frame {
    const Function* function;
    size_t scopes;
    std::unordered_map<std::string_view, int> labels;
    std::vector<std::pair<int, std::string_view>> jumps;
    std::vector<int> returns;
    std::unordered_map<std::string_view, const Statement*> targets;
    std::vector<std::pair<int, std::string_view>> table_targets;
  };

  struct DynamicUse {
    u32 reg;
    int width;
    s64 offset;
  };

  void body(const Function& function);
  void statement(const Statement& statement);
  void declare(const Variable& variable);
  void link_frame(Frame& frame);
  void finish();
  u32 new_register(int width, int declared);
  const Symbol* find_symbol(std::string_view name);
  u32 symbol_register(const Symbol& symbol, int width, s64 offset);
  u32 special(std::string_view name);

  Module& module_;
  Kernel& kernel_;
  const Registry& registry_;
  const Statement* current_ = nullptr;
  std::vector<Scope> scopes_;
  std::vector<Frame> frames_;
  std::vector<int> widths_, declared_;
  std::unordered_map<u64, u32> constants_[3];
  std::vector<DynamicUse> dynamic_uses_;
  u32 dynamic_align_ = 16;
};

// Values of MXCSR for control_word(); rounding modes and kFlush (flush to zero, denormals are zero) combine by |.
constexpr u32 kRoundNearest = 0x1f80, kRoundDown = 0x3f80, kRoundUp = 0x5f80, kRoundZero = 0x7f80, kFlush = 0x8040;

// Decodes every kernel of a parsed program; its variables are in module.globals already.
void decode_module(Module& module);

// Replaces virtual registers by offsets: values that are never alive together share a place.
void place_registers(Kernel& kernel, const std::vector<int>& widths);

}  // namespace standin
