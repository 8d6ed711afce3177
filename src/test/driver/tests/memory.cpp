// ld and st of every width and space, vectors, extension; what lies outside or askew.
#include "card.h"

namespace standin::test {
namespace {

std::vector<u8> bytes(size_t count) {
  std::mt19937 random(3);
  std::vector<u8> all(count);
  for (u8& v : all) v = static_cast<u8>(random());
  return all;
}

// Copies `width` bytes a thread through registers with this pair of load and store.
void copies(const std::string& ld, const std::string& st, const std::string& registers, unsigned width) {
  TestCard card;
  void* function = card.load(kernel_of(with_pointers(
      "mad.wide.u32 %rd5, %r0, " + std::to_string(width) + ", %rd2; mad.wide.u32 %rd6, %r0, " + std::to_string(width)
      + ", %rd1;\n" + ld + " " + registers + ", [%rd5];\n" + st + " [%rd6], " + registers + ";")));
  // 40 threads: a whole warp and a part of one.
  const std::vector<u8> in = bytes(40 * width);
  const u64 out = card.allocate(in.size());
  fine(card.run(function, 40, {out, card.upload(in)}));
  std::vector<u32> got, want(in.begin(), in.end());
  for (const u8 b : card.download<u8>(out, in.size())) got.push_back(b);
  equal(ld + " and " + st, got, want);
}

TEST(memory_of_every_width) {
  copies("ld.global.u8", "st.global.u8", "%r1", 1);
  copies("ld.global.b8", "st.global.b8", "%h1", 1);
  copies("ld.global.u16", "st.global.u16", "%h1", 2);
  copies("ld.global.nc.f32", "st.global.f32", "%f1", 4);
  copies("ld.volatile.global.u32", "st.volatile.global.u32", "%r1", 4);
  copies("ld.relaxed.gpu.global.u64", "st.release.gpu.global.u64", "%rd7", 8);
  copies("ld.global.L1::no_allocate.f64", "st.global.cs.f64", "%fd1", 8);
  copies("ld.global.v2.b16", "st.global.v2.b16", "{%h1, %h2}", 4);
  copies("ld.global.v4.b8", "st.global.v4.b8", "{%h1, %h2, %h3, %h4}", 4);
  copies("ld.global.v4.b16", "st.global.v4.b16", "{%h1, %h2, %h3, %h4}", 8);
  copies("ld.global.v2.f32", "st.global.v2.f32", "{%f1, %f2}", 8);
  copies("ld.global.v4.f32", "st.global.v4.f32", "{%f1, %f2, %f3, %f4}", 16);
  copies("ld.global.v2.b64", "st.global.v2.b64", "{%rd7, %rd8}", 16);
  copies("ld.v4.u32", "st.v4.u32", "{%r1, %r2, %r3, %r4}", 16);
}

TEST(memory_extends_what_is_narrow) {
  const std::vector<u32> in = edges<u32>(4);
  const std::string put = ".local .align 4 .b8 cell[4]; mov.u64 %rd5, cell; st.local.u32 [%rd5], %a; ";
  const auto check = [&](const std::string& load, auto want) {
    std::vector<u64> expected;
    for (const u32 a : in) expected.push_back(static_cast<u64>(want(a)));
    equal(load, lanes<u64, u32>(put + load, in), expected);
  };
  check("ld.local.s8 %d, [%rd5];", [](u32 a) { return static_cast<s64>(static_cast<s8>(a)); });
  check("ld.local.u16 %d, [%rd5+2];", [](u32 a) { return a >> 16; });
  check("ld.local.s16 %r1, [%rd5]; cvt.u64.u32 %d, %r1;", [](u32 a) { return static_cast<u32>(static_cast<s16>(a)); });
  check("ld.local.s32 %d, [%rd5];", [](u32 a) { return static_cast<s64>(static_cast<s32>(a)); });
}

TEST(memory_of_parameters) {
  // Parameters of other sizes lie at their own alignment.
  const std::string ptx =
      ".version 7.8\n.target sm_80\n.address_size 64\n"
      ".visible .entry test(.param .u64 out, .param .u8 a, .param .f32 b, .param .s16 c, .param .f64 d) {\n"
      ".reg .b64 %rd<2>; .reg .b32 %r<3>; .reg .f32 %f<4>; .reg .f64 %fd<4>; ld.param.u64 %rd1, [out];\n"
      "ld.param.u8 %r1, [a]; ld.param.f32 %f1, [b]; ld.param.s16 %r2, [c]; ld.param.f64 %fd1, [d];\n"
      "cvt.rn.f32.u32 %f2, %r1; add.f32 %f1, %f1, %f2; cvt.rn.f32.s32 %f2, %r2; add.f32 %f1, %f1, %f2;\n"
      "cvt.f64.f32 %fd2, %f1; add.f64 %fd1, %fd1, %fd2; st.global.f64 [%rd1], %fd1; ret; }\n";
  TestCard card;
  void* function = card.load(ptx);
  u64 out = card.allocate(8);
  u8 a = 200;
  float b = 0.5f;
  s16 c = -100;
  double d = 1e10;
  void* arguments[] = {&out, &a, &b, &c, &d};
  fine(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, nullptr, arguments, nullptr));
  equal("sum", card.download<double>(out, 1)[0], 1e10 + 100.5);
}

int code_of(const std::string& body, size_t allocated, unsigned threads = kLanes) {
  TestCard card;
  void* function = card.load(kernel_of(with_pointers(body, 1), 1));
  return card.run(function, threads, {card.allocate(allocated)});
}

TEST(memory_outside_an_allocation) {
  const std::string store = "mad.wide.u32 %rd5, %r0, 4, %rd1; st.global.u32 [%rd5], %r0;";
  refused(code_of(store, 128), 0);
  refused(code_of(store, 124), 700, "thread 31: 4 bytes of global memory");
  refused(code_of("ld.global.u32 %r1, [%rd1+-4];", 128), 700, "kernel test, PTX line");
  refused(code_of("mov.u64 %rd5, 0; ld.global.u32 %r1, [%rd5];", 128), 700);
  // The last element that fits, wide: half of it lies outside.
  refused(code_of("ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1+112];", 124), 700, "16 bytes");
}

TEST(memory_after_free) {
  TestCard card;
  void* function = card.load(kernel_of(with_pointers("ld.global.u32 %r1, [%rd1];", 1), 1));
  const u64 gone = card.allocate(64);
  fine(cuMemFree_v2(gone));
  refused(card.run(function, 1, {gone}), 700);
}

TEST(memory_out_of_line) {
  refused(code_of("ld.global.u32 %r1, [%rd1+2];", 128), 716, "not aligned to 4 bytes");
  refused(code_of("ld.global.v2.u32 {%r1, %r2}, [%rd1+4];", 128), 716, "not aligned to 8 bytes");
  refused(code_of("mov.u64 %rd5, 1; ld.shared.u16 %h1, [%rd5];", 128), 700, "shared memory");
}

TEST(memory_shared_has_an_end) {
  const std::string declare = ".shared .align 4 .b8 cell[64]; mov.u32 %r1, cell; mad.lo.u32 %r1, %r0, 4, %r1; ";
  const std::string store = declare + "st.shared.u32 [%r1], %r0;";
  refused(code_of(store, 4, 16), 0);
  refused(code_of(store, 4, 17), 700, "of shared memory at offset 64, which has 64 bytes");
}

TEST(memory_shared_starts_as_nan) {
  TestCard card;
  void* function = card.load(kernel_of(with_pointers(
      ".shared .align 4 .f32 cell[4]; ld.shared.f32 %f1, [cell]; st.global.f32 [%rd1], %f1;", 1), 1));
  const u64 out = card.allocate(4);
  fine(card.run(function, 1, {out}));
  hold(std::isnan(card.download<float>(out, 1)[0]), "shared memory is not NaN at first");
}

// Two kernels in one: dynamic memory behind a static array.
TEST(memory_shared_dynamic) {
  const std::string ptx = kernel_of(with_pointers(
      ".shared .align 4 .b8 fixed[20]; mov.u32 %r1, dynamic; mad.lo.u32 %r2, %r0, 4, %r1; st.shared.u32 [%r2], %r0;\n"
      "mov.u32 %r3, fixed; sub.u32 %r4, %r1, %r3; mad.wide.u32 %rd5, %r0, 4, %rd1; st.global.u32 [%rd5], %r4;", 1), 1,
      ".extern .shared .align 16 .b8 dynamic[];\n");
  TestCard card;
  void* function = card.load(ptx);
  const u64 out = card.allocate(128);
  fine(card.launch(function, {1, 1, 1}, {32, 1, 1}, {out}, 128));
  fine(cuCtxSynchronize());
  equal("offset of dynamic memory", card.download<u32>(out, 1)[0], 32u);
  refused(card.launch(function, {1, 1, 1}, {32, 1, 1}, {out}, 49153), 1, "cuFuncSetAttribute 8 raises it");
  fine(cuFuncSetAttribute(function, 8, 100 * 1024));
  fine(card.launch(function, {1, 1, 1}, {32, 1, 1}, {out}, 100 * 1024));
  refused(cuFuncSetAttribute(function, 8, 164 * 1024), 1, "the card has");
  fine(card.launch(function, {1, 1, 1}, {32, 1, 1}, {out}, 124));
  refused(cuCtxSynchronize(), 700, "shared memory");
}

}  // namespace
}  // namespace standin::test
