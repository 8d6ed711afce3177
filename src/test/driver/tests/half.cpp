// f16 and bf16 arithmetic, one value and two in a register: each result is the exact one rounded once.
#include "card.h"
#include "half.h"

namespace standin::test {
namespace {

// All bit patterns are as likely: subnormals, infinities and NaN are among them.
std::vector<u32> patterns(unsigned seed) {
  std::mt19937 random(seed);
  std::vector<u32> all(kLanes);
  for (u32& v : all) v = random();
  const u32 special[] = {0, 0x80008000, 0x7c007f80, 0xfc00ff80, 0x00010001, 0x3c003f80, 0xbc00bf80};
  std::copy(std::begin(special), std::end(special), all.begin() + 3 * (seed % 8));
  return all;
}

template <class H>
bool is_nan(u32 bits) {
  const float value = H::load(bits);
  return value != value;
}

template <class H>
u32 exact(double value) {
  return H::store(to_odd(value)) & 0xffff;
}

// The bits agree, or both are NaN, in each half that counts.
template <class H>
void compare(const std::string& text, const std::vector<u32>& got, const std::vector<u32>& want, bool pair) {
  for (size_t i = 0; i < got.size(); ++i) {
    for (int part = 0; part < (pair ? 2 : 1); ++part) {
      const u32 g = got[i] >> (16 * part) & 0xffff, w = want[i] >> (16 * part) & 0xffff;
      if (!(is_nan<H>(g) && is_nan<H>(w))) equal(text + " [" + std::to_string(i) + "]", g, w);
    }
  }
}

template <class H, class F>
void against(const std::string& op, const std::string& type, bool pair, int operands, F want) {
  std::vector<u32> a = patterns(1), b = patterns(2), c = patterns(5);
  a[0] = b[1] = 0;  // zeros of both signs meet
  a[1] = b[0] = 0x80008000;
  const auto part = [&](size_t i, int shift) {
    return exact<H>(want(H::load(a[i] >> shift), H::load(b[i] >> shift), H::load(c[i] >> shift)));
  };
  std::vector<u32> expected;
  for (size_t i = 0; i < a.size(); ++i) expected.push_back(part(i, 0) | (pair ? part(i, 16) << 16 : 0));
  const char* names[] = {"", ", %a", ", %a, %b", ", %a, %b, %c"};
  const char* halves[] = {"", ", %h1", ", %h1, %h2", ", %h1, %h2, %h3"};
  const std::string text = pair ? op + "." + type + "x2 %d" + names[operands] + ";"
                                : "mov.b32 {%h1, %h4}, %a; mov.b32 {%h2, %h4}, %b; mov.b32 {%h3, %h4}, %c; " + op + "."
                                      + type + " %h0" + halves[operands] + "; mov.b32 %d, {%h0, %h0};";
  compare<H>(text, lanes<u32, u32>(text, a, b, c), expected, pair);
}

template <class H>
void arithmetic(const std::string& type) {
  for (const bool pair : {false, true}) {
    // sm_80 has f16's add, mul and fma and bf16's fma; the rest of bf16 came with sm_90 and is run all the same.
    against<H>("fma.rn", type, pair, 3, [](double a, double b, double c) { return a * b + c; });
    against<H>("fma.rn.relu", type, pair, 3, [](double a, double b, double c) {
      const double r = a * b + c;
      return r > 0 || r != r ? r : 0;
    });
    against<H>("add.rn", type, pair, 2, [](double a, double b, double) { return a + b; });
    against<H>("sub.rn", type, pair, 2, [](double a, double b, double) { return a - b; });
    against<H>("mul.rn", type, pair, 2, [](double a, double b, double) { return a * b; });
    against<H>("neg", type, pair, 1, [](double a, double, double) { return -a; });
    against<H>("abs", type, pair, 1, [](double a, double, double) { return std::fabs(a); });
    const auto smaller = [](double a, double b) { return a == b ? std::signbit(a) : a < b; };
    against<H>("min", type, pair, 2, [&](double a, double b, double) {
      return a != a ? b : b != b ? a : smaller(a, b) ? a : b;
    });
    against<H>("max", type, pair, 2, [&](double a, double b, double) {
      return a != a ? b : b != b ? a : smaller(a, b) ? b : a;
    });
    against<H>("max.NaN", type, pair, 2, [&](double a, double b, double) {
      return a != a || b != b ? NAN : smaller(a, b) ? b : a;
    });
  }
}

TEST(half_f16) { arithmetic<F16>("f16"); }
TEST(half_bf16) { arithmetic<Bf16>("bf16"); }

template <class H>
void functions(const std::string& type, double relative) {
  std::vector<u32> in;
  for (int i = 0; i < kLanes; ++i) in.push_back(H::store(static_cast<float>(i - 16) * 0.4f));
  using Function = double (*)(double);
  const std::pair<std::string, Function> both[] = {{"ex2.approx.", [](double x) { return std::exp2(x); }},
                                                   {"tanh.approx.", [](double x) { return std::tanh(x); }}};
  for (const auto& [op, want] : both) {
    const std::string ftz = type == "bf16" && op == "ex2.approx." ? "ftz." : "";
    const std::string text = "mov.b32 {%h1, %h2}, %a; " + op + ftz + type + " %h0, %h1; mov.b32 %d, {%h0, %h0};";
    const std::vector<u32> got = lanes<u32, u32>(text, in);
    for (size_t i = 0; i < in.size(); ++i) {
      near(text, H::load(got[i]), static_cast<float>(want(H::load(in[i]))), relative, 0);
    }
  }
}

TEST(half_functions) {
  functions<F16>("f16", 0x1p-10);
  functions<Bf16>("bf16", 0x1p-7);
}

TEST(half_compares) {
  const std::vector<u32> a = patterns(3), b = patterns(4);
  const std::string text = "mov.b32 {%h1, %h3}, %a; mov.b32 {%h2, %h3}, %b; setp.lt.f16 %p1, %h1, %h2;\n"
                           "setp.geu.bf16 %p2, %h1, %h2; selp.u32 %r1, 1, 0, %p1; selp.u32 %r2, 2, 0, %p2;\n"
                           "or.b32 %d, %r1, %r2;";
  std::vector<u32> want;
  for (size_t i = 0; i < a.size(); ++i) {
    want.push_back((F16::load(a[i]) < F16::load(b[i]) ? 1 : 0) | (!(Bf16::load(a[i]) < Bf16::load(b[i])) ? 2 : 0));
  }
  equal(text, lanes<u32, u32>(text, a, b), want);
}

}  // namespace
}  // namespace standin::test
