// setp, set, selp, slct, testp: a predicate is one bit for each lane.
#include <cmath>

#include "decoder.h"
#include "half.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace standin {

u32 bits_of(const u32* words) {
  u32 bits = 0;
#if defined(__AVX2__)
  for (int i = 0; i < 4; ++i) {
    const __m256i eight = _mm256_load_si256(reinterpret_cast<const __m256i*>(words + 8 * i));
    bits |= static_cast<u32>(_mm256_movemask_ps(_mm256_castsi256_ps(eight))) << (8 * i);
  }
#else
  for (int l = 0; l < kLanes; ++l) bits |= (words[l] & 1) << l;
#endif
  return bits;
}

namespace {

constexpr auto kEq = [](auto a, auto b) { return a == b; };
constexpr auto kNe = [](auto a, auto b) { return a != b && a == a && b == b; };
constexpr auto kLt = [](auto a, auto b) { return a < b; };
constexpr auto kLe = [](auto a, auto b) { return a <= b; };
constexpr auto kGt = [](auto a, auto b) { return a > b; };
constexpr auto kGe = [](auto a, auto b) { return a >= b; };
// The unordered forms are true when an operand is NaN.
constexpr auto kEqu = [](auto a, auto b) { return a == b || a != a || b != b; };
constexpr auto kNeu = [](auto a, auto b) { return a != b; };
constexpr auto kLtu = [](auto a, auto b) { return !(a >= b); };
constexpr auto kLeu = [](auto a, auto b) { return !(a > b); };
constexpr auto kGtu = [](auto a, auto b) { return !(a <= b); };
constexpr auto kGeu = [](auto a, auto b) { return !(a < b); };
constexpr auto kNum = [](auto a, auto b) { return a == a && b == b; };
constexpr auto kNan = [](auto a, auto b) { return a != a || b != b; };

template <class T, auto F>
u32 compare(Warp& w, const Instruction& in) {
  const auto* a = w.lanes<Slot<T>>(in.src[0]);
  const auto* b = w.lanes<Slot<T>>(in.src[1]);
  alignas(64) u32 words[kLanes];
  for (int l = 0; l < kLanes; ++l) words[l] = F(from_slot<T>(a[l]), from_slot<T>(b[l])) ? kAllLanes : 0;
  return bits_of(words);
}

template <class T, auto F>
void set_predicate(Warp& w, const Instruction& in) {
  w.predicate(in.dst[0]) = compare<T, F>(w, in);
}

// setp.cmp.bool p|q, a, b, c:  p = cmp bool c, q = !cmp bool c. detail: 0 none, 1 and, 2 or, 3 xor.
template <class T, auto F>
void set_predicates(Warp& w, const Instruction& in) {
  const u32 truth = compare<T, F>(w, in);
  const auto combine = [&](u32 x) {
    if (in.detail == 0) return x;
    const u32 c = w.predicate(in.src[2]);
    return in.detail == 1 ? x & c : in.detail == 2 ? x | c : x ^ c;
  };
  const u32 p = combine(truth), q = combine(~truth);
  w.predicate(in.dst[0]) = p;
  if (in.destinations > 1) w.predicate(in.dst[1]) = q;
}

template <class T, auto F>
Handler form(bool combined) {
  return combined ? set_predicates<T, F> : set_predicate<T, F>;
}

template <auto F>
Handler by_type(Type type, bool combined) {
  switch (type) {
    case Type::U16: case Type::B16: return form<u16, F>(combined);
    case Type::S16: return form<s16, F>(combined);
    case Type::U32: case Type::B32: return form<u32, F>(combined);
    case Type::S32: return form<s32, F>(combined);
    case Type::U64: case Type::B64: return form<u64, F>(combined);
    case Type::S64: return form<s64, F>(combined);
    case Type::F32: return form<float, F>(combined);
    case Type::F64: return form<double, F>(combined);
    default: return nullptr;
  }
}
template <auto F>
Handler float_only(Type type, bool combined) {
  return type == Type::F32 ? form<float, F>(combined) : type == Type::F64 ? form<double, F>(combined) : nullptr;
}

Handler pick(Opcode& o, Type type, bool combined) {
  switch (o.one_of({"eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu",
                    "geu", "num", "nan"})) {
    case 0: return by_type<kEq>(type, combined);
    case 1: return by_type<kNe>(type, combined);
    case 2: case 6: return by_type<kLt>(type, combined);
    case 3: case 7: return by_type<kLe>(type, combined);
    case 4: case 8: return by_type<kGt>(type, combined);
    case 5: case 9: return by_type<kGe>(type, combined);
    case 10: return float_only<kEqu>(type, combined);
    case 11: return float_only<kNeu>(type, combined);
    case 12: return float_only<kLtu>(type, combined);
    case 13: return float_only<kLeu>(type, combined);
    case 14: return float_only<kGtu>(type, combined);
    case 15: return float_only<kGeu>(type, combined);
    case 16: return float_only<kNum>(type, combined);
    case 17: return float_only<kNan>(type, combined);
    default: return nullptr;
  }
}

template <class T>
void select(Warp& w, const Instruction& in) {
  auto* d = w.lanes<T>(in.dst[0]);
  const auto* a = w.lanes<T>(in.src[0]);
  const auto* b = w.lanes<T>(in.src[1]);
  const u32 p = w.predicate(in.src[2]);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) d[l] = p & (1u << l) ? a[l] : b[l];
}

// slct d, a, b, c: a where c >= 0.
template <class T, class C>
void select_sign(Warp& w, const Instruction& in) {
  auto* d = w.lanes<T>(in.dst[0]);
  const auto* a = w.lanes<T>(in.src[0]);
  const auto* b = w.lanes<T>(in.src[1]);
  const auto* c = w.lanes<C>(in.src[2]);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) d[l] = c[l] >= C(0) ? a[l] : b[l];
}

void ones(Warp& w, const Instruction& in) {
  u32* d = w.lanes<u32>(in.dst[0]);
  const u32 p = w.predicate(in.src[0]);
  for (int l = 0; l < kLanes; ++l) d[l] = p >> l & 1 ? in.detail : 0;
}

constexpr auto kFinite = [](auto a) { return std::isfinite(a); };
constexpr auto kInfinite = [](auto a) { return std::isinf(a); };
constexpr auto kNumber = [](auto a) { return a == a; };
constexpr auto kNotNumber = [](auto a) { return a != a; };
constexpr auto kNormal = [](auto a) { return std::isnormal(a); };
constexpr auto kSubnormal = [](auto a) { return std::fpclassify(a) == FP_SUBNORMAL; };

template <class T, auto F>
void test(Warp& w, const Instruction& in) {
  const T* a = w.lanes<T>(in.src[0]);
  u32 bits = 0;
  for (int l = 0; l < kLanes; ++l) bits |= static_cast<u32>(F(a[l])) << l;
  w.predicate(in.dst[0]) = bits;
}
template <auto F>
Handler pick_test(Type type) {
  return type == Type::F32 ? test<float, F> : type == Type::F64 ? test<double, F> : nullptr;
}

// A 16-bit float compares as f32.
u32 widened(Decoder& d, const Operand& operand, Type type) {
  const u32 narrow = d.value(operand.words[0], 2);
  const u32 result = d.temporary(4);
  d.emit(type == Type::F16 ? convert<float, u16, [](u16 a) { return from_f16(a); }>
                           : convert<float, u16, [](u16 a) { return from_bf16(a); }>);
  d.destination(result);
  d.source(narrow);
  return result;
}

// The comparison of setp and set, into the given destinations.
void compare(Decoder& d, Opcode& o, const Statement& s, Type type, bool into_temporary) {
  const int boolean = o.one_of({"and", "or", "xor"}) + 1;
  o.has("ftz");
  d.takes(s, boolean > 0 ? 4 : 3);
  const bool combined = boolean > 0 || s.operands.at(0).words.size() > 1;
  u32 a, b, c = 0;
  if (type == Type::F16 || type == Type::BF16) {
    a = widened(d, s.operands.at(1), type);
    b = widened(d, s.operands.at(2), type);
    type = Type::F32;
  } else {
    a = d.value(s.operands.at(1).words[0], bytes_of(type));
    b = d.value(s.operands.at(2).words[0], bytes_of(type));
  }
  if (boolean > 0) c = d.predicate(s.operands.at(3).words[0]);
  d.emit(pick(o, type, combined)).detail = static_cast<u32>(boolean);
  if (into_temporary) {
    d.destination(d.temporary(0));
  } else {
    for (const Word& word : s.operands[0].words) {
      const u32 reg = word.text == "_" ? d.temporary(0) : d.find_register(word.text);
      if (reg == Decoder::kNone || d.width_of(reg) != 0) d.fail("setp wants predicates to set");
      d.destination(reg);
    }
  }
  d.source(a);
  d.source(b);
  if (boolean > 0) d.source(c);
}

}  // namespace

void register_compare(Registry& registry) {
  registry["setp"] = [](Decoder& d, Opcode& o, const Statement& s) { compare(d, o, s, o.type(), false); };
  registry["set"] = [](Decoder& d, Opcode& o, const Statement& s) {
    const Type type = o.type(0), to = o.type(1);
    if (to != Type::U32 && to != Type::S32 && to != Type::F32) d.fail("set gives u32, s32 or f32");
    compare(d, o, s, type, true);
    const u32 p = d.last().dst[0];
    d.emit(ones).detail = to == Type::F32 ? std::bit_cast<u32>(1.f) : kAllLanes;
    d.destination(s.operands.at(0));
    d.source(p);
  };
  registry["selp"] = [](Decoder& d, Opcode& o, const Statement& s) {
    d.takes(s, 4);
    const int bytes = bytes_of(o.type());
    const u32 p = d.predicate(s.operands.at(3).words[0]);
    d.emit(bytes == 8 ? select<u64> : select<u32>);
    d.destination(s.operands.at(0));
    d.source(s.operands.at(1), bytes);
    d.source(s.operands.at(2), bytes);
    d.source(p);
  };
  registry["slct"] = [](Decoder& d, Opcode& o, const Statement& s) {
    o.has("ftz");
    const Type by = o.type(0);
    const int bytes = bytes_of(o.type(1));
    const Handler by_integer = bytes == 8 ? select_sign<u64, s32> : select_sign<u32, s32>;
    const Handler by_float = bytes == 8 ? select_sign<u64, float> : select_sign<u32, float>;
    d.emit(by == Type::S32 ? by_integer : by == Type::F32 ? by_float : nullptr, s, bytes, {bytes, bytes, 4});
  };
  registry["testp"] = [](Decoder& d, Opcode& o, const Statement& s) {
    const Type type = o.type();
    Handler op = nullptr;
    switch (o.one_of({"finite", "infinite", "number", "notanumber", "normal", "subnormal"})) {
      case 0: op = pick_test<kFinite>(type); break;
      case 1: op = pick_test<kInfinite>(type); break;
      case 2: op = pick_test<kNumber>(type); break;
      case 3: op = pick_test<kNotNumber>(type); break;
      case 4: op = pick_test<kNormal>(type); break;
      case 5: op = pick_test<kSubnormal>(type); break;
      default: break;
    }
    d.emit(op, s, 0, {bytes_of(type)});
  };
}

}  // namespace standin
