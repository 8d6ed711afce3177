// atom and red on global and shared memory. Blocks run on several host threads, so the host's atomics do the work.
#include "access.h"
#include "decoder.h"
#include "half.h"

namespace standin {
namespace {

enum class Rmw { Add, Min, Max, And, Or, Xor, Exchange, Compare, Increment, Decrement };

template <class T, Rmw Op>
T combined(T old, T b, T c) {
  if constexpr (Op == Rmw::Add) {
    if constexpr (std::is_integral_v<T>) return static_cast<T>(static_cast<u64>(old) + static_cast<u64>(b));
    else return old + b;
  } else if constexpr (Op == Rmw::Min) {
    return b < old ? b : old;
  } else if constexpr (Op == Rmw::Max) {
    return b > old ? b : old;
  } else if constexpr (Op == Rmw::Exchange) {
    return b;
  } else if constexpr (Op == Rmw::Compare) {
    return old == b ? c : old;
  } else if constexpr (Op == Rmw::Increment) {
    return old >= b ? T(0) : static_cast<T>(old + 1);
  } else if constexpr (Op == Rmw::Decrement) {
    return old == T(0) || old > b ? b : static_cast<T>(old - 1);
  } else if constexpr (std::is_integral_v<T>) {
    return Op == Rmw::And ? old & b : Op == Rmw::Or ? old | b : old ^ b;
  } else {
    return old;
  }
}

template <class T, Rmw Op, Space S>
void atomic(Warp& w, const Instruction& in) {
  using Bits = std::conditional_t<sizeof(T) == 8, u64, std::conditional_t<sizeof(T) == 4, u32, u16>>;
  Access access;
  resolve<S>(w, in, in.src[0], in.detail != 0, in.offset, sizeof(T), access);
  Slot<T>* d = in.destinations > 0 ? w.lanes<Slot<T>>(in.dst[0]) : nullptr;
  const auto* b = w.lanes<Slot<T>>(in.src[1]);
  const auto* c = w.lanes<Slot<T>>(in.src[in.sources > 2 ? 2 : 1]);
  each_lane(w.mask, [&](int l) {
    Bits* place = reinterpret_cast<Bits*>(access.at[l]);
    const T bv = from_slot<T>(b[l]), cv = from_slot<T>(c[l]);
    Bits old = __atomic_load_n(place, __ATOMIC_RELAXED), next;
    do {
      next = std::bit_cast<Bits>(combined<T, Op>(std::bit_cast<T>(old), bv, cv));
    } while (!__atomic_compare_exchange_n(place, &old, next, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    if (d != nullptr) d[l] = to_slot<T>(std::bit_cast<T>(old));
  });
}

// Two 16-bit floats at once: add.noftz.f16x2, add.noftz.bf16x2.
template <class H, Space S>
void atomic_pair(Warp& w, const Instruction& in) {
  Access access;
  resolve<S>(w, in, in.src[0], in.detail != 0, in.offset, 4, access);
  u32* d = in.destinations > 0 ? w.lanes<u32>(in.dst[0]) : nullptr;
  const u32* b = w.lanes<u32>(in.src[1]);
  each_lane(w.mask, [&](int l) {
    u32* place = reinterpret_cast<u32*>(access.at[l]);
    u32 old = __atomic_load_n(place, __ATOMIC_RELAXED), next;
    do {
      next = H::store(H::load(old) + H::load(b[l])) | H::store(H::load(old >> 16) + H::load(b[l] >> 16)) << 16;
    } while (!__atomic_compare_exchange_n(place, &old, next, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    if (d != nullptr) d[l] = old;
  });
}

template <class H>
Handler pair_by_space(Space space) {
  return space == Space::Global ? atomic_pair<H, Space::Global>
         : space == Space::Shared ? atomic_pair<H, Space::Shared> : atomic_pair<H, Space::Generic>;
}

template <class T, Rmw Op>
Handler by_space(Space space) {
  return space == Space::Global ? atomic<T, Op, Space::Global>
         : space == Space::Shared ? atomic<T, Op, Space::Shared> : atomic<T, Op, Space::Generic>;
}

template <Rmw Op>
Handler by_type(Type type, Space space) {
  switch (type) {
    case Type::U32: case Type::B32: return by_space<u32, Op>(space);
    case Type::S32: return by_space<s32, Op>(space);
    case Type::U64: case Type::B64: return by_space<u64, Op>(space);
    case Type::S64: return by_space<s64, Op>(space);
    case Type::F32: return Op == Rmw::Add ? by_space<float, Rmw::Add>(space) : nullptr;
    case Type::F64: return Op == Rmw::Add ? by_space<double, Rmw::Add>(space) : nullptr;
    default: return nullptr;
  }
}

Handler pick(Decoder& d, Opcode& o, Type type, Space space) {
  const int op = o.one_of({"add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec"});
  if (type == Type::F16x2 || type == Type::BF16x2) {
    o.has("noftz");
    if (op != 0) return nullptr;
    return type == Type::F16x2 ? pair_by_space<F16>(space) : pair_by_space<Bf16>(space);
  }
  switch (op) {
    case 0: return by_type<Rmw::Add>(type, space);
    case 1: return by_type<Rmw::Min>(type, space);
    case 2: return by_type<Rmw::Max>(type, space);
    case 3: return by_type<Rmw::And>(type, space);
    case 4: return by_type<Rmw::Or>(type, space);
    case 5: return by_type<Rmw::Xor>(type, space);
    case 6: return by_type<Rmw::Exchange>(type, space);
    case 7: return by_type<Rmw::Compare>(type, space);
    case 8: return by_type<Rmw::Increment>(type, space);
    case 9: return by_type<Rmw::Decrement>(type, space);
    default: d.fail("an atomic without an operation");
  }
}

void atomic(Decoder& d, Opcode& o, const Statement& s, bool result) {
  for (const char* order : {"relaxed", "acquire", "release", "acq_rel", "cta", "cluster", "gpu", "sys"}) o.has(order);
  o.ignore_starting_with("L2::");
  const int named = o.one_of({"global", "shared", "shared::cta"});
  const Space space = named == 0 ? Space::Global : named > 0 ? Space::Shared : Space::Generic;
  const Type type = o.type();
  const size_t first = result ? 1 : 0;
  const Decoder::Address address = d.address(s.operands.at(first));
  Instruction& in = d.emit(pick(d, o, type, space));
  in.alu = false;
  in.offset = address.offset;
  in.detail = d.width_of(address.base) == 8;
  in.range = d.new_range();
  if (result && s.operands[0].words[0].text != "_") d.destination(s.operands[0]);
  d.source(address.base);
  for (size_t i = first + 1; i < s.operands.size(); ++i) d.source(s.operands[i], bytes_of(type));
}

}  // namespace

void register_atomic(Registry& registry) {
  registry["atom"] = [](Decoder& d, Opcode& o, const Statement& s) { atomic(d, o, s, true); };
  registry["red"] = [](Decoder& d, Opcode& o, const Statement& s) { atomic(d, o, s, false); };
}

}  // namespace standin
