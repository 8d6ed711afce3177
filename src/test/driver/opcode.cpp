// An opcode's text taken apart.
#include "decoder.h"

namespace standin {

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

}  // namespace standin
