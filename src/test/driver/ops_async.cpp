// cp.async: the copy happens at the wait that covers it. Until then its destination holds 0xff bytes (NaN), so that
// a kernel which forgets to wait computes garbage every time and not only under load.
#include <algorithm>

#include "access.h"
#include "decoder.h"
#include "execute.h"

namespace standin {
namespace {

// detail: bytes | (wide destination) << 8 | (ignore-src) << 9 | (source size given) << 10
void start_copy(Warp& w, const Instruction& in) {
  const u32 bytes = in.detail & 255;
  Access to, from;
  resolve<Space::Shared>(w, in, in.src[0], (in.detail >> 8 & 1) != 0, in.offset, bytes, to);
  w.copies.emplace_back();
  AsyncCopy& copy = w.copies.back();
  copy.mask = w.mask;
  copy.bytes = bytes;
  const u64 shared = reinterpret_cast<u64>(w.block->shared);
  for (int l = 0; l < kLanes; ++l) copy.filled[l] = bytes;
  if (in.detail >> 9 & 1) {
    const u32 ignored = w.predicate(in.src[2]) ^ (in.detail >> 11 & 1 ? kAllLanes : 0);
    for (int l = 0; l < kLanes; ++l) copy.filled[l] = ignored >> l & 1 ? 0 : bytes;
  } else if (in.detail >> 10 & 1) {
    const u32* size = w.lanes<u32>(in.src[2]);
    each_lane(w.mask, [&](int l) {
      if (size[l] > bytes) {
        fault(w, in, l, kIllegalInstruction, format("cp.async of %u bytes takes %u from its source", bytes, size[l]));
      }
      copy.filled[l] = size[l];
    });
  }
  // Lanes that read nothing may point anywhere.
  const u32 mask = w.mask;
  u32 reading = 0;
  for (int l = 0; l < kLanes; ++l) reading |= static_cast<u32>(copy.filled[l] != 0) << l;
  w.mask &= reading;
  if (w.mask != 0) resolve<Space::Global>(w, in, in.src[1], true, in.offset2, bytes, from);
  w.mask = mask;
  each_lane(mask, [&](int l) {
    copy.destination[l] = static_cast<u32>(to.at[l] - shared);
    copy.source[l] = copy.filled[l] != 0 ? reinterpret_cast<const u8*>(from.at[l]) : nullptr;
    void* place = reinterpret_cast<void*>(to.at[l]);
    if (bytes == 16) std::memset(place, 0xff, 16);  // of a constant size: one store
    else std::memset(place, 0xff, bytes);
  });
}

void commit(Warp& w, const Instruction&) {
  AsyncGroup group{w.mask, 0, {}};
  const auto is_inside = [&](const AsyncCopy& copy) { return (copy.mask & ~w.mask) == 0; };
  if (std::all_of(w.copies.begin(), w.copies.end(), is_inside)) {
    group.copies.swap(w.copies);
    w.async.push_back(std::move(group));
    return;
  }
  std::vector<AsyncCopy> rest;
  for (AsyncCopy& copy : w.copies) {
    const u32 inside = copy.mask & w.mask, outside = copy.mask & ~w.mask;
    if (outside != 0) {
      rest.push_back(copy);
      rest.back().mask = outside;
    }
    if (inside != 0) {
      group.copies.push_back(copy);
      group.copies.back().mask = inside;
    }
  }
  w.copies = std::move(rest);
  w.async.push_back(std::move(group));
}

void land(Warp& w, const AsyncCopy& copy, u32 mask) {
  each_lane(copy.mask & mask, [&](int l) {
    u8* to = w.block->shared + copy.destination[l];
    if (copy.filled[l] == 16) {
      std::memcpy(to, copy.source[l], 16);
    } else {
      if (copy.filled[l] > 0) std::memcpy(to, copy.source[l], copy.filled[l]);
      std::memset(to + copy.filled[l], 0, copy.bytes - copy.filled[l]);
    }
  });
}

void wait_group(Warp& w, const Instruction& in) { finish_copies(w, in.detail); }

void wait_all(Warp& w, const Instruction& in) {
  commit(w, in);
  finish_copies(w, 0);
}

void nothing(Warp&, const Instruction&) {}

void copy(Decoder& d, Opcode& o, const Statement& s) {
  d.require(80, 70, "cp.async");
  if (!o.has("async")) d.fail("only cp.async is supported, no bulk copies");
  if (o.has("commit_group")) {
    d.emit(commit).alu = false;
    return;
  }
  if (o.has("wait_all")) {
    d.emit(wait_all).alu = false;
    return;
  }
  if (o.has("wait_group")) {
    u64 keep = 0;
    if (!literal(s.operands.at(0).words[0].text, false, 4, keep)) d.fail("cp.async.wait_group wants a constant");
    Instruction& in = d.emit(wait_group);
    in.alu = false;
    in.detail = static_cast<u32>(keep);
    return;
  }
  const bool cg = o.has("cg");
  o.ignore_starting_with("L2::");
  if (!cg && !o.has("ca")) d.fail("cp.async is .ca or .cg");
  if (o.one_of({"shared", "shared::cta"}) < 0 || !o.has("global")) d.fail("cp.async goes from global to shared memory");
  const Decoder::Address to = d.address(s.operands.at(0)), from = d.address(s.operands.at(1));
  if (d.width_of(from.base) != 8) d.fail("a global address has 64 bits");
  u64 bytes = 0;
  if (!literal(s.operands.at(2).words[0].text, false, 4, bytes)) d.fail("cp.async wants a constant size");
  if (bytes != 16 && (cg || (bytes != 4 && bytes != 8))) d.fail("cp.async copies 16 bytes, with .ca also 4 or 8");
  u32 detail = static_cast<u32>(bytes) | (d.width_of(to.base) == 8 ? 1u << 8 : 0);
  u32 third = Decoder::kNone;
  if (s.operands.size() > 3) {
    const Word& word = s.operands[3].words[0];
    const u32 reg = d.find_register(word.text);
    if (reg != Decoder::kNone && d.width_of(reg) == 0) {
      third = reg;
      detail |= 1u << 9 | (word.negated ? 1u << 11 : 0);
    } else {
      third = d.value(word, 4);
      detail |= 1u << 10;
    }
  }
  Instruction& in = d.emit(start_copy);
  in.alu = false;
  in.offset = to.offset;
  in.offset2 = from.offset;
  in.detail = detail;
  in.range = d.new_range();
  d.source(to.base);
  d.source(from.base);
  if (third != Decoder::kNone) d.source(third);
}

}  // namespace

void finish_copies(Warp& w, u32 keep) {
  // Groups count per thread: a lane keeps the newest `keep` of the groups that it committed itself.
  u32 kept[kLanes] = {};
  for (size_t i = w.async.size(); i-- > 0;) {
    AsyncGroup& group = w.async[i];
    u32 done = 0;
    each_lane(group.mask & w.mask, [&](int l) {
      if (kept[l] < keep) ++kept[l];
      else done |= 1u << l;
    });
    group.finishing = done;
  }
  for (AsyncGroup& group : w.async) {
    if (group.finishing == 0) continue;
    for (AsyncCopy& copy : group.copies) {
      land(w, copy, group.finishing);
      copy.mask &= ~group.finishing;
    }
    group.mask &= ~group.finishing;
  }
  while (!w.async.empty() && w.async.front().mask == 0) w.async.pop_front();
}

void register_async(Registry& registry) {
  registry["cp"] = copy;
  registry["griddepcontrol"] = [](Decoder& d, Opcode& o, const Statement&) {
    o.ignore_starting_with("");
    d.emit(nothing);
  };
}

}  // namespace standin
