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
constexpr auto kNegate = [](auto a) { return decltype(a)(0) - a; };
constexpr auto kAbs = [](auto a) { return a < 0 ? decltype(a)(0) - a : a; };
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
    if (b == T(-1)) return static_cast<T>(std::make_unsigned_t<T>(0) - static_cast<std::make_unsigned_t<T>>(a));
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

void emit_sources(Decoder& d, const Statement& s, Handler op, Type type) {
  d.emit(op);
  d.destination(s.operands.at(0));
  for (size_t i = 1; i < s.operands.size(); ++i) d.source(s.operands[i], bytes_of(type));
}

template <auto F>
void plain(Decoder& d, Opcode& o, const Statement& s) {
  const Type type = o.type();
  emit_sources(d, s, by_type<F>(type), type);
}

}  // namespace

// add, sub, mul, min, max, abs, neg, fma and mad exist for floats as well: ops_float.cpp asks here first.
bool decode_integer(Decoder& d, Opcode& o, const Statement& s) {
  const Type type = o.type();
  if (is_float(type) || type == Type::None) return false;
  const std::string_view base = o.base();
  if (base == "add" || base == "sub") {
    const bool add = base == "add";
    Handler op = add ? by_bits<kAdd>(type) : by_bits<kSub>(type);
    if (o.has("sat")) op = type != Type::S32 ? nullptr : add ? binary<s32, kAddSaturate> : binary<s32, kSubSaturate>;
    emit_sources(d, s, op, type);
  } else if (base == "mul" || base == "mad") {
    const bool mad = base == "mad";
    if (o.has("wide")) {
      Handler op = nullptr;
      if (type == Type::U16) op = mad ? wide<u16, true> : wide<u16, false>;
      if (type == Type::S16) op = mad ? wide<s16, true> : wide<s16, false>;
      if (type == Type::U32) op = mad ? wide<u32, true> : wide<u32, false>;
      if (type == Type::S32) op = mad ? wide<s32, true> : wide<s32, false>;
      d.emit(op);
      d.destination(s.operands.at(0));
      d.source(s.operands.at(1), bytes_of(type));
      d.source(s.operands.at(2), bytes_of(type));
      if (mad) d.source(s.operands.at(3), 2 * bytes_of(type));
    } else if (o.has("hi")) {
      Handler op = by_type<kHigh>(type);
      if (mad) {
        op = type == Type::U32 ? ternary<u32, kHighAdd> : type == Type::S32 ? ternary<s32, kHighAdd>
             : type == Type::U64 ? ternary<u64, kHighAdd> : type == Type::S64 ? ternary<s64, kHighAdd> : nullptr;
      }
      emit_sources(d, s, op, type);
    } else {
      o.has("lo");
      Handler op = by_bits<kMul>(type);
      if (mad) op = bytes_of(type) == 2 ? ternary<u16, kMad> : bytes_of(type) == 8 ? ternary<u64, kMad> : ternary<u32, kMad>;
      emit_sources(d, s, op, type);
    }
  } else if (base == "min") {
    emit_sources(d, s, by_type<kMin>(type), type);
  } else if (base == "max") {
    emit_sources(d, s, by_type<kMax>(type), type);
  } else if (base == "neg") {
    emit_sources(d, s, bytes_of(type) == 2 ? unary<u16, kNegate> : bytes_of(type) == 8 ? unary<u64, kNegate>
                 : unary<u32, kNegate>, type);
  } else if (base == "abs") {
    emit_sources(d, s, bytes_of(type) == 2 ? unary<s16, kAbs> : bytes_of(type) == 8 ? unary<s64, kAbs>
                 : unary<s32, kAbs>, type);
  } else if (base == "div") {
    emit_sources(d, s, by_type<kDivide>(type), type);
  } else {
    return false;
  }
  return true;
}

void register_integer(Registry& registry) {
  registry["rem"] = plain<kRemainder>;
  registry["mul24"] = [](Decoder& d, Opcode& o, const Statement& s) {
    o.has("lo");
    const Type type = o.type();
    emit_sources(d, s, type == Type::U32 ? binary<u32, kMul24> : nullptr, type);
  };
  registry["sad"] = [](Decoder& d, Opcode& o, const Statement& s) {
    const Type type = o.type();
    emit_sources(d, s, type == Type::S32 ? ternary<s32, kSad> : type == Type::U32 ? ternary<u32, kSad> : nullptr, type);
  };
  registry["dp4a"] = [](Decoder& d, Opcode& o, const Statement& s) {
    const bool signed_b = o.type(0) == Type::S32, signed_a = o.type(1) == Type::S32;
    emit_sources(d, s, signed_a ? (signed_b ? dot4<s8, s8> : dot4<s8, u8>) : (signed_b ? dot4<u8, s8> : dot4<u8, u8>),
                 Type::B32);
  };
}

}  // namespace standin
