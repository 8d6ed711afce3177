// What the opcodes' decoders work with: registers, constants, operands, instructions.
#include "decoder.h"

#include "execute.h"
#include "fault.h"

namespace standin {
namespace {

std::string bits_of_bytes(int bytes) { return bytes == 0 ? "no number" : std::to_string(8 * bytes) + " bits"; }

}  // namespace

// ---- registers and constants ------------------------------------------------------------------------------------

void Decoder::fail(const std::string& what) const { throw SyntaxError(current_ ? current_->line : 1, what); }

void Decoder::require(int target, int version, const char* what) const {
  const int have = std::atoi(std::string(module_.program.target.substr(3)).c_str());
  if (have < target) {
    fail("Feature '" + std::string(what) + "' requires .target sm_" + std::to_string(target) + " or higher");
  }
  if (module_.program.version < version) {
    fail(format("Feature '%s' requires PTX ISA .version %d.%d or later", what, version / 10, version % 10));
  }
}

u32 Decoder::new_register(int width, int declared) {
  widths_.push_back(width);
  declared_.push_back(declared);
  return static_cast<u32>(widths_.size() - 1);
}

u32 Decoder::temporary(int width) { return new_register(width, width); }

u32 Decoder::constant(u64 value, int width) {
  auto& known = constants_[width / 4];
  const auto found = known.find(value);
  if (found != known.end()) return found->second;
  const u32 reg = new_register(width, width);
  known.emplace(value, reg);
  kernel_.constants.push_back({value, static_cast<u8>(width), reg});
  return reg;
}

u32 Decoder::find_register(std::string_view name) {
  for (size_t s = scopes_.size(); s-- > frames_.back().scopes;) {
    Scope& scope = scopes_[s];
    const auto found = scope.names.find(name);
    if (found != scope.names.end()) return found->second;
    for (const auto& [family, first] : scope.families) {
      if (name.size() <= family.name.size() || !name.starts_with(family.name)) continue;
      const std::string_view digits = name.substr(family.name.size());
      if (digits.find_first_not_of("0123456789") != std::string_view::npos || digits.size() > 9) continue;
      const int index = std::atoi(std::string(digits).c_str());
      if (index < family.count) return first + static_cast<u32>(index);
    }
  }
  return name.starts_with('%') ? special(name) : kNone;
}

u32 Decoder::special(std::string_view name) {
  static const std::unordered_map<std::string_view, Special> names = {
      {"%tid.x", Special::TidX}, {"%tid.y", Special::TidY}, {"%tid.z", Special::TidZ},
      {"%ntid.x", Special::NtidX}, {"%ntid.y", Special::NtidY}, {"%ntid.z", Special::NtidZ},
      {"%ctaid.x", Special::CtaidX}, {"%ctaid.y", Special::CtaidY}, {"%ctaid.z", Special::CtaidZ},
      {"%nctaid.x", Special::NctaidX}, {"%nctaid.y", Special::NctaidY}, {"%nctaid.z", Special::NctaidZ},
      {"%laneid", Special::LaneId}, {"%warpid", Special::WarpId}, {"%nwarpid", Special::NwarpId},
      {"%lanemask_eq", Special::MaskEq}, {"%lanemask_lt", Special::MaskLt}, {"%lanemask_le", Special::MaskLe},
      {"%lanemask_gt", Special::MaskGt}, {"%lanemask_ge", Special::MaskGe},
      {"%dynamic_smem_size", Special::DynamicShared}, {"%total_smem_size", Special::TotalShared},
      {"%smid", Special::SmId}, {"%nsmid", Special::NsmId}, {"%gridid", Special::GridId}};
  const auto found = names.find(name);
  if (found == names.end()) return kNone;
  for (const SpecialRegister& s : kernel_.specials) {
    if (s.which == found->second) return s.place;
  }
  const u32 reg = new_register(4, 4);
  kernel_.specials.push_back({found->second, reg});
  return reg;
}

const Decoder::Symbol* Decoder::find_symbol(std::string_view name) {
  for (size_t s = scopes_.size(); s-- > 0;) {
    // Names of the caller are not seen in a callee, except the file's own (scope 0).
    if (s > 0 && s < frames_.back().scopes) continue;
    const auto found = scopes_[s].symbols.find(name);
    if (found != scopes_[s].symbols.end()) return &found->second;
  }
  return nullptr;
}

u32 Decoder::symbol_register(const Symbol& symbol, int width, s64 offset) {
  if (symbol.kind == Symbol::Dynamic) {
    // Its value is known at the end of the kernel (finish).
    for (const DynamicUse& use : dynamic_uses_) {
      if (use.width == width && use.offset == offset) return use.reg;
    }
    dynamic_uses_.push_back({new_register(width, width), width, offset});
    return dynamic_uses_.back().reg;
  }
  const u64 value = symbol.value + static_cast<u64>(offset);
  return constant(width == 4 ? static_cast<u32>(value) : value, width);
}

u32 Decoder::value(const Word& word, int bytes, s64 offset) {
  const int width = bytes == 8 || bytes == 0 ? bytes : 4;
  if (const u32 reg = find_register(word.text); reg != kNone) {
    if (width == 0 && word.negated) fail("'!' is not supported here");
    if (widths_[reg] != width) {
      fail("'" + std::string(word.text) + "' has " + std::to_string(8 * widths_[reg]) + " bits, the instruction takes "
           + std::to_string(8 * width));
    }
    return reg;
  }
  u64 bits = 0;
  if (bytes > 0 && literal(word.text, word.negated, bytes, bits)) return constant(bits, width);
  if (bytes == 0 && literal(word.text, word.negated, 4, bits)) return constant(bits ? kAllLanes : 0, 0);
  if (const Symbol* symbol = find_symbol(word.text)) return symbol_register(*symbol, width, offset);
  fail("'" + std::string(word.text) + "' is not declared");
}

u32 Decoder::narrowed(const Word& word, int bytes) {
  const u32 reg = find_register(word.text);
  if (reg == kNone || widths_[reg] != 8 || bytes == 8) return value(word, bytes);
  const u32 low = temporary(4);
  emit(convert<u32, u64, [](u64 a) { return static_cast<u32>(a); }>);
  destination(low);
  source(reg);
  return low;
}

// ---- instructions -----------------------------------------------------------------------------------------------

Instruction& Decoder::emit(Handler op) {
  Instruction in;
  in.op = op;
  in.line = current_ ? current_->line : 0;
  if (current_ && !current_->guard.text.empty()) {
    in.guarded = true;
    in.guard_negated = current_->guard.negated;
    in.guard = find_register(current_->guard.text);
    if (in.guard == kNone || widths_[in.guard] != 0) {
      fail("'" + std::string(current_->guard.text) + "' is no predicate");
    }
  }
  kernel_.code.push_back(in);
  return kernel_.code.back();
}

void Decoder::takes(const Statement& s, size_t operands) const {
  if (s.operands.size() == operands) return;
  fail("'" + std::string(s.opcode) + "' takes " + std::to_string(operands) + " operands, not "
       + std::to_string(s.operands.size()));
}

Instruction& Decoder::emit(Handler op, const Statement& s, int result, std::initializer_list<int> sources) {
  if (op == nullptr) fail("'" + std::string(s.opcode) + "' is not supported with these types");
  takes(s, sources.size() + 1);
  const auto check = [&](const Operand& operand, int bytes) {
    if (operand.kind != Operand::Plain || operand.words.size() != 1) fail("a single register is expected");
    const u32 reg = find_register(operand.words[0].text);
    if (reg == kNone || declared_[reg] == bytes) return;
    fail("'" + std::string(operand.words[0].text) + "' has " + bits_of_bytes(declared_[reg])
         + ", the instruction takes " + bits_of_bytes(bytes));
  };
  check(s.operands[0], result);
  size_t i = 1;
  for (const int bytes : sources) check(s.operands[i++], bytes);
  emit(op);
  destination(s.operands[0]);
  i = 1;
  for (const int bytes : sources) source(s.operands[i++], bytes);
  return last();
}

void Decoder::destination(u32 reg) {
  Instruction& in = last();
  if (in.destinations == 4) fail("too many destinations");
  in.width[in.destinations] = static_cast<u8>(widths_[reg]);
  in.dst[in.destinations++] = reg;
}

void Decoder::destination(const Operand& operand) {
  if (operand.kind == Operand::Memory) fail("a register is expected, not an address");
  for (const Word& word : operand.words) {
    if (word.text == "_") {
      destination(temporary(4));
      continue;
    }
    const u32 reg = find_register(word.text);
    if (reg == kNone) fail("'" + std::string(word.text) + "' is not declared");
    destination(reg);
  }
}

void Decoder::source(u32 reg) {
  Instruction& in = last();
  if (in.sources == 10) fail("too many sources");
  in.src[in.sources++] = reg;
}

void Decoder::source(const Operand& operand, int bytes) {
  if (operand.kind == Operand::Memory) fail("a register is expected, not an address");
  for (const Word& word : operand.words) source(value(word, bytes, operand.offset));
}

Decoder::Address Decoder::address(const Operand& operand) {
  if (operand.kind != Operand::Memory) fail("an address in [ ] is expected");
  const Word& word = operand.words[0];
  if (const u32 reg = find_register(word.text); reg != kNone) {
    if (widths_[reg] == 0) fail("a predicate is no address");
    return {reg, operand.offset, {}};
  }
  u64 bits = 0;
  if (literal(word.text, word.negated, 8, bits)) return {constant(bits, 8), operand.offset, {}};
  const Symbol* symbol = find_symbol(word.text);
  if (symbol == nullptr) fail("'" + std::string(word.text) + "' is not declared");
  static constexpr std::string_view spaces[] = {"shared", "shared", "local", "param", "global"};
  return {symbol_register(*symbol, 8, 0), operand.offset, spaces[symbol->kind], symbol->value};
}

void Decoder::control_word(u32 mxcsr) {
  Instruction& in = last();
  in.inner = in.op;
  in.op = with_control_word;
  in.detail = mxcsr;
}

}  // namespace standin
