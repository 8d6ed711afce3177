// Names of the widths that PTX works with, and the PTX types themselves.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace standin {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using s8 = std::int8_t;
using s16 = std::int16_t;
using s32 = std::int32_t;
using s64 = std::int64_t;

constexpr int kLanes = 32;
constexpr u32 kAllLanes = ~0u;

enum class Type : u8 {
  None, Pred, B8, B16, B32, B64, U8, U16, U32, U64, S8, S16, S32, S64, F16, F16x2, BF16, BF16x2, TF32, F32, F64
};

// "b32" -> Type::B32; Type::None when the word is no type.
Type type_of(std::string_view name);
int bytes_of(Type type);
bool is_float(Type type);
bool is_signed(Type type);

}  // namespace standin
