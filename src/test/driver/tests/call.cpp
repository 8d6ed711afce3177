// Local memory and .func: what each thread keeps for itself, and calls with arguments and results.
#include "card.h"

namespace standin::test {
namespace {

std::vector<u32> numbers(unsigned count) {
  std::vector<u32> all(count);
  for (u32 i = 0; i < count; ++i) all[i] = i;
  return all;
}

TEST(local_memory_is_of_each_thread) {
  // A table of eight words in local memory, written from the back and read at an index of the thread's own.
  const std::string body =
      ".local .align 8 .b8 table[32]; mov.u32 %r1, 7; mov.u64 %rd5, table;\n"
      "again: mad.wide.u32 %rd6, %r1, 4, %rd5; mad.lo.u32 %r2, %r1, 100, %a; st.local.u32 [%rd6], %r2;\n"
      "add.s32 %r1, %r1, -1; setp.ge.s32 %p1, %r1, 0; @%p1 bra again;\n"
      "and.b32 %r3, %a, 7; mad.wide.u32 %rd6, %r3, 4, %rd5; ld.local.u32 %d, [%rd6];";
  std::vector<u32> want;
  for (const u32 i : numbers(kLanes)) want.push_back(i % 8 * 100 + i);
  equal("local", lanes<u32, u32>(body, numbers(kLanes)), want);
}

TEST(local_memory_through_generic_addresses) {
  const std::string body =
      ".local .align 4 .b8 cell[4]; mov.u64 %rd5, cell; cvta.local.u64 %rd6, %rd5; st.u32 [%rd6], %a;\n"
      "isspacep.local %p1, %rd6; cvta.to.local.u64 %rd7, %rd6; ld.local.u32 %r1, [%rd7];\n"
      "selp.u32 %r2, 1000, 0, %p1; add.u32 %d, %r1, %r2;";
  std::vector<u32> want;
  for (const u32 i : numbers(kLanes)) want.push_back(i + 1000);
  equal("generic local", lanes<u32, u32>(body, numbers(kLanes)), want);
}

TEST(local_memory_has_an_end) {
  TestCard card;
  void* function = card.load(kernel_of(with_pointers(
      ".local .align 4 .b8 cell[16]; mov.u64 %rd5, cell; st.local.u32 [%rd5+16], %r0;", 1), 1));
  refused(card.run(function, 32, {0}), 700, "of local memory at offset 16, which has 16 bytes");
}

// A function of two results' worth of branches, called twice, once by way of another.
const char* const kFunctions =
    ".func (.param .b32 r) larger(.param .b32 x, .param .b32 y) {\n"
    ".reg .b32 %r<4>; .reg .pred %p<2>; ld.param.u32 %r1, [x]; ld.param.u32 %r2, [y];\n"
    "setp.gt.u32 %p1, %r1, %r2; @%p1 bra first; st.param.b32 [r], %r2; ret;\n"
    "first: st.param.b32 [r], %r1; ret; }\n"
    ".func (.param .b32 r) clamped(.param .b32 x) {\n"
    ".reg .b32 %r<4>; ld.param.u32 %r1, [x];\n"
    "{ .param .b32 a; .param .b32 b; .param .b32 c; st.param.b32 [a], %r1; st.param.b32 [b], 10;\n"
    "call.uni (c), larger, (a, b); ld.param.b32 %r2, [c]; }\n"
    "st.param.b32 [r], %r2; ret; }\n";

TEST(call_of_functions) {
  const std::string body =
      "{ .param .b32 x; .param .b32 y; .param .b32 z; st.param.b32 [x], %r0; st.param.b32 [y], 20;\n"
      "call.uni (z), larger, (x, y); ld.param.b32 %r1, [z]; }\n"
      "{ .param .b32 x; .param .b32 z; st.param.b32 [x], %r0; call.uni (z), clamped, (x); ld.param.b32 %r2, [z]; }\n"
      "mad.lo.u32 %r3, %r1, 100, %r2; mad.wide.u32 %rd5, %r0, 4, %rd1; st.global.u32 [%rd5], %r3;";
  TestCard card;
  void* function = card.load(kernel_of(with_pointers(body, 1), 1, kFunctions));
  const u64 out = card.allocate(4 * kLanes);
  fine(card.run(function, kLanes, {out}));
  std::vector<u32> want;
  for (const u32 i : numbers(kLanes)) want.push_back(std::max(i, 20u) * 100 + std::max(i, 10u));
  equal("call", card.download<u32>(out, kLanes), want);
}

TEST(call_in_a_branch) {
  // Only odd threads call; the others must keep what they have.
  const std::string body =
      "mov.u32 %r1, 5; and.b32 %r2, %r0, 1; setp.eq.u32 %p1, %r2, 0; @%p1 bra over;\n"
      "{ .param .b32 x; .param .b32 z; st.param.b32 [x], %r0; call (z), clamped, (x); ld.param.b32 %r1, [z]; }\n"
      "over: mad.wide.u32 %rd5, %r0, 4, %rd1; st.global.u32 [%rd5], %r1;";
  TestCard card;
  void* function = card.load(kernel_of(with_pointers(body, 1), 1, kFunctions));
  const u64 out = card.allocate(4 * kLanes);
  fine(card.run(function, kLanes, {out}));
  std::vector<u32> want;
  for (const u32 i : numbers(kLanes)) want.push_back(i % 2 == 0 ? 5 : std::max(i, 10u));
  equal("call in a branch", card.download<u32>(out, kLanes), want);
}

TEST(constant_memory_and_tables) {
  TestCard card;
  void* function = card.load(kernel_of(with_pointers(
      "and.b32 %r1, %r0, 3; mov.u64 %rd5, weights; mad.wide.u32 %rd5, %r1, 4, %rd5; ld.const.f32 %f1, [%rd5];\n"
      "mov.u64 %rd6, pointer; ld.global.u64 %rd7, [%rd6]; ld.f32 %f2, [%rd7+4]; fma.rn.f32 %f3, %f1, %f2, 0f3F800000;\n"
      "mad.wide.u32 %rd8, %r0, 4, %rd1; st.global.f32 [%rd8], %f3;", 1), 1,
      ".const .align 4 .f32 weights[4] = {0f3F800000, 0f40000000, 0f40400000, 0f40800000};\n"
      ".global .align 8 .u64 pointer = generic(weights);\n"));
  const u64 out = card.allocate(4 * kLanes);
  fine(card.run(function, kLanes, {out}));
  std::vector<float> want;
  for (const u32 i : numbers(kLanes)) want.push_back(static_cast<float>(i % 4 + 1) * 2.f + 1.f);
  equal("const", card.download<float>(out, kLanes), want);
}

}  // namespace
}  // namespace standin::test
