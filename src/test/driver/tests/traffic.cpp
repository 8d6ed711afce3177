// Sectors, wavefronts and products that kernels are counted with, for patterns that can be counted by hand.
#include "card.h"

namespace standin::test {
namespace {

long long counted(const std::string& what) { return standin_counter((what + ":test").c_str()); }

// Runs one warp in which %r1 is `stride` times the lane, with 64 KiB of memory at %rd1 and of shared memory at 0.
void run(const std::string& body, int stride, const char* settings = "traffic=1") {
  TestCard card(settings);
  void* function = card.load(kernel_of(with_pointers(
      ".shared .align 128 .b8 tile[40960]; mul.lo.u32 %r1, %r0, " + std::to_string(stride)
      + "; cvt.u64.u32 %rd3, %r1; add.u64 %rd3, %rd3, %rd1;\n" + body, 1), 1));
  fine(card.run(function, kLanes, {card.allocate(65536)}));
}

void global(const std::string& body, int stride, long long sectors, long long least) {
  const std::string name = body + " at " + std::to_string(stride);
  run(body, stride);
  equal(name + ", requests", counted("global"), 1ll);
  equal(name + ", sectors", counted("sectors"), sectors);
  equal(name + ", least", counted("least_sectors"), least);
  equal(name + ", shared", counted("shared"), 0ll);
}

void shared(const std::string& body, int stride, long long wavefronts, long long least) {
  const std::string name = body + " at " + std::to_string(stride);
  run(body, stride);
  equal(name + ", requests", counted("shared"), 1ll);
  equal(name + ", wavefronts", counted("wavefronts"), wavefronts);
  equal(name + ", least", counted("least_wavefronts"), least);
  equal(name + ", global", counted("global"), 0ll);
}

TEST(traffic_in_sectors) {
  const std::string word = "ld.global.u32 %r2, [%rd3];", quad = "ld.global.v4.u32 {%r2, %r3, %r4, %r5}, [%rd3];";
  global(word, 4, 4, 4);
  global(word, 8, 8, 4);
  global(word, 32, 32, 4);
  global(word, 128, 32, 4);
  global(word, 0, 1, 1);
  global("ld.global.u32 %r2, [%rd3+4];", 4, 5, 4);    // begins in the middle of a sector
  global("ld.global.u16 %h1, [%rd3];", 2, 2, 2);
  global(quad, 16, 16, 16);
  global(quad, 32, 32, 16);
  global("st.global.v2.u32 [%rd3], {%r1, %r1};", 8, 8, 8);
  global("ld.u32 %r2, [%rd3];", 4, 4, 4);             // generic
  global("red.global.add.u32 [%rd3], %r1;", 0, 1, 1);
  global("setp.lt.u32 %p1, %r0, 8; @%p1 st.global.u32 [%rd3], %r1;", 4, 1, 1);
}

TEST(traffic_in_wavefronts) {
  const std::string word = "st.shared.u32 [%r1], %r0;", pair = "ld.shared.v2.u32 {%r2, %r3}, [%r1];",
                    quad = "ld.shared.v4.u32 {%r2, %r3, %r4, %r5}, [%r1];";
  shared(word, 4, 1, 1);
  shared(word, 8, 2, 1);        // two words a bank
  shared(word, 12, 1, 1);       // odd: every bank once
  shared(word, 128, 32, 1);     // all in bank 0
  shared(word, 132, 1, 1);      // padded by a word
  shared(word, 0, 1, 1);        // one word for all
  shared("st.shared.u16 [%r1], %h0;", 2, 1, 1);
  shared(pair, 8, 2, 2);        // half a warp at a time
  shared(pair, 16, 4, 2);
  shared(quad, 16, 4, 4);       // a quarter at a time
  shared(quad, 32, 8, 4);
  shared(quad, 144, 4, 4);      // rows of 128 bytes, padded
  shared(quad, 128, 32, 4);
  shared("setp.lt.u32 %p1, %r0, 8; @%p1 ld.shared.v4.u32 {%r2, %r3, %r4, %r5}, [%r1];", 16, 1, 1);
}

TEST(traffic_of_ldmatrix) {
  const std::string four = "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r2, %r3, %r4, %r5}, [%r1];";
  shared(four, 16, 4, 4);
  shared(four, 128, 32, 4);     // eight rows in the same four banks
  shared(four, 144, 4, 4);
  // Chunks of 16 bytes at row % 8, as swizzles place them.
  shared("and.b32 %r2, %r0, 7; shl.b32 %r2, %r2, 4; add.u32 %r1, %r1, %r2;\n" + four, 128, 4, 4);
  shared("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r2}, [%r1];", 128, 8, 1);
  shared("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r2, %r3}, [%r1];", 16, 2, 2);
}

TEST(traffic_of_cp_async) {
  run("cp.async.cg.shared.global [%r1], [%rd3], 16; cp.async.wait_all;", 16);
  equal("sectors", counted("sectors"), 16ll);
  equal("wavefronts", counted("wavefronts"), 4ll);
}

TEST(traffic_counts_products_and_instructions) {
  const std::string mma = "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1, %f2, %f3, %f4}, {%r1, %r1, %r1, %r1},"
                          " {%r1, %r1}, {%f1, %f2, %f3, %f4};";
  run(mma + mma, 0);
  equal("mma", counted("mma"), 2ll);
  equal("instructions", counted("instructions"), 8ll);  // tid, parameter, mul, cvt, add, two products, ret
}

TEST(traffic_is_counted_on_request) {
  run("st.global.u32 [%rd3], %r1;", 4, "");
  equal("sectors", counted("sectors"), 0ll);
  equal("instructions", counted("instructions"), 0ll);
  equal("unknown", standin_counter("cups:test"), -1ll);
}

}  // namespace
}  // namespace standin::test
