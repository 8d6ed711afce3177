// Integer arithmetic: add, sub, mul, mad, div, rem, min, max, abs, neg, sad, dp4a and the carry-free forms.
#include <limits>

#include "decoder.h"

namespace standin {
namespace {

constexpr auto kAdd = [](auto a, auto b) { return a + b; };
constexpr auto kSub = [](auto a, auto b) { return a - b; };
constexpr auto kMul = [](auto a, auto b) { return a * b; };
constexpr auto kMad = [](auto a, auto b, auto c) { return a * b + c; };
constexpr auto kMin = [](auto a, auto b) { return a < b ? a : b; };
constexpr auto kMax = [](auto a, auto b) { return a > b ? a : b; };
template <class T>
constexpr T minus(T a) {
  using Unsigned = std::make_unsigned_t<T>;
  return static_cast<T>(Unsigned(0) - static_cast<Unsigned>(a));
}
constexpr auto kNegate = [](auto a) { return minus(a); };
constexpr auto kAbs = [](auto a) { return a < 0 ? minus(a) : a; };
constexpr auto kAddSaturate = [](s32 a, s32 b) {
  const s64 sum = static_cast<s64>(a) + b;
  return static_cast<s32>(sum < INT32_MIN ? INT32_MIN : sum > INT32_MAX ? INT32_MAX : sum);
};
constexpr auto kSubSaturate = [](s32 a, s32 b) {
  const s64 sum = static_cast<s64>(a) - b;
  return static_cast<s32>(sum < INT32_MIN ? INT32_MIN : sum > INT32_MAX ? INT32_MAX : sum);
};

// Division by zero has no defined result; the hardware gives all ones and the dividend. Overflow wraps.
constexpr auto kDivide = [](auto a, auto b) {
  using T = decltype(a);
  if (b == 0) return static_cast<T>(~T(0));
  if constexpr (std::is_signed_v<T>) {
    if (b == T(-1)) return minus(a);
  }
  return static_cast<T>(a / b);
};
constexpr auto kRemainder = [](auto a, auto b) {
  using T = decltype(a);
  if (b == 0) return a;
  if constexpr (std::is_signed_v<T>) {
    if (b == T(-1)) return T(0);
  }
  return static_cast<T>(a % b);
};

template <class T>
struct Wider;
template <> struct Wider<u16> { using type = u32; };
template <> struct Wider<s16> { using type = s32; };
template <> struct Wider<u32> { using type = u64; };
template <> struct Wider<s32> { using type = s64; };
template <> struct Wider<u64> { using type = unsigned __int128; };
template <> struct Wider<s64> { using type = __int128; };

constexpr auto kHigh = [](auto a, auto b) {
  using T = decltype(a);
  using W = typename Wider<T>::type;
  return static_cast<T>((static_cast<W>(a) * static_cast<W>(b)) >> (8 * sizeof(T)));
};
constexpr auto kHighAdd = [](auto a, auto b, auto c) { return static_cast<decltype(a)>(kHigh(a, b) + c); };

template <class T, bool Add>
void wide(Warp& w, const Instruction& in) {
  using D = typename Wider<T>::type;
  auto* d = w.lanes<Slot<D>>(in.dst[0]);
  const u32* a = w.lanes<u32>(in.src[0]);
  const u32* b = w.lanes<u32>(in.src[1]);
  const auto* c = w.lanes<Slot<D>>(in.src[Add ? 2 : 0]);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) {
    const D product = static_cast<D>(from_slot<T>(a[l])) * static_cast<D>(from_slot<T>(b[l]));
    d[l] = static_cast<Slot<D>>(product) + (Add ? c[l] : 0);
  }
}

constexpr auto kMul24 = [](u32 a, u32 b) { return (a & 0xffffff) * (b & 0xffffff); };
constexpr auto kSad = [](auto a, auto b, auto c) { return (a > b ? a - b : b - a) + c; };

template <class A, class B>
void dot4(Warp& w, const Instruction& in) {
  u32* d = w.lanes<u32>(in.dst[0]);
  const u32* a = w.lanes<u32>(in.src[0]);
  const u32* b = w.lanes<u32>(in.src[1]);
  const u32* c = w.lanes<u32>(in.src[2]);
  for (int l = 0; l < kLanes; ++l) {
    u32 sum = c[l];
    for (int i = 0; i < 32; i += 8) sum += static_cast<u32>(static_cast<A>(a[l] >> i) * static_cast<B>(b[l] >> i));
    d[l] = sum;
  }
}

// The instance of an operation whose result does not depend on the sign.
template <auto F>
Handler by_bits(Type type) {
  switch (bytes_of(type)) {
    case 2: return binary<u16, F>;
    case 4: return binary<u32, F>;
    case 8: return binary<u64, F>;
    default: return nullptr;
  }
}
template <auto F>
Handler by_type(Type type) {
  switch (type) {
    case Type::U16: case Type::B16: return binary<u16, F>;
    case Type::U32: case Type::B32: return binary<u32, F>;
    case Type::U64: case Type::B64: return binary<u64, F>;
    case Type::S16: return binary<s16, F>;
    case Type::S32: return binary<s32, F>;
    case Type::S64: return binary<s64, F>;
    default: return nullptr;
  }
}

// The instance of a three-operand operation whose result does not depend on the sign.
template <auto F>
Handler three_by_bits(Type type) {
  switch (bytes_of(type)) {
    case 2: return ternary<u16, F>;
    case 4: return ternary<u32, F>;
    case 8: return ternary<u64, F>;
    default: return nullptr;
  }
}
template <auto F>
Handler one_by_sign(Type type) {
  switch (bytes_of(type)) {
    case 2: return unary<s16, F>;
    case 4: return unary<s32, F>;
    case 8: return unary<s64, F>;
    default: return nullptr;
  }
}
Handler high_sum(Type type) {
  switch (type) {
    case Type::U32: return ternary<u32, kHighAdd>;
    case Type::S32: return ternary<s32, kHighAdd>;
    case Type::U64: return ternary<u64, kHighAdd>;
    case Type::S64: return ternary<s64, kHighAdd>;
    default: return nullptr;
  }
}
template <bool Add>
Handler wide_by_type(Type type) {
  switch (type) {
    case Type::U16: return wide<u16, Add>;
    case Type::S16: return wide<s16, Add>;
    case Type::U32: return wide<u32, Add>;
    case Type::S32: return wide<s32, Add>;
    default: return nullptr;
  }
}

// mul and mad: .wide, .hi, or the low half.
void product(Decoder& d, Opcode& o, const Statement& s, Type type, bool add) {
  const int bytes = bytes_of(type);
  if (o.has("wide")) {
    if (add) d.emit(wide_by_type<true>(type), s, 2 * bytes, {bytes, bytes, 2 * bytes});
    else d.emit(wide_by_type<false>(type), s, 2 * bytes, {bytes, bytes});
    return;
  }
  const bool high = o.has("hi");
  o.has("lo");
  if (add) d.emit(high ? high_sum(type) : three_by_bits<kMad>(type), s, bytes, {bytes, bytes, bytes});
  else d.emit(high ? by_type<kHigh>(type) : by_bits<kMul>(type), s, bytes, {bytes, bytes});
}

}  // namespace

// add, sub, mul, min, max, abs, neg, fma and mad exist for floats as well: ops_float.cpp asks here first.
bool decode_integer(Decoder& d, Opcode& o, const Statement& s) {
  const Type type = o.type();
  if (is_float(type) || type == Type::None) return false;
  const std::string_view base = o.base();
  const int bytes = bytes_of(type);
  const auto two = [&](Handler op) { d.emit(op, s, bytes, {bytes, bytes}); };
  if (base == "add" || base == "sub") {
    const bool add = base == "add";
    Handler op = add ? by_bits<kAdd>(type) : by_bits<kSub>(type);
    if (o.has("sat")) op = type != Type::S32 ? nullptr : add ? binary<s32, kAddSaturate> : binary<s32, kSubSaturate>;
    two(op);
  } else if (base == "mul" || base == "mad") {
    product(d, o, s, type, base == "mad");
  } else if (base == "min") {
    two(by_type<kMin>(type));
  } else if (base == "max") {
    two(by_type<kMax>(type));
  } else if (base == "div") {
    two(by_type<kDivide>(type));
  } else if (base == "neg") {
    d.emit(one_by_sign<kNegate>(type), s, bytes, {bytes});
  } else if (base == "abs") {
    d.emit(one_by_sign<kAbs>(type), s, bytes, {bytes});
  } else {
    return false;
  }
  return true;
}

void register_integer(Registry& registry) {
  registry["rem"] = [](Decoder& d, Opcode& o, const Statement& s) {
    const Type type = o.type();
    d.emit(by_type<kRemainder>(type), s, bytes_of(type), {bytes_of(type), bytes_of(type)});
  };
  registry["mul24"] = [](Decoder& d, Opcode& o, const Statement& s) {
    o.has("lo");
    d.emit(o.type() == Type::U32 ? binary<u32, kMul24> : nullptr, s, 4, {4, 4});
  };
  registry["sad"] = [](Decoder& d, Opcode& o, const Statement& s) {
    const Type type = o.type();
    const Handler op = type == Type::S32 ? ternary<s32, kSad> : type == Type::U32 ? ternary<u32, kSad> : nullptr;
    d.emit(op, s, 4, {4, 4, 4});
  };
  registry["dp4a"] = [](Decoder& d, Opcode& o, const Statement& s) {
    const bool signed_b = o.type(0) == Type::S32, signed_a = o.type(1) == Type::S32;
    d.emit(signed_a ? (signed_b ? dot4<s8, s8> : dot4<s8, u8>) : (signed_b ? dot4<u8, s8> : dot4<u8, u8>), s, 4,
           {4, 4, 4});
  };
}

}  // namespace standin
