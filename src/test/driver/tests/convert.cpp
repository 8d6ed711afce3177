// cvt: integers that grow, shrink and saturate; floats rounded each way; 16-bit floats, two at once, tf32.
#include <cfenv>

#include "card.h"
#include "half.h"

namespace standin::test {
namespace {

template <class D, class A, class F>
void against(const std::string& text, const std::vector<A>& in, F want) {
  std::vector<D> expected;
  for (const A a : in) expected.push_back(static_cast<D>(want(a)));
  equal(text, lanes<D, A>(text, in), expected);
}

TEST(convert_integers) {
  const std::vector<u32> in = edges<u32>(1);
  against<u32>("cvt.u32.u8 %d, %a;", in, [](u32 a) { return static_cast<u8>(a); });
  against<u32>("cvt.s32.s8 %d, %a;", in, [](u32 a) { return static_cast<s8>(a); });
  against<u32>("cvt.u32.u16 %d, %a;", in, [](u32 a) { return static_cast<u16>(a); });
  against<u32>("cvt.s32.s16 %d, %a;", in, [](u32 a) { return static_cast<s16>(a); });
  against<u64>("cvt.u64.u32 %d, %a;", in, [](u32 a) { return a; });
  against<u64>("cvt.s64.s32 %d, %a;", in, [](u32 a) { return static_cast<s64>(static_cast<s32>(a)); });
  against<u64>("cvt.s64.s8 %d, %a;", in, [](u32 a) { return static_cast<s64>(static_cast<s8>(a)); });
  const std::vector<u64> wide = edges<u64>(2);
  against<u32>("cvt.u32.u64 %d, %a;", wide, [](u64 a) { return static_cast<u32>(a); });
  against<u32>("cvt.s32.s64 %d, %a;", wide, [](u64 a) { return static_cast<u32>(a); });
}

template <class D, class A>
D clamped(A a) {
  using Wide = __int128;
  const Wide low = std::numeric_limits<D>::min(), high = std::numeric_limits<D>::max();
  return static_cast<D>(std::min(std::max(static_cast<Wide>(a), low), high));
}

TEST(convert_integers_that_saturate) {
  const std::vector<s32> in = edges<s32>(3);
  against<s32>("cvt.sat.s8.s32 %d, %a;", in, [](s32 a) { return clamped<s8>(a); });
  against<s32>("cvt.sat.u8.s32 %d, %a;", in, [](s32 a) { return clamped<u8>(a); });
  against<s32>("cvt.sat.s16.s32 %d, %a;", in, [](s32 a) { return clamped<s16>(a); });
  against<u32>("cvt.sat.u32.s32 %d, %a;", in, [](s32 a) { return clamped<u32>(a); });
  const std::vector<s64> wide = edges<s64>(4);
  against<s32>("cvt.sat.s32.s64 %d, %a;", wide, [](s64 a) { return clamped<s32>(a); });
  against<u32>("cvt.sat.u32.s64 %d, %a;", wide, [](s64 a) { return clamped<u32>(a); });
}

// Float to integer rounds as told, clamps, and gives 0 for NaN.
template <class D, class A>
D integer_of(A a, int mode) {
  if (a != a) return 0;
  std::fesetround(mode);
  volatile A input = a;
  const A whole = std::rint(input);
  std::fesetround(FE_TONEAREST);
  const A low = static_cast<A>(std::numeric_limits<D>::min()), high = static_cast<A>(std::numeric_limits<D>::max());
  return whole <= low ? std::numeric_limits<D>::min() : whole >= high ? std::numeric_limits<D>::max()
                                                                       : static_cast<D>(whole);
}

constexpr std::pair<const char*, int> kModes[] = {
    {"n", FE_TONEAREST}, {"z", FE_TOWARDZERO}, {"m", FE_DOWNWARD}, {"p", FE_UPWARD}};

TEST(convert_floats_to_integers) {
  const std::vector<float> in = edges<float>(5);
  const std::vector<double> wide = edges<double>(6);
  for (const auto& [letter, mode] : kModes) {
    const std::string r = std::string("cvt.r") + letter + "i.";
    against<s32>(r + "s32.f32 %d, %a;", in, [&](float a) { return integer_of<s32>(a, mode); });
    against<u32>(r + "u32.f32 %d, %a;", in, [&](float a) { return integer_of<u32>(a, mode); });
    against<s64>(r + "s64.f32 %d, %a;", in, [&](float a) { return integer_of<s64>(a, mode); });
    against<u64>(r + "u64.f64 %d, %a;", wide, [&](double a) { return integer_of<u64>(a, mode); });
    against<s32>(r + "s32.f64 %d, %a;", wide, [&](double a) { return integer_of<s32>(a, mode); });
    // Rounded, but a float still.
    against<float>(r + "f32.f32 %d, %a;", in, [&](float a) {
      std::fesetround(mode);
      volatile float x = a;
      const float result = std::rint(x);
      std::fesetround(FE_TONEAREST);
      return result;
    });
  }
  against<s32>("cvt.rzi.s16.f32 %d, %a;", in, [](float a) { return integer_of<s16>(a, FE_TOWARDZERO); });
}

TEST(convert_integers_to_floats) {
  const std::vector<s64> wide = edges<s64>(7);
  const std::vector<u32> in = edges<u32>(8);
  for (const auto& [letter, mode] : kModes) {
    const std::string r = std::string("cvt.r") + letter + ".";
    const auto under = [&, m = mode](auto f) {
      return [=](auto a) {
        volatile auto x = a;
        std::fesetround(m);
        const auto result = f(x);
        std::fesetround(FE_TONEAREST);
        return result;
      };
    };
    against<float>(r + "f32.u32 %d, %a;", in, under([](u32 a) { return static_cast<float>(a); }));
    against<float>(r + "f32.s64 %d, %a;", wide, under([](s64 a) { return static_cast<float>(a); }));
    against<double>(r + "f64.s64 %d, %a;", wide, under([](s64 a) { return static_cast<double>(a); }));
    against<float>(r + "f32.f64 %d, %a;", edges<double>(9), under([](double a) { return static_cast<float>(a); }));
  }
  against<double>("cvt.f64.f32 %d, %a;", edges<float>(10), [](float a) { return static_cast<double>(a); });
  against<float>("cvt.sat.f32.f32 %d, %a;", edges<float>(11), [](float a) { return a > 0 ? std::min(a, 1.f) : 0.f; });
}

// The host's own search for the nearest 16-bit float: of all finite ones, the closest, on ties the even one.
template <class H>
u32 nearest(float a) {
  if (a != a) return 0x7fff;
  u32 best = 0;
  const double magnitude = std::fabs(a);
  double distance = std::numeric_limits<double>::infinity();
  // The step beyond the largest number counts as infinity, half way to it rounds up.
  const u32 infinity = std::is_same_v<H, F16> ? 0x7c00 : 0x7f80;
  const double beyond = 2. * H::load(infinity - 1) - H::load(infinity - 2);
  for (u32 m = 0; m <= infinity; ++m) {
    const double value = m == infinity ? beyond : H::load(m), d = std::fabs(std::min(magnitude, 2 * beyond) - value);
    if (d < distance || (d == distance && m % 2 == 0)) best = m, distance = d;
  }
  return best | (std::signbit(a) ? 0x8000 : 0);
}

TEST(convert_to_16_bit_floats) {
  std::vector<float> in = edges<float>(12);
  in[0] = 65519.99f, in[1] = 65520.f, in[2] = 1.f + 0x1p-11f, in[3] = 1.f + 3 * 0x1p-11f, in[4] = 0x1p-25f;
  in[5] = 0x1.8p-25f, in[6] = 1.f + 0x1p-8f, in[7] = 1.f + 3 * 0x1p-8f;
  const auto narrowed = [](const std::string& op) { return op + " %h1, %f1; mov.b32 %d, {%h1, 0};"; };
  against<u32>("mov.b32 %f1, %a; " + narrowed("cvt.rn.f16.f32"), in, [](float a) { return nearest<F16>(a); });
  against<u32>("mov.b32 %f1, %a; " + narrowed("cvt.rn.bf16.f32"), in, [](float a) { return nearest<Bf16>(a); });
  // Towards zero: the nearest one, or the one below it.
  const auto towards_zero = []<class H>(H, float a) {
    u32 near = nearest<H>(a);
    if (a != a || std::isinf(a)) return near;
    while (std::fabs(H::load(near)) > std::fabs(a)) --near;
    return near;
  };
  against<u32>("mov.b32 %f1, %a; " + narrowed("cvt.rz.f16.f32"), in, [&](float a) { return towards_zero(F16(), a); });
  against<u32>("mov.b32 %f1, %a; " + narrowed("cvt.rz.bf16.f32"), in, [&](float a) { return towards_zero(Bf16(), a); });
  // Two at once: the first operand is the upper half.
  against<u32>("mov.b32 %f1, %a; cvt.rn.bf16x2.f32 %d, %f1, 0f3F800000;", in,
               [](float a) { return nearest<Bf16>(a) << 16 | 0x3f80; });
  against<u32>("mov.b32 %f1, %a; cvt.rn.relu.f16x2.f32 %d, 0fBF800000, %f1;", in,
               [](float a) { return nearest<F16>(a > 0 || a != a ? a : 0.f); });
}

TEST(convert_from_16_bit_floats) {
  std::vector<u32> in = edges<u32>(13);
  const std::string low = "mov.b32 {%h1, %h2}, %a; ";
  against<float>(low + "cvt.f32.f16 %d, %h1;", in, [](u32 a) {
    const int exponent = static_cast<int>(a >> 10 & 31);
    const float fraction = static_cast<float>(a & 1023), sign = a & 0x8000 ? -1.f : 1.f;
    if (exponent == 31) return fraction == 0 ? sign * std::numeric_limits<float>::infinity() : NAN;
    return sign * (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25));
  });
  against<float>(low + "cvt.f32.bf16 %d, %h1;", in, [](u32 a) { return std::bit_cast<float>(a << 16); });
  against<s32>(low + "cvt.rni.s32.f16 %d, %h1;", in, [](u32 a) { return integer_of<s32>(F16::load(a), FE_TONEAREST); });
  against<u32>("cvt.rn.f16.s32 %h1, %a; mov.b32 %d, {%h1, 0};", in, [](u32 a) {
    return nearest<F16>(to_odd(static_cast<s32>(a)));
  });
}

TEST(convert_to_tf32) {
  const std::vector<float> in = {1.f + 0x1p-11f, 1.f + 0x1.8p-11f, -1.f - 0x1p-11f, 3.f, 0.f, -0.f};
  std::vector<float> got = lanes<float, float>("cvt.rna.tf32.f32 %d, %a;", in);
  got.resize(in.size());
  equal("rna", got, std::vector<float>{1.f + 0x1p-10f, 1.f + 0x1p-10f, -1.f - 0x1p-10f, 3.f, 0.f, -0.f});
}

}  // namespace
}  // namespace standin::test
