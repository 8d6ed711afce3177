// cp.async: the data is there after the wait that covers it, and NaN before.
#include "card.h"

namespace standin::test {
namespace {

// Copies 16 bytes a thread into shared memory, does `wait`, and hands out the first word ^ the last one.
std::vector<u32> words(const std::string& copy, const std::string& wait) {
  TestCard card;
  void* function = card.load(kernel_of(with_pointers(
      ".shared .align 16 .b8 tile[1024]; mov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 16, %r1;\n"
      "setp.lt.u32 %p1, %r0, 16; mad.wide.u32 %rd5, %r0, 16, %rd2; selp.u32 %r6, 16, 8, %p1;\n"
      + copy + "\n" + wait + "\nld.shared.v4.u32 {%r2, %r3, %r4, %r5}, [%r1]; xor.b32 %r2, %r2, %r5;\n"
      "mad.wide.u32 %rd6, %r0, 4, %rd1; st.global.u32 [%rd6], %r2;")));
  std::vector<u32> in(4 * kLanes);
  for (u32 i = 0; i < in.size(); ++i) in[i] = i / 4 * 100 + (i % 4 == 3 ? 0x10000 : 0);
  const u64 out = card.allocate(4 * kLanes);
  fine(card.run(function, kLanes, {out, card.upload(in)}));
  return card.download<u32>(out, kLanes);
}

template <class F>
std::vector<u32> each(F f) {
  std::vector<u32> all;
  for (u32 l = 0; l < kLanes; ++l) all.push_back(f(l));
  return all;
}

const char* const kCopy = "cp.async.cg.shared.global [%r1], [%rd5], 16;";
const auto kWord = [](u32 l) { return l * 100 ^ (l * 100 + 0x10000); };

TEST(cp_async_lands_at_the_wait) {
  const std::vector<u32> want = each(kWord);
  equal("wait_all", words(kCopy, "cp.async.wait_all;"), want);
  equal("wait_group 0", words(kCopy, "cp.async.commit_group; cp.async.wait_group 0;"), want);
  const std::string hinted = "cp.async.ca.shared.global.L2::128B [%r1], [%rd5], 16;";
  equal("with a hint", words(hinted, "cp.async.wait_all;"), want);
  // A later group may stay in flight.
  const std::string later = "cp.async.commit_group; cp.async.commit_group; cp.async.wait_group 1;";
  equal("wait_group 1", words(kCopy, later), want);
}

TEST(cp_async_without_a_wait_is_nan) {
  const std::vector<u32> nan = each([](u32) { return ~0u ^ ~0u; });
  equal("no wait", words(kCopy, "cp.async.commit_group;"), nan);
  equal("no commit", words(kCopy, "cp.async.wait_group 0;"), nan);
  equal("wait for too little", words(kCopy, "cp.async.commit_group; cp.async.wait_group 1;"), nan);
}

TEST(cp_async_fills_with_zeros) {
  // Lanes 16 and on take 8 of 16 bytes: the last word is 0.
  const std::vector<u32> want = each([](u32 l) { return l < 16 ? kWord(l) : l * 100; });
  equal("src-size", words("cp.async.cg.shared.global [%r1], [%rd5], 16, %r6;", "cp.async.wait_all;"), want);
  const std::vector<u32> ignored = each([](u32 l) { return l < 16 ? 0 : kWord(l); });
  equal("ignore-src", words("cp.async.cg.shared.global [%r1], [%rd5], 16, %p1;", "cp.async.wait_all;"), ignored);
  const std::vector<u32> others = each([](u32 l) { return l < 16 ? kWord(l) : 0; });
  equal("ignore-src !p", words("cp.async.cg.shared.global [%r1], [%rd5], 16, !%p1;", "cp.async.wait_all;"), others);
  // A source that gives nothing may point anywhere.
  const std::string nowhere = "mov.u64 %rd5, 16; cp.async.cg.shared.global [%r1], [%rd5], 16, 0;";
  equal("no source", words(nowhere, "cp.async.wait_all;"), each([](u32) { return 0u; }));
}

}  // namespace
}  // namespace standin::test
