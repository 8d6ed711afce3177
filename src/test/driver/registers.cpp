// Places for virtual registers. PTX is close to single assignment: thousands of registers, few alive at once. Each
// gets the span of code over which it is alive (by data flow over basic blocks), and spans that do not meet share a
// place, so that a warp's registers stay in the host's first caches.
// A lane owns its own word of a place and masked writes leave the other lanes' alone, so that liveness of one thread
// is enough. A result never shares a place with a source of its own instruction.
#include <algorithm>
#include <queue>

#include "decoder.h"

namespace standin {
namespace {

struct Span {
  u32 reg;
  int first, last;
};

class Bitset {
 public:
  explicit Bitset(size_t bits) : words_((bits + 63) / 64) {}
  bool test(u32 i) const { return words_[i / 64] >> (i % 64) & 1; }
  void set(u32 i) { words_[i / 64] |= 1ull << (i % 64); }
  void reset(u32 i) { words_[i / 64] &= ~(1ull << (i % 64)); }
  bool merge(const Bitset& other) {
    u64 changed = 0;
    for (size_t i = 0; i < words_.size(); ++i) {
      changed |= other.words_[i] & ~words_[i];
      words_[i] |= other.words_[i];
    }
    return changed != 0;
  }
  template <class F>
  void each(F f) const {
    for (size_t i = 0; i < words_.size(); ++i) {
      for (u64 m = words_[i]; m != 0; m &= m - 1) f(static_cast<u32>(64 * i) + static_cast<u32>(std::countr_zero(m)));
    }
  }

 private:
  std::vector<u64> words_;
};

struct BasicBlock {
  int first, last;             // instructions, last included
  std::vector<int> next;
  Bitset live_in, live_out;
};

template <class F>
void each_source(const Instruction& in, F f) {
  for (int i = 0; i < in.sources; ++i) f(in.src[i]);
  if (in.guarded) {
    f(in.guard);
    // A guarded write keeps the old value where the guard is false.
    for (int i = 0; i < in.destinations; ++i) f(in.dst[i]);
  }
}

std::vector<BasicBlock> split(const Kernel& kernel, size_t registers) {
  const int n = static_cast<int>(kernel.code.size());
  std::vector<bool> starts(static_cast<size_t>(n) + 1);
  starts[0] = true;
  const auto ends = [](const Instruction& in) {
    return in.flow == Flow::Branch || in.flow == Flow::Table || in.flow == Flow::Return || in.flow == Flow::Trap;
  };
  for (int i = 0; i < n; ++i) {
    const Instruction& in = kernel.code[static_cast<size_t>(i)];
    if (!ends(in)) continue;
    starts[static_cast<size_t>(i) + 1] = true;
    if (in.flow == Flow::Branch) starts[static_cast<size_t>(in.target)] = true;
    if (in.flow == Flow::Table) {
      for (const int t : kernel.tables[static_cast<size_t>(in.target)]) starts[static_cast<size_t>(t)] = true;
    }
  }
  std::vector<BasicBlock> blocks;
  std::vector<int> block_of(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) {
    if (starts[static_cast<size_t>(i)]) blocks.push_back({i, i, {}, Bitset(registers), Bitset(registers)});
    blocks.back().last = i;
    block_of[static_cast<size_t>(i)] = static_cast<int>(blocks.size()) - 1;
  }
  for (size_t b = 0; b < blocks.size(); ++b) {
    const Instruction& in = kernel.code[static_cast<size_t>(blocks[b].last)];
    const bool falls = !ends(in) || in.guarded;
    if (falls && b + 1 < blocks.size()) blocks[b].next.push_back(static_cast<int>(b) + 1);
    if (in.flow == Flow::Branch) blocks[b].next.push_back(block_of[static_cast<size_t>(in.target)]);
    if (in.flow == Flow::Table) {
      for (const int t : kernel.tables[static_cast<size_t>(in.target)]) {
        blocks[b].next.push_back(block_of[static_cast<size_t>(t)]);
      }
    }
  }
  return blocks;
}

void liveness(const Kernel& kernel, std::vector<BasicBlock>& blocks, size_t registers) {
  // What a block reads before it writes, and what it writes.
  std::vector<Bitset> uses(blocks.size(), Bitset(registers)), kills(blocks.size(), Bitset(registers));
  for (size_t b = 0; b < blocks.size(); ++b) {
    for (int i = blocks[b].first; i <= blocks[b].last; ++i) {
      const Instruction& in = kernel.code[static_cast<size_t>(i)];
      each_source(in, [&](u32 r) {
        if (!kills[b].test(r)) uses[b].set(r);
      });
      for (int k = 0; k < in.destinations; ++k) kills[b].set(in.dst[k]);
    }
    blocks[b].live_in.merge(uses[b]);
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t b = blocks.size(); b-- > 0;) {
      bool grown = false;
      for (const int next : blocks[b].next) {
        grown |= blocks[b].live_out.merge(blocks[static_cast<size_t>(next)].live_in);
      }
      if (!grown) continue;
      Bitset through = blocks[b].live_out;
      kills[b].each([&](u32 r) { through.reset(r); });
      changed |= blocks[b].live_in.merge(through);
    }
  }
}

std::vector<Span> spans(const Kernel& kernel, const std::vector<BasicBlock>& blocks, size_t registers) {
  std::vector<Span> all(registers);
  for (size_t r = 0; r < registers; ++r) all[r] = {static_cast<u32>(r), 1 << 30, -1};
  const auto touch = [&](u32 r, int at) {
    all[r].first = std::min(all[r].first, at);
    all[r].last = std::max(all[r].last, at);
  };
  for (const BasicBlock& block : blocks) {
    block.live_in.each([&](u32 r) { touch(r, block.first); });
    block.live_out.each([&](u32 r) { touch(r, block.last); });
    for (int i = block.first; i <= block.last; ++i) {
      const Instruction& in = kernel.code[static_cast<size_t>(i)];
      each_source(in, [&](u32 r) { touch(r, i); });
      for (int k = 0; k < in.destinations; ++k) touch(in.dst[k], i);
    }
  }
  return all;
}

}  // namespace

void place_registers(Kernel& kernel, const std::vector<int>& widths) {
  const size_t registers = widths.size();
  std::vector<BasicBlock> blocks = split(kernel, registers);
  liveness(kernel, blocks, registers);
  std::vector<Span> all = spans(kernel, blocks, registers);
  // Constants and special registers hold their value from launch to end.
  for (const Constant& c : kernel.constants) all[c.place] = {c.place, -1, 1 << 30};
  for (const SpecialRegister& s : kernel.specials) all[s.place] = {s.place, -1, 1 << 30};

  std::vector<Span> order;
  for (const Span& s : all) {
    if (s.last >= 0) order.push_back(s);
  }
  std::stable_sort(order.begin(), order.end(), [](const Span& a, const Span& b) { return a.first < b.first; });

  std::vector<u32> place(registers, 0);
  u32 bytes = 0;
  std::vector<u32> free_places[3];
  using End = std::pair<int, u32>;
  std::priority_queue<End, std::vector<End>, std::greater<>> alive;
  // Words first and predicates last keeps everything aligned to 64 bytes.
  std::vector<u32> predicates;
  u32 predicate_count = 0;
  for (const Span& s : order) {
    while (!alive.empty() && alive.top().first < s.first) {
      const u32 reg = alive.top().second;
      alive.pop();
      free_places[widths[reg] / 4].push_back(place[reg]);
    }
    auto& spare = free_places[widths[s.reg] / 4];
    if (!spare.empty()) {
      place[s.reg] = spare.back();
      spare.pop_back();
    } else if (widths[s.reg] == 0) {
      place[s.reg] = predicate_count++;
    } else {
      place[s.reg] = bytes;
      bytes += static_cast<u32>(widths[s.reg]) * kLanes;
    }
    alive.emplace(s.last, s.reg);
  }
  const auto resolved = [&](u32 reg) { return widths[reg] == 0 ? bytes + 4 * place[reg] : place[reg]; };
  for (Instruction& in : kernel.code) {
    for (int i = 0; i < in.destinations; ++i) in.dst[i] = resolved(in.dst[i]);
    for (int i = 0; i < in.sources; ++i) in.src[i] = resolved(in.src[i]);
    if (in.guarded) in.guard = resolved(in.guard);
  }
  for (Constant& c : kernel.constants) c.place = resolved(c.place);
  for (SpecialRegister& s : kernel.specials) s.place = resolved(s.place);
  kernel.register_bytes = (bytes + 4 * predicate_count + 127) / 128 * 128;
}

}  // namespace standin
