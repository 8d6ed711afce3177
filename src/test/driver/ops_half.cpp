// f16 and bf16 arithmetic, one value or two in a register. Operands widen exactly to f32; 24 bits are more than twice
// 11 plus 2, so that the second rounding changes nothing for sum and product. fma goes through f64 rounded to odd.
#include <cmath>

#include "decoder.h"
#include "half.h"

namespace standin {
namespace {

constexpr auto kAdd = [](float a, float b) { return a + b; };
constexpr auto kSub = [](float a, float b) { return a - b; };
constexpr auto kMul = [](float a, float b) { return a * b; };
constexpr auto kFma = [](float a, float b, float c) {
  return to_odd(static_cast<double>(a) * static_cast<double>(b) + static_cast<double>(c));
};
constexpr auto kFmaRelu = [](float a, float b, float c) {
  const float r = kFma(a, b, c);
  return r > 0 || r != r ? r : 0.f;
};
constexpr auto kMin = [](float a, float b) {
  return b != b ? a : a == b ? (std::signbit(a) ? a : b) : a < b ? a : b;
};
constexpr auto kMax = [](float a, float b) {
  return b != b ? a : a == b ? (std::signbit(a) ? b : a) : a > b ? a : b;
};
constexpr auto kMinNan = [](float a, float b) { return a != a || b != b ? NAN : kMin(a, b); };
constexpr auto kMaxNan = [](float a, float b) { return a != a || b != b ? NAN : kMax(a, b); };
constexpr auto kExp2 = [](float a) { return ::exp2f(a); };
constexpr auto kTanh = [](float a) { return ::tanhf(a); };

template <class H, int Count, auto F>
void two(Warp& w, const Instruction& in) {
  u32* d = w.lanes<u32>(in.dst[0]);
  const u32* a = w.lanes<u32>(in.src[0]);
  const u32* b = w.lanes<u32>(in.src[1]);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) {
    u32 result = H::store(F(H::load(a[l]), H::load(b[l])));
    if (Count == 2) result |= H::store(F(H::load(a[l] >> 16), H::load(b[l] >> 16))) << 16;
    d[l] = result;
  }
}

template <class H, int Count, auto F>
void three(Warp& w, const Instruction& in) {
  u32* d = w.lanes<u32>(in.dst[0]);
  const u32* a = w.lanes<u32>(in.src[0]);
  const u32* b = w.lanes<u32>(in.src[1]);
  const u32* c = w.lanes<u32>(in.src[2]);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) {
    u32 result = H::store(F(H::load(a[l]), H::load(b[l]), H::load(c[l])));
    if (Count == 2) result |= H::store(F(H::load(a[l] >> 16), H::load(b[l] >> 16), H::load(c[l] >> 16))) << 16;
    d[l] = result;
  }
}

template <class H, int Count, auto F>
void one(Warp& w, const Instruction& in) {
  u32* d = w.lanes<u32>(in.dst[0]);
  const u32* a = w.lanes<u32>(in.src[0]);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) {
    u32 result = H::store(F(H::load(a[l])));
    if (Count == 2) result |= H::store(F(H::load(a[l] >> 16))) << 16;
    d[l] = result;
  }
}

// neg and abs work on the sign bits; detail is the mask.
void flip(Warp& w, const Instruction& in) {
  u32* d = w.lanes<u32>(in.dst[0]);
  const u32* a = w.lanes<u32>(in.src[0]);
  for (int l = 0; l < kLanes; ++l) d[l] = a[l] ^ in.detail;
}
void clear(Warp& w, const Instruction& in) {
  u32* d = w.lanes<u32>(in.dst[0]);
  const u32* a = w.lanes<u32>(in.src[0]);
  for (int l = 0; l < kLanes; ++l) d[l] = a[l] & ~in.detail;
}

template <auto F>
Handler pick_two(Type type) {
  switch (type) {
    case Type::F16: return two<F16, 1, F>;
    case Type::F16x2: return two<F16, 2, F>;
    case Type::BF16: return two<Bf16, 1, F>;
    default: return two<Bf16, 2, F>;
  }
}
template <auto F>
Handler pick_three(Type type) {
  switch (type) {
    case Type::F16: return three<F16, 1, F>;
    case Type::F16x2: return three<F16, 2, F>;
    case Type::BF16: return three<Bf16, 1, F>;
    default: return three<Bf16, 2, F>;
  }
}
template <auto F>
Handler pick_one(Type type) {
  switch (type) {
    case Type::F16: return one<F16, 1, F>;
    case Type::F16x2: return one<F16, 2, F>;
    case Type::BF16: return one<Bf16, 1, F>;
    default: return one<Bf16, 2, F>;
  }
}

}  // namespace

bool decode_half(Decoder& d, Opcode& o, const Statement& s) {
  const Type type = o.type();
  if (type != Type::F16 && type != Type::F16x2 && type != Type::BF16 && type != Type::BF16x2) return false;
  const std::string_view base = o.base();
  const bool pair = type == Type::F16x2 || type == Type::BF16x2;
  const bool unary = base == "neg" || base == "abs" || base == "ex2" || base == "tanh";
  const bool nan = o.has("NaN");
  o.has("rn");
  Handler op = nullptr;
  if (base == "add") op = pick_two<kAdd>(type);
  if (base == "sub") op = pick_two<kSub>(type);
  if (base == "mul") op = pick_two<kMul>(type);
  if (base == "min") op = nan ? pick_two<kMinNan>(type) : pick_two<kMin>(type);
  if (base == "max") op = nan ? pick_two<kMaxNan>(type) : pick_two<kMax>(type);
  if (base == "fma") op = o.has("relu") ? pick_three<kFmaRelu>(type) : pick_three<kFma>(type);
  if (base == "neg") op = flip;
  if (base == "abs") op = clear;
  if (base == "ex2" || base == "tanh") {
    o.has("approx");
    o.has("ftz");
    op = base == "ex2" ? pick_one<kExp2>(type) : pick_one<kTanh>(type);
  }
  const int bytes = pair ? 4 : 2;
  Instruction& in = base == "fma" ? d.emit(op, s, bytes, {bytes, bytes, bytes})
                    : unary ? d.emit(op, s, bytes, {bytes}) : d.emit(op, s, bytes, {bytes, bytes});
  in.detail = pair ? 0x80008000u : 0x8000u;
  return true;
}

}  // namespace standin
