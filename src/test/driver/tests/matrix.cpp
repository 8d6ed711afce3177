// ldmatrix and mma against the fragment layouts of the PTX manual: g = lane / 4, t = lane % 4.
#include "card.h"
#include "half.h"

namespace standin::test {
namespace {

// Small integers: products and sums are exact in every order.
std::vector<float> small(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> all(count);
  for (float& v : all) v = static_cast<float>(static_cast<int>(random() % 17) - 8);
  return all;
}

// A register file: word r of lane l is at [r][l].
using Fragment = std::vector<std::vector<u32>>;

template <class H>
u32 pair(float low, float high) {
  return H::store(low) | H::store(high) << 16;
}

// A (16 x k), row-major, of 16-bit values: registers walk rows 0-7, 8-15 of columns 0-7, then of columns 8-15.
template <class H>
Fragment left(const std::vector<float>& a, size_t k) {
  Fragment f(k / 4, std::vector<u32>(kLanes));
  for (size_t r = 0; r < f.size(); ++r) {
    for (size_t l = 0; l < kLanes; ++l) {
      const size_t at = (l / 4 + r % 2 * 8) * k + l % 4 * 2 + r / 2 * 8;
      f[r][l] = pair<H>(a[at], a[at + 1]);
    }
  }
  return f;
}
// B (k x 8): a register has rows 2t, 2t+1 (and 8 more in the next one) of column g.
template <class H>
Fragment right(const std::vector<float>& b, size_t k) {
  Fragment f(k / 8, std::vector<u32>(kLanes));
  for (size_t r = 0; r < f.size(); ++r) {
    for (size_t l = 0; l < kLanes; ++l) {
      const size_t row = l % 4 * 2 + 8 * r;
      f[r][l] = pair<H>(b[row * 8 + l / 4], b[(row + 1) * 8 + l / 4]);
    }
  }
  return f;
}
// The same of tf32, a value a register: A (row g + 8 (r%2), column t + 4 (r/2)), B (row t + 4 r, column g).
Fragment left_tf32(const std::vector<float>& a, size_t k) {
  Fragment f(k / 2, std::vector<u32>(kLanes));
  for (size_t r = 0; r < f.size(); ++r) {
    for (size_t l = 0; l < kLanes; ++l) f[r][l] = std::bit_cast<u32>(a[(l / 4 + r % 2 * 8) * k + l % 4 + r / 2 * 4]);
  }
  return f;
}
Fragment right_tf32(const std::vector<float>& b, size_t k) {
  Fragment f(k / 4, std::vector<u32>(kLanes));
  for (size_t r = 0; r < f.size(); ++r) {
    for (size_t l = 0; l < kLanes; ++l) f[r][l] = std::bit_cast<u32>(b[(l % 4 + 4 * r) * 8 + l / 4]);
  }
  return f;
}
// C and D (16 x 8) f32: row g + 8 (r/2), column 2 t + r%2.
size_t place_of(size_t r, size_t l) { return (l / 4 + r / 2 * 8) * 8 + l % 4 * 2 + r % 2; }

std::string registers(size_t first, size_t count) {
  std::string text = "{";
  for (size_t i = 0; i < count; ++i) text += (i > 0 ? ", %r" : "%r") + std::to_string(first + i);
  return text + "}";
}

// One mma on one warp; every register comes from and goes to memory at [register][lane].
std::vector<float> multiply(const std::string& op, const Fragment& a, const Fragment& b, const std::vector<float>& c,
                            const std::string& target) {
  std::vector<u32> in;
  for (const Fragment* f : {&a, &b}) {
    for (const auto& word : *f) in.insert(in.end(), word.begin(), word.end());
  }
  for (size_t r = 0; r < 4; ++r) {
    for (size_t l = 0; l < kLanes; ++l) in.push_back(std::bit_cast<u32>(c[place_of(r, l)]));
  }
  const size_t sources = in.size() / kLanes;
  std::string body = "mad.wide.u32 %rd5, %r0, 4, %rd2; mad.wide.u32 %rd6, %r0, 4, %rd1;\n";
  for (size_t i = 0; i < sources; ++i) {
    body += "ld.global.b32 %r" + std::to_string(10 + i) + ", [%rd5+" + std::to_string(128 * i) + "];\n";
  }
  body += op + " " + registers(1, 4) + ", " + registers(10, a.size()) + ", " + registers(10 + a.size(), b.size()) + ", "
          + registers(10 + a.size() + b.size(), 4) + ";\n";
  for (int i = 0; i < 4; ++i) {
    body += "st.global.b32 [%rd6+" + std::to_string(128 * i) + "], %r" + std::to_string(1 + i) + ";\n";
  }
  TestCard card;
  void* function = card.load(kernel_of(with_pointers(body), 2, "", target));
  const u64 out = card.allocate(512);
  fine(card.run(function, kLanes, {out, card.upload(in)}));
  const std::vector<float> words = card.download<float>(out, 128);
  std::vector<float> d(128);
  for (size_t r = 0; r < 4; ++r) {
    for (size_t l = 0; l < kLanes; ++l) d[place_of(r, l)] = words[r * kLanes + l];
  }
  return d;
}

std::vector<float> product(const std::vector<float>& a, const std::vector<float>& b, const std::vector<float>& c,
                           size_t k) {
  std::vector<float> d = c;
  for (size_t i = 0; i < 16; ++i) {
    for (size_t j = 0; j < 8; ++j) {
      for (size_t p = 0; p < k; ++p) d[i * 8 + j] += a[i * k + p] * b[p * 8 + j];
    }
  }
  return d;
}

template <class H>
void halves(const std::string& type, size_t k, const std::string& target) {
  // .b32 registers in braces print as %r1; D's and C's are .f32 in PTX, whose bits the test moves as .b32.
  const std::string op = "mma.sync.aligned.m16n8k" + std::to_string(k) + ".row.col.f32." + type + "." + type + ".f32";
  const std::vector<float> a = small(16 * k, 1), b = small(8 * k, 2), c = small(128, 3);
  equal(op, multiply(op, left<H>(a, k), right<H>(b, k), c, target), product(a, b, c, k));
}

TEST(mma_of_bf16) {
  halves<Bf16>("bf16", 8, "sm_80");
  halves<Bf16>("bf16", 16, "sm_80");
}
TEST(mma_of_f16) {
  halves<F16>("f16", 8, "sm_75");
  halves<F16>("f16", 16, "sm_80");
}
TEST(mma_of_tf32) {
  for (const size_t k : {4, 8}) {
    const std::string op = "mma.sync.aligned.m16n8k" + std::to_string(k) + ".row.col.f32.tf32.tf32.f32";
    const std::vector<float> a = small(16 * k, 4), b = small(8 * k, 5), c = small(128, 6);
    equal(op, multiply(op, left_tf32(a, k), right_tf32(b, k), c, "sm_80"), product(a, b, c, k));
  }
}
TEST(mma_of_tf32_reads_ten_bits) {
  std::vector<float> a(128, 0.f), b(64, 0.f), c(128, 0.f);
  a[0] = 1.f + 0x1p-10f + 0x1p-11f;  // the last bit is beyond a tf32
  b[0] = 1.f;
  const auto d = multiply("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", left_tf32(a, 8), right_tf32(b, 8), c,
                          "sm_80");
  equal("tf32", d[0], 1.f + 0x1p-10f);
}

TEST(mma_wants_the_whole_warp) {
  const std::string op = "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2}, {%r3}, "
                         "{%f1, %f2, %f3, %f4};";
  TestCard card;
  void* function = card.load(kernel_of(
      "mov.u32 %r0, %tid.x; setp.lt.u32 %p1, %r0, 16; @%p1 bra out;\n" + op + "\nout: bar.sync 0;", 0));
  refused(card.run(function, kLanes, {}), 715, "divergent");
}

// Shared memory holds 32 rows of 8 halves; lane i hands in the address of row i.
std::vector<u32> loaded(int count, bool transposed, std::vector<u16>& rows) {
  rows.resize(256);
  std::mt19937 random(11);
  for (u16& v : rows) v = static_cast<u16>(random());
  const std::string name = "ldmatrix.sync.aligned.m8n8.x" + std::to_string(count) + (transposed ? ".trans" : "");
  std::string body =
      ".shared .align 16 .b8 tile[512]; mov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 16, %r1;\n"
      "mad.wide.u32 %rd5, %r0, 16, %rd2; ld.global.v4.u32 {%r2, %r3, %r4, %r5}, [%rd5];\n"
      "st.shared.v4.u32 [%r1], {%r2, %r3, %r4, %r5}; bar.sync 0;\n" + name + ".shared.b16 "
      + registers(10, static_cast<size_t>(count)) + ", [%r1];\nmad.wide.u32 %rd6, %r0, 4, %rd1;\n";
  for (int i = 0; i < count; ++i) {
    body += "st.global.b32 [%rd6+" + std::to_string(128 * i) + "], %r" + std::to_string(10 + i) + ";\n";
  }
  TestCard card;
  void* function = card.load(kernel_of(with_pointers(body)));
  const u64 out = card.allocate(512);
  fine(card.run(function, kLanes, {out, card.upload(rows)}));
  return card.download<u32>(out, static_cast<size_t>(count) * kLanes);
}

TEST(ldmatrix_forms) {
  for (const int count : {1, 2, 4}) {
    for (const bool transposed : {false, true}) {
      std::vector<u16> rows;
      const std::vector<u32> got = loaded(count, transposed, rows);
      std::vector<u32> want;
      for (size_t m = 0; m < static_cast<size_t>(count); ++m) {
        for (size_t l = 0; l < kLanes; ++l) {
          const size_t g = l / 4, t = l % 4;
          const auto at = [&](size_t row, size_t column) { return static_cast<u32>(rows[(8 * m + row) * 8 + column]); };
          want.push_back(transposed ? at(2 * t, g) | at(2 * t + 1, g) << 16 : at(g, 2 * t) | at(g, 2 * t + 1) << 16);
        }
      }
      equal("ldmatrix x" + std::to_string(count) + (transposed ? ".trans" : ""), got, want);
    }
  }
}

TEST(ldmatrix_wants_rows_of_16_bytes) {
  TestCard card;
  void* function = card.load(kernel_of(
      ".shared .align 16 .b8 tile[512]; mov.u32 %r1, tile; add.u32 %r1, %r1, 8;\n"
      "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r2}, [%r1];", 0));
  refused(card.run(function, kLanes, {}), 716, "not aligned to 16 bytes");
}

}  // namespace
}  // namespace standin::test
