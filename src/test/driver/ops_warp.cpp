// Between the lanes of a warp: shfl, vote, match, redux, elect, activemask, bar.warp. The member mask is the last
// source; execute.cpp has brought its lanes together before the operation runs.
#include <algorithm>

#include "decoder.h"
#include "execute.h"

namespace standin {
namespace {

// Every active lane names itself and exactly the lanes that are here.
void check_members(Warp& w, const Instruction& in) {
  const u32* members = w.lanes<u32>(in.src[in.sources - 1]);
  u32 differs = 0;
  for (int l = 0; l < kLanes; ++l) differs |= members[l] ^ w.mask;
  if (differs == 0) return;
  each_lane(w.mask, [&](int l) {
    if (!(members[l] >> l & 1)) {
      fault(w, in, l, kIllegalInstruction, format("the member mask 0x%08x does not name the lane itself", members[l]));
    }
    if ((members[l] & w.live) & ~w.mask) {
      fault(w, in, l, kIllegalInstruction,
            format("divergent: the member mask 0x%08x names lanes 0x%08x that are not here", members[l],
                   members[l] & w.live & ~w.mask));
    }
  });
}

template <class T>
void put(Warp& w, const Instruction& in, int index, const T* values) {
  T* d = w.lanes<T>(in.dst[index]);
  for (int l = 0; l < kLanes; ++l) d[l] = w.mask & (1u << l) ? values[l] : d[l];
}
void put_predicate(Warp& w, u32 place, u32 bits) {
  u32& p = w.predicate(place);
  p = (p & ~w.mask) | (bits & w.mask);
}

enum class Shuffle { Up, Down, Butterfly, Index };

// Sources: value, lane operand, clamp and segment mask, members.
template <Shuffle Mode>
void shuffle(Warp& w, const Instruction& in) {
  check_members(w, in);
  const u32* a = w.lanes<u32>(in.src[0]);
  const u32* b = w.lanes<u32>(in.src[1]);
  const u32* c = w.lanes<u32>(in.src[2]);
  const u32* members = w.lanes<u32>(in.src[3]);
  alignas(64) u32 result[kLanes];
  u32 inside = 0, outsiders = 0;
  for (int l = 0; l < kLanes; ++l) {
    const int clamp = static_cast<int>(c[l] & 31), segment = static_cast<int>(c[l] >> 8 & 31);
    const int last = (l & segment) | (clamp & ~segment), first = l & segment;
    const int n = static_cast<int>(b[l] & 31);
    int from = l;
    bool valid = false;
    if (Mode == Shuffle::Up) from = l - n, valid = from >= last;
    if (Mode == Shuffle::Down) from = l + n, valid = from <= last;
    if (Mode == Shuffle::Butterfly) from = l ^ n, valid = from <= last;
    if (Mode == Shuffle::Index) from = first | (n & ~segment), valid = from <= last;
    from = valid ? from : l;
    result[l] = a[from];
    inside |= static_cast<u32>(valid) << l;
    outsiders |= (~members[l] >> from & 1) << l;
  }
  if (outsiders & w.mask) {
    const int l = std::countr_zero(outsiders & w.mask);
    fault(w, in, l, kIllegalInstruction, "shfl reads a lane that its member mask does not name");
  }
  put(w, in, 0, result);
  if (in.destinations > 1) put_predicate(w, in.dst[1], inside);
}

// detail: 0 ballot, 1 any, 2 all, 3 uni; bit 2: the predicate is negated.
void vote(Warp& w, const Instruction& in) {
  check_members(w, in);
  const u32* members = w.lanes<u32>(in.src[1]);
  const u32 truth = w.predicate(in.src[0]) & w.mask;
  alignas(64) u32 ballot[kLanes];
  u32 bits = 0;
  for (int l = 0; l < kLanes; ++l) {
    const u32 all = members[l] & w.mask, yes = truth & members[l];
    ballot[l] = yes;
    const bool result = in.detail == 1 ? yes != 0 : in.detail == 2 ? yes == all : yes == 0 || yes == all;
    bits |= static_cast<u32>(result) << l;
  }
  if (in.detail == 0) put(w, in, 0, ballot);
  else put_predicate(w, in.dst[0], bits);
}

template <class T>
void match_any(Warp& w, const Instruction& in) {
  check_members(w, in);
  const T* a = w.lanes<T>(in.src[0]);
  alignas(64) u32 result[kLanes] = {};
  each_lane(w.mask, [&](int l) {
    each_lane(w.mask, [&](int k) { result[l] |= static_cast<u32>(a[k] == a[l]) << k; });
  });
  put(w, in, 0, result);
}
template <class T>
void match_all(Warp& w, const Instruction& in) {
  check_members(w, in);
  const T* a = w.lanes<T>(in.src[0]);
  bool same = true;
  const T first = a[std::countr_zero(w.mask)];
  each_lane(w.mask, [&](int l) { same &= a[l] == first; });
  alignas(64) u32 result[kLanes];
  std::fill(result, result + kLanes, same ? w.mask : 0);
  put(w, in, 0, result);
  if (in.destinations > 1) put_predicate(w, in.dst[1], same ? kAllLanes : 0);
}

constexpr auto kAdd = [](u32 a, u32 b) { return a + b; };
constexpr auto kAnd = [](u32 a, u32 b) { return a & b; };
constexpr auto kOr = [](u32 a, u32 b) { return a | b; };
constexpr auto kXor = [](u32 a, u32 b) { return a ^ b; };
constexpr auto kMin = [](u32 a, u32 b) { return std::min(a, b); };
constexpr auto kMax = [](u32 a, u32 b) { return std::max(a, b); };
constexpr auto kMinSigned = [](u32 a, u32 b) { return static_cast<s32>(a) < static_cast<s32>(b) ? a : b; };
constexpr auto kMaxSigned = [](u32 a, u32 b) { return static_cast<s32>(a) > static_cast<s32>(b) ? a : b; };

template <auto F>
void reduce(Warp& w, const Instruction& in) {
  check_members(w, in);
  const u32* a = w.lanes<u32>(in.src[0]);
  const int first = std::countr_zero(w.mask);
  u32 sum = a[first];
  each_lane(w.mask & (w.mask - 1), [&](int l) { sum = F(sum, a[l]); });
  alignas(64) u32 result[kLanes];
  std::fill(result, result + kLanes, sum);
  put(w, in, 0, result);
}

void elect(Warp& w, const Instruction& in) {
  check_members(w, in);
  const int leader = std::countr_zero(w.mask);
  alignas(64) u32 result[kLanes];
  std::fill(result, result + kLanes, static_cast<u32>(leader));
  put(w, in, 0, result);
  if (in.destinations > 1) put_predicate(w, in.dst[1], 1u << leader);
}

void active_mask(Warp& w, const Instruction& in) {
  alignas(64) u32 result[kLanes];
  std::fill(result, result + kLanes, w.mask);
  put(w, in, 0, result);
}

Instruction& together(Decoder& d, Handler op) {
  Instruction& in = d.emit(op);
  in.alu = false;
  in.flow = Flow::Sync;
  return in;
}

void shfl(Decoder& d, Opcode& o, const Statement& s) {
  if (!o.has("sync")) d.fail("shfl without .sync does not exist since sm_70");
  d.takes(s, 5);
  o.type();
  static constexpr Handler modes[] = {shuffle<Shuffle::Up>, shuffle<Shuffle::Down>, shuffle<Shuffle::Butterfly>,
                                      shuffle<Shuffle::Index>};
  const int mode = o.one_of({"up", "down", "bfly", "idx"});
  together(d, mode < 0 ? nullptr : modes[mode]);
  d.destination(s.operands.at(0));
  for (size_t i = 1; i < 5; ++i) d.source(s.operands.at(i), 4);
}

void vote(Decoder& d, Opcode& o, const Statement& s) {
  if (!o.has("sync")) d.fail("vote without .sync does not exist since sm_70");
  const int kind = o.one_of({"ballot", "any", "all", "uni"});
  o.type();
  const u32 p = d.predicate(s.operands.at(1).words[0]);
  together(d, kind < 0 ? nullptr : static_cast<Handler>(vote)).detail = static_cast<u32>(kind);
  d.destination(s.operands.at(0));
  d.source(p);
  d.source(s.operands.at(2), 4);
}

}  // namespace

void register_warp(Registry& registry) {
  registry["shfl"] = shfl;
  registry["vote"] = vote;
  registry["activemask"] = [](Decoder& d, Opcode& o, const Statement& s) {
    o.type();
    d.emit(active_mask).alu = false;
    d.destination(s.operands.at(0));
  };
  registry["match"] = [](Decoder& d, Opcode& o, const Statement& s) {
    o.has("sync");
    const bool any = o.has("any"), all = o.has("all"), wide = bytes_of(o.type()) == 8;
    if (any == all) d.fail("match is .any or .all");
    together(d, any ? (wide ? match_any<u64> : match_any<u32>) : wide ? match_all<u64> : match_all<u32>);
    d.destination(s.operands.at(0));
    d.source(s.operands.at(1), wide ? 8 : 4);
    d.source(s.operands.at(2), 4);
  };
  registry["redux"] = [](Decoder& d, Opcode& o, const Statement& s) {
    d.require(80, 70, "redux.sync");
    o.has("sync");
    const bool sign = o.type() == Type::S32;
    Handler op = nullptr;
    switch (o.one_of({"add", "and", "or", "xor", "min", "max"})) {
      case 0: op = reduce<kAdd>; break;
      case 1: op = reduce<kAnd>; break;
      case 2: op = reduce<kOr>; break;
      case 3: op = reduce<kXor>; break;
      case 4: op = sign ? reduce<kMinSigned> : reduce<kMin>; break;
      case 5: op = sign ? reduce<kMaxSigned> : reduce<kMax>; break;
      default: break;
    }
    together(d, op);
    d.destination(s.operands.at(0));
    d.source(s.operands.at(1), 4);
    d.source(s.operands.at(2), 4);
  };
  registry["elect"] = [](Decoder& d, Opcode& o, const Statement& s) {
    d.require(90, 80, "elect.sync");
    o.has("sync");
    together(d, elect);
    d.destination(s.operands.at(0));
    d.source(s.operands.at(1), 4);
  };
}

// bar.warp.sync has no work of its own: its members meet.
void decode_warp_barrier(Decoder& d, const Statement& s) {
  together(d, check_members);
  d.source(s.operands.at(0), 4);
}

}  // namespace standin
