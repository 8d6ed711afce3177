// cvt in all its forms. A 16-bit float source widens to f32 first; a narrow integer result is extended to its register.
#include <cmath>
#include <limits>

#include "decoder.h"
#include "half.h"

namespace standin {
namespace {

constexpr auto kCast = [](auto a) { return a; };
constexpr auto kNearest = [](auto a) { return std::nearbyint(a); };
constexpr auto kTowardsZero = [](auto a) { return std::trunc(a); };
constexpr auto kDown = [](auto a) { return std::floor(a); };
constexpr auto kUp = [](auto a) { return std::ceil(a); };

// Float to integer clamps to the range of D; NaN gives 0.
template <class D, class A, auto Round>
void to_integer(Warp& w, const Instruction& in) {
  auto* d = w.lanes<Slot<D>>(in.dst[0]);
  const auto* a = w.lanes<Slot<A>>(in.src[0]);
  constexpr A low = static_cast<A>(std::numeric_limits<D>::min());
  constexpr A high = static_cast<A>(std::numeric_limits<D>::max());
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) {
    const A rounded = static_cast<A>(Round(from_slot<A>(a[l])));
    const A inside = rounded > low && rounded < high ? rounded : A(0);
    const D value = static_cast<D>(inside);
    d[l] = to_slot<D>(rounded <= low ? std::numeric_limits<D>::min()
                      : rounded >= high ? std::numeric_limits<D>::max() : value);
  }
}

template <class D, class A>
Handler pick_round(int mode) {
  switch (mode) {
    case 0: return to_integer<D, A, kNearest>;
    case 2: return to_integer<D, A, kDown>;
    case 3: return to_integer<D, A, kUp>;
    default: return to_integer<D, A, kTowardsZero>;
  }
}
template <class A>
Handler pick_integer(Type to, int mode) {
  switch (to) {
    case Type::U8: return pick_round<u8, A>(mode);
    case Type::S8: return pick_round<s8, A>(mode);
    case Type::U16: return pick_round<u16, A>(mode);
    case Type::S16: return pick_round<s16, A>(mode);
    case Type::U32: return pick_round<u32, A>(mode);
    case Type::S32: return pick_round<s32, A>(mode);
    case Type::U64: return pick_round<u64, A>(mode);
    case Type::S64: return pick_round<s64, A>(mode);
    default: return nullptr;
  }
}

template <class D>
Handler pick_source(Type from) {
  switch (from) {
    case Type::U8: case Type::B8: return convert<D, u8, kCast>;
    case Type::S8: return convert<D, s8, kCast>;
    case Type::U16: case Type::B16: return convert<D, u16, kCast>;
    case Type::S16: return convert<D, s16, kCast>;
    case Type::U32: case Type::B32: return convert<D, u32, kCast>;
    case Type::S32: return convert<D, s32, kCast>;
    case Type::U64: case Type::B64: return convert<D, u64, kCast>;
    case Type::S64: return convert<D, s64, kCast>;
    default: return nullptr;
  }
}
Handler pick_extend(Type to, Type from) {
  switch (to) {
    case Type::U8: case Type::B8: return pick_source<u8>(from);
    case Type::S8: return pick_source<s8>(from);
    case Type::U16: case Type::B16: return pick_source<u16>(from);
    case Type::S16: return pick_source<s16>(from);
    case Type::U32: case Type::B32: return pick_source<u32>(from);
    case Type::S32: return pick_source<s32>(from);
    case Type::U64: case Type::B64: return pick_source<u64>(from);
    case Type::S64: return pick_source<s64>(from);
    case Type::F32: return pick_source<float>(from);
    case Type::F64: return pick_source<double>(from);
    default: return nullptr;
  }
}

template <class D, class A>
constexpr auto kClamp = [](A a) {
  using Wide = std::conditional_t<std::is_signed_v<A>, __int128, unsigned __int128>;
  const Wide value = a, high = static_cast<Wide>(std::numeric_limits<D>::max());
  if constexpr (std::is_signed_v<A>) {
    const Wide low = static_cast<Wide>(std::numeric_limits<D>::min());
    return static_cast<D>(value < low ? low : value > high ? high : value);
  } else {
    return static_cast<D>(value > high ? high : value);
  }
};
// Saturating integer narrowing works on 64-bit sources.
Handler pick_clamp(Type to, bool sign) {
  switch (to) {
    case Type::U8: return sign ? convert<u8, s64, kClamp<u8, s64>> : convert<u8, u64, kClamp<u8, u64>>;
    case Type::S8: return sign ? convert<s8, s64, kClamp<s8, s64>> : convert<s8, u64, kClamp<s8, u64>>;
    case Type::U16: return sign ? convert<u16, s64, kClamp<u16, s64>> : convert<u16, u64, kClamp<u16, u64>>;
    case Type::S16: return sign ? convert<s16, s64, kClamp<s16, s64>> : convert<s16, u64, kClamp<s16, u64>>;
    case Type::U32: return sign ? convert<u32, s64, kClamp<u32, s64>> : convert<u32, u64, kClamp<u32, u64>>;
    case Type::S32: return sign ? convert<s32, s64, kClamp<s32, s64>> : convert<s32, u64, kClamp<s32, u64>>;
    case Type::U64: return sign ? convert<u64, s64, kClamp<u64, s64>> : convert<u64, u64, kCast>;
    case Type::S64: return sign ? convert<s64, s64, kCast> : convert<s64, u64, kClamp<s64, u64>>;
    default: return nullptr;
  }
}

constexpr auto kSaturate = [](auto a) { return a > 0 ? (a < 1 ? a : decltype(a)(1)) : decltype(a)(0); };
constexpr auto kRelu = [](float a) { return a > 0 || a != a ? a : 0.f; };

template <class H>
constexpr auto kWiden = [](u16 a) { return H::load(a); };
template <class H>
constexpr auto kNarrow = [](float a) { return static_cast<u16>(H::store(a)); };
constexpr auto kTruncateBf16 = [](float a) {
  return static_cast<u16>(a != a ? 0x7fff : std::bit_cast<u32>(a) >> 16);
};
// Nearest f16, stepped back towards zero where that was larger; too large becomes the largest finite one.
constexpr auto kTruncateF16 = [](float a) {
  const u32 near = to_f16(a);
  if (a != a || std::isinf(a)) return static_cast<u16>(near);
  const bool above = std::fabs(from_f16(near)) > std::fabs(a);
  return static_cast<u16>(above ? near - 1 : near);
};
constexpr auto kOdd = [](double a) { return to_odd(a); };
// tf32: 10 bits of mantissa; rna rounds halves away from zero.
inline float to_tf32(float a, u32 half) {
  const u32 bits = std::bit_cast<u32>(a);
  const bool finite = (bits & 0x7f800000) != 0x7f800000;
  return std::bit_cast<float>(a != a ? 0x7fffffffu : finite ? (bits + half) & ~0x1fffu : bits);
}
constexpr auto kTf32Away = [](float a) { return to_tf32(a, 0x1000); };
constexpr auto kTf32Even = [](float a) { return to_tf32(a, 0xfff + (std::bit_cast<u32>(a) >> 13 & 1)); };

template <class H>
void narrow_pair(Warp& w, const Instruction& in) {
  u32* d = w.lanes<u32>(in.dst[0]);
  const float* high = w.lanes<float>(in.src[0]);
  const float* low = w.lanes<float>(in.src[1]);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) d[l] = H::store(high[l]) << 16 | H::store(low[l]);
}
template <class H>
void narrow_pair_relu(Warp& w, const Instruction& in) {
  u32* d = w.lanes<u32>(in.dst[0]);
  const float* high = w.lanes<float>(in.src[0]);
  const float* low = w.lanes<float>(in.src[1]);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) d[l] = H::store(kRelu(high[l])) << 16 | H::store(kRelu(low[l]));
}

bool is_half(Type t) { return t == Type::F16 || t == Type::BF16; }

constexpr u32 kModes[] = {kRoundNearest, kRoundZero, kRoundDown, kRoundUp};

class Conversion {
 public:
  Conversion(Decoder& d, Opcode& o, const Statement& s) : d_(d), o_(o), s_(s) {
    from_ = o.type(0);
    to_ = o.type(1);
    integer_mode_ = o.one_of({"rni", "rzi", "rmi", "rpi"});
    float_mode_ = o.one_of({"rn", "rz", "rm", "rp"});
    saturate_ = o.has("sat");
    flush_ = o.has("ftz");
    relu_ = o.has("relu");
    to_reg_ = d.find_register(s.operands.at(0).words[0].text);
    if (to_reg_ == Decoder::kNone) d.fail("the result of cvt is no register");
  }

  void decode() {
    if (to_ == Type::F16x2 || to_ == Type::BF16x2) return pair();
    u32 a = d_.narrowed(s_.operands.at(1).words[0], bytes_of(from_));
    if (is_half(from_)) {
      a = step(from_ == Type::F16 ? convert<float, u16, kWiden<F16>> : convert<float, u16, kWiden<Bf16>>, a, 4);
      if (to_ == from_ && integer_mode_ < 0) return last(narrow(), a);
      from_ = Type::F32;
    }
    if (is_float(from_) && !is_float(to_)) return float_to_integer(a);
    if (!is_float(from_) && !is_float(to_)) return integer_to_integer(a);
    if (!is_float(from_)) return integer_to_float(a);
    float_to_float(a);
  }

 private:
  u32 step(Handler op, u32 source, int width) {
    const u32 result = d_.temporary(width);
    d_.emit(op);
    d_.destination(result);
    d_.source(source);
    return result;
  }
  void last(Handler op, u32 source) {
    d_.emit(op);
    d_.destination(to_reg_);
    d_.source(source);
    const u32 mode = (float_mode_ > 0 ? kModes[float_mode_] : kRoundNearest) | (flush_ ? kFlush : 0);
    if (mode != kRoundNearest && op != nullptr && !is_half(to_)) d_.control_word(mode);
    if (saturate_ && is_float(to_)) {
      if (is_half(to_)) d_.fail("cvt.sat to a 16-bit float is not supported");
      d_.emit(to_ == Type::F64 ? unary<double, kSaturate> : unary<float, kSaturate>);
      d_.destination(to_reg_);
      d_.source(to_reg_);
    }
  }

  // f32 to a 16-bit float.
  Handler narrow() {
    const bool zero = float_mode_ == 1;
    if (float_mode_ > 1) d_.fail("cvt to a 16-bit float rounds .rn or .rz");
    return to_ == Type::BF16 ? (zero ? convert<u16, float, kTruncateBf16> : convert<u16, float, kNarrow<Bf16>>)
                             : (zero ? convert<u16, float, kTruncateF16> : convert<u16, float, kNarrow<F16>>);
  }

  void pair() {
    if (float_mode_ != 0) d_.fail("cvt to two 16-bit floats rounds .rn");
    const bool bf16 = to_ == Type::BF16x2;
    const Handler plain = bf16 ? narrow_pair<Bf16> : narrow_pair<F16>;
    const Handler relu = bf16 ? narrow_pair_relu<Bf16> : narrow_pair_relu<F16>;
    d_.emit(relu_ ? relu : plain, s_, 4, {4, 4});
  }

  void float_to_integer(u32 a) {
    const int mode = integer_mode_ < 0 ? 1 : integer_mode_;
    const Handler op = from_ == Type::F64 ? pick_integer<double>(to_, mode) : pick_integer<float>(to_, mode);
    const bool flush = flush_;
    flush_ = false;
    d_.emit(op);
    d_.destination(to_reg_);
    d_.source(a);
    if (flush && op != nullptr) d_.control_word(kRoundNearest | kFlush);
    extend_result();
  }

  void integer_to_integer(u32 a) {
    if (saturate_) {
      const bool sign = is_signed(from_);
      a = step(sign ? pick_source<s64>(from_) : pick_source<u64>(from_), a, 8);
      last(pick_clamp(to_, sign), a);
    } else {
      last(pick_extend(to_, from_), a);
    }
    extend_result();
  }

  // A result narrower than its register is sign-extended when its type is signed.
  void extend_result() {
    const int declared = d_.declared_bytes(to_reg_), bytes = bytes_of(to_);
    if (declared == bytes) return;
    if (d_.width_of(to_reg_) == 8) {
      Instruction& in = d_.last();
      const u32 low = d_.temporary(4);
      in.dst[0] = low;
      in.width[0] = 4;
      d_.emit(pick_extend(is_signed(to_) ? Type::S64 : Type::U64, to_));
      d_.destination(to_reg_);
      d_.source(low);
    } else if (is_signed(to_)) {
      d_.emit(pick_extend(declared == 2 ? Type::S16 : Type::S32, to_));
      d_.destination(to_reg_);
      d_.source(to_reg_);
    }
  }

  void integer_to_float(u32 a) {
    if (is_half(to_)) {
      // Exact in f64 up to 2^53; then rounded once.
      a = step(pick_extend(Type::F64, from_), a, 8);
      a = step(convert<float, double, kOdd>, a, 4);
      return last(narrow(), a);
    }
    last(pick_extend(to_, from_), a);
  }

  void float_to_float(u32 a) {
    if (to_ == Type::TF32) {
      const bool away = o_.has("rna");
      return last(away ? unary<float, kTf32Away> : unary<float, kTf32Even>, a);
    }
    if (integer_mode_ >= 0) {
      const bool wide = from_ == Type::F64;
      static constexpr Handler narrow_ops[] = {unary<float, kNearest>, unary<float, kTowardsZero>, unary<float, kDown>,
                                               unary<float, kUp>};
      static constexpr Handler wide_ops[] = {unary<double, kNearest>, unary<double, kTowardsZero>, unary<double, kDown>,
                                             unary<double, kUp>};
      const Handler op = wide ? wide_ops[integer_mode_] : narrow_ops[integer_mode_];
      if (to_ == from_) return last(op, a);
      a = step(op, a, wide ? 8 : 4);
    }
    if (is_half(to_)) {
      if (from_ == Type::F64) a = step(convert<float, double, kOdd>, a, 4);
      if (relu_) a = step(unary<float, kRelu>, a, 4);
      return last(narrow(), a);
    }
    if (from_ == to_) return last(from_ == Type::F64 ? unary<double, kCast> : unary<float, kCast>, a);
    last(to_ == Type::F64 ? convert<double, float, kCast> : convert<float, double, kCast>, a);
  }

  Decoder& d_;
  Opcode& o_;
  const Statement& s_;
  Type from_, to_;
  int integer_mode_, float_mode_;
  bool saturate_, flush_, relu_;
  u32 to_reg_;
};

}  // namespace

void register_convert(Registry& registry) {
  registry["cvt"] = [](Decoder& d, Opcode& o, const Statement& s) { Conversion(d, o, s).decode(); };
}

}  // namespace standin
