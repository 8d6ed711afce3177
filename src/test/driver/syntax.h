// PTX as text and as statements: what the lexer and the parser hand on.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "types.h"

namespace standin {

struct Token {
  std::string_view text;
  int line;
};

// Splits PTX text into words, numbers and single punctuation characters; comments vanish.
std::vector<Token> tokenize(std::string_view text);

// A PTX that cannot be taken: becomes a line of the JIT's error log.
class SyntaxError : public std::runtime_error {
 public:
  SyntaxError(int line, const std::string& what) : std::runtime_error(what), line_(line) {}
  int line() const { return line_; }

 private:
  int line_;
};

// %r1   -5   0f3F800000   !%p1   symbol
struct Word {
  std::string_view text;
  bool negated = false;
};

struct Operand {
  enum Kind { Plain, Vector, Memory, List } kind = Plain;
  std::vector<Word> words;   // Plain: one, or two for d|p; Memory: the base
  s64 offset = 0;            // Memory: added to the base
};

// One declared variable: a parameter, or shared, local, global or const memory.
struct Variable {
  std::string_view name;
  std::string_view space;    // "param", "shared", "local", "global", "const"
  Type type = Type::None;
  int align = 0;
  u64 bytes = 0;
  bool external = false;     // .extern .shared x[]: the dynamic part
  std::vector<u8> initial;   // empty: zeros
  std::vector<std::pair<u64, std::string_view>> addresses;  // initialisers that are symbols: byte offset, name
  int line = 0;
};

struct RegisterDeclaration {
  std::string_view name;
  Type type;
  int count = 0;             // 0: exactly this name; n: name0 .. name(n-1)
};

struct Statement {
  enum Kind { Instruction, Label, Open, Close, Registers, Declare, Targets } kind;
  int line = 0;
  Word guard;                                  // Instruction: the predicate, empty text when there is none
  std::string_view opcode;                     // Instruction: with all its modifiers; Label, Targets: the name
  std::vector<Operand> operands;
  std::vector<RegisterDeclaration> registers;
  Variable variable;
};

struct Function {
  std::string_view name;
  bool entry = false;
  bool defined = false;
  int line = 0;
  std::vector<Variable> parameters;
  std::vector<Variable> results;
  std::vector<Statement> body;
  int max_threads = 0;                         // product of .maxntid, 0 when absent
  int required_threads[3] = {0, 0, 0};         // .reqntid
};

// A parsed file; every string_view points into text.
struct Program {
  std::unique_ptr<std::string> text;
  int version = 0;                             // 80 for .version 8.0
  int version_line = 0;
  std::string_view target;                     // sm_80
  int target_line = 0;
  std::vector<Variable> variables;
  std::vector<Function> functions;
  std::unordered_map<std::string_view, size_t> function_index;
};

Program parse(std::string_view text);

// An integer or a float literal of PTX as its bits; false when the word is none.
bool literal(std::string_view word, bool negated, int bytes, u64& bits);

}  // namespace standin
