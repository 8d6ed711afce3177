// What the driver does not run exactly is refused when the file is loaded, with the line and a reason.
#include "card.h"

namespace standin::test {
namespace {

void rejects(const std::string& ptx, int want, std::string_view reason, const char* settings = "") {
  TestCard card(settings);
  char log[512] = "";
  int options[] = {5, 6};
  void* values[] = {log, reinterpret_cast<void*>(sizeof log)};
  void* module = nullptr;
  const int code = cuModuleLoadDataEx(&module, ptx.c_str(), 2, options, values);
  hold(code == want, "want " + std::to_string(want) + ", got " + std::to_string(code) + " for\n" + ptx);
  contains("the error log", log, reason);
  contains("the error log", log, "ptxas application ptx input, line");
}

void rejects_body(const std::string& body, std::string_view reason) { rejects(kernel_of(body, 1), 218, reason); }

TEST(refused_opcodes) {
  for (const std::string opcode : {"wmma.load.a.sync.aligned.row.m16n16k16.global.f16", "stmatrix.sync.aligned.m8n8.x1",
                                   "wgmma.fence.sync.aligned", "mbarrier.init.shared.b64", "tex.1d.v4.f32.s32",
                                   "surf", "alloca.u64", "vadd.s32.s32.s32", "tcgen05.alloc", "addc.u32"}) {
    rejects_body(opcode + " %r1, %r2, %r3;", "Not a name of any known instruction");
  }
}

TEST(refused_modifiers) {
  rejects_body("add.cc.u32 %r1, %r2, %r3;", "Modifier '.cc' is not supported in 'add.cc.u32'");
  rejects_body("ld.global.v8.f32 %f1, [%rd1];", "Modifier '.v8' is not supported");
  rejects_body("red.global.add.noftz.f16 [%rd1], %h1;", "not supported");
  rejects_body("cp.async.bulk.commit_group;", "Modifier '.bulk' is not supported");
  rejects_body("mul.wide.u64 %rd1, %rd2, %rd3;", "is not supported with these types");
}

TEST(refused_products) {
  const std::string registers = " {%r1, %r2}, {%r3, %r4}, {%r5}, {%r6, %r7};";
  rejects_body("mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16" + registers, "this shape or type of mma");
  rejects_body("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32" + registers, "this shape or type of mma");
  rejects_body("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32" + registers, "wrong number of registers");
  rejects_body("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r1}, [%rd1];", "wrong number of registers");
  rejects_body("ldmatrix.sync.aligned.m8n16.x1.shared.b8 {%r1}, [%rd1];", "this form of ldmatrix");
}

TEST(refused_between_threads) {
  rejects_body("shfl.up.b32 %r1, %r2, 1, 0;", "shfl without .sync");
  rejects_body("vote.ballot.b32 %r1, %p1;", "vote without .sync");
  rejects_body("bar.red.popc.u32 %r1, 0, %p1;", "only bar.sync, bar.arrive and bar.warp.sync");
  rejects_body("match.sync.b32 %r1, %r2, -1;", "match is .any or .all");
  rejects_body("elect.sync %r1|%p1, -1;", "requires .target sm_90");
}

TEST(refused_calls) {
  rejects_body("call.uni vprintf, (%r1);", "call of 'vprintf', which has no body here");
  rejects(kernel_of("@%p1 call again;", 0, ".func again() { ret; }\n"), 218, "a guarded call is not supported");
  rejects(kernel_of("call again;", 0, ".func again() { call again; ret; }\n"), 218, "'again' calls itself");
  rejects(kernel_of("call again;", 0, ".func again(.param .u32 x) { ret; }\n"), 218, "wrong number of arguments");
  rejects(kernel_of("", 0, ".func again(.reg .u32 x) { ret; }\n"), 218, "register parameters");
}

TEST(refused_names_and_types) {
  rejects_body("add.u32 %r1, %r2, %x9;", "'%x9' is not declared");
  rejects_body("add.u32 %r1, %rd2, %r3;", "'%rd2' has 64 bits, the instruction takes 32");
  rejects_body("ld.param.u32 %r1, [p0+8];", "no parameter of 4 bytes lies here");
  rejects_body("ld.param.u32 %r1, [p0+2];", "no parameter of 4 bytes lies here");
  rejects_body("bra nowhere;", "label 'nowhere' is not defined");
  rejects_body("brx.idx %r1, nowhere;", "'nowhere' is no .branchtargets");
  rejects_body("@%r1 mov.u32 %r2, 0;", "'%r1' is no predicate");
  rejects_body("add.u32 %r1;", "'add.u32' takes 3 operands, not 1");
  rejects_body("shl.b32 %r1, %r2, %r3, %r4;", "'shl.b32' takes 3 operands, not 4");
  rejects_body("st.global.u32 [%rd1];", "too few operands");
  rejects_body("add.u32 %rd1, %r2, %r3;", "'%rd1' has 64 bits, the instruction takes 32");
  rejects_body("mul.f32 %f1, %f2, %h3;", "'%h3' has 16 bits, the instruction takes 32");
  rejects_body("fma.rn.f32 %f1, %f2, %p3, %f4;", "'%p3' has no number");
  rejects_body(".reg .b128 %q1;", "not supported");
  rejects_body("mov.u32 %r1, %clock;", "'%clock' is not declared");
}

TEST(refused_versions_and_targets) {
  const std::string ptx = kernel_of("", 0);
  std::string newer = ptx;
  newer.replace(newer.find("7.8"), 3, "8.1");
  rejects(newer, 222, "Unsupported .version 8.1; current version is '8.0'");
  rejects(ptx, 209, "sm_80 on sm_75", "cc=7.5");
  rejects(kernel_of("cp.async.wait_all;", 0, "", "sm_75"), 218, "requires .target sm_80");
  rejects(ptx.substr(ptx.find(".target")), 218, "Missing .version");
}

}  // namespace
}  // namespace standin::test
