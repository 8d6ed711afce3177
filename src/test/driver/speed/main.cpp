// How fast the stand-in runs PTX: standin_speed PTX_FOLDER [PART OF A NAME], with the repository's ptx/.
//
// Thread-instructions and floating point operations of mma for each second of processor time, by one host thread and
// by two. Processor time is that of all threads together, so that other work on the machine counts for little: two
// threads that scale have the rate of one, and half the wall time on an idle machine.
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>

#include "tests/card.h"

namespace standin::test {

std::vector<Test>& tests() {
  static std::vector<Test> none;
  return none;
}

namespace {

struct Launch {
  std::string name;
  std::string file, entry;       // in the folder, or a text and "test"
  std::array<unsigned, 3> grid, block;
  unsigned shared;
  std::vector<u64> arguments;    // of 8 bytes, of which a parameter takes its own
  double flops;                  // of mma
};

struct Rate {
  double instructions, flops, wall;
};

std::string text_of_file(const std::string& path) {
  std::ifstream in(path);
  hold(in.good(), "no file " + path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

u64 bits(float value) { return std::bit_cast<u32>(value); }

double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// The best of some runs: what else the machine does only ever slows one down.
Rate measure(TestCard& card, void* function, const Launch& launch) {
  Rate best{0, 0, 1e30};
  for (int run = 0; run < 7; ++run) {
    const long long before = standin_counter("thread_instructions");
    const double start = processor_seconds();
    const auto wall = std::chrono::steady_clock::now();
    fine(card.launch(function, launch.grid, launch.block, launch.arguments, launch.shared));
    fine(cuCtxSynchronize());
    const double seconds = processor_seconds() - start;
    const double instructions = static_cast<double>(standin_counter("thread_instructions") - before);
    best.instructions = std::max(best.instructions, instructions / seconds);
    best.flops = std::max(best.flops, launch.flops / seconds);
    best.wall = std::min(best.wall, std::chrono::duration<double>(std::chrono::steady_clock::now() - wall).count());
  }
  return best;
}

std::vector<u16> ones(size_t count) { return std::vector<u16>(count, 0x3c01); }

// 64 of one instruction in a loop of 200, in 256 threads of 8 blocks.
Launch loop(const std::string& name, const std::string& instruction, double flops_of_a_warp) {
  std::string body = "mov.u32 %r1, 0;\nagain:\n";
  for (int i = 0; i < 64; ++i) body += instruction + "\n";
  body += "add.u32 %r1, %r1, 1; setp.lt.u32 %p1, %r1, 200; @%p1 bra again;";
  return {name, kernel_of("mov.u32 %r0, %tid.x;\n" + body, 0), "test", {8, 1, 1}, {256, 1, 1}, 0, {},
          8. * 8 * 64 * 200 * flops_of_a_warp};
}

std::vector<Launch> launches(TestCard& card) {
  constexpr u64 M = 256, N = 256, K = 1024, H = 4, D = 64, F = 1 << 18, C = 2048;
  const u64 a = card.upload(ones(M * K)), b = card.upload(ones(M * K)), c = card.upload(ones(M * K));
  const u64 out = card.allocate(4 * F), out2 = card.allocate(4 * F);
  const u64 wide = card.upload(std::vector<float>(F, 0.5f)), zeros = card.upload(std::vector<u32>(M, 0));
  const double product = 2. * M * N * K;
  // Causal: half of two products of M x M x D for each head, in tiles of 64.
  const double attention = 2. * 2 * H * D * 64 * 64 * (M / 64 * (M / 64 + 1) / 2);
  const std::vector<u64> attend = {out, out2, a, b, c, zeros, M, H, H, D, bits(0.125f), 0, 0, 0, 0};
  return {
      loop("fma.rn.f32", "fma.rn.f32 %f1, %f2, %f3, %f4;", 0),
      loop("add.s32", "add.s32 %r2, %r3, %r4;", 0),
      loop("mma m16n8k16 bf16", "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1, %f2, %f3, %f4}, "
           "{%r2, %r3, %r4, %r5}, {%r6, %r7}, {%f1, %f2, %f3, %f4};", 4096),
      loop("mma m16n8k8 f16", "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f1, %f2, %f3, %f4}, "
           "{%r2, %r3}, {%r6}, {%f1, %f2, %f3, %f4};", 2048),
      {"linear_fwd bf16 128x128x32", "linear_fwd_bf16_t128x128x32.sm_80.ptx", "hone_linear_fwd_bf16_t128x128x32",
       {M / 128 * N / 128, 1, 1}, {128, 1, 1}, 49152, {out, a, b, 0, M, N, K, N, 0, 0, 0}, product},
      {"linear_fwd f16 128x128x32", "linear.sm_75.ptx", "hone_linear_fwd_f16_t128x128x32",
       {M / 128 * N / 128, 1, 1}, {256, 1, 1}, 0, {out, a, b, 0, M, N, K, N, 0}, product},
      {"attention_fwd bf16 d64", "attention_fwd_bf16_d64.sm_80.ptx", "hone_attention_fwd_bf16_d64",
       {M / 64, H, 1}, {128, 1, 1}, 40960, attend, attention},
      {"gated_bwd bf16", "gated.sm_80.ptx", "hone_gated_bwd_bf16", {F / 2048, 1, 1}, {256, 1, 1}, 0,
       {out, out2, a, b, c, F, 0}, 0},
      {"rmsnorm_fwd bf16", "rmsnorm.sm_80.ptx", "hone_rmsnorm_fwd_bf16", {128, 1, 1}, {256, 1, 1}, 0,
       {out, out2, a, wide, 128, C, bits(1e-5f), 0}, 0},
      {"adamw f32", "adamw.sm_80.ptx", "hone_adamw_f32", {F / 8192, 1, 1}, {256, 1, 1}, 0,
       {out, out2, wide, wide, F, bits(1e-3f), bits(0.9f), bits(0.999f), bits(1e-8f), bits(0.01f), bits(1.f),
        bits(0.1f), bits(0.01f)}, 0},
  };
}

void report(const std::string& folder, const std::string& wanted) {
  std::printf("%-28s %23s %23s %15s\n", "", "G thread-instructions/s", "GFLOP/s through mma", "wall ms");
  std::printf("%-28s %11s %11s %11s %11s %7s %7s\n", "host threads", "1", "2", "1", "2", "1", "2");
  std::vector<std::string> names;
  {
    TestCard card;
    for (const Launch& launch : launches(card)) names.push_back(launch.name);
  }
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string& name = names[i];
    if (name.find(wanted) == std::string::npos) continue;
    Rate rates[2];
    for (int threads = 1; threads <= 2; ++threads) {
      TestCard card(("threads=" + std::to_string(threads)).c_str());
      const Launch launch = launches(card)[i];
      void *module = nullptr, *function = nullptr;
      const std::string ptx = launch.entry == "test" ? launch.file : text_of_file(folder + "/" + launch.file);
      fine(cuModuleLoadData(&module, ptx.c_str()));
      fine(cuModuleGetFunction(&function, module, launch.entry.c_str()));
      if (launch.shared > 48 * 1024) fine(cuFuncSetAttribute(function, 8, static_cast<int>(launch.shared)));
      rates[threads - 1] = measure(card, function, launch);
    }
    std::printf("%-28s %11.2f %11.2f %11.2f %11.2f %7.1f %7.1f\n", name.c_str(), rates[0].instructions * 1e-9,
                rates[1].instructions * 1e-9, rates[0].flops * 1e-9, rates[1].flops * 1e-9, rates[0].wall * 1e3,
                rates[1].wall * 1e3);
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace standin::test

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: standin_speed PTX_FOLDER [PART OF A NAME]\n");
    return 2;
  }
  try {
    standin::test::report(argv[1], argc > 2 ? argv[2] : "");
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return 1;
  }
  return 0;
}
