// f32 and f64 arithmetic. Rounding modes and .ftz run the same operations under another MXCSR; .approx forms are
// correctly rounded or within 2 ulp, as close as the hardware's or closer.
#include <cmath>
#include <limits>

#include "decoder.h"

namespace standin {
namespace {

constexpr auto kAdd = [](auto a, auto b) { return a + b; };
constexpr auto kSub = [](auto a, auto b) { return a - b; };
constexpr auto kMul = [](auto a, auto b) { return a * b; };
constexpr auto kDiv = [](auto a, auto b) { return a / b; };
constexpr auto kFma = [](auto a, auto b, auto c) {
  if constexpr (sizeof(a) == 4) return __builtin_fmaf(a, b, c);
  else return __builtin_fma(a, b, c);
};

template <class T>
using Bits = std::conditional_t<sizeof(T) == 8, u64, u32>;

// A NaN operand loses against a number; +0 is above -0.
constexpr auto kMin = [](auto a, auto b) {
  using T = decltype(a);
  const T zeros = std::bit_cast<T>(std::bit_cast<Bits<T>>(a) | std::bit_cast<Bits<T>>(b));
  const T smaller = a < b ? a : b;
  const T ordered = a == b ? zeros : smaller;
  return b != b ? a : ordered;
};
constexpr auto kMax = [](auto a, auto b) {
  using T = decltype(a);
  const T zeros = std::bit_cast<T>(std::bit_cast<Bits<T>>(a) & std::bit_cast<Bits<T>>(b));
  const T larger = a > b ? a : b;
  const T ordered = a == b ? zeros : larger;
  return b != b ? a : ordered;
};
// .NaN: a NaN operand wins.
constexpr auto kMinNan = [](auto a, auto b) {
  using T = decltype(a);
  return a != a || b != b ? std::numeric_limits<T>::quiet_NaN() : kMin(a, b);
};
constexpr auto kMaxNan = [](auto a, auto b) {
  using T = decltype(a);
  return a != a || b != b ? std::numeric_limits<T>::quiet_NaN() : kMax(a, b);
};

template <class T>
constexpr Bits<T> kSign = Bits<T>(1) << (8 * sizeof(T) - 1);
constexpr auto kNegate = [](auto a) {
  using T = decltype(a);
  return std::bit_cast<T>(std::bit_cast<Bits<T>>(a) ^ kSign<T>);
};
constexpr auto kAbs = [](auto a) {
  using T = decltype(a);
  return std::bit_cast<T>(std::bit_cast<Bits<T>>(a) & ~kSign<T>);
};
// copysign d, a, b: the sign of a on the value of b.
constexpr auto kCopySign = [](auto a, auto b) {
  using T = decltype(a);
  return std::bit_cast<T>((std::bit_cast<Bits<T>>(a) & kSign<T>) | (std::bit_cast<Bits<T>>(b) & ~kSign<T>));
};
constexpr auto kSaturate = [](auto a) {
  using T = decltype(a);
  return a > T(0) ? (a < T(1) ? a : T(1)) : T(0);
};

constexpr auto kSqrt = [](auto a) {
  if constexpr (sizeof(a) == 4) return __builtin_sqrtf(a);
  else return __builtin_sqrt(a);
};
constexpr auto kReciprocal = [](auto a) { return decltype(a)(1) / a; };
constexpr auto kReciprocalSqrt = [](auto a) { return decltype(a)(1) / kSqrt(a); };

// 2^x: x = i + f, |f| <= 1/2; 2^f by its Taylor polynomial (terms ln(2)^k / k!, error below 2^-24), 2^i in two
// halves so that subnormal results come out of the last product.
constexpr auto kExp2 = [](float x) {
  const float low = x < -152.f ? -152.f : x;
  const float clamped = low > 129.f ? 129.f : low;
  const float whole = __builtin_rintf(clamped);
  const float f = clamped - whole;
  float p = 1.5403530e-4f;
  p = p * f + 1.3333558e-3f;
  p = p * f + 9.6181291e-3f;
  p = p * f + 5.5504109e-2f;
  p = p * f + 2.4022651e-1f;
  p = p * f + 6.9314718e-1f;
  p = p * f + 1.f;
  const s32 i = static_cast<s32>(whole);
  const s32 half = i >> 1;
  const float a = std::bit_cast<float>((half + 127) << 23), b = std::bit_cast<float>((i - half + 127) << 23);
  return x != x ? x : p * a * b;
};
constexpr auto kLog2 = [](float x) { return ::log2f(x); };
constexpr auto kSin = [](float x) { return ::sinf(x); };
constexpr auto kCos = [](float x) { return ::cosf(x); };
constexpr auto kTanh = [](float x) { return ::tanhf(x); };

template <auto F>
Handler two(Type type) {
  return type == Type::F32 ? binary<float, F> : type == Type::F64 ? binary<double, F> : nullptr;
}
template <auto F>
Handler one(Type type) {
  return type == Type::F32 ? unary<float, F> : type == Type::F64 ? unary<double, F> : nullptr;
}

u32 rounding(Opcode& o) {
  static constexpr u32 modes[] = {kRoundNearest, kRoundZero, kRoundDown, kRoundUp};
  const int mode = o.one_of({"rn", "rz", "rm", "rp"});
  return mode < 0 ? kRoundNearest : modes[mode];
}

// Operation, rounding, flush and saturation of one instruction.
void emit(Decoder& d, Opcode& o, const Statement& s, Handler op, int sources, bool rounds) {
  const Type type = o.type();
  const int bytes = bytes_of(type);
  u32 mode = rounds ? rounding(o) : kRoundNearest;
  if (o.has("ftz")) mode |= kFlush;
  if (sources == 1) d.emit(op, s, bytes, {bytes});
  if (sources == 2) d.emit(op, s, bytes, {bytes, bytes});
  if (sources == 3) d.emit(op, s, bytes, {bytes, bytes, bytes});
  if (mode != kRoundNearest && op != nullptr) d.control_word(mode);
  if (o.has("sat")) {
    const u32 result = d.last().dst[0];
    d.emit(one<kSaturate>(type));
    d.destination(result);
    d.source(result);
  }
}

// An opcode that integers, halves and floats share.
template <int Sources, auto Pick>
void shared(Decoder& d, Opcode& o, const Statement& s) {
  if (decode_integer(d, o, s) || decode_half(d, o, s)) return;
  emit(d, o, s, Pick(o, o.type()), Sources, true);
}

template <auto F>
void approximate(Decoder& d, Opcode& o, const Statement& s) {
  if (decode_half(d, o, s)) return;
  o.has("approx");
  emit(d, o, s, o.type() == Type::F32 ? unary<float, F> : nullptr, 1, false);
}

template <auto F>
void root(Decoder& d, Opcode& o, const Statement& s) {
  o.has("approx");
  emit(d, o, s, one<F>(o.type()), 1, true);
}

}  // namespace

void register_float(Registry& registry) {
  registry["add"] = shared<2, [](Opcode&, Type t) { return two<kAdd>(t); }>;
  registry["sub"] = shared<2, [](Opcode&, Type t) { return two<kSub>(t); }>;
  registry["mul"] = shared<2, [](Opcode&, Type t) { return two<kMul>(t); }>;
  registry["div"] = shared<2, [](Opcode& o, Type t) {
    o.one_of({"full", "approx"});
    return two<kDiv>(t);
  }>;
  registry["min"] = shared<2, [](Opcode& o, Type t) { return o.has("NaN") ? two<kMinNan>(t) : two<kMin>(t); }>;
  registry["max"] = shared<2, [](Opcode& o, Type t) { return o.has("NaN") ? two<kMaxNan>(t) : two<kMax>(t); }>;
  registry["neg"] = shared<1, [](Opcode&, Type t) { return one<kNegate>(t); }>;
  registry["abs"] = shared<1, [](Opcode&, Type t) { return one<kAbs>(t); }>;
  const Decode fma = shared<3, [](Opcode&, Type t) -> Handler {
    return t == Type::F32 ? ternary<float, kFma> : t == Type::F64 ? ternary<double, kFma> : nullptr;
  }>;
  registry["fma"] = fma;
  registry["mad"] = fma;
  registry["copysign"] = [](Decoder& d, Opcode& o, const Statement& s) {
    emit(d, o, s, two<kCopySign>(o.type()), 2, false);
  };
  registry["sqrt"] = root<kSqrt>;
  registry["rcp"] = root<kReciprocal>;
  registry["rsqrt"] = root<kReciprocalSqrt>;
  registry["lg2"] = approximate<kLog2>;
  registry["sin"] = approximate<kSin>;
  registry["cos"] = approximate<kCos>;
  registry["tanh"] = approximate<kTanh>;
  registry["ex2"] = [](Decoder& d, Opcode& o, const Statement& s) {
    if (decode_half(d, o, s)) return;
    o.has("approx");
    // .ftz flushes a subnormal argument to 0, and 2^0 = 2^subnormal = 1; only subnormal results differ.
    emit(d, o, s, o.type() == Type::F32 ? unary<float, kExp2> : nullptr, 1, false);
  };
}

}  // namespace standin
