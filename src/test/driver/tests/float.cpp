// f32 and f64 arithmetic: every rounding mode bit for bit, flush to zero, NaN rules; .approx forms within their errors.
#include <cfenv>

#include "card.h"

namespace standin::test {
namespace {

template <class T>
constexpr const char* kName = sizeof(T) == 8 ? "f64" : "f32";

template <class T, class F>
void against(std::string text, F want) {
  for (size_t at; (at = text.find('$')) != std::string::npos;) text.replace(at, 1, kName<T>);
  const std::vector<T> a = edges<T>(1), b = edges<T>(2), c = edges<T>(3);
  std::vector<T> expected;
  for (size_t i = 0; i < a.size(); ++i) expected.push_back(want(a[i], b[i], c[i]));
  equal(text, lanes<T, T>(text, a, b, c), expected);
}

// Under a rounding mode of the host. The volatile copies keep the compiler from computing before the mode is set.
template <class F>
auto rounded(int mode, F f) {
  return [=](auto a, auto b, auto c) {
    volatile auto x = a, y = b, z = c;
    std::fesetround(mode);
    volatile auto result = f(x, y, z);
    std::fesetround(FE_TONEAREST);
    return static_cast<decltype(a)>(result);
  };
}

template <class T>
void arithmetic() {
  const std::pair<const char*, int> modes[] = {
      {".rn", FE_TONEAREST}, {".rz", FE_TOWARDZERO}, {".rm", FE_DOWNWARD}, {".rp", FE_UPWARD}};
  for (const auto& [name, mode] : modes) {
    const std::string m = name;
    against<T>("add" + m + ".$ %d, %a, %b;", rounded(mode, [](T a, T b, T) { return a + b; }));
    against<T>("sub" + m + ".$ %d, %a, %b;", rounded(mode, [](T a, T b, T) { return a - b; }));
    against<T>("mul" + m + ".$ %d, %a, %b;", rounded(mode, [](T a, T b, T) { return a * b; }));
    against<T>("div" + m + ".$ %d, %a, %b;", rounded(mode, [](T a, T b, T) { return a / b; }));
    against<T>("fma" + m + ".$ %d, %a, %b, %c;", rounded(mode, [](T a, T b, T c) { return std::fma(a, b, c); }));
    against<T>("sqrt" + m + ".$ %d, %a;", rounded(mode, [](T a, T, T) { return std::sqrt(a); }));
    against<T>("rcp" + m + ".$ %d, %a;", rounded(mode, [](T a, T, T) { return T(1) / a; }));
  }
  const auto ordered = [](T a, T b, bool smaller) {
    if (a != a || b != b) return a != a ? b : a;
    if (a == b) return std::signbit(a) == smaller ? a : b;
    return (a < b) == smaller ? a : b;
  };
  against<T>("min.$ %d, %a, %b;", [&](T a, T b, T) { return ordered(a, b, true); });
  against<T>("max.$ %d, %a, %b;", [&](T a, T b, T) { return ordered(a, b, false); });
  against<T>("neg.$ %d, %a;", [](T a, T, T) { return -a; });
  against<T>("abs.$ %d, %a;", [](T a, T, T) { return std::fabs(a); });
  against<T>("copysign.$ %d, %a, %b;", [](T a, T b, T) { return std::copysign(b, a); });
}

TEST(float_of_32_bits) { arithmetic<float>(); }
TEST(float_of_64_bits) { arithmetic<double>(); }

TEST(float_minimum_with_nan) {
  const auto nan = [](float a, float b) { return a != a || b != b; };
  against<float>("min.NaN.f32 %d, %a, %b;", [&](float a, float b, float) { return nan(a, b) ? NAN : std::fmin(a, b); });
  against<float>("max.NaN.f32 %d, %a, %b;", [&](float a, float b, float) { return nan(a, b) ? NAN : std::fmax(a, b); });
}

TEST(float_saturates) {
  const auto clamp = [](float x) { return x > 0 ? std::min(x, 1.f) : 0.f; };
  against<float>("add.sat.f32 %d, %a, %b;", [&](float a, float b, float) { return clamp(a + b); });
  against<float>("fma.rn.sat.f32 %d, %a, %b, %c;", [&](float a, float b, float c) { return clamp(std::fma(a, b, c)); });
}

TEST(float_flushes_to_zero) {
  const std::vector<float> tiny = {0x1p-130f, -0x1p-130f, 0x1p-126f, 0x1p-126f}, other = {1.f, 1.f, 0.5f, -0.5f};
  std::vector<float> got = lanes<float, float>("mul.ftz.f32 %d, %a, %b;", tiny, other);
  got.resize(4);
  equal("mul.ftz", got, std::vector<float>{0.f, -0.f, 0.f, -0.f});
  got = lanes<float, float>("mul.f32 %d, %a, %b;", tiny, other);
  got.resize(4);
  equal("mul", got, std::vector<float>{0x1p-130f, -0x1p-130f, 0x1p-127f, -0x1p-127f});
}

TEST(float_approximations) {
  std::vector<float> x;
  for (int i = 0; i < kLanes; ++i) x.push_back(static_cast<float>(i - 16) * 0.37f + 0.01f);
  const auto check = [&](const char* text, const std::vector<float>& in, double relative, double absolute, auto want) {
    const std::vector<float> got = lanes<float, float>(text, in);
    for (size_t i = 0; i < in.size(); ++i) near(text, got[i], static_cast<float>(want(in[i])), relative, absolute);
  };
  std::vector<float> positive;
  for (const float v : x) positive.push_back(std::fabs(v));
  // The manual's bounds: 2 ulp of ex2, 2^-22 of lg2 and 2^-20.5 of sin and cos absolute, 2^-11 of tanh.
  check("ex2.approx.f32 %d, %a;", x, 0x1p-22, 0, [](double v) { return std::exp2(v); });
  check("ex2.approx.ftz.f32 %d, %a;", x, 0x1p-22, 0, [](double v) { return std::exp2(v); });
  check("lg2.approx.f32 %d, %a;", positive, 0x1p-23, 0x1p-22, [](double v) { return std::log2(v); });
  check("sin.approx.f32 %d, %a;", x, 0, 0x1p-20, [](double v) { return std::sin(v); });
  check("cos.approx.f32 %d, %a;", x, 0, 0x1p-20, [](double v) { return std::cos(v); });
  check("tanh.approx.f32 %d, %a;", x, 0x1p-11, 0, [](double v) { return std::tanh(v); });
  check("rsqrt.approx.f32 %d, %a;", positive, 0x1p-22, 0, [](double v) { return 1 / std::sqrt(v); });
  check("rcp.approx.ftz.f32 %d, %a;", x, 0x1p-23, 0, [](double v) { return 1 / v; });
  check("sqrt.approx.f32 %d, %a;", positive, 0x1p-23, 0, [](double v) { return std::sqrt(v); });
  check("div.full.f32 %d, 0f40400000, %a;", x, 0x1p-22, 0, [](double v) { return 3 / v; });
}

TEST(float_powers_at_the_edges) {
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> got = lanes<float, float>(
      "ex2.approx.f32 %d, %a;", {127.f, 128.f, -126.f, -149.f, -151.f, inf, -inf, NAN});
  got.resize(8);
  equal("ex2", got, std::vector<float>{0x1p127f, inf, 0x1p-126f, 0x1p-149f, 0.f, inf, 0.f, NAN});
}

}  // namespace
}  // namespace standin::test
