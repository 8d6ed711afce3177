// Branches, tables, loops, barriers with names, and the ways in which a block never ends.
#include "card.h"

namespace standin::test {
namespace {

std::vector<u32> numbers(u32 count = kLanes) {
  std::vector<u32> all(count);
  for (u32 i = 0; i < count; ++i) all[i] = i;
  return all;
}

TEST(branches_diverge_and_meet) {
  // Collatz steps of each lane's own number: 32 lanes leave the loop at different times.
  const std::string body =
      "add.u32 %r1, %a, 1; mov.u32 %d, 0;\n"
      "again: setp.eq.u32 %p1, %r1, 1; @%p1 bra out; and.b32 %r2, %r1, 1; setp.ne.u32 %p2, %r2, 0;\n"
      "@%p2 bra odd; shr.u32 %r1, %r1, 1; bra.uni next;\n"
      "odd: mad.lo.u32 %r1, %r1, 3, 1;\n"
      "next: add.u32 %d, %d, 1; bra again;\n"
      "out:";
  std::vector<u32> want;
  for (u32 n : numbers()) {
    u32 steps = 0;
    for (++n; n != 1; ++steps) n = n % 2 ? 3 * n + 1 : n / 2;
    want.push_back(steps);
  }
  equal("collatz", lanes<u32, u32>(body, numbers()), want);
}

TEST(guards_keep_what_was_there) {
  const std::string body =
      "mov.u32 %d, 7; setp.lt.u32 %p1, %a, 9; @%p1 add.u32 %d, %d, %a; @!%p1 mul.lo.u32 %d, %d, 3;";
  std::vector<u32> want;
  for (const u32 l : numbers()) want.push_back(l < 9 ? 7 + l : 21);
  equal("guards", lanes<u32, u32>(body, numbers()), want);
}

const char* const kTable =
    "and.b32 %r1, %a, 3; brx.idx %r1, places;\n"
    "places: .branchtargets zero, one, two, one;\n"
    "zero: mov.u32 %d, 100; bra done;\n"
    "one: mov.u32 %d, 200; bra done;\n"
    "two: add.u32 %d, %a, 300;\n"
    "done:";

TEST(brx_by_table) {
  std::vector<u32> want;
  for (const u32 l : numbers()) want.push_back(l % 4 == 0 ? 100 : l % 4 == 2 ? 300 + l : 200);
  equal("brx", lanes<u32, u32>(kTable, numbers()), want);
}

TEST(brx_beyond_its_table) {
  TestCard card;
  void* function = card.load(kernel_of(
      "mov.u32 %r0, %tid.x; brx.idx %r0, places; places: .branchtargets one, two; one: ret; two: ret;", 0));
  fine(card.run(function, 2, {}));
  refused(card.run(function, 3, {}), 715, "brx.idx beyond its table");
}

TEST(returns_of_some_lanes) {
  const std::string body = "mov.u32 %r0, %tid.x; mad.wide.u32 %rd5, %r0, 4, %rd1; setp.lt.u32 %p1, %r0, 11;\n"
                           "st.global.u32 [%rd5], 1; @%p1 ret; st.global.u32 [%rd5], 2;";
  TestCard card;
  const u64 out = card.allocate(160);
  fine(card.run(card.load(kernel_of(with_pointers(body, 1), 1)), 40, {out}));
  std::vector<u32> want(40, 2);
  std::fill_n(want.begin(), 11, 1u);
  equal("returns", card.download<u32>(out, 40), want);
}

// Warp 0 makes, warp 1 takes: bar.arrive by one, bar.sync by the other, over two named barriers and a loop.
TEST(barriers_with_names) {
  const std::string body =
      ".shared .align 4 .b32 slot[32]; mov.u32 %r1, slot; and.b32 %r2, %r0, 31; mad.lo.u32 %r1, %r2, 4, %r1;\n"
      "mov.u32 %r3, 0; mov.u32 %r4, 0; setp.ge.u32 %p1, %r0, 32; @%p1 bra taker;\n"
      "maker: bar.sync 2, 64; mad.lo.u32 %r5, %r3, 1000, %r2; st.shared.u32 [%r1], %r5; bar.arrive 1, 64;\n"
      "add.u32 %r3, %r3, 1; setp.lt.u32 %p2, %r3, 3; @%p2 bra maker; bra done;\n"
      "taker: bar.arrive 2, 64; bar.sync 1, 64; ld.shared.u32 %r5, [%r1]; add.u32 %r4, %r4, %r5;\n"
      "add.u32 %r3, %r3, 1; setp.lt.u32 %p2, %r3, 3; @%p2 bra taker;\n"
      "mad.wide.u32 %rd5, %r2, 4, %rd1; st.global.u32 [%rd5], %r4;\n"
      "done:";
  TestCard card;
  const u64 out = card.allocate(4 * kLanes);
  fine(card.run(card.load(kernel_of(with_pointers(body, 1), 1)), 64, {out}));
  std::vector<u32> want;
  for (const u32 l : numbers()) want.push_back(3 * l + 3000);
  equal("made and taken", card.download<u32>(out, kLanes), want);
}

TEST(barriers_of_some_warps) {
  // Warps 0 and 1 meet at barrier 3, warps 2 and 3 at barrier 4; then all at 0.
  const std::string body =
      ".shared .align 4 .b32 cell[128]; mov.u32 %r1, cell; mad.lo.u32 %r2, %r0, 4, %r1; st.shared.u32 [%r2], %r0;\n"
      "shr.u32 %r3, %r0, 6; add.u32 %r3, %r3, 3; bar.sync %r3, 64; xor.b32 %r4, %r0, 32; mad.lo.u32 %r5, %r4, 4, %r1;\n"
      "ld.shared.u32 %r6, [%r5]; barrier.sync.aligned 0; mad.wide.u32 %rd5, %r0, 4, %rd1; st.global.u32 [%rd5], %r6;";
  TestCard card;
  const u64 out = card.allocate(512);
  fine(card.run(card.load(kernel_of(with_pointers(body, 1), 1)), 128, {out}));
  std::vector<u32> want;
  for (const u32 l : numbers(128)) want.push_back(l ^ 32);
  equal("neighbours", card.download<u32>(out, 128), want);
}

int code_of(const std::string& body, unsigned threads, const char* settings = "") {
  TestCard card(settings);
  return card.run(card.load(kernel_of("mov.u32 %r0, %tid.x;\n" + body, 0)), threads, {});
}

TEST(barriers_that_never_open) {
  const std::string some = "setp.ge.u32 %p1, %r0, 32; @%p1 bra out;\n";
  refused(code_of(some + "bar.sync 1, 64; out: bar.sync 0;", 64), 702, "deadlock");
  refused(code_of("bar.sync 16;", 32), 715, "barrier 16 of 16");
  // Warps that have returned are not waited for.
  refused(code_of(some + "bar.sync 0; out:", 64), 0);
}

TEST(loops_that_never_end) {
  refused(code_of("again: bra again;", 32, "instructions=100000"), 702, "too many instructions");
}

TEST(trap_stops_the_kernel) { refused(code_of("setp.eq.u32 %p1, %r0, 3; @%p1 trap;", 32), 719, "thread 3: trap"); }

TEST(special_registers_of_a_grid) {
  const std::string body =
      "mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ctaid.y; mov.u32 %r3, %ctaid.z; mov.u32 %r4, %nctaid.x;\n"
      "mov.u32 %r5, %nctaid.y; mad.lo.u32 %r6, %r3, %r5, %r2; mad.lo.u32 %r6, %r6, %r4, %r1;\n"
      "mov.u32 %r7, %tid.y; mov.u32 %r8, %ntid.x; mad.lo.u32 %r7, %r7, %r8, %r0; mov.u32 %r9, %ntid.y;\n"
      "mul.lo.u32 %r10, %r8, %r9; mad.lo.u32 %r11, %r6, %r10, %r7; mov.u32 %r12, %laneid; mov.u32 %r13, %warpid;\n"
      "mad.lo.u32 %r14, %r13, 32, %r12; sub.u32 %r15, %r14, %r7; add.u32 %r15, %r15, %r11;\n"
      "mov.u32 %r16, %lanemask_lt; popc.b32 %r17, %r16; sub.u32 %r17, %r17, %r12; add.u32 %r15, %r15, %r17;\n"
      "mad.wide.u32 %rd5, %r11, 4, %rd1; st.global.u32 [%rd5], %r15;";
  TestCard card;
  const u32 all = 3 * 2 * 2 * 5 * 7;
  const u64 out = card.allocate(4 * all);
  void* function = card.load(kernel_of(with_pointers(body, 1), 1));
  fine(card.launch(function, {3, 2, 2}, {5, 7, 1}, {out}));
  fine(cuCtxSynchronize());
  equal("numbers of all threads", card.download<u32>(out, all), numbers(all));
}

}  // namespace
}  // namespace standin::test
