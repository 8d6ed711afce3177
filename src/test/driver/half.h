// 16-bit floats as numbers of 32 bits.
#pragma once

#include "types.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace standin {

inline float from_bf16(u32 bits) { return std::bit_cast<float>(bits << 16); }

// Round to nearest even; NaN becomes the canonical one.
inline u32 to_bf16(float value) {
  const u32 bits = std::bit_cast<u32>(value);
  const u32 rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return value != value ? 0x7fff : rounded;
}

inline float from_f16(u32 bits) {
#if defined(__F16C__)
  return _cvtsh_ss(static_cast<u16>(bits));
#else
  // Scale the exponent by 2^112; infinities and NaN get the rest of it.
  const u32 magnitude = (bits & 0x7fff) << 13;
  const float scaled = std::bit_cast<float>(magnitude) * 0x1p112f;
  const u32 special = (bits & 0x7c00) == 0x7c00 ? 0x7f800000u | magnitude : std::bit_cast<u32>(scaled);
  return std::bit_cast<float>(special | (bits & 0x8000) << 16);
#endif
}

inline u32 to_f16(float value) {
  if (value != value) return 0x7fff;
#if defined(__F16C__)
  return _cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT);
#else
  const u32 bits = std::bit_cast<u32>(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Subnormal: adding 2^-1 puts the rounding where f16's last place is.
    const float moved = std::bit_cast<float>(magnitude) + 0.5f;
    return sign | (std::bit_cast<u32>(moved) - 0x3f000000);
  }
  return sign | ((magnitude + 0xfff + (magnitude >> 13 & 1) - 0x38000000) >> 13);
#endif
}

// A double rounded to odd in 24 bits: rounding it again to 16 bits then gives what one rounding would have.
inline float to_odd(double value) {
  const float near = static_cast<float>(value);
  if (static_cast<double>(near) == value || value != value) return near;
  const u32 bits = std::bit_cast<u32>(near);
  if (bits & 1) return near;
  const bool away = (near > value) == (value > 0);
  return std::bit_cast<float>(away ? bits - 1 : bits + 1);
}

struct Bf16 {
  static float load(u32 bits) { return from_bf16(bits & 0xffff); }
  static u32 store(float value) { return to_bf16(value); }
};
struct F16 {
  static float load(u32 bits) { return from_f16(bits & 0xffff); }
  static u32 store(float value) { return to_f16(value); }
};

}  // namespace standin
