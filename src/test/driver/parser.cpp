// PTX statements from tokens: a recursive walk over files, functions and bodies.
#include <cstdlib>

#include "fault.h"
#include "syntax.h"

namespace standin {
namespace {

class Parser {
 public:
  explicit Parser(Program& program) : program_(program), tokens_(tokenize(*program.text)) {}

  void file() {
    while (at_ < tokens_.size()) {
      const std::string_view word = peek();
      if (word == ".version") {
        program_.version_line = line();
        next();
        const std::string number(next());
        const size_t dot = number.find('.');
        if (dot == std::string::npos) fail("'.version' wants a number such as 8.0");
        program_.version = std::atoi(number.c_str()) * 10 + std::atoi(number.c_str() + dot + 1);
      } else if (word == ".target") {
        program_.target_line = line();
        next();
        program_.target = next();
        skip_line(program_.target_line);
      } else if (word == ".address_size") {
        next();
        if (next() != "64") fail("only .address_size 64 is supported");
      } else if (word == ".file" || word == ".loc") {
        skip_line(line());
      } else if (word == ".section") {
        while (peek() != "{") next();
        skip_braces();
      } else if (word == ".visible" || word == ".extern" || word == ".weak" || word == ".common") {
        external_ = word == ".extern";
        next();
        continue;
      } else if (word == ".entry" || word == ".func") {
        function();
      } else if (word == ".global" || word == ".const" || word == ".shared") {
        for (Variable& v : variables()) program_.variables.push_back(std::move(v));
      } else if (word == ".pragma") {
        while (next() != ";") {}
      } else {
        fail("a directive is expected, not '" + std::string(word) + "'");
      }
      external_ = false;
    }
    if (program_.version == 0) throw SyntaxError(1, "Missing .version directive at start of file");
    if (program_.target.empty()) throw SyntaxError(1, "Missing .target directive");
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw SyntaxError(line(), what); }

  int line() const {
    if (tokens_.empty()) return 1;
    return tokens_[at_ < tokens_.size() ? at_ : tokens_.size() - 1].line;
  }
  std::string_view peek(size_t ahead = 0) const {
    return at_ + ahead < tokens_.size() ? tokens_[at_ + ahead].text : std::string_view();
  }
  std::string_view next() {
    if (at_ >= tokens_.size()) fail("the file ends in the middle of a statement");
    return tokens_[at_++].text;
  }
  bool accept(std::string_view word) {
    if (peek() != word) return false;
    ++at_;
    return true;
  }
  void expect(std::string_view word) {
    if (!accept(word)) fail("'" + std::string(word) + "' is expected before '" + std::string(peek()) + "'");
  }
  s64 integer() {
    const bool negative = accept("-");
    u64 bits = 0;
    const int at_line = line();
    const std::string_view word = next();
    if (!literal(word, negative, 8, bits)) {
      throw SyntaxError(at_line, "an integer is expected, not '" + std::string(word) + "'");
    }
    return static_cast<s64>(bits);
  }
  void skip_line(int number) {
    while (at_ < tokens_.size() && tokens_[at_].line == number) ++at_;
  }
  void skip_braces() {
    int depth = 0;
    do {
      const std::string_view word = next();
      depth += word == "{" ? 1 : word == "}" ? -1 : 0;
    } while (depth > 0);
  }

  // .space [.align n] .type [.ptr ...] name[count] [= value]; .v2/.v4 multiply the type.
  Variable variable_head(std::string_view space) {
    Variable v;
    v.space = space;
    v.line = line();
    int vector = 1;
    for (; peek().starts_with('.'); next()) {
      const std::string_view word = peek().substr(1);
      if (word == "align") {
        next();
        v.align = std::atoi(std::string(peek()).c_str());
      } else if (word == "v2" || word == "v4") {
        vector = word[1] - '0';
      } else if (const Type type = type_of(word); type != Type::None) {
        v.type = type;
      } else if (word != "ptr" && word != "global" && word != "shared" && word != "const" && word != "local"
                 && word != "attribute" && word != "noalias") {
        fail("'." + std::string(word) + "' is not supported in a declaration");
      }
    }
    if (v.type == Type::None) fail("a declaration has no type");
    v.bytes = static_cast<u64>(bytes_of(v.type)) * static_cast<u64>(vector);
    if (v.align == 0) v.align = static_cast<int>(v.bytes);
    return v;
  }

  void variable_tail(Variable& v) {
    v.name = next();
    while (accept("[")) {
      if (accept("]")) {
        v.external = true;
        v.bytes = 0;
      } else {
        v.bytes *= static_cast<u64>(integer());
        expect("]");
      }
    }
    if (accept("=")) initialiser(v);
  }

  void initialiser(Variable& v) {
    const size_t element = static_cast<size_t>(bytes_of(v.type));
    std::vector<u8> bytes;
    const bool list = accept("{");
    do {
      if (list && peek() == "}") break;
      const bool negative = accept("-");
      u64 bits = 0;
      const std::string_view word = next();
      if (!literal(word, negative, static_cast<int>(element), bits)) {
        std::string_view name = word;
        if (name == "generic") {
          expect("(");
          name = next();
          expect(")");
        }
        v.addresses.emplace_back(bytes.size(), name);
      }
      const u8* raw = reinterpret_cast<const u8*>(&bits);
      bytes.insert(bytes.end(), raw, raw + element);
    } while (accept(","));
    if (list) expect("}");
    if (v.external) {
      v.external = false;
      v.bytes = bytes.size();
    }
    bytes.resize(v.bytes);
    v.initial = std::move(bytes);
  }

  std::vector<Variable> variables() {
    const std::string_view space = next().substr(1);
    std::vector<Variable> all;
    const Variable head = variable_head(space);
    do {
      Variable v = head;
      variable_tail(v);
      if (v.external && !external_) fail("'" + std::string(v.name) + "' has no size");
      all.push_back(std::move(v));
    } while (accept(","));
    expect(";");
    return all;
  }

  std::vector<Variable> parameter_list() {
    std::vector<Variable> all;
    if (!accept("(")) return all;
    while (!accept(")")) {
      if (peek() == ".reg") fail("a .func with register parameters is not supported");
      if (!accept(".param")) fail("a parameter is expected before '" + std::string(peek()) + "'");
      Variable v = variable_head("param");
      variable_tail(v);
      all.push_back(std::move(v));
      accept(",");
    }
    return all;
  }

  void function() {
    Function f;
    f.entry = next() == ".entry";
    f.line = line();
    if (!f.entry) f.results = parameter_list();
    f.name = next();
    f.parameters = parameter_list();
    while (peek().starts_with('.')) {
      const std::string_view word = next();
      int n[3] = {1, 1, 1};
      if (word == ".maxntid" || word == ".reqntid" || word == ".minnctapersm" || word == ".maxnreg") {
        int i = 0;
        do n[i++] = static_cast<int>(integer()); while (i < 3 && accept(","));
        if (word == ".maxntid") f.max_threads = n[0] * n[1] * n[2];
        if (word == ".reqntid") std::copy(n, n + 3, f.required_threads);
      } else if (word == ".noreturn" || word == ".pragma") {
        while (word == ".pragma" && next() != ";") {}
      } else {
        fail("'" + std::string(word) + "' is not supported on a function");
      }
    }
    if (!accept(";")) {
      f.defined = true;
      body(f);
    }
    const auto found = program_.function_index.find(f.name);
    if (found == program_.function_index.end()) {
      program_.function_index.emplace(f.name, program_.functions.size());
      program_.functions.push_back(std::move(f));
    } else if (f.defined) {
      program_.functions[found->second] = std::move(f);
    }
  }

  void body(Function& f) {
    expect("{");
    for (int depth = 1; depth > 0;) {
      Statement s{};
      s.line = line();
      const std::string_view word = peek();
      if (word == "{" || word == "}") {
        next();
        s.kind = word == "{" ? Statement::Open : Statement::Close;
        depth += word == "{" ? 1 : -1;
        if (depth > 0) f.body.push_back(std::move(s));
      } else if (word == ";") {
        next();
      } else if (word == ".loc" || word == ".file") {
        skip_line(s.line);
      } else if (word == ".pragma" || word == ".callprototype") {
        while (next() != ";") {}
      } else if (word == ".reg") {
        registers(s);
        f.body.push_back(std::move(s));
      } else if (word == ".extern") {
        next();
        external_ = true;
      } else if (word == ".shared" || word == ".local" || word == ".param" || word == ".global" || word == ".const") {
        for (Variable& v : variables()) {
          Statement declare{};
          declare.kind = Statement::Declare;
          declare.line = s.line;
          declare.variable = std::move(v);
          f.body.push_back(std::move(declare));
        }
        external_ = false;
      } else if (peek(1) == ":") {
        s.kind = Statement::Label;
        s.opcode = next();
        next();
        if (accept(".branchtargets")) {
          s.kind = Statement::Targets;
          s.operands = operands();
        }
        f.body.push_back(std::move(s));
      } else {
        instruction(s);
        f.body.push_back(std::move(s));
      }
    }
  }

  void registers(Statement& s) {
    s.kind = Statement::Registers;
    next();
    Type type = Type::None;
    while (peek().starts_with('.')) {
      const int at_line = line();
      const std::string_view word = next();
      type = type_of(word.substr(1));
      if (type == Type::None) {
        throw SyntaxError(at_line, "registers of type '" + std::string(word) + "' are not supported");
      }
    }
    do {
      RegisterDeclaration r{next(), type};
      if (accept("<")) {
        r.count = static_cast<int>(integer());
        expect(">");
      }
      s.registers.push_back(r);
    } while (accept(","));
    expect(";");
  }

  void instruction(Statement& s) {
    s.kind = Statement::Instruction;
    if (accept("@")) {
      s.guard.negated = accept("!");
      s.guard.text = next();
    }
    s.opcode = next();
    s.operands = operands();
  }

  std::vector<Operand> operands() {
    std::vector<Operand> all;
    if (accept(";")) return all;
    do {
      all.push_back(operand());
    } while (accept(","));
    expect(";");
    return all;
  }

  Word word() {
    Word w;
    while (peek() == "!" || peek() == "-") {
      w.negated = !w.negated;
      next();
    }
    w.text = next();
    return w;
  }

  Operand operand() {
    Operand o;
    if (peek() == "{" || peek() == "(") {
      const bool vector = next() == "{";
      o.kind = vector ? Operand::Vector : Operand::List;
      const std::string_view close = vector ? "}" : ")";
      while (!accept(close)) {
        o.words.push_back(word());
        accept(",");
      }
    } else if (accept("[")) {
      o.kind = Operand::Memory;
      o.words.push_back(word());
      while (peek() != "]") {
        const bool minus = accept("-");
        if (!minus) expect("+");
        const s64 value = integer();
        o.offset += minus ? -value : value;
      }
      expect("]");
    } else {
      o.words.push_back(word());
      if (accept("|")) o.words.push_back(word());
      // symbol+4, as in  mov.u64 %rd1, table+4
      if (peek() == "+") {
        next();
        o.offset = integer();
      }
    }
    return o;
  }

  Program& program_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  bool external_ = false;
};

}  // namespace

Program parse(std::string_view text) {
  Program program;
  program.text = std::make_unique<std::string>(text);
  Parser(program).file();
  return program;
}

}  // namespace standin
