// Integer arithmetic against the host's, over the edges of every type.
#include "card.h"

namespace standin::test {
namespace {

template <class T>
const char* name_of() {
  constexpr const char* names[] = {"s16", "u16", "s32", "u32", "s64", "u64"};
  return names[(sizeof(T) == 2 ? 0 : sizeof(T) == 4 ? 2 : 4) + (std::is_unsigned_v<T> ? 1 : 0)];
}

// `text` with $ for the type, on %d, %a, %b, %c.
template <class T, class D = T, class F>
void against(std::string text, F want) {
  for (size_t at; (at = text.find('$')) != std::string::npos;) text.replace(at, 1, name_of<T>());
  const std::vector<T> a = edges<T>(1), b = edges<T>(2), c = edges<T>(3);
  std::vector<D> expected;
  for (size_t i = 0; i < a.size(); ++i) expected.push_back(static_cast<D>(want(a[i], b[i], c[i])));
  equal(text, lanes<D, T>(text, a, b, c), expected);
}

template <class T>
using Unsigned = std::make_unsigned_t<T>;

template <class T>
void arithmetic() {
  const auto bits = [](T x) { return static_cast<u64>(static_cast<Unsigned<T>>(x)); };
  using Wide = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
  against<T>("add.$ %d, %a, %b;", [&](T a, T b, T) { return bits(a) + bits(b); });
  against<T>("sub.$ %d, %a, %b;", [&](T a, T b, T) { return bits(a) - bits(b); });
  against<T>("mul.lo.$ %d, %a, %b;", [&](T a, T b, T) { return bits(a) * bits(b); });
  against<T>("mad.lo.$ %d, %a, %b, %c;", [&](T a, T b, T c) { return bits(a) * bits(b) + bits(c); });
  against<T>("mul.hi.$ %d, %a, %b;", [](T a, T b, T) { return (Wide(a) * Wide(b)) >> (8 * sizeof(T)); });
  against<T>("min.$ %d, %a, %b;", [](T a, T b, T) { return a < b ? a : b; });
  against<T>("max.$ %d, %a, %b;", [](T a, T b, T) { return a > b ? a : b; });
  // What the hardware gives where C++ has no answer: all ones and the dividend.
  against<T>("div.$ %d, %a, %b;", [](T a, T b, T) { return b == 0 ? T(-1) : static_cast<T>(Wide(a) / Wide(b)); });
  against<T>("rem.$ %d, %a, %b;", [](T a, T b, T) { return b == 0 ? a : static_cast<T>(Wide(a) % Wide(b)); });
  if constexpr (std::is_signed_v<T>) {
    against<T>("neg.$ %d, %a;", [&](T a, T, T) { return 0 - bits(a); });
    against<T>("abs.$ %d, %a;", [&](T a, T, T) { return a < 0 ? 0 - bits(a) : bits(a); });
  }
}

TEST(integer_of_16_bits) {
  arithmetic<s16>();
  arithmetic<u16>();
}
TEST(integer_of_32_bits) {
  arithmetic<s32>();
  arithmetic<u32>();
}
TEST(integer_of_64_bits) {
  arithmetic<s64>();
  arithmetic<u64>();
}

TEST(integer_wide_products) {
  against<u16, u32>("mul.wide.$ %d, %a, %b;", [](u32 a, u32 b, u32) { return a * b; });
  against<s16, s32>("mul.wide.$ %d, %a, %b;", [](s32 a, s32 b, s32) { return a * b; });
  against<u32, u64>("mul.wide.$ %d, %a, %b;", [](u64 a, u64 b, u64) { return a * b; });
  against<s32, s64>("mul.wide.$ %d, %a, %b;", [](s64 a, s64 b, s64) { return a * b; });
  const std::string add = "mul.wide.$ %rd1, %c, 3; mad.wide.$ %d, %a, %b, %rd1;";
  against<u32, u64>(add, [](u64 a, u64 b, u64 c) { return a * b + 3 * c; });
  against<s32, s64>(add, [](s64 a, s64 b, s64 c) { return static_cast<u64>(a * b) + static_cast<u64>(3 * c); });
  const auto high = [](s64 a, s64 b, s64 c) { return (a * b >> 32) + c; };
  against<s32>("mad.hi.$ %d, %a, %b, %c;", high);
  against<u32>("mad.hi.$ %d, %a, %b, %c;", [](u64 a, u64 b, u64 c) { return (a * b >> 32) + c; });
}

TEST(integer_saturates) {
  const auto clamp = [](s64 x) { return std::min<s64>(std::max<s64>(x, INT32_MIN), INT32_MAX); };
  against<s32>("add.sat.$ %d, %a, %b;", [&](s64 a, s64 b, s64) { return clamp(a + b); });
  against<s32>("sub.sat.$ %d, %a, %b;", [&](s64 a, s64 b, s64) { return clamp(a - b); });
}

TEST(integer_sums_of_parts) {
  against<u32>("mul24.lo.$ %d, %a, %b;", [](u32 a, u32 b, u32) { return (a & 0xffffff) * (b & 0xffffff); });
  against<u32>("sad.$ %d, %a, %b, %c;", [](u32 a, u32 b, u32 c) { return (a > b ? a - b : b - a) + c; });
  const auto dot = []<class A, class B>(A, B) {
    return [](u32 a, u32 b, u32 c) {
      for (int i = 0; i < 32; i += 8) c += static_cast<u32>(static_cast<A>(a >> i) * static_cast<B>(b >> i));
      return c;
    };
  };
  against<u32>("dp4a.u32.u32 %d, %a, %b, %c;", dot(u8(), u8()));
  against<u32>("dp4a.s32.s32 %d, %a, %b, %c;", dot(s8(), s8()));
  against<u32>("dp4a.s32.u32 %d, %a, %b, %c;", dot(s8(), u8()));
  against<u32>("dp4a.u32.s32 %d, %a, %b, %c;", dot(u8(), s8()));
}

}  // namespace
}  // namespace standin::test
