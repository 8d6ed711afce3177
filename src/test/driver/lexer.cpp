#include <cctype>
#include <stdexcept>

#include "fault.h"
#include "syntax.h"

namespace standin {
namespace {

bool word_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '$' || c == '%';
}

}  // namespace

std::vector<Token> tokenize(std::string_view text) {
  std::vector<Token> tokens;
  tokens.reserve(text.size() / 4);
  int line = 1;
  size_t i = 0;
  const size_t n = text.size();
  while (i < n) {
    const char c = text[i];
    if (c == '\n') {
      ++line;
      ++i;
    } else if (std::isspace(static_cast<unsigned char>(c)) || c == '\0') {
      ++i;
    } else if (c == '/' && i + 1 < n && text[i + 1] == '/') {
      while (i < n && text[i] != '\n') ++i;
    } else if (c == '/' && i + 1 < n && text[i + 1] == '*') {
      const size_t end = text.find("*/", i + 2);
      if (end == std::string_view::npos) throw SyntaxError(line, "a comment has no end");
      for (; i < end + 2; ++i) line += text[i] == '\n';
    } else if (c == '"') {
      const size_t end = text.find('"', i + 1);
      if (end == std::string_view::npos) throw SyntaxError(line, "a string has no end");
      tokens.push_back({text.substr(i, end + 1 - i), line});
      i = end + 1;
    } else if (word_char(c)) {
      const size_t start = i;
      // "::" belongs to a modifier (.shared::cta); a single colon ends a label.
      const auto goes_on = [&] {
        if (text[i] != ':') return word_char(text[i]);
        return text[i - 1] == ':' || (i + 2 < n && text[i + 1] == ':' && word_char(text[i + 2]));
      };
      while (i < n && goes_on()) ++i;
      tokens.push_back({text.substr(start, i - start), line});
    } else {
      tokens.push_back({text.substr(i, 1), line});
      ++i;
    }
  }
  return tokens;
}

bool literal(std::string_view word, bool negated, int bytes, u64& bits) {
  if (word.empty() || !std::isdigit(static_cast<unsigned char>(word[0]))) return false;
  const std::string text(word);
  char* end = nullptr;
  if (text.size() > 2 && text[0] == '0' && (text[1] == 'f' || text[1] == 'F')) {
    bits = std::strtoull(text.c_str() + 2, &end, 16);
    if (negated) bits ^= 0x80000000u;
    if (bytes == 8) {
      bits = std::bit_cast<u64>(static_cast<double>(std::bit_cast<float>(static_cast<u32>(bits))));
    }
  } else if (text.size() > 2 && text[0] == '0' && (text[1] == 'd' || text[1] == 'D')) {
    bits = std::strtoull(text.c_str() + 2, &end, 16);
    if (negated) bits ^= 0x8000000000000000ull;
    if (bytes == 4) {
      bits = std::bit_cast<u32>(static_cast<float>(std::bit_cast<double>(bits)));
    }
  } else {
    bits = std::strtoull(text.c_str(), &end, 0);
    if (negated) bits = 0 - bits;
    if (*end == 'U') ++end;
  }
  if (*end != '\0') return false;
  if (bytes < 8) bits &= (1ull << (8 * bytes)) - 1;
  return true;
}

Type type_of(std::string_view name) {
  static const std::unordered_map<std::string_view, Type> types = {
      {"pred", Type::Pred}, {"b8", Type::B8}, {"b16", Type::B16}, {"b32", Type::B32}, {"b64", Type::B64},
      {"u8", Type::U8}, {"u16", Type::U16}, {"u32", Type::U32}, {"u64", Type::U64}, {"s8", Type::S8},
      {"s16", Type::S16}, {"s32", Type::S32}, {"s64", Type::S64}, {"f16", Type::F16}, {"f16x2", Type::F16x2},
      {"bf16", Type::BF16}, {"bf16x2", Type::BF16x2}, {"tf32", Type::TF32}, {"f32", Type::F32}, {"f64", Type::F64}};
  const auto found = types.find(name);
  return found == types.end() ? Type::None : found->second;
}

int bytes_of(Type type) {
  switch (type) {
    case Type::B8: case Type::U8: case Type::S8: return 1;
    case Type::B16: case Type::U16: case Type::S16: case Type::F16: case Type::BF16: return 2;
    case Type::B64: case Type::U64: case Type::S64: case Type::F64: return 8;
    default: return 4;
  }
}

bool is_float(Type type) { return type >= Type::F16; }
bool is_signed(Type type) { return type >= Type::S8 && type <= Type::S64; }

}  // namespace standin
