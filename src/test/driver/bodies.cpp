// Statements of a kernel in their order: scopes and declarations, branches, calls in place, and the kernel as a whole.
#include <algorithm>

#include "decoder.h"
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

Decoder::Decoder(Module& module, Kernel& kernel) : module_(module), kernel_(kernel), registry_(registry()) {}

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
