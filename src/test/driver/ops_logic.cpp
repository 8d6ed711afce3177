// Bits: and, or, xor, not, shifts, funnel shifts, lop3, prmt, bit fields and counts.
#include "decoder.h"

namespace standin {
namespace {

constexpr auto kAnd = [](auto a, auto b) { return a & b; };
constexpr auto kOr = [](auto a, auto b) { return a | b; };
constexpr auto kXor = [](auto a, auto b) { return a ^ b; };
constexpr auto kNot = [](auto a) { return ~a; };

template <auto F>
void predicates(Warp& w, const Instruction& in) {
  w.predicate(in.dst[0]) = F(w.predicate(in.src[0]), w.predicate(in.src[1]));
}
void predicate_not(Warp& w, const Instruction& in) { w.predicate(in.dst[0]) = ~w.predicate(in.src[0]); }

// Shift counts clamp at the width.
template <class T>
void shift_left(Warp& w, const Instruction& in) {
  auto* d = w.lanes<Slot<T>>(in.dst[0]);
  const auto* a = w.lanes<Slot<T>>(in.src[0]);
  const u32* n = w.lanes<u32>(in.src[1]);
  constexpr u32 bits = 8 * sizeof(T);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) {
    const T shifted = static_cast<T>(static_cast<T>(a[l]) << (n[l] & (bits - 1)));
    d[l] = n[l] < bits ? shifted : 0;
  }
}
template <class T>
void shift_right(Warp& w, const Instruction& in) {
  auto* d = w.lanes<Slot<T>>(in.dst[0]);
  const auto* a = w.lanes<Slot<T>>(in.src[0]);
  const u32* n = w.lanes<u32>(in.src[1]);
  constexpr u32 bits = 8 * sizeof(T);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) {
    const T value = from_slot<T>(a[l]);
    const T shifted = static_cast<T>(value >> (n[l] & (bits - 1)));
    d[l] = to_slot<T>(n[l] < bits ? shifted : static_cast<T>(value < T(0) ? -1 : 0));
  }
}

template <bool Left, bool Clamp>
void funnel(Warp& w, const Instruction& in) {
  u32* d = w.lanes<u32>(in.dst[0]);
  const u32* a = w.lanes<u32>(in.src[0]);
  const u32* b = w.lanes<u32>(in.src[1]);
  const u32* c = w.lanes<u32>(in.src[2]);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) {
    const u64 both = static_cast<u64>(b[l]) << 32 | a[l];
    const u32 n = Clamp ? (c[l] < 32 ? c[l] : 32) : c[l] & 31;
    d[l] = Left ? static_cast<u32>(both << n >> 32) : static_cast<u32>(both >> n);
  }
}

// detail holds the look-up table: bit (a<<2 | b<<1 | c) of it is the result.
void lop3(Warp& w, const Instruction& in) {
  u32* d = w.lanes<u32>(in.dst[0]);
  const u32* a = w.lanes<u32>(in.src[0]);
  const u32* b = w.lanes<u32>(in.src[1]);
  const u32* c = w.lanes<u32>(in.src[2]);
  u32 take[8];
  for (int i = 0; i < 8; ++i) take[i] = in.detail >> i & 1 ? kAllLanes : 0;
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) {
    const u32 x = a[l], y = b[l], z = c[l];
    d[l] = (take[0] & ~x & ~y & ~z) | (take[1] & ~x & ~y & z) | (take[2] & ~x & y & ~z) | (take[3] & ~x & y & z)
           | (take[4] & x & ~y & ~z) | (take[5] & x & ~y & z) | (take[6] & x & y & ~z) | (take[7] & x & y & z);
  }
}

void permute(Warp& w, const Instruction& in) {
  u32* d = w.lanes<u32>(in.dst[0]);
  const u32* a = w.lanes<u32>(in.src[0]);
  const u32* b = w.lanes<u32>(in.src[1]);
  const u32* c = w.lanes<u32>(in.src[2]);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) {
    const u64 both = static_cast<u64>(b[l]) << 32 | a[l];
    u32 result = 0;
    for (int i = 0; i < 4; ++i) {
      const u32 select = c[l] >> (4 * i) & 15;
      const u32 byte = static_cast<u32>(both >> (8 * (select & 7))) & 255;
      const u32 sign = byte & 128 ? 255 : 0;
      result |= (select & 8 ? sign : byte) << (8 * i);
    }
    d[l] = result;
  }
}

template <class T>
void extract(Warp& w, const Instruction& in) {
  using U = std::make_unsigned_t<T>;
  auto* d = w.lanes<U>(in.dst[0]);
  const auto* a = w.lanes<U>(in.src[0]);
  const u32* position = w.lanes<u32>(in.src[1]);
  const u32* length = w.lanes<u32>(in.src[2]);
  constexpr u32 bits = 8 * sizeof(T);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) {
    const u32 p = position[l] & 255, n = length[l] & 255;
    const T value = std::bit_cast<T>(a[l]);
    const T fill = static_cast<T>(value < T(0) ? -1 : 0);
    const T moved = p < bits ? static_cast<T>(value >> (p & (bits - 1))) : fill;
    // Shift the field to the top and back: the field's own sign bit fills, or zero for unsigned.
    const u32 up = n < bits ? bits - n : 0;
    const T field = static_cast<T>(static_cast<T>(static_cast<U>(moved) << (up & (bits - 1))) >> (up & (bits - 1)));
    d[l] = n == 0 ? 0 : std::bit_cast<U>(field);
  }
}

template <class T>
void insert(Warp& w, const Instruction& in) {
  auto* d = w.lanes<T>(in.dst[0]);
  const auto* a = w.lanes<T>(in.src[0]);
  const auto* b = w.lanes<T>(in.src[1]);
  const u32* position = w.lanes<u32>(in.src[2]);
  const u32* length = w.lanes<u32>(in.src[3]);
  constexpr u32 bits = 8 * sizeof(T);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) {
    const u32 p = position[l] & 255, n = length[l] & 255;
    const T ones = n >= bits ? ~T(0) : (T(1) << (n & (bits - 1))) - 1;
    const T mask = p >= bits ? T(0) : ones << (p & (bits - 1));
    d[l] = (b[l] & ~mask) | ((a[l] << (p & (bits - 1))) & mask);
  }
}

constexpr auto kCount = [](auto a) { return static_cast<u32>(std::popcount(a)); };
constexpr auto kLeading = [](auto a) { return static_cast<u32>(std::countl_zero(a)); };
constexpr auto kReverse = [](auto a) {
  decltype(a) result = 0;
  for (u32 i = 0; i < 8 * sizeof(a); ++i) result |= (a >> i & 1) << (8 * sizeof(a) - 1 - i);
  return result;
};
// The position of the highest bit that differs from the sign; all ones when there is none.
constexpr auto kFind = [](auto a) {
  using T = decltype(a);
  using U = std::make_unsigned_t<T>;
  const U bits = static_cast<U>(std::is_signed_v<T> && a < T(0) ? ~a : a);
  return bits == 0 ? kAllLanes : static_cast<u32>(8 * sizeof(T) - 1) - static_cast<u32>(std::countl_zero(bits));
};

template <auto F>
void two(Decoder& d, Opcode& o, const Statement& s) {
  const Type type = o.type();
  const int bytes = bytes_of(type);
  if (type != Type::Pred) {
    d.emit(bytes == 2 ? binary<u16, F> : bytes == 4 ? binary<u32, F> : binary<u64, F>, s, bytes, {bytes, bytes});
    return;
  }
  d.takes(s, 3);
  const u32 left = d.predicate(s.operands[1].words[0]), right = d.predicate(s.operands[2].words[0]);
  d.emit(predicates<F>);
  d.destination(s.operands[0]);
  d.source(left);
  d.source(right);
}

// popc, clz, bfind: a count of 32 bits of a word or a double word.
void counts(Decoder& d, Opcode& o, const Statement& s, Handler narrow, Handler wide) {
  const int bytes = bytes_of(o.type());
  d.emit(bytes == 8 ? wide : narrow, s, 4, {bytes});
}

}  // namespace

u32 Decoder::predicate(const Word& word) {
  const u32 reg = value({word.text, false}, 0);
  // The minus of the literal -1, "true", is no negation.
  if (!word.negated || find_register(word.text) == kNone) return reg;
  const u32 inverse = temporary(0);
  emit(predicate_not);
  destination(inverse);
  source(reg);
  return inverse;
}

void register_logic(Registry& registry) {
  registry["and"] = two<kAnd>;
  registry["or"] = two<kOr>;
  registry["xor"] = two<kXor>;
  registry["not"] = [](Decoder& d, Opcode& o, const Statement& s) {
    const Type type = o.type();
    const int bytes = type == Type::Pred ? 0 : bytes_of(type);
    const Handler word = bytes == 2 ? unary<u16, kNot> : bytes == 4 ? unary<u32, kNot> : unary<u64, kNot>;
    d.emit(bytes == 0 ? predicate_not : word, s, bytes, {bytes});
  };
  registry["shl"] = [](Decoder& d, Opcode& o, const Statement& s) {
    const int bytes = bytes_of(o.type());
    const Handler op = bytes == 2 ? shift_left<u16> : bytes == 8 ? shift_left<u64> : shift_left<u32>;
    d.emit(op, s, bytes, {bytes, 4});
  };
  registry["shr"] = [](Decoder& d, Opcode& o, const Statement& s) {
    const Type type = o.type();
    const int bytes = bytes_of(type);
    const Handler plain = bytes == 2 ? shift_right<u16> : bytes == 8 ? shift_right<u64> : shift_right<u32>;
    const Handler sign = bytes == 2 ? shift_right<s16> : bytes == 8 ? shift_right<s64> : shift_right<s32>;
    d.emit(is_signed(type) ? sign : plain, s, bytes, {bytes, 4});
  };
  registry["shf"] = [](Decoder& d, Opcode& o, const Statement& s) {
    const bool left = o.has("l"), clamp = o.has("clamp");
    o.has("r");
    o.has("wrap");
    o.type();
    const Handler op = left ? (clamp ? funnel<true, true> : funnel<true, false>)
                            : (clamp ? funnel<false, true> : funnel<false, false>);
    d.emit(op, s, 4, {4, 4, 4});
  };
  registry["lop3"] = [](Decoder& d, Opcode& o, const Statement& s) {
    o.type();
    d.takes(s, 5);
    u64 table = 0;
    if (!literal(s.operands[4].words[0].text, false, 4, table)) d.fail("lop3 wants a constant table");
    d.emit(lop3).detail = static_cast<u32>(table);
    d.destination(s.operands[0]);
    for (size_t i = 1; i < 4; ++i) d.source(s.operands[i], 4);
  };
  registry["prmt"] = [](Decoder& d, Opcode& o, const Statement& s) {
    o.type();
    d.emit(permute, s, 4, {4, 4, 4});
  };
  registry["bfe"] = [](Decoder& d, Opcode& o, const Statement& s) {
    const Type type = o.type();
    const int bytes = bytes_of(type);
    const Handler plain = bytes == 8 ? extract<u64> : extract<u32>, sign = bytes == 8 ? extract<s64> : extract<s32>;
    d.emit(is_signed(type) ? sign : plain, s, bytes, {bytes, 4, 4});
  };
  registry["bfi"] = [](Decoder& d, Opcode& o, const Statement& s) {
    const int bytes = bytes_of(o.type());
    d.emit(bytes == 8 ? insert<u64> : insert<u32>, s, bytes, {bytes, bytes, 4, 4});
  };
  registry["popc"] = [](Decoder& d, Opcode& o, const Statement& s) {
    counts(d, o, s, convert<u32, u32, kCount>, convert<u32, u64, kCount>);
  };
  registry["clz"] = [](Decoder& d, Opcode& o, const Statement& s) {
    counts(d, o, s, convert<u32, u32, kLeading>, convert<u32, u64, kLeading>);
  };
  registry["brev"] = [](Decoder& d, Opcode& o, const Statement& s) {
    const int bytes = bytes_of(o.type());
    d.emit(bytes == 8 ? unary<u64, kReverse> : unary<u32, kReverse>, s, bytes, {bytes});
  };
  registry["bfind"] = [](Decoder& d, Opcode& o, const Statement& s) {
    const bool sign = is_signed(o.type());
    counts(d, o, s, sign ? convert<u32, s32, kFind> : convert<u32, u32, kFind>,
           sign ? convert<u32, s64, kFind> : convert<u32, u64, kFind>);
  };
}

}  // namespace standin
