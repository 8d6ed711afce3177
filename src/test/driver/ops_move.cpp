// mov, packing and unpacking, address conversion.
#include "decoder.h"

namespace standin {
namespace {

constexpr auto kCopy = [](auto a) { return a; };

void copy_predicate(Warp& w, const Instruction& in) { w.predicate(in.dst[0]) = w.predicate(in.src[0]); }

// Count values of Part bits from low to high make one of Whole.
template <class Whole, class Part, int Count>
void pack(Warp& w, const Instruction& in) {
  auto* d = w.lanes<Whole>(in.dst[0]);
  const u32* part[Count];
  for (int i = 0; i < Count; ++i) part[i] = w.lanes<u32>(in.src[i]);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) {
    Whole value = 0;
    for (int i = 0; i < Count; ++i) {
      value |= static_cast<Whole>(static_cast<Part>(part[i][l])) << (8 * sizeof(Part) * static_cast<size_t>(i));
    }
    d[l] = value;
  }
}
template <class Whole, class Part, int Count>
void unpack(Warp& w, const Instruction& in) {
  const auto* a = w.lanes<Whole>(in.src[0]);
  u32* part[Count];
  for (int i = 0; i < Count; ++i) part[i] = w.lanes<u32>(in.dst[i]);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) {
    const Whole value = a[l];
    for (int i = 0; i < Count; ++i) {
      part[i][l] = static_cast<Part>(value >> (8 * sizeof(Part) * static_cast<size_t>(i)));
    }
  }
}
Handler pick_pack(int whole, size_t parts) {
  if (whole == 2 && parts == 2) return pack<u32, u8, 2>;
  if (whole == 4 && parts == 2) return pack<u32, u16, 2>;
  if (whole == 4 && parts == 4) return pack<u32, u8, 4>;
  if (whole == 8 && parts == 2) return pack<u64, u32, 2>;
  if (whole == 8 && parts == 4) return pack<u64, u16, 4>;
  return nullptr;
}
Handler pick_unpack(int whole, size_t parts) {
  if (whole == 2 && parts == 2) return unpack<u32, u8, 2>;
  if (whole == 4 && parts == 2) return unpack<u32, u16, 2>;
  if (whole == 4 && parts == 4) return unpack<u32, u8, 4>;
  if (whole == 8 && parts == 2) return unpack<u64, u32, 2>;
  if (whole == 8 && parts == 4) return unpack<u64, u16, 4>;
  return nullptr;
}

// Generic addresses of shared and local memory are offsets in windows of their own.
constexpr auto kAdd = [](u64 a, u64 b) { return a + b; };
constexpr auto kSub = [](u64 a, u64 b) { return a - b; };

void mov(Decoder& d, Opcode& o, const Statement& s) {
  d.takes(s, 2);
  const Type type = o.type();
  const Operand& to = s.operands.at(0);
  const Operand& from = s.operands.at(1);
  const int bytes = type == Type::Pred ? 0 : bytes_of(type);
  if (from.kind == Operand::Vector) {
    const size_t parts = from.words.size();
    d.emit(pick_pack(bytes, parts));
    d.destination(to);
    for (const Word& word : from.words) d.source(d.value(word, bytes / static_cast<int>(parts)));
  } else if (to.kind == Operand::Vector) {
    d.emit(pick_unpack(bytes, to.words.size()));
    d.destination(to);
    d.source(from, bytes);
  } else {
    const u32 source = bytes == 0 ? d.predicate(from.words[0]) : d.value(from.words[0], bytes, from.offset);
    d.emit(bytes == 0 ? copy_predicate : bytes == 8 ? unary<u64, kCopy> : unary<u32, kCopy>);
    d.destination(to);
    d.source(source);
  }
}

void cvta(Decoder& d, Opcode& o, const Statement& s) {
  const bool back = o.has("to");
  const int space = o.one_of({"global", "shared", "shared::cta", "local", "const", "param"});
  if (o.type() != Type::U64) d.fail("cvta works on 64-bit addresses");
  const u64 window = space == 1 || space == 2 ? kSharedWindow : space == 3 ? kLocalWindow : 0;
  const u32 source = d.value(s.operands.at(1).words[0], 8, s.operands[1].offset);
  const u32 base = window == 0 ? 0 : d.constant(window, 8);
  d.emit(window == 0 ? unary<u64, kCopy> : back ? binary<u64, kSub> : binary<u64, kAdd>);
  d.destination(s.operands.at(0));
  d.source(source);
  if (window != 0) d.source(base);
}

// isspacep.space p, address
template <u64 Window>
void in_window(Warp& w, const Instruction& in) {
  const u64* a = w.lanes<u64>(in.src[0]);
  u32 bits = 0;
  for (int l = 0; l < kLanes; ++l) {
    const bool inside = Window == 0 ? (a[l] & kDeviceBit) != 0 : a[l] >= Window && a[l] - Window < kWindowSize;
    bits |= static_cast<u32>(inside) << l;
  }
  w.predicate(in.dst[0]) = bits;
}

}  // namespace

void register_move(Registry& registry) {
  registry["mov"] = mov;
  registry["cvta"] = cvta;
  registry["isspacep"] = [](Decoder& d, Opcode& o, const Statement& s) {
    static constexpr Handler spaces[] = {in_window<0>, in_window<kSharedWindow>, in_window<kSharedWindow>,
                                         in_window<kLocalWindow>};
    const int space = o.one_of({"global", "shared", "shared::cta", "local"});
    d.emit(space < 0 ? nullptr : spaces[space], s, 0, {8});
  };
}

}  // namespace standin
