// atom and red: each operation on one place from many threads of several blocks, in global, shared and generic memory.
#include "card.h"
#include "half.h"

namespace standin::test {
namespace {

constexpr unsigned kBlocks = 4, kThreads = 64, kAll = kBlocks * kThreads;

// What the place holds after every thread did `op` with its own value, and the old values that the threads saw.
template <class T>
struct Outcome {
  T place;
  std::vector<T> seen;
};

template <class T>
Outcome<T> everyone(const std::string& op, T start, const std::vector<T>& values, const std::string& more = "") {
  TestCard card;
  const std::string bits = std::to_string(8 * sizeof(T)), reg = sizeof(T) == 8 ? "%rd" : "%r";
  const std::string scale = std::to_string(sizeof(T));
  void* function = card.load(kernel_of(with_pointers(
      "mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mad.lo.u32 %r0, %r1, %r2, %r0;\n"
      "mad.wide.u32 %rd5, %r0, " + scale + ", %rd2; ld.global.b" + bits + " " + reg + "10, [%rd5];\n"
      + op + " " + reg + "11, [%rd1], " + reg + "10" + more + ";\n"
      "mad.wide.u32 %rd5, %r0, " + scale + ", %rd3; st.global.b" + bits + " [%rd5], " + reg + "11;", 3), 3));
  const u64 place = card.upload(std::vector<T>{start}), in = card.upload(values);
  const u64 out = card.allocate(values.size() * sizeof(T));
  fine(card.launch(function, {kBlocks, 1, 1}, {kThreads, 1, 1}, {place, in, out}));
  fine(cuCtxSynchronize());
  return {card.download<T>(place, 1)[0], card.download<T>(out, values.size())};
}

template <class T>
std::vector<T> values(unsigned seed) {
  std::mt19937_64 random(seed);
  std::vector<T> all(kAll);
  for (T& v : all) v = static_cast<T>(random());
  return all;
}

// The order is open, so this is for operations whose result does not depend on it. All the old values must come from
// one order: for sums the multiset {old + value} is {old} without the start and with the end.
template <class T, class F>
void folds(const std::string& op, T start, F combine) {
  const std::vector<T> in = values<T>(7);
  T want = start;
  for (const T v : in) want = static_cast<T>(combine(want, v));
  const Outcome<T> got = everyone<T>(op, start, in);
  equal(op, got.place, want);
  std::vector<T> before = got.seen, after;
  for (size_t i = 0; i < in.size(); ++i) after.push_back(static_cast<T>(combine(got.seen[i], in[i])));
  before.push_back(want);
  after.push_back(start);
  std::sort(before.begin(), before.end());
  std::sort(after.begin(), after.end());
  equal(op + ", old values", before, after);
}

template <class T>
void integers(const std::string& sign, const std::string& bits) {
  folds<T>("atom.global.add." + std::string(sizeof(T) == 8 ? "u64" : sign + bits), 5, [](T a, T b) {
    return static_cast<u64>(a) + static_cast<u64>(b);
  });
  folds<T>("atom.global.min." + sign + bits, 5, [](T a, T b) { return std::min(a, b); });
  folds<T>("atom.global.max." + sign + bits, 5, [](T a, T b) { return std::max(a, b); });
  folds<T>("atom.and.b" + bits, static_cast<T>(-1), [](T a, T b) { return a & b; });
  folds<T>("atom.global.or.b" + bits, 0, [](T a, T b) { return a | b; });
  folds<T>("atom.global.xor.b" + bits, 0, [](T a, T b) { return a ^ b; });
}

TEST(atomic_u32) { integers<u32>("u", "32"); }
TEST(atomic_s32) { integers<s32>("s", "32"); }
TEST(atomic_u64) { integers<u64>("u", "64"); }
TEST(atomic_s64) { integers<s64>("s", "64"); }

TEST(atomic_exchange) {
  const std::vector<u32> in = values<u32>(3);
  const Outcome<u32> got = everyone<u32>("atom.acq_rel.gpu.global.exch.b32", 77, in);
  // Every value went in once and came out once, but for the first and the last.
  std::vector<u32> all = got.seen, want = in;
  all.push_back(got.place);
  want.push_back(77);
  std::sort(all.begin(), all.end());
  std::sort(want.begin(), want.end());
  equal("exch", all, want);
}

TEST(atomic_compare_and_swap) {
  // Thread i waits for nobody: whoever finds 0 puts its value there, and exactly one does.
  std::vector<u32> in(kAll);
  for (u32 i = 0; i < kAll; ++i) in[i] = 0;
  const Outcome<u32> got = everyone<u32>("atom.global.cas.b32", 0, in, ", 9");
  equal("cas, place", got.place, 9u);
  equal("cas, winners", std::count(got.seen.begin(), got.seen.end(), 0u), std::ptrdiff_t(1));
  const Outcome<u64> wide = everyone<u64>("atom.global.cas.b64", 1ull << 40, std::vector<u64>(kAll, 1ull << 40), ", 9");
  equal("cas.b64, winners", std::count(wide.seen.begin(), wide.seen.end(), 1ull << 40), std::ptrdiff_t(1));
}

TEST(atomic_increment_and_decrement_wrap) {
  const std::vector<u32> limit(kAll, 9);
  // 256 times around 0..9: up from 0 to 256 mod 10; above the limit the first one goes to 0, and down from 0 or from
  // above the limit to 9.
  equal("inc", everyone<u32>("atom.global.inc.u32", 0, limit).place, 6u);
  equal("inc above its limit", everyone<u32>("atom.global.inc.u32", 50, limit).place, 5u);
  equal("dec", everyone<u32>("atom.global.dec.u32", 0, limit).place, 4u);
  equal("dec above its limit", everyone<u32>("atom.global.dec.u32", 50, limit).place, 4u);
}

TEST(atomic_float_sums) {
  std::vector<float> in(kAll);
  std::vector<double> wide(kAll);
  for (unsigned i = 0; i < kAll; ++i) wide[i] = in[i] = static_cast<float>(i) * 0.25f;
  // Multiples of 1/4 below 2^24: exact in any order.
  equal("f32", everyone<float>("atom.global.add.f32", 1.f, in).place, 1.f + 0.25f * (kAll - 1) * kAll / 2);
  equal("f64", everyone<double>("atom.global.add.f64", 1., wide).place, 1. + 0.25 * (kAll - 1) * kAll / 2);
}

template <class H>
void half_pairs(const std::string& type) {
  std::vector<u32> in(kAll);
  float low = 0, high = 0;
  for (unsigned i = 0; i < kAll; ++i) {
    const float a = i % 2 ? 1.f : -1.f, b = i % 4 == 0 ? 1.f : 0.f;
    in[i] = H::store(a) | H::store(b) << 16;
    low += a;
    high += b;
  }
  for (const char* space : {"global.", ""}) {
    const std::string op = std::string("atom.") + space + "add.noftz." + type;
    equal(op, everyone<u32>(op, 0, in).place, H::store(low) | H::store(high) << 16);
  }
}
TEST(atomic_pairs_of_halves) {
  half_pairs<F16>("f16x2");
  half_pairs<Bf16>("bf16x2");
}

TEST(atomic_in_shared_memory) {
  TestCard card;
  // Every thread adds its number to a counter of its parity; red through a generic address adds 1 to a third.
  void* function = card.load(kernel_of(with_pointers(
      ".shared .align 4 .b32 counter[3];\n"
      "setp.lt.u32 %p1, %r0, 3; mov.u32 %r1, counter; mad.lo.u32 %r2, %r0, 4, %r1; mov.u32 %r9, 0;\n"
      "@%p1 st.shared.u32 [%r2], %r9; bar.sync 0;\n"
      "and.b32 %r3, %r0, 1; mad.lo.u32 %r3, %r3, 4, %r1; atom.shared.add.u32 %r4, [%r3], %r0;\n"
      "mov.u64 %rd5, counter; cvta.shared.u64 %rd5, %rd5; red.add.u32 [%rd5+8], 1; bar.sync 0;\n"
      "mad.wide.u32 %rd6, %r0, 4, %rd1; @%p1 ld.shared.u32 %r5, [%r2]; @%p1 st.global.u32 [%rd6], %r5;", 1), 1));
  const u64 out = card.allocate(12);
  fine(card.run(function, 96, {out}));
  equal("counters", card.download<u32>(out, 3), std::vector<u32>{47 * 48, 48 * 48, 96});
}

}  // namespace
}  // namespace standin::test
