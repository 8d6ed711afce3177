#include "decoder.h"

#include <algorithm>

#include "execute.h"
#include "fault.h"

namespace standin {
namespace {

Registry make_registry() {
  Registry registry;
  register_integer(registry);
  register_logic(registry);
  register_float(registry);
  register_convert(registry);
  register_compare(registry);
  register_move(registry);
  register_memory(registry);
  register_atomic(registry);
  register_async(registry);
  register_warp(registry);
  register_matrix(registry);
  register_flow(registry);
  return registry;
}

const Registry& registry() {
  static const Registry all = make_registry();
  return all;
}

u64 align_up(u64 value, u64 to) { return (value + to - 1) / to * to; }

}  // namespace

// ---- opcodes ----------------------------------------------------------------------------------------------------

Opcode::Opcode(std::string_view text) : text_(text) {
  size_t start = text.find('.');
  base_ = text.substr(0, start);
  while (start != std::string_view::npos) {
    const size_t end = text.find('.', start + 1);
    parts_.push_back(text.substr(start + 1, end == std::string_view::npos ? end : end - start - 1));
    start = end;
  }
  seen_.resize(parts_.size());
}

bool Opcode::has(std::string_view modifier) {
  bool found = false;
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (parts_[i] == modifier) seen_[i] = found = true;
  }
  return found;
}

int Opcode::one_of(std::initializer_list<std::string_view> alternatives) {
  int index = 0;
  for (const std::string_view alternative : alternatives) {
    if (has(alternative)) return index;
    ++index;
  }
  return -1;
}

Type Opcode::type(int from_end) {
  for (size_t i = parts_.size(); i-- > 0;) {
    const Type type = type_of(parts_[i]);
    if (type != Type::None && from_end-- == 0) {
      seen_[i] = true;
      return type;
    }
  }
  return Type::None;
}

std::string_view Opcode::modifier(size_t index) {
  if (index >= parts_.size()) return {};
  seen_[index] = true;
  return parts_[index];
}

std::string_view Opcode::leftover() const {
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (!seen_[i]) return parts_[i];
  }
  return {};
}

void Opcode::ignore_starting_with(std::string_view prefix) {
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (parts_[i].starts_with(prefix)) seen_[i] = true;
  }
}

// ---- registers and constants ------------------------------------------------------------------------------------

Decoder::Decoder(Module& module, Kernel& kernel) : module_(module), kernel_(kernel), registry_(registry()) {}

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
  return {symbol_register(*symbol, 8, 0), operand.offset, spaces[symbol->kind]};
}

void Decoder::control_word(u32 mxcsr) {
  Instruction& in = last();
  in.inner = in.op;
  in.op = with_control_word;
  in.detail = mxcsr;
}

// ---- flow -------------------------------------------------------------------------------------------------------

void Decoder::branch(std::string_view label) {
  Instruction& in = emit(nullptr);
  in.flow = Flow::Branch;
  frames_.back().jumps.emplace_back(static_cast<int>(kernel_.code.size()) - 1, label);
}

void Decoder::branch_table(const Operand& index, std::string_view targets) {
  const u32 reg = value(index.words[0], 4);
  Instruction& in = emit(nullptr);
  in.flow = Flow::Table;
  source(reg);
  frames_.back().table_targets.emplace_back(static_cast<int>(kernel_.code.size()) - 1, targets);
}

void Decoder::returns() {
  Instruction& in = emit(nullptr);
  if (frames_.size() == 1) {
    in.flow = Flow::Return;
  } else {
    in.flow = Flow::Branch;
    frames_.back().returns.push_back(static_cast<int>(kernel_.code.size()) - 1);
  }
}

// A call is decoded in place: the callee's parameters are the caller's .param variables, and its ret jumps behind
// the call. PTX of these kernels has neither recursion nor calls through pointers.
void Decoder::call(const Statement& s) {
  if (!s.guard.text.empty()) fail("a guarded call is not supported");
  std::vector<Word> results, arguments;
  std::string_view name;
  for (const Operand& o : s.operands) {
    if (o.kind == Operand::List) {
      (name.empty() ? results : arguments) = o.words;
    } else {
      name = o.words[0].text;
    }
  }
  const auto found = module_.program.function_index.find(name);
  if (found == module_.program.function_index.end() || !module_.program.functions[found->second].defined) {
    fail("call of '" + std::string(name) + "', which has no body here");
  }
  const Function& callee = module_.program.functions[found->second];
  for (const Frame& frame : frames_) {
    if (frame.function == &callee) fail("'" + std::string(name) + "' calls itself, which is not supported");
  }
  if (results.size() != callee.results.size() || arguments.size() != callee.parameters.size()) {
    fail("'" + std::string(name) + "' is called with the wrong number of arguments");
  }
  Scope scope;
  const auto bind = [&](const std::vector<Variable>& formal, const std::vector<Word>& actual) {
    for (size_t i = 0; i < formal.size(); ++i) {
      const Symbol* symbol = find_symbol(actual[i].text);
      if (symbol == nullptr) fail("'" + std::string(actual[i].text) + "' is no .param variable");
      scope.symbols.emplace(formal[i].name, *symbol);
    }
  };
  bind(callee.results, results);
  bind(callee.parameters, arguments);
  scopes_.push_back(std::move(scope));
  const Statement* caller = current_;
  body(callee);
  scopes_.pop_back();
  current_ = caller;
}

void Decoder::link_frame(Frame& frame) {
  const auto target = [&](std::string_view label) {
    const auto found = frame.labels.find(label);
    if (found == frame.labels.end()) fail("label '" + std::string(label) + "' is not defined");
    return found->second;
  };
  for (const auto& [index, label] : frame.jumps) kernel_.code[static_cast<size_t>(index)].target = target(label);
  for (const int index : frame.returns) {
    kernel_.code[static_cast<size_t>(index)].target = static_cast<int>(kernel_.code.size());
  }
  for (const auto& [index, name] : frame.table_targets) {
    const auto found = frame.targets.find(name);
    if (found == frame.targets.end()) fail("'" + std::string(name) + "' is no .branchtargets");
    std::vector<int> table;
    for (const Operand& o : found->second->operands) table.push_back(target(o.words[0].text));
    kernel_.code[static_cast<size_t>(index)].target = static_cast<int>(kernel_.tables.size());
    kernel_.tables.push_back(std::move(table));
  }
}

// ---- bodies -----------------------------------------------------------------------------------------------------

void Decoder::declare(const Variable& v) {
  Symbol symbol{};
  const u64 align = static_cast<u64>(std::max(v.align, 1));
  if (v.space == "shared") {
    if (v.external) {
      symbol.kind = Symbol::Dynamic;
      dynamic_align_ = std::max(dynamic_align_, static_cast<u32>(align));
    } else {
      symbol.kind = Symbol::Shared;
      symbol.value = align_up(kernel_.static_shared, align);
      kernel_.static_shared = static_cast<u32>(symbol.value + v.bytes);
    }
  } else if (v.space == "local" || v.space == "param") {
    symbol.kind = Symbol::Local;
    symbol.value = align_up(kernel_.local_bytes, align);
    kernel_.local_bytes = static_cast<u32>(symbol.value + v.bytes);
  } else {
    fail("." + std::string(v.space) + " inside a function is not supported");
  }
  scopes_.back().symbols[v.name] = symbol;
}

void Decoder::statement(const Statement& s) {
  current_ = &s;
  switch (s.kind) {
    case Statement::Open:
      scopes_.emplace_back();
      break;
    case Statement::Close:
      scopes_.pop_back();
      break;
    case Statement::Label:
      frames_.back().labels[s.opcode] = static_cast<int>(kernel_.code.size());
      break;
    case Statement::Targets:
      frames_.back().targets[s.opcode] = &s;
      break;
    case Statement::Declare:
      if (!(s.variable.external && find_symbol(s.variable.name) != nullptr)) declare(s.variable);
      break;
    case Statement::Registers:
      for (const RegisterDeclaration& r : s.registers) {
        const int width = r.type == Type::Pred ? 0 : bytes_of(r.type) == 8 ? 8 : 4;
        const u32 first = static_cast<u32>(widths_.size());
        for (int i = 0; i < std::max(r.count, 1); ++i) new_register(width, width == 0 ? 0 : bytes_of(r.type));
        if (r.count == 0) {
          scopes_.back().names[r.name] = first;
        } else {
          scopes_.back().families.emplace_back(r, first);
        }
      }
      break;
    case Statement::Instruction: {
      Opcode opcode(s.opcode);
      const auto found = registry_.find(opcode.base());
      if (found == registry_.end()) fail("Not a name of any known instruction: '" + std::string(opcode.base()) + "'");
      const size_t before = kernel_.code.size();
      found->second(*this, opcode, s);
      if (!opcode.leftover().empty()) {
        fail("Modifier '." + std::string(opcode.leftover()) + "' is not supported in '" + std::string(s.opcode) + "'");
      }
      for (size_t i = before; i < kernel_.code.size(); ++i) {
        const Instruction& in = kernel_.code[i];
        if (in.op == nullptr && (in.flow == Flow::None || in.flow == Flow::Sync)) {
          fail("'" + std::string(s.opcode) + "' is not supported with these types");
        }
      }
      break;
    }
  }
}

void Decoder::body(const Function& function) {
  frames_.push_back({&function, scopes_.size() - 1, {}, {}, {}, {}, {}});
  if (frames_.size() == 1) frames_.back().scopes = 1;
  scopes_.emplace_back();
  for (const Statement& s : function.body) statement(s);
  link_frame(frames_.back());
  scopes_.pop_back();
  frames_.pop_back();
}

void Decoder::kernel(const Function& function) {
  kernel_.name = function.name;
  kernel_.module = &module_;
  kernel_.max_threads = function.max_threads;
  std::copy(function.required_threads, function.required_threads + 3, kernel_.required_threads);
  Scope file;
  scopes_.push_back(std::move(file));
  Scope parameters;
  for (const Variable& v : function.parameters) {
    const u64 offset = align_up(kernel_.parameter_bytes, static_cast<u64>(std::max(v.align, 1)));
    kernel_.parameters.push_back({static_cast<u32>(offset), static_cast<u32>(v.bytes)});
    parameters.symbols[v.name] = {Symbol::Parameter, offset};
    kernel_.parameter_bytes = static_cast<u32>(offset + v.bytes);
  }
  for (const Variable& v : module_.program.variables) {
    if (v.space == "shared") {
      declare(v);
    } else {
      scopes_[0].symbols[v.name] = {Symbol::Global, module_.globals.at(std::string(v.name)).address};
    }
  }
  scopes_.push_back(std::move(parameters));
  body(function);
  finish();
}

void Decoder::finish() {
  current_ = nullptr;
  Instruction end;
  end.flow = Flow::Return;
  end.line = kernel_.code.empty() ? 0 : kernel_.code.back().line;
  kernel_.code.push_back(end);
  kernel_.dynamic_offset = static_cast<u32>(align_up(kernel_.static_shared, dynamic_align_));
  for (const DynamicUse& use : dynamic_uses_) {
    const u64 value = kernel_.dynamic_offset + static_cast<u64>(use.offset);
    kernel_.constants.push_back({value, static_cast<u8>(use.width), use.reg});
  }
  kernel_.virtual_registers = static_cast<u32>(widths_.size());
  for (Instruction& in : kernel_.code) wrap_handlers(in);
  place_registers(kernel_, widths_);
  mark_straight_runs(kernel_);
}

void decode_module(Module& module) {
  for (const Function& function : module.program.functions) {
    if (!function.entry || !function.defined) continue;
    auto kernel = std::make_unique<Kernel>();
    Decoder(module, *kernel).kernel(function);
    module.kernels.emplace(kernel->name, std::move(kernel));
  }
}

}  // namespace standin
